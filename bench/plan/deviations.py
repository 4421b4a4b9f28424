"""Find the fields of a spec that differ from defaults.

The parts are its preset, method, protocol and data sets.

Everything is told from the spec, so that runs stored by earlier code are told, too. What the defaults are is asked of
the present code: a run made when a default was another one deviates from it now, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import JsonValue, ValidationError

from bench.errors import BenchError
from bench.plan import defaults
from bench.plan.presets import Preset, preset
from bench.plan.recipes import part_of
from bench.plan.request import RunRequest
from bench.registry import BACKBONE_PARTS
from bench.spec import (
    BackboneSpec,
    DataSpec,
    Numerics,
    Options,
    PretrainSpec,
    Recipe,
    RunSpec,
    TeacherSpec,
)
from bench.stats.cells import flatten
from bench.stats.deviations import ALL, Deviation, Deviations
from bench.store.records import RunRecord

_FOLLOWS = 0.1
"""Relative tolerance of a part's epochs, when the number of objects, which determines them, is unknown."""
_ONE_RANK: Options = {"count": 1, "batch_norm": "synchronised", "negatives": "gathered"}
_DEFAULTS: dict[str, Any] = {name: field.default for name, field in RunRequest.model_fields.items()}


def deviations_of(spec: dict[str, JsonValue]) -> Deviations:
    """Name the deviations of a stored spec.

    If it cannot be read here (a plugin is missing), that is said instead.
    """
    try:
        return deviations(RunSpec.model_validate(spec))
    except (BenchError, ValidationError, ModuleNotFoundError) as error:
        reason = str(error).splitlines()[0]
        return (Deviation(ALL, f"not known here ({reason})"),)


def deviations(run: RunSpec) -> Deviations:
    """Name a run's fields that differ from their defaults.

    In the order of the spec.

    Seeds and data sets are no deviations, nor are ``--legacy`` and ``--corruptions``, which change no score.
    Values that a search chose are said to be tuned.

    Raises:
        UsageError: The preset, method, protocol or data set is not known here.
    """
    size = preset(run.preset)
    found = [*_encoder(run.encoder, size, run.protocol.form, run.matched is not None)]
    if run.matched is not None:
        found.append(Deviation("matched", f"{run.matched.by} of {run.matched.target:,}"))
    default = defaults.protocol_defaults(run.protocol.name, size.name, run.protocol.form)
    found += _differing("protocol", run.protocol.options, default)
    found += _data("data", run.data, size)
    found += _data("train_data", run.train_data, size)
    if run.label_fraction != 1:
        found.append(Deviation("label_fraction", f"{run.label_fraction:g}", "1"))
    if run.protocol.rotation != "none":
        found.append(Deviation("rotation", run.protocol.rotation, "none"))
    if run.tuned is None:
        return tuple(found)
    tuned = {path.rpartition(".")[2] for path in run.tuned.values}
    told = [
        Deviation(one.field, one.value, f"{one.default}; tuned") if one.field.rpartition(".")[2] in tuned else one
        for one in found
    ]
    return (*told, Deviation("tuned", f"{run.tuned.trials} trials"))


def _encoder(spec: PretrainSpec, size: Preset, form: str, matched: bool, stage: str = "") -> Iterable[Deviation]:
    if not matched and not stage:
        yield from _differing("backbone", _fields(spec.backbone), _backbone(spec.backbone, size))
    yield from _differing(f"{stage}method", spec.options, _method_options(spec, size, form))
    if spec.recipe is not None and spec.data is not None:
        yield from _differing(f"{stage}recipe", spec.recipe.model_dump(mode="json"), _recipe(spec, spec.recipe, size))
        yield from _supervision(spec, stage)
        for name, teacher in (("teacher", spec.teacher), ("text_teacher", spec.text_teacher)):
            yield from _teacher(name, teacher, size) if not stage else ()
    if not stage:
        yield from _data("pretrain_data", spec.data, size)
        yield from _numerics(spec.numerics)
        if spec.fraction != 1:
            yield Deviation("pretrain_fraction", f"{spec.fraction:g}", "1")
        if spec.at != 1:
            yield Deviation("evaluate_at", f"{spec.at:g}", "1")
        for name in ("budget", "live_teacher"):
            if getattr(spec, name) != _DEFAULTS[name]:
                yield Deviation(name, str(getattr(spec, name)).lower(), str(_DEFAULTS[name]).lower())
        if spec.ranks is not None:
            yield from _differing("ranks", spec.ranks.model_dump(mode="json"), _ONE_RANK)
    if spec.first_stage is not None:
        yield from _encoder(spec.first_stage, size, form, matched, "first_stage.")


