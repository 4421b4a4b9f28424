"""A user's request before it is resolved; as YAML too."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, JsonValue, ValidationError, field_validator, model_validator

from bench.errors import UsageError, unknown_name
from bench.plan.presets import preset
from bench.registry import ENGINES, METHODS, PROTOCOLS
from bench.spec import MOST_RANKS, Budget, Frozen, Rotation, TunedSpec
from bench.yamltext import YamlError, parse_yaml, read_yaml

Reuse = Literal["exact", "same-spec"]
"""Stored results that are reused: those of the present code, or of older code too."""
DEFAULT_DATASET = "shapes-scan-novel"
MOST_SEEDS = 1000
SWEPT_FIELDS = ("method", "teacher", "text_teacher", "captions")
"""Names in `RunRequest.sweep` that are no option: methods, teachers and captions, one for each point of the grid."""
LARGEST_SEED = 2**63 - 1
"""Largest seed; the index holds no larger number."""


class RunRequest(Frozen):
    """Requested runs: a grid of methods, protocols, data and seeds.

    Data sets are ``NAME[:ROOT]``. `overrides` holds the dotted assignments of ``--set``.
    """

    methods: tuple[str, ...] = ("recon",)
    """Methods to pretrain; none by default if `encoders` are given."""
    encoders: tuple[str, ...] = ()
    """Encoders of the results folder, by imported name or beginning of the key, and brought ones, ``NAME[:FILE]``."""
    protocols: tuple[str, ...] = Field(("fewshot",), min_length=1)
    datasets: tuple[str, ...] = Field((DEFAULT_DATASET,), min_length=1)
    train_on: str | None = None
    """Data set whose training split every protocol gets, the tests staying those of `datasets`."""
    transfer: bool = False
    """Whether every data set is trained on for every other, too."""
    pretrain_data: str = "shapes"
    pretrain_fractions: tuple[float, ...] = (1.0,)
    """Parts of the pretraining data; a smaller one lies inside every larger one of the same seed."""
    budget: Budget = "steps"
    """Whether a part is trained on for as many optimiser steps as all the data, or for as many epochs."""
    label_fractions: tuple[float, ...] = (1.0,)
    """Parts of the labelled training objects that the protocols get."""
    match: Literal["none", "params", "flops"] = "none"
    """Cost in which encoders are matched to the first one's by changing their width; ``none`` leaves widths alone."""
    preset: str = "nano"
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    """Seeds of pretraining."""
    split_seeds: tuple[int, ...] = Field((0,), min_length=1)
    """Seeds of validation parts, folds and parts of the labels; each encoder is judged with each of them."""
    settings: tuple[str, ...] = ()
    """Settings of the protocol to run; empty means all of them."""
    captions: Literal["auto", "none", "dataset", "class-names"] = "auto"
    teacher: str = "tiny-clip"
    text_teacher: str | None = None
    """Teacher of texts; None: `teacher` gives them too."""
    live_teacher: bool = False
    """Whether teachers run in every step of pretraining instead of once before it."""
    held_out_losses: bool = False
    """Whether pretraining measures its losses on objects it is not trained on, too (`bench analyse losses`)."""
    evaluate_at: tuple[float, ...] = (1.0,)
    """Shares of pretraining after which an encoder is kept and judged; 1 is its end."""
    form: Literal["fair", "published"] = "fair"
    corruptions: bool = False
    """Whether to score corrupted test clouds, too."""
    rotations: tuple[Rotation, ...] = Field(("none",), min_length=1)
    """How training and test clouds are turned: ``none``, ``z/z``, ``z/SO3`` or ``SO3/SO3``."""
    legacy: bool = False
    """Whether to store also the scores that selection on the test split would give."""
    baseline: bool = True
    """Whether `scratch` runs beside every method."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    threads: int | None = Field(None, ge=1, le=1_024)
    """Threads of one job's operators on the CPU; None for a fixed number, the same on every machine."""
    gpus: int = Field(1, ge=1, le=MOST_RANKS)
    """GPUs, or processes on CPUs, that train one network together."""
    plugins: tuple[str, ...] = ()
    """Plugin files; in a configuration file, a relative one lies beside that file."""
    engine: str = "local"
    """Where jobs run; no result depends on it."""
    engine_config: str | None = None
    """YAML file with options of the engine; in a configuration file, a relative one lies beside that file."""
    overrides: dict[str, JsonValue] = Field(default_factory=dict)
    """Assignments of ``--set``; a text such as ``0.2,0.4`` sweeps an option that takes no text."""
    sweep: dict[str, list[JsonValue]] = Field(default_factory=dict)
    """Values of swept options by path (`SWEPT_FIELDS` too); several options form a grid."""
    trial: bool = False
    """Whether these runs are trials of a search, which are in no table."""
    tuned: TunedSpec | None = None
    """The search that chose some of the overrides (written by ``bench tune``)."""

    @model_validator(mode="before")
    @classmethod
    def _encoders_stand_alone(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("encoders") and "methods" not in values:
            return {**values, "methods": ()}
        return values

    @model_validator(mode="after")
    def _asks_for_something(self) -> RunRequest:
        if not self.methods and not self.encoders:
            raise ValueError("name a method or an encoder")
        return self

    @model_validator(mode="after")
    def _trains_on_one_thing(self) -> RunRequest:
        if self.transfer and self.train_on is not None:
            raise ValueError("train_on names one training set, transfer takes them all: give one of the two")
        if self.transfer and len(set(self.datasets)) < 2:
            raise ValueError("transfer needs two data sets or more, e.g. --dataset shapes-cad --dataset shapes-scan")
        return self

    @model_validator(mode="after")
    def _is_what_was_tuned(self) -> RunRequest:
        tuned = self.tuned
        if tuned is None:
            return self
        if self.methods != (tuned.method,) or self.encoders or len(self.protocols) != 1 or self.baseline:
            raise ValueError(
                f"'tuned' was chosen for method {tuned.method} and one protocol: give no other, keep 'baseline: false' "
                "(scratch is tuned on its own), or delete 'tuned'"
            )
        for path, value in tuned.values.items():
            if self.overrides.get(path) != value:
                raise ValueError(f"'tuned' says that {path} = {value} was chosen; keep it, or delete 'tuned'")
        return self

    @field_validator("sweep")
    @classmethod
    def _sweeps_have_values(cls, sweep: dict[str, list[JsonValue]]) -> dict[str, list[JsonValue]]:
        for path, values in sweep.items():
            if path not in SWEPT_FIELDS and ("." not in path or not all(path.split("."))):
                known = ", ".join(SWEPT_FIELDS)
                raise ValueError(f"'{path}' is neither GROUP.FIELD, e.g. recon.mask_ratio, nor one of {known}")
            if not values:
                raise ValueError(f"'{path}' has no value; give a list, e.g. [0.2, 0.4]")
        return sweep

    @model_validator(mode="after")
    def _sweeps_what_is_free(self) -> RunRequest:
        for path in self.sweep:
            if path in self.overrides:
                raise ValueError(f"'{path}' stands in 'overrides' and in 'sweep': give it once")
        return self

    @field_validator("pretrain_fractions", "label_fractions", "evaluate_at", mode="before")
    @classmethod
    def _read_fractions(cls, fractions: object) -> object:
        return parse_fractions(str(fractions)) if isinstance(fractions, int | float | str) else fractions

    @field_validator("pretrain_fractions", "label_fractions", "evaluate_at")
    @classmethod
    def _fractions_are_parts(cls, fractions: tuple[float, ...]) -> tuple[float, ...]:
        return check_fractions(fractions)

    @field_validator("rotations", mode="before")
    @classmethod
    def _read_rotations(cls, rotations: object) -> object:
        return tuple(part.strip() for part in rotations.split(",")) if isinstance(rotations, str) else rotations

    @field_validator("rotations")
    @classmethod
    def _rotations_are_distinct(cls, rotations: tuple[Rotation, ...]) -> tuple[Rotation, ...]:
        if len(set(rotations)) < len(rotations):
            raise ValueError("rotations must be distinct")
        return rotations

    @field_validator("seeds", "split_seeds", mode="before")
    @classmethod
    def _read_seeds(cls, seeds: object) -> object:
        return parse_seeds(str(seeds)) if isinstance(seeds, int | str) else seeds

    @field_validator("seeds", "split_seeds")
    @classmethod
    def _seeds_are_distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 0 <= seed <= LARGEST_SEED for seed in seeds) or len(set(seeds)) != len(seeds):
            raise ValueError(f"seeds must be distinct numbers from 0 to {LARGEST_SEED}")
        return seeds

    def check_names(self) -> None:
        """Refuse unknown names before anything loads torch.

        Raises:
            UsageError: Unknown preset, method, protocol or engine (with near-miss suggestions).
        """
        preset(self.preset)
        for name in self.methods:
            if name != "all":
                METHODS.own(name)
        for name in self.protocols:
            if name != "all":
                PROTOCOLS.entry(name)
        ENGINES.entry(self.engine)


