"""Facts of registered units: cards, features, parameters, options."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from bench.plan.presets import PRESETS
from bench.registry import ENCODERS, METHODS, REGISTRIES
from bench.spec import BackboneSpec, TransformerShape

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from bench.encoders.base import AnyEncoder
    from bench.methods.base import AnyMethod, Deviation
    from bench.models.encoder import Encoder

VIT_BASE = TransformerShape(width=768, depth=12, heads=12, mlp_width=3072)
"""Stand-in for a teacher's transformer when parameters are counted."""


def describe_unit(kind: str, name: str) -> dict[str, tuple[str, ...]]:
    """Return facts of a unit by name; imports its class.

    Args:
        kind: ``methods``, ``protocols`` ...
        name: Its name.

    Raises:
        UsageError: There is no such unit, or it is not usable here.
    """
    loaded: Any = REGISTRIES[kind].load(name)
    facts: list[tuple[str, Sequence[str]]] = list(_card(loaded))
    if kind == "methods":
        facts += _sizes(METHODS.load(name))
    if kind == "encoders":
        facts += _frozen(ENCODERS.load(name))
    facts.append(("options", [_option(option, info) for option, info in loaded.Options.model_fields.items()]))
    return {fact: tuple(lines) for fact, lines in facts if lines}


def _card(loaded: Any) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the fields of a card of any kind."""
    card = getattr(loaded, "card", None)
    if not isinstance(card, BaseModel):
        return
    for field in type(card).model_fields:
        value = getattr(card, field)
        name = field.replace("_", " ")
        if field == "deviations":
            yield "differs from release", [_deviation(deviation) for deviation in value] or ["nothing"]
        elif field == "stages":
            yield name, [", then ".join(value) or "none: nothing is trained"]
        elif isinstance(value, tuple):
            yield name, [", ".join(map(str, value))]
        elif isinstance(value, bool):
            yield name, ["yes" if value else "no"]
        elif isinstance(value, dict):
            counts = ", ".join(f"{count:,} {part}" for part, count in value.items())
            yield name, [counts or getattr(card, "unstated", "none")]
        else:
            yield name, [str(value) or getattr(card, "unstated", "none")]


def _deviation(deviation: Deviation) -> str:
    nothing = deviation.restored_by == "nothing"
    return f"- {deviation.what} [{'nothing restores it' if nothing else deviation.restored_by}]"


def _option(name: str, info: FieldInfo) -> str:
    """Describe an option: its default and allowed values."""
    default = info.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        default = default.model_dump(mode="json", exclude_defaults=True)
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    others = [str(choice) for choice in choices if choice != default]
    return f"{name} = {default!r}" + (f"  (or {', '.join(others)})" if others else "")


def _sizes(method: type[AnyMethod]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield an encoder's features, and its parameters by size."""
    if method.name == "scratch" or not method.has_encoder:
        yield "parameters", ["those of the architecture it takes" if method.has_encoder else "none of its own"]
        return
    if not method.has_encoder:
        yield "parameters", ["none: it is its teacher alone"]
        return
    options: BaseModel = method.Options()
    note = ""
    if "transformer" in method.uses(options):
        options = method.complete(options, VIT_BASE)
        note = ", with a ViT-Base as the token transformer"
    built = {preset.name: _outline(method, preset.backbone, options) for preset in PRESETS.values()}
    encoder = built["base"]
    yield "features", [f"{name}: {words}" for name, words in encoder.feature_descriptions.items()]
    counts = ", ".join(f"{preset} {one.parameter_count:,}" for preset, one in built.items())
    yield "parameters", [f"{counts} (encoder{note})"]


def _frozen(encoder: type[AnyEncoder]) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield what a frozen encoder reads and gives under its default options."""
    yield "reads", [" and ".join(encoder.inputs)]
    yield "file", [{"none": "takes none", "optional": "may be given, NAME:FILE", "needed": "NAME:FILE"}[encoder.file]]
    declared = encoder.features(encoder.parse({}), None) if encoder.file != "needed" else {}
    yield "features", [f"{name}: {one.words} ({one.width})" for name, one in declared.items()] or ["those of the file"]


def _outline(method: type[AnyMethod], backbone: BackboneSpec, options: BaseModel) -> Encoder:
    """Build an encoder without allocating its weights, if possible.

    A plugin's code may need real ones.
    """
    import torch

    try:
        with torch.device("meta"):
            return method.build_encoder(backbone, options)
    except (NotImplementedError, RuntimeError):
        return method.build_encoder(backbone, options)
