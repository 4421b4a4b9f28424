"""Defaults of fields that specifications leave out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from pydantic import BaseModel

from bench.errors import BenchError
from bench.plan.answers import cached_answer
from bench.registry import DATASETS, METHODS, PROTOCOLS, TEACHERS
from bench.spec import BackboneSpec, Numerics, PretrainSpec, ProtocolSpec, RunSpec
from bench.stats.cells import flatten

_PARTS: dict[str, type[BaseModel]] = {
    "": RunSpec,
    "encoder": PretrainSpec,
    "encoder.backbone": BackboneSpec,
    "encoder.numerics": Numerics,
    "encoder.first_stage": PretrainSpec,
    "encoder.first_stage.backbone": BackboneSpec,
    "protocol": ProtocolSpec,
}
"""Parts of a specification, by the field that holds them."""
_UNITS: dict[str, tuple[str, Any]] = {
    "encoder.options": ("encoder.method", METHODS),
    "encoder.first_stage.options": ("encoder.first_stage.method", METHODS),
    "encoder.data.options": ("encoder.data.name", DATASETS),
    "encoder.teacher.options": ("encoder.teacher.name", TEACHERS),
    "encoder.text_teacher.options": ("encoder.text_teacher.name", TEACHERS),
    "protocol.options": ("protocol.name", PROTOCOLS),
    "data.options": ("data.name", DATASETS),
    "train_data.options": ("train_data.name", DATASETS),
}
"""Options of units, by the field that holds them: the field that names the unit, and the units of its kind."""


def value_of(spec: Mapping[str, str], field: str) -> str | None:
    """Return a field's value, or the default at which it is left out.

    A field that came later than others is left out at its default, so that older keys stay what they are.

    Args:
        spec: Flat specification of a run.
        field: Dotted name of a field.

    Returns:
        The value as a flat specification has it; None if the run has no such field.
    """
    if field in spec:
        return spec[field]
    part, _, name = field.rpartition(".")
    if part in _UNITS:
        told, registry = _UNITS[part]
        return _of_unit(registry, spec[told]).get(name) if told in spec else None
    model = _PARTS.get(part)
    if model is None or (part and not any(other.startswith(f"{part}.") for other in spec)):
        return None
    return _of_model(model).get(name)


@cache
def _of_model(model: type[BaseModel]) -> dict[str, str]:
    """Return the defaults of fields that are left out at them."""
    plain = {
        name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if field.exclude_if is not None and not field.is_required()
    }
    found: dict[str, str] = {}
    for name, value in plain.items():
        found |= flatten({name: list(value) if isinstance(value, tuple) else value})
    return found


def _of_unit(registry: Any, name: str) -> dict[str, str]:
    try:
        entry = registry.entry(name)
        question = ("left out", registry.kind, name)
        found = cached_answer([entry], question, lambda: dict(_of_model(registry.load(name).Options)))
    except BenchError:  # of a plugin that is missing
        return {}
    return cast("dict[str, str]", found)