def parse_assignment(text: str) -> tuple[str, JsonValue]:
    """Parse one ``--set a.b=c``; the value is read as YAML.

    Several values (``[1,3],[1,5]``) that are no YAML together stay text (`bench.plan.sweeps`).

    Raises:
        UsageError: No ``=``, an empty or undotted path, or a value YAML cannot read.
    """
    path, equals, value = text.partition("=")
    path = path.strip()
    if not equals or "." not in path or not all(path.split(".")):
        raise UsageError(f"--set '{text}' is not of the form GROUP.FIELD=VALUE, e.g. --set recipe.lr=0.001")
    try:
        parsed = parse_yaml(value)
    except YamlError as error:
        if len(split_values(value)) == 1:
            raise UsageError(f"--set {path}: cannot read the value '{value[:40]}' ({error})") from error
        parsed = value.strip()
    refuse_infinite(parsed, f"--set {path}")
    return path, parsed


def parse_assignments(texts: Iterable[str]) -> dict[str, JsonValue]:
    """Parse every ``--set`` of a command.

    Raises:
        UsageError: One cannot be parsed, or two set the same option.
    """
    found: dict[str, JsonValue] = {}
    for path, value in map(parse_assignment, texts):
        if path in found:
            raise UsageError(f"--set {path}: given twice; give it once (bench run sweeps {path}=A,B)")
        found[path] = value
    return found


