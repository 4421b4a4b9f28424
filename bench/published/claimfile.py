"""Claims as files: a statement of a paper, and the contrast that answers it.

A claim is written before it is run: which arms are compared, under which protocols, on which data, in which direction
and by how much. `docs/own-claims.md` shows one.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue, field_validator, model_validator

from bench.errors import UsageError, unknown_name
from bench.plan.presets import preset
from bench.plan.request import MOST_SEEDS, check_fractions, read_mapping, validated
from bench.registry import ENCODERS, METHODS, PROTOCOLS
from bench.spec import Budget, Captions, Frozen
from bench.stats.cells import SCRATCH, TEACHER_ALONE, natural
from bench.stats.equivalence import FEWEST_SEEDS
from bench.yamltext import parse_yaml

Direction = Literal["above", "below", "equal", "not-above", "not-below"]
"""Claimed place of a difference: above the margin, below minus the margin, within it, or not beyond it."""
OPPONENTS = (SCRATCH, TEACHER_ALONE)
"""What a contrast may name without an arm: it runs beside the other arm."""
_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,31}")
_MOST_TEXT = 2_000


def _plain(text: str) -> str:
    """Join a text's lines and refuse characters that steer a terminal."""
    joined = " ".join(text.split())
    if any(unicodedata.category(one) in ("Cc", "Cf", "Cs", "Co") for one in joined):
        raise ValueError("has a control character")
    return joined


Text = Annotated[str, Field(min_length=1, max_length=_MOST_TEXT), AfterValidator(_plain)]


