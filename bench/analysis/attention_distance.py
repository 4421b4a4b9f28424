"""Attention distance per layer and head.

The mean distance between patch centres, weighted by attention.

A patch's reach is the mean distance to what it attends to. A global query or a free token has no place; its reach is
the mean distance between two patches drawn from its attention, so that for every kind of row uniform attention gives
the mean distance between patches, which is drawn beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.analysis.attention import LayerAttention, attention_of
from bench.analysis.figures import COLOURS, GREY, MARKERS, hide_rest, new_figure, panel_size
from bench.models.encoder import Encoder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PATCHES = "patches"


@dataclass(frozen=True)
class Reach:
    """Attention distance of one head of one layer.

    Attributes:
        stream: Stack of blocks, see `LayerAttention`.
        layer: Counted from 1.
        head: Counted from 1.
        row: ``patches``, or the name of a token.
        distance: Mean over clouds (and over patches), in units of the clouds.
        deviation: Standard deviation over clouds.
        uniform: Distance under uniform attention on the same clouds.
        on_patches: Share of the attention that falls on patches rather than tokens; distances count this part alone.
    """

    stream: str
    layer: int
    head: int
    row: str
    distance: float
    deviation: float
    uniform: float
    on_patches: float


def pair_distances(centres: Tensor) -> Tensor:
    """Return distances ``[B, G, G]`` between patches ``[B, G, 3]``."""
    return (centres[:, :, None] - centres[:, None]).square().sum(-1).sqrt()


def reach_of_patches(weights: Tensor, distances: Tensor) -> Tensor:
    """Return patches' mean distance to what they attend to.

    Args:
        weights: ``[B, H, G, G]``, rows summing to 1.
        distances: ``[B, G, G]``.

    Returns:
        ``[B, H]``.
    """
    return torch.einsum("bhij,bij->bh", weights, distances) / weights.shape[2]


def reach_of_token(weights: Tensor, distances: Tensor) -> Tensor:
    """Return the mean distance between two attended patches.

    Args:
        weights: ``[B, H, G]``, rows summing to 1.
        distances: ``[B, G, G]``.

    Returns:
        ``[B, H]``.
    """
    return torch.einsum("bhi,bij,bhj->bh", weights, distances, weights)


def measure(encoder: Encoder, points: Tensor, batch: int = 32) -> list[Reach]:
    """Measure the reach of every head.

    Args:
        encoder: In evaluation mode.
        points: ``[n, N, 3]``.
        batch: Clouds at a time.

    Raises:
        UsageError: The encoder has no attention.
    """
    parts: dict[tuple[str, int, str], list[tuple[Tensor, Tensor]]] = {}
    uniform: list[Tensor] = []
    for start in range(0, len(points), batch):
        attention = attention_of(encoder, points[start : start + batch])
        distances = pair_distances(attention.centres.float())
        uniform.append(distances.mean((1, 2)))
        for layer in attention.layers:
            for row, measured in _rows(layer, distances).items():
                parts.setdefault((layer.stream, layer.number, row), []).append(measured)
    everywhere = float(torch.cat(uniform).mean())
    found = []
    for (stream, number, row), values in parts.items():
        reach, share = (torch.cat([value[i] for value in values]) for i in range(2))
        for head in range(reach.shape[1]):
            mean, spread = float(reach[:, head].mean()), float(reach[:, head].std(correction=0))
            found.append(
                Reach(stream, number + 1, head + 1, row, mean, spread, everywhere, float(share[:, head].mean()))
            )
    return found


def _rows(layer: LayerAttention, distances: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return reach and patch share, each ``[B, H]``, by row."""
    weights, share = layer.on_patches()
    found = {name: (reach_of_token(weights[:, :, i], distances), share[:, :, i]) for i, name in enumerate(layer.rows)}
    if not layer.cross:
        first = len(layer.rows)
        found[PATCHES] = (reach_of_patches(weights[:, :, first:], distances), share[:, :, first:].mean(-1))
    return found


def draw(found: Mapping[str, Sequence[Reach]]) -> Figure:
    """Draw a panel per encoder and stream, over layers.

    Heads are marks, their mean is a line.

    Args:
        found: By what the encoder is called.
    """
    panels = [
        (name, stream, [reach for reach in reaches if reach.stream == stream])
        for name, reaches in found.items()
        for stream in dict.fromkeys(reach.stream for reach in reaches)
    ]
    lines, columns = panel_size(len(panels))
    top = 1.12 * max(max(reach.distance, reach.uniform) for _, _, reaches in panels for reach in reaches)
    with new_figure(0.4 + 3.3 * columns, 0.6 + 3.0 * lines) as figure:
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes, (name, stream, reaches) in zip(grid.flat, panels, strict=False):
            _panel(axes, reaches)
            axes.set_title(f"{name}\n{_words(stream)}")
            axes.set_ylim(0, top)
            axes.legend(fontsize=7.5, loc="lower left", ncols=2, handletextpad=0.4, columnspacing=1.0)
        hide_rest(list(grid.flat), len(panels))
        for line in grid:
            line[0].set_ylabel("attention distance")
        figure.supxlabel("layer", fontsize=9)
        figure.suptitle("Average attention distance per layer and head", fontsize=11)
    return figure


def _panel(axes: Axes, reaches: Sequence[Reach]) -> None:
    rows = list(dict.fromkeys(reach.row for reach in reaches))
    for i, row in enumerate(rows):
        own = [reach for reach in reaches if reach.row == row]
        layers = sorted({reach.layer for reach in own})
        shift = 0.16 * (i - (len(rows) - 1) / 2)
        means = [float(np.mean([r.distance for r in own if r.layer == layer])) for layer in layers]
        axes.plot(np.array(layers) + shift, means, "-", color=COLOURS[i], linewidth=1.2, alpha=0.8)
        axes.plot(
            [reach.layer + shift for reach in own],
            [reach.distance for reach in own],
            MARKERS[i],
            color=COLOURS[i],
            markersize=4.5,
            alpha=0.75,
            markeredgewidth=0,
            label=row,
        )
    axes.axhline(reaches[0].uniform, color=GREY, linewidth=1.0, linestyle="--", label="uniform attention")
    layers = sorted({reach.layer for reach in reaches})
    axes.set_xticks(layers, [str(layer) for layer in layers])
    axes.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)


def _words(stream: str) -> str:
    known = {"patches": "self-attention", "queries": "cross-attention of global queries"}
    return known.get(stream, f"{stream} tower" if stream in ("masked", "contrast") else stream)