def split_values(text: str) -> list[str]:
    """Split a text at commas outside brackets and quotes.

    An opened bracket or quote that is never closed keeps the rest together.
    """
    pieces, start, closing, before = [], 0, list[str](), ""
    for at, sign in enumerate(text):
        if closing and closing[-1] in "\"'":
            if sign == closing[-1]:
                closing.pop()
        elif sign in _BRACKETS:
            closing.append(_BRACKETS[sign])
        elif sign in "\"'" and before in ("", *",:[{("):  # an apostrophe within a word is no quote
            closing.append(sign)
        elif closing and sign == closing[-1]:
            closing.pop()
        elif sign == "," and not closing:
            pieces.append(text[start:at].strip())
            start = at + 1
        before = before if sign.isspace() else sign
    return [*pieces, text[start:].strip()]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse ``--seeds``: a count (``5``: 0..4) or a list.

    ``3,`` and ``0,4,7`` are lists. Also for ``--split-seeds``.

    Raises:
        ValueError: Not a count or a list of integers.
    """
    listed: tuple[int, ...] = ()
    try:
        if "," in text:
            listed = tuple(int(part) for part in text.split(",") if part.strip())
        else:
            listed = tuple(range(min(int(text), MOST_SEEDS + 1)))
    except ValueError:
        pass
    if not listed:
        raise ValueError("expected a count such as 5 (seeds 0 to 4) or a list such as 0,4,7")
    if len(listed) > MOST_SEEDS:
        raise ValueError(f"at most {MOST_SEEDS} seeds in one request; a single seed is written with a comma: 7,")
    return listed


def parse_fractions(text: str) -> tuple[float, ...]:
    """Parse fractions such as ``0.1,0.25,1`` or ``10%,25%,100%``.

    For ``--pretrain-fraction``, ``--label-fraction`` and ``--evaluate-at``.

    Raises:
        ValueError: Not a list of numbers, or numbers with a decimal comma.
    """
    found = []
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > 1 and "0" in parts and all(part.isdecimal() for part in parts):
        raise ValueError(
            f"fractions have a decimal point: is {','.join(parts)[:40]} meant as {'.'.join(parts[:2])[:40]}?"
        )
    for part in parts:
        try:
            found.append(float(part[:-1]) / 100 if part.endswith("%") else float(part))
        except ValueError:
            found = []
            break
    if not found:
        raise ValueError("expected a list of fractions such as 0.1,0.25,1 or 10%,25%,100%")
    return tuple(found)


def check_fractions(fractions: tuple[float, ...]) -> tuple[float, ...]:
    """Return fractions in ascending order.

    Raises:
        ValueError: One is not above 0 and up to 1, or occurs twice.
    """
    if not fractions or any(not 0 < fraction <= 1 for fraction in fractions):
        raise ValueError("fractions must be above 0 and up to 1, e.g. 0.1,0.25,1")
    if len(set(fractions)) < len(fractions):
        raise ValueError("fractions must be distinct")
    return tuple(sorted(fractions))


def read_request(path: Path) -> dict[str, Any]:
    """Read the fields of a request from a YAML file.

    Raises:
        UsageError: The file is missing, is not YAML, or is not a mapping.
    """
    content: dict[str, Any] = read_mapping(path, "configuration file", "a mapping, e.g. 'methods: [recon]'")
    if isinstance(plugins := content.get("plugins"), list):
        content["plugins"] = [str(path.absolute().parent / str(plugin)) for plugin in plugins]
    if isinstance(config := content.get("engine_config"), str):
        content["engine_config"] = str(path.absolute().parent / config)
    return content


def read_mapping(path: Path, what: str, holds: str) -> dict[str, JsonValue]:
    """Read a mapping from a YAML file of a user.

    Args:
        path: The file.
        what: Description of the file, for errors.
        holds: Description of what it must hold, for errors.

    Raises:
        UsageError: The file is missing, is not YAML, or is not a mapping.
    """
    try:
        content = read_yaml(path)
    except FileNotFoundError:
        raise UsageError(f"{what} '{path}' does not exist") from None
    except YamlError as error:
        raise UsageError(f"{what} '{path}' cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{what} '{path}' must hold {holds}")
    return content


def write_request(request: RunRequest, path: Path) -> None:
    """Write a request as YAML for `read_request`."""
    fields = request.model_dump(mode="json", exclude_defaults=True)
    if request.encoders:  # the default depends on them
        fields["methods"] = list(request.methods)
    text = yaml.safe_dump(fields, sort_keys=True, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


_DEPTH = 32
_BRACKETS = {"[": "]", "{": "}", "(": ")"}


def validated(model: type[BaseModel], values: dict[str, Any], where: str) -> Any:
    """Validate values; turn the first problem into one line.

    Args:
        model: Pydantic model to build.
        values: Its fields.
        where: Name of the fields on the command line, e.g. ``recipe``.

    Raises:
        UsageError: A field is unknown (with near misses) or its value is not acceptable.
    """
    refuse_infinite(values, where)
    try:
        found = model.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            *outer, own = map(str, problem["loc"])
            raise unknown_name(f"field of {'.'.join([where, *outer])}", own, _fields(model, outer)) from None
        # Drop the prefix "Value error, " that pydantic puts before messages of our validators.
        text = problem["msg"].removeprefix("Value error, ")
        text = f"{text[:1].lower()}{text[1:]}"
        if problem["type"] == "missing":  # the input would be all fields but the missing one
            raise UsageError(f"{where}.{field} is missing") from None
        if not field:  # an error about several fields: the input would be all of them
            raise UsageError(f"{where}: {text}") from None
        raise UsageError(f"{where}.{field} = {_shown(problem.get('input'))}: {text}") from None
    # A plugin's own options class may have parsed a text to infinity.
    refuse_infinite(found.model_dump(), where)
    return found


def refuse_infinite(value: object, where: str, depth: int = 0) -> None:
    """Refuse NaN and infinities, which no key can hold.

    Args:
        value: Numbers, texts, lists and mappings.
        where: Its name on the command line.
        depth: Its depth of nesting in another value.

    Raises:
        UsageError: One is in it, and the line says where; or it nests too deep.
    """
    if depth > _DEPTH:
        raise UsageError(f"{where[:80]}: nests more than {_DEPTH} lists or mappings")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where} = {value}: expected a finite number")
    if isinstance(value, Mapping):
        for name, item in value.items():
            refuse_infinite(item, f"{where}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            refuse_infinite(item, where, depth + 1)


def _shown(value: object) -> str:
    """Return a value for a message, cut to 80 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print numbers with thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _fields(model: type[BaseModel], path: Sequence[str]) -> tuple[str, ...]:
    """Return the fields of a model or a nested one."""
    for name in path:
        annotation = model.model_fields[name].annotation if name in model.model_fields else None
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        inner = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if inner is None:
            return ()
        model = inner
    return tuple(model.model_fields)
