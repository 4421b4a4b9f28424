"""Backbones of a request, matched in cost if requested."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from bench.chosen import ChosenMethod
from bench.errors import UsageError
from bench.plan.backbones import read_backbone
from bench.plan.inputs import Inputs
from bench.plan.untrained import architecture_name, network_of
from bench.registry import METHODS
from bench.spec import BackboneSpec, MatchSpec, PretrainSpec

MatchBy = Literal["params", "flops"]
WIDEST = 8
"""Largest width that is tried, as a multiple of the preset's."""
_NAMES = {"params": "parameters", "flops": "operations a forward pass"}


@dataclass(frozen=True)
class Matching:
    """Backbones matched in cost.

    Attributes:
        spec: The cost that was matched.
        backbones: Backbone by method.
        notes: Changes, one line per method.
    """

    spec: MatchSpec
    backbones: dict[str, BackboneSpec]
    notes: tuple[str, ...]


class Backbones:
    """Backbones of a request's methods."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs

    @cached_property
    def plain(self) -> BackboneSpec:
        """Backbone of preset and ``--set``, before sizes are matched.

        Raises:
            UsageError: Its sizes do not fit together, or a part is unknown.
        """
        inputs = self._inputs
        return read_backbone(inputs.overrides.merge(inputs.preset.backbone.model_dump(), "backbone"))

    def of(self, method: str) -> BackboneSpec:
        """Return the backbone of a method and its first stage."""
        sized = self._matching.backbones if self._matching is not None else {}
        return sized.get(method, self.plain)

    def matched(self, encoder: PretrainSpec) -> MatchSpec | None:
        """Return the cost an encoder was matched at, or None."""
        found, form = self._matching, self._inputs.request.form
        if found is None or encoder.imported is not None:
            return None
        name, sizes = architecture_name(encoder, form), found.backbones
        fits = (sizes[m] for m in sizes if network_of(self._inputs.method(m), form)[0] == name)
        return found.spec if encoder.backbone in fits else None

    @cached_property
    def _matching(self) -> Matching | None:
        """Matched backbones; None if sizes are left alone."""
        inputs = self._inputs
        if inputs.request.match == "none":
            return None
        found = match_sizes(inputs.request.match, [inputs.method(name) for name in inputs.pretrained], self.plain)
        for line in found.notes:
            inputs.note(line)
        return found


def match_sizes(by: MatchBy, methods: Sequence[ChosenMethod], backbone: BackboneSpec) -> Matching:
    """Choose widths so that all encoders cost about the same.

    The first method's encoder is the reference.

    Args:
        by: ``params`` or ``flops`` (of one cloud's forward pass, `bench.models.cost.forward_flops`).
        methods: The first sets the cost and keeps its size.
        backbone: Size before matching.

    Raises:
        UsageError: There are not two methods.
    """
    if len(methods) < 2:
        named = " ".join(one.name for one in methods) or "none"
        raise UsageError(
            f"--match {by} makes the encoders of several methods equal, the first one setting the cost; "
            f"{named} is pretrained here: name two methods or more with --method"
        )
    reference, *others = methods
    target = encoder_cost(by, reference, backbone)
    backbones, notes = {reference.name: backbone}, []
    for chosen in others:
        name, tried = chosen.name, dict[int, int]()

        def cost(width: int, chosen: ChosenMethod = chosen, tried: dict[int, int] = tried) -> int:
            if width not in tried:
                tried[width] = encoder_cost(by, chosen, backbone.model_copy(update={"width": width}))
            return tried[width]

        step = chosen.method.width_step(backbone, chosen.options)
        if chosen.method.first_stage is not None:  # the first stage has the same width
            first = METHODS.load(chosen.method.first_stage)
            step = math.lcm(step, first.width_step(backbone, first.Options()))
        if backbone.width % step:
            raise UsageError(f"backbone.width {backbone.width} is no multiple of {step}, as {name} needs; change it")
        width = closest_width(target, cost, backbone.width, step)
        backbones[name] = backbone.model_copy(update={"width": width})
        what = f"{cost(width):,} {_NAMES[by]}, {reference.name} {target:,} ({100 * (cost(width) / target - 1):+.1f} %)"
        how = f"width {width} instead of {backbone.width}" if width != backbone.width else f"keeps width {width}"
        if cost(backbone.width + step) == cost(backbone.width):
            how = "its size does not follow the width"
        notes.append(f"matched by {by}: {name} {how}: {what}")
    return Matching(MatchSpec(by=by, target=target), backbones, tuple(notes))


def closest_width(target: int, cost: Callable[[int], int], start: int, step: int) -> int:
    """Return the multiple of `step` whose cost is closest.

    Of two equally close the smaller.

    Args:
        target: Cost wanted.
        cost: Cost by width, never falling.
        start: Width before matching, a multiple of `step`; kept where the cost does not follow the width.
        step: Widths are multiples of this, the number of attention heads.
    """
    if cost(start + step) == cost(start):
        return start
    low, high = 1, WIDEST * start // step
    while low < high:  # the first width that costs enough
        middle = (low + high) // 2
        low, high = (low, middle) if cost(middle * step) >= target else (middle + 1, high)
    around = [step * multiple for multiple in (low - 1, low) if multiple > 0]
    return min(around, key=lambda width: (abs(cost(width) - target), width))


def encoder_cost(by: MatchBy, chosen: ChosenMethod, backbone: BackboneSpec) -> int:
    """Return an encoder's parameters, or operations of one forward pass."""
    import torch

    from bench.models.cost import forward_flops

    with torch.random.fork_rng(devices=[]), torch.device("meta" if by == "params" else "cpu"):
        encoder = chosen.method.build_encoder(backbone, chosen.options)
    return encoder.parameter_count if by == "params" else forward_flops(encoder, backbone.points)