class Arm(Frozen):
    """One side of a contrast: a method or frozen encoder.

    A method may have changed options.
    """

    method: str = ""
    encoder: str = ""
    """A frozen encoder in place of a method, ``NAME[:FILE]`` as after ``--encoder``."""
    overrides: dict[str, JsonValue] = Field(default_factory=dict)
    """Assignments of ``--set``."""
    pretrain_fraction: float = 1.0
    """Part of the pretraining data."""
    budget: Budget = "steps"
    teacher: str | None = None
    text_teacher: str | None = None
    captions: Literal["auto"] | Captions = "auto"
    preset: str | None = None
    """Preset of this arm, for claims about size; None: that of the verdict."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Arm:
        if bool(self.method) == bool(self.encoder):
            raise ValueError("an arm names a method, or an encoder (NAME[:FILE]): give one of the two")
        return self

    @property
    def unit(self) -> str:
        """Name of its method or encoder, which its options are a group of."""
        return self.method or self.encoder.partition(":")[0]

    @property
    def label(self) -> str:
        """Name of its cells in tables."""
        name, _, file = self.encoder.partition(":")
        return self.method or (f"{name} ({Path(file).stem})" if file else name)

    def __str__(self) -> str:
        """Say what it is: ``recon with recon.mask_ratio=0.4``."""
        told = [
            f"{path}={value if isinstance(value, str) else json.dumps(value)}" for path, value in self.overrides.items()
        ]
        told += [f"{100 * self.pretrain_fraction:g} % of the pretraining data"] if self.pretrain_fraction != 1 else []
        named = {"teacher": self.teacher, "text teacher": self.text_teacher, "preset": self.preset}
        told += [f"{name} {value}" for name, value in named.items() if value is not None]
        told += [f"captions {self.captions}"] if self.captions != "auto" else []
        return f"{self.label} with {', '.join(told)}" if told else self.label

    @field_validator("pretrain_fraction")
    @classmethod
    def _is_a_part(cls, fraction: float) -> float:
        return check_fractions((fraction,))[0]

    @field_validator("overrides")
    @classmethod
    def _are_dotted(cls, overrides: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return _dotted(overrides)


class Contrast(Frozen):
    """A difference and where it is claimed to lie."""

    first: str
    """Name of an arm."""
    second: str | float
    """Another arm, ``scratch`` (in the first one's architecture), or a published number in percent."""
    direction: Direction = "above"
    margin: float = Field(0.0, ge=0, lt=100)
    """Points of accuracy."""

    @model_validator(mode="after")
    def _margin_is_stated(self) -> Contrast:
        if isinstance(self.second, float) and not 0 <= self.second <= 100:
            raise ValueError(f"second {self.second:g}: expected a published number in percent, from 0 to 100")
        if self.direction in ("equal", "not-above", "not-below") and not self.margin:
            raise ValueError(f"direction {self.direction} needs a margin above 0: no run can show a difference of 0")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper end of the claimed difference, as fractions."""
        m, far = self.margin / 100, float("inf")
        return {
            "above": (m, far),
            "below": (-far, -m),
            "equal": (-m, m),
            "not-above": (-far, m),
            "not-below": (-m, far),
        }[self.direction]


class Best(Frozen):
    """The claim that one value of a sweep is best."""

    arms: tuple[str, ...] = Field(min_length=3)
    """Arms in the order of the values."""
    chosen: str
    """The arm said to be best; not at an end, so that the sweep can show that more and less are worse."""

    @model_validator(mode="after")
    def _lies_within(self) -> Best:
        if self.chosen not in self.arms[1:-1] or len(set(self.arms)) < len(self.arms):
            raise ValueError("'chosen' has to be one of the arms between the two ends, and no arm may stand twice")
        return self


class ClaimStudy(Frozen):
    """Protocols, data and seeds under which the contrast must hold."""

    protocols: tuple[str, ...] = Field(min_length=1)
    datasets: tuple[str, ...] = Field(("shapes-scan-novel",), min_length=1)
    settings: tuple[str, ...] = ()
    """Settings that count; empty: all that the protocols have."""
    pretrain_data: str = "shapes"
    form: Literal["fair", "published"] = "fair"
    metric: str | None = None
    """Metric that counts; None: the one each protocol is about."""
    seeds: int = Field(3, ge=2, le=MOST_SEEDS)
    """Fewest pretraining seeds of a verdict; ``--run`` makes so many."""
    overrides: dict[str, JsonValue] = Field(default_factory=dict)
    """Assignments of ``--set`` for every arm."""

    @field_validator("protocols", "datasets", "settings", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("overrides")
    @classmethod
    def _are_dotted(cls, overrides: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return _dotted(overrides)

    @field_validator("protocols", "datasets", "settings")
    @classmethod
    def _are_distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names) or not all(names):
            raise ValueError("names have to be distinct and not empty")
        return names


class Claim(Frozen):
    """A statement with the runs and the rule that answer it.

    With several contrasts, protocols, data sets or settings, all of them must hold.
    """

    id: str = Field(pattern=f"^{_ID.pattern}$")
    paper: Text
    statement: Text
    """The claim in our own words."""
    source: Text
    """Where the paper says it."""
    figure: Text = "none read"
    """Published figure that belongs to it."""
    written: date
    """Day on which the claim was written in this form; runs that are older are named as such."""
    study: ClaimStudy | None = None
    arms: dict[str, Arm] = Field(default_factory=dict)
    """Arms by name; a contrast may also name a plain method."""
    contrasts: tuple[Contrast, ...] = ()
    best: Best | None = None
    equivalence: float | None = Field(None, gt=0, lt=100)
    """Points within which a difference that is not shown may be called none, from five seeds on."""
    leaves_out: Text | None = None
    """Part of the paper's statement that the study does not ask."""
    not_testable: Text | None = None
    """Why the harness cannot ask it; then there is no study."""

    @field_validator("written", mode="before")
    @classmethod
    def _is_a_day(cls, value: object) -> object:
        if not isinstance(value, str | date) or (
            isinstance(value, str) and not re.fullmatch(r"\d{4}-\d\d-\d\d", value)
        ):
            raise ValueError("expected a day such as 2026-11-30")
        return value

    @model_validator(mode="after")
    def _asks_something(self) -> Claim:
        asked = self.contrasts or self.best
        if self.not_testable is not None:
            if self.study or self.arms or asked:
                raise ValueError("a claim is either not_testable, or has a study and contrasts")
            return self
        if self.study is None or not asked:
            raise ValueError("expected a study with contrasts (or 'best'), or not_testable with the reason")
        return self

    @model_validator(mode="after")
    def _names_its_arms(self) -> Claim:
        named = [name for one in self.contrasts for name in (one.first, one.second) if isinstance(name, str)]
        named += self.best.arms if self.best else ()
        for name in self.arms:
            if name in OPPONENTS:
                raise ValueError(f"'{name}' needs no arm: it runs beside the arm that it is compared with")
            if name not in named:
                raise ValueError(f"arm '{name}' stands in no contrast")
        for one in self.contrasts:
            if one.first == one.second:
                raise ValueError(f"a contrast compares '{one.first}' with itself")
            if one.first in OPPONENTS:
                raise ValueError(f"'{one.first}' stands second in a contrast: it is what another arm is compared with")
        if any(name in OPPONENTS for name in (self.best.arms if self.best else ())):
            raise ValueError("'best' compares arms that are pretrained")
        few = self.study is not None and self.study.seeds < FEWEST_SEEDS
        if few and any(one.direction == "equal" for one in self.contrasts):
            raise ValueError(f"direction equal needs study.seeds of at least {FEWEST_SEEDS}")
        return self

    def arm(self, name: str) -> Arm:
        """Return an arm; a name without one is a plain method."""
        return self.arms.get(name) or Arm(method=name)

    @property
    def pretrained(self) -> tuple[str, ...]:
        """Names of all arms that are pretrained, once each."""
        named = [name for one in self.contrasts for name in (one.first, one.second) if isinstance(name, str)]
        named += self.best.arms if self.best else ()
        return tuple(dict.fromkeys(name for name in named if name not in OPPONENTS))

    @property
    def digest(self) -> str:
        """Digest of the claim's content, which says that nobody changed it since."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def check_names(self) -> None:
        """Refuse unknown methods, protocols and presets.

        Raises:
            UsageError: The line names the claim and the near misses.
        """
        try:
            for name in self.pretrained:
                arm = self.arm(name)
                (ENCODERS if arm.encoder else METHODS).own(arm.unit)
                if arm.preset is not None:
                    preset(arm.preset)
            for name in self.study.protocols if self.study else ():
                PROTOCOLS.entry(name)
        except UsageError as error:
            raise UsageError(f"claim {self.id}: {error}") from None


def _dotted(overrides: dict[str, JsonValue]) -> dict[str, JsonValue]:
    for path in overrides:
        if "." not in path or not all(path.split(".")):
            raise ValueError(f"'{path}' is not of the form GROUP.FIELD, e.g. recipe.lr")
    return overrides


@cache
def shipped_claims() -> dict[str, Claim]:
    """Return the package's claims by id."""
    folder = resources.files("bench.published").joinpath("claims")
    found = []
    for file in folder.iterdir():
        if file.name.endswith(".yaml"):
            found.append(_claim(parse_yaml(file.read_text(encoding="utf-8")), file.name))
    return {claim.id: claim for claim in sorted(found, key=lambda one: (_ORDER.get(one.id[0], 9), natural(one.id)))}


_ORDER = {"R": 0, "C": 1, "A": 2}


_HOLDS = "a mapping with id, paper, statement, source, written, study"


def read_claim(path: Path) -> Claim:
    """Read a user's claim.

    Raises:
        UsageError: The file is missing, is no YAML, or holds no claim; the line names the field.
    """
    claim = _claim(read_mapping(path, "claim file", _HOLDS), str(path))
    if claim.id in shipped_claims():
        raise UsageError(f"claim file '{path}': id {claim.id} is a claim of the package; give it another id")
    return claim


def _claim(content: Any, where: str) -> Claim:
    if not isinstance(content, dict):
        raise UsageError(f"claim file '{where}' must hold {_HOLDS}")
    claim: Claim = validated(Claim, content, where)
    return claim


def find_claims(names: Sequence[str]) -> list[Claim]:
    """Return claims by id or file, all of the package without any name.

    Raises:
        UsageError: There is no such claim, a file holds none, or two claims have one id.
    """
    known = shipped_claims()
    found = []
    for name in names:
        if name in known:
            found.append(known[name])
        elif name == "all":
            found += known.values()
        elif name.endswith((".yaml", ".yml")) or "/" in name or Path(name).exists():
            found.append(read_claim(Path(name)))
        elif name.upper() in known:
            found.append(known[name.upper()])
        else:
            raise unknown_name("claim", name, known)
    every = found if names else list(known.values())
    chosen = {claim.id: claim for claim in every}
    for claim in every:
        if chosen[claim.id] != claim:
            raise UsageError(f"two claims have the id {claim.id}; give one of them another id")
        claim.check_names()
    return list(chosen.values())
