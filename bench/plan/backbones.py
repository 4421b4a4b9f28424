"""Backbone of a request: matching sizes, parts, options."""

from __future__ import annotations

from typing import Any

from bench.chosen import ChosenMethod
from bench.errors import UsageError
from bench.plan.request import validated
from bench.registry import BACKBONE_PARTS, BLOCKS, Entry
from bench.spec import BackboneSpec, Options


def read_backbone(values: dict[str, Any]) -> BackboneSpec:
    """Validate a backbone and complete the options of its parts.

    Args:
        values: Fields as the preset and the user gave them.

    Raises:
        UsageError: A part, one of its options or a size is unknown or does not fit.
    """
    backbone: BackboneSpec = validated(BackboneSpec, values, "backbone")
    if backbone.width % backbone.heads:
        raise UsageError(f"backbone.width = {backbone.width} is not a multiple of backbone.heads = {backbone.heads}")
    if backbone.groups > backbone.points or backbone.group_size > backbone.points:
        raise UsageError(
            f"backbone.groups = {backbone.groups} and backbone.group_size = {backbone.group_size} "
            f"must not exceed backbone.points = {backbone.points}"
        )
    completed: dict[str, Options] = {}
    for part, registry in BACKBONE_PARTS.items():
        loaded, given = registry.load(getattr(backbone, part)), getattr(backbone, f"{part}_options")
        if given and not loaded.Options.model_fields:
            raise UsageError(
                f"backbone.{part}_options.{next(iter(given))}: {part} '{getattr(backbone, part)}' has no options; name "
                f"the one that has it with --set backbone.{part}=NAME"
            )
        options = validated(loaded.Options, given, f"backbone.{part}_options")
        completed[f"{part}_options"] = options.model_dump(mode="json")
    return backbone.model_copy(update=completed)


def taken_by(chosen: ChosenMethod, backbone: BackboneSpec) -> tuple[BackboneSpec, list[str]]:
    """Return the backbone a method uses, and parts it ignores.

    Args:
        chosen: The method.
        backbone: Backbone of the request.

    Returns:
        The backbone with the parts that are not built at their default, so that no key depends on them; their fields.
    """
    used = chosen.method.parts_used(backbone, chosen.options)
    plain = BackboneSpec()
    names = [part for part in BACKBONE_PARTS if part not in used and getattr(backbone, part) != getattr(plain, part)]
    fields = [field for part in names for field in (part, f"{part}_options")]
    return backbone.model_copy(update={field: getattr(plain, field) for field in fields}), names


def refuse_unused(chosen: ChosenMethod, backbone: BackboneSpec) -> None:
    """Refuse backbone parts and block options a method ignores.

    Raises:
        UsageError: The part or the option was chosen for nothing.
    """
    for part in taken_by(chosen, backbone)[1]:
        raise UsageError(
            f"backbone.{part} = {getattr(backbone, part)}: the network of {chosen.name} with these options has no "
            f"{part} of the shared backbone; leave {chosen.name} or backbone.{part} out"
        )
    heads = getattr(chosen.options, "decoder_heads", None)
    if heads is not None and not BLOCKS.load(backbone.block).has_heads:
        raise UsageError(
            f"{chosen.name}.decoder_heads = {heads}: blocks '{backbone.block}' have no attention heads; leave it or "
            "backbone.block out"
        )


def parts_of(backbone: BackboneSpec) -> list[Entry]:
    """Return the registry entries of a backbone's parts.

    Raises:
        UsageError: One of them is not known here (a plugin is missing).
    """
    return [registry.entry(getattr(backbone, part)) for part, registry in BACKBONE_PARTS.items()]