def _fields(backbone: BackboneSpec) -> Options:
    """Return all fields of a backbone, default parts included.

    Its JSON leaves out parts that are the published ones.
    """
    return {name: getattr(backbone, name) for name in BackboneSpec.model_fields}


def _backbone(own: BackboneSpec, size: Preset) -> Options:
    """Return a preset's backbone with default options of chosen parts."""
    options = {f"{part}_options": defaults.part_defaults(part, getattr(own, part)) for part in BACKBONE_PARTS}
    return _fields(size.backbone) | options


def _method_options(spec: PretrainSpec, size: Preset, form: str) -> Options:
    """Return a method's default options.

    For `scratch`, those of the network it is.
    """
    if spec.method == "scratch":
        name = str(spec.options["architecture"])
        return {"architecture": name, "architecture_options": defaults.network_defaults(name, size.name, form)}
    return defaults.method_defaults(spec.method, size.name, spec.options.get("transformer"))


def _recipe(spec: PretrainSpec, own: Recipe, size: Preset) -> Options:
    """Return the shipped recipe, adjusted to the data's part."""
    assert spec.data is not None
    shipped = defaults.recipe_defaults(spec.method, size.name, spec.data.name)
    if spec.fraction < 1 and spec.budget == "steps":
        objects = spec.data.options.get("objects")
        if isinstance(objects, int):
            shipped = part_of(spec.method, shipped, objects, spec.fraction, spec.budget).recipe
        elif abs(own.epochs * spec.fraction / shipped.epochs - 1) <= _FOLLOWS:
            shipped = shipped.model_copy(update={"epochs": own.epochs, "warmup_epochs": own.warmup_epochs})
    options: Options = shipped.model_dump(mode="json")
    return options


def _supervision(spec: PretrainSpec, stage: str) -> Iterable[Deviation]:
    """Yield a deviation if captions are not the data set's."""
    assert spec.data is not None
    default = defaults.caption_default(spec.method, spec.options, spec.data.name)
    if spec.captions != default:
        yield Deviation(f"{stage}captions", spec.captions, default)


def _teacher(group: str, spec: TeacherSpec | None, size: Preset) -> Iterable[Deviation]:
    if spec is None:
        return
    if spec.name != _DEFAULTS[group]:
        yield Deviation(group, spec.name, str(_DEFAULTS[group] or "none"))
    else:
        yield from _differing(group, spec.options, defaults.teacher_defaults(spec.name, size.name))


def _data(group: str, spec: DataSpec | None, size: Preset) -> Iterable[Deviation]:
    if spec is not None:
        yield from _differing(group, spec.options, defaults.data_defaults(spec.name, size.name))


def _numerics(spec: Numerics) -> Iterable[Deviation]:
    """Yield deviations among numerics that have a default.

    The others depend on the machine and are shown with the numbers.
    """
    for name, field in Numerics.model_fields.items():
        value = getattr(spec, name)
        if not field.is_required() and name != "plugins" and value != field.default:
            yield Deviation(f"numerics.{name}", str(value), str(field.default))


def _differing(group: str, own: Options, default: Options) -> Iterable[Deviation]:
    """Yield options that differ from their defaults.

    Options that older code did not have are no deviations.
    """
    plain = flatten(default)
    for name, value in flatten(own).items():
        if plain.get(name) != value:
            yield Deviation(f"{group}.{name}", value, plain.get(name, ""))


class DeviationReader:
    """Names deviations of stored runs, once for all seeds."""

    def __init__(self) -> None:
        self._known: dict[str, Deviations] = {}

    def __call__(self, run: RunRecord) -> Deviations:
        """Name the deviations of a run's spec."""
        if run.alike in self._known:
            return self._known[run.alike]
        found = deviations_of(run.spec)
        if run.alike:
            self._known[run.alike] = found
        return found
