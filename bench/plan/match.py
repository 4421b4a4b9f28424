"""Equal cost: the width at which a method's encoder costs what the first method's does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError
from bench.registry import METHODS
from bench.spec import BackboneSpec, MatchSpec, Options

MatchBy = Literal["params", "flops"]
WIDEST = 8
"""Widths are tried up to so many times the preset's."""
_NAMES = {"params": "parameters", "flops": "operations a forward pass"}


@dataclass(frozen=True)
class Matching:
    """Backbones of equal cost.

    Attributes:
        spec: What was matched, and at what cost.
        backbones: Backbone by method.
        notes: What was changed, one line per method.
    """

    spec: MatchSpec
    backbones: dict[str, BackboneSpec]
    notes: tuple[str, ...]


def match_sizes(by: MatchBy, methods: dict[str, Options], backbone: BackboneSpec) -> Matching:
    """Choose the width of every method's backbone so that its encoder comes closest to the first one's cost.

    Args:
        by: ``params`` or ``flops`` (of one cloud's forward pass, `bench.models.cost.forward_flops`).
        methods: Options by method; the first sets the cost and keeps its size.
        backbone: Size before matching.

    Raises:
        UsageError: There are not two methods.
    """
    if len(methods) < 2:
        raise UsageError(
            f"--match {by} makes the encoders of several methods equal, the first one setting the cost; "
            f"{' '.join(methods) or 'none'} is pretrained here: name two methods or more with --method"
        )
    reference, *others = methods
    target = encoder_cost(by, reference, methods[reference], backbone)
    backbones, notes = {reference: backbone}, []
    for name in others:
        tried: dict[int, int] = {}

        def cost(width: int, name: str = name, tried: dict[int, int] = tried) -> int:
            if width not in tried:
                sized = backbone.model_copy(update={"width": width})
                tried[width] = encoder_cost(by, name, methods[name], sized)
            return tried[width]

        method = METHODS.load(name)
        step = method.width_step(backbone, method.parse(methods[name]))
        if method.first_stage is not None:  # which is as wide
            first = METHODS.load(method.first_stage)
            step = math.lcm(step, first.width_step(backbone, first.Options()))
        if backbone.width % step:
            raise UsageError(f"backbone.width {backbone.width} is no multiple of {step}, as {name} needs; change it")
        width = closest_width(target, cost, backbone.width, step)
        backbones[name] = backbone.model_copy(update={"width": width})
        what = f"{cost(width):,} {_NAMES[by]}, {reference} {target:,} ({100 * (cost(width) / target - 1):+.1f} %)"
        how = f"width {width} instead of {backbone.width}" if width != backbone.width else f"keeps width {width}"
        if cost(backbone.width + step) == cost(backbone.width):
            how = "its size does not follow the width"
        notes.append(f"matched by {by}: {name} {how}: {what}")
    return Matching(MatchSpec(by=by, target=target), backbones, tuple(notes))


def closest_width(target: int, cost: Callable[[int], int], start: int, step: int) -> int:
    """Return the multiple of `step` whose cost is closest to `target`; of two equally close the smaller.

    Args:
        target: Cost wanted.
        cost: Cost by width, never falling.
        start: Width before matching, a multiple of `step`; kept where the cost does not follow the width.
        step: What widths are multiples of: attention heads, which the width is divided among.
    """
    if cost(start + step) == cost(start):
        return start
    low, high = 1, WIDEST * start // step
    while low < high:  # the first width that costs enough
        middle = (low + high) // 2
        low, high = (low, middle) if cost(middle * step) >= target else (middle + 1, high)
    around = [step * multiple for multiple in (low - 1, low) if multiple > 0]
    return min(around, key=lambda width: (abs(cost(width) - target), width))


def encoder_cost(by: MatchBy, method: str, options: Options, backbone: BackboneSpec) -> int:
    """Parameters of a method's encoder, or operations of its forward pass over one cloud."""
    import torch

    from bench.models.cost import forward_flops

    loaded = METHODS.load(method)
    with torch.random.fork_rng(devices=[]), torch.device("meta" if by == "params" else "cpu"):
        encoder = loaded.build_encoder(backbone, loaded.parse(options))
    return encoder.parameter_count if by == "params" else forward_flops(encoder, backbone.points)
