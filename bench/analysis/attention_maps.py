"""Draw the attention of a token or query on clouds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.analysis.attention import Attention, LayerAttention, attention_of
from bench.analysis.figures import HEAT, bare, cloud_grid, label_row, new_figure, scatter, shortened
from bench.errors import UsageError, unknown_name
from bench.models.encoder import Encoder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATCH = "patch:"
MOST_COLUMNS = 12
EVEN = 2.0
"""Least value of the brightest colour, as a multiple of uniform attention."""


@dataclass(frozen=True)
class Wanted:
    """Tokens, layers and heads to draw, counted from 1.

    Tokens are names; layers and heads are counted.

    Attributes:
        tokens: Names of tokens or queries, or ``patch:K`` for patch K (counted from 0); empty for every token there is.
        layers: Layers; empty for the last one, ``(0,)`` for all.
        heads: Heads; empty for their mean, ``(0,)`` for all.
    """

    tokens: tuple[str, ...] = ()
    layers: tuple[int, ...] = ()
    heads: tuple[int, ...] = ()


@dataclass(frozen=True)
class Map:
    """Attention of one row on the patches of every cloud.

    Attributes:
        token: Token or patch that attends.
        stream: Stack of blocks.
        layer: Counted from 1.
        head: Counted from 1; 0 for the mean over heads.
        weights: ``[n, G]``, rows summing to 1.
        on_patches: Share of the attention that falls on patches, ``[n]``.
    """

    token: str
    stream: str
    layer: int
    head: int
    weights: Tensor
    on_patches: Tensor

    @property
    def title(self) -> str:
        """Title of a column."""
        stream = "" if self.stream in ("patches", "queries") else f" ({self.stream})"
        head = f"head {self.head}" if self.head else "mean of heads"
        return f"{self.token}{stream}\nlayer {self.layer}, {head}"


def maps(encoder: Encoder, points: Tensor, wanted: Wanted) -> tuple[list[Map], Tensor]:
    """Select attention maps of an encoder.

    Args:
        encoder: In evaluation mode.
        points: ``[n, N, 3]``.
        wanted: Tokens, layers and heads.

    Returns:
        The maps in order of token, layer, head, and the patch centres ``[n, G, 3]``.

    Raises:
        UsageError: The encoder has no attention, or nothing of that name or number; or too much is asked for.
    """
    attention = attention_of(encoder, points)
    known = list(dict.fromkeys(name for layer in attention.layers for name in layer.rows))
    tokens = wanted.tokens or tuple(known[:4])
    if not tokens:
        raise UsageError(f"this encoder has no tokens besides its patches: name a patch, e.g. --token {PATCH}0")
    found = [one for token in tokens for one in _of_token(attention, token, known, wanted)]
    if len(found) > MOST_COLUMNS:
        raise UsageError(
            f"{len(found)} maps of each object are asked for, at most {MOST_COLUMNS} fit into a picture: "
            "name fewer of --token, --layer and --head"
        )
    return found, attention.centres


def _of_token(attention: Attention, token: str, known: Sequence[str], wanted: Wanted) -> list[Map]:
    streams: dict[str, list[tuple[LayerAttention, int]]] = {}
    for layer in attention.layers:
        row = _row(layer, token, known, attention.centres.shape[1])
        if row is not None:
            streams.setdefault(layer.stream, []).append((layer, row))
    found = []
    for stream, layers in streams.items():
        for number in _numbers(wanted.layers, len(layers), "layer", (len(layers),)):
            layer, row = layers[number - 1]
            weights, share = (part[:, :, row] for part in layer.on_patches())
            for head in _numbers(wanted.heads, weights.shape[1], "head", (0,)):
                chosen = slice(None) if head == 0 else slice(head - 1, head)
                mean = weights[:, chosen].mean(1)
                found.append(Map(token, stream, number, head, mean, share[:, chosen].mean(1)))
    return found


def _row(layer: LayerAttention, token: str, known: Sequence[str], groups: int) -> int | None:
    """Return a token's row in a layer, or None."""
    if token.startswith(PATCH):
        digits = token.removeprefix(PATCH)
        if not digits.isdigit() or int(digits) >= groups:
            raise UsageError(f"--token {token}: patches of this encoder are {PATCH}0 to {PATCH}{groups - 1}")
        return None if layer.cross else len(layer.rows) + int(digits)
    if token not in known:
        raise unknown_name("token", token, [*known, f"{PATCH}0"])
    return layer.rows.index(token) if token in layer.rows else None


def _numbers(asked: tuple[int, ...], count: int, what: str, default: tuple[int, ...]) -> tuple[int, ...]:
    if not asked:
        return default
    if asked == (0,):
        return tuple(range(1, count + 1))
    for number in asked:
        if not 1 <= number <= count:
            raise UsageError(f"--{what} {number}: this encoder has {what}s 1 to {count}")
    return asked


def on_points(points: Tensor, centres: Tensor, weights: Tensor) -> Tensor:
    """Give every point the weight of its nearest patch.

    Points are ``[n, N, 3]``, the result is ``[n, N]``.
    """
    nearest = torch.cdist(points, centres).argmin(-1)
    return weights.gather(1, nearest)


def draw(name: str, points: Tensor, centres: Tensor, found: Sequence[Map], objects: Sequence[str]) -> Figure:
    """Draw objects as rows and maps as columns.

    Colour runs from no attention to a map's strongest patch, or to twice uniform attention where none is stronger, so
    that an even map looks even; below each stands how strong its strongest patch is.

    Args:
        name: Name of the encoder.
        points: ``[n, N, 3]``.
        centres: ``[n, G, 3]``.
        found: The maps.
        objects: Label of each row.
    """
    rows, columns = len(points), len(found)
    with new_figure(0.9 + 1.9 * columns, 1.0 + 1.8 * rows) as figure:
        grid = cloud_grid(figure, rows, columns)
        shown: Any = None
        for column, one in enumerate(found):
            values = on_points(points, centres, one.weights)
            for row in range(rows):
                axes, cloud = grid[row][column], points[row].numpy()
                peak = float(one.weights[row].max()) * one.weights.shape[1]
                even = (values[row] * one.weights.shape[1] / max(peak, EVEN)).numpy()
                shown = scatter(axes, cloud, c=even, cmap=HEAT, vmin=0, vmax=1, s=7)
                bare(axes, cloud)
                axes.text2D(0.5, 0.0, f"peak {peak:.1f} x uniform", transform=axes.transAxes, ha="center", fontsize=7)
                _mark(axes, one, centres[row])
                if row == 0:
                    axes.set_title(one.title, fontsize=8.5)
                if column == 0:
                    label_row(axes, shortened(objects[row]))
        bar = figure.colorbar(shown, ax=[axes for line in grid for axes in line], shrink=0.6, pad=0.02, aspect=30)
        bar.set_label(f"attention over the map's peak (or {EVEN:.0f} x uniform, if that is more)", fontsize=8)
        bar.outline.set_visible(False)
        figure.suptitle(f"Attention maps of {name}", fontsize=11)
    return figure


def _mark(axes: Any, one: Map, centres: Tensor) -> None:
    """Mark the patch whose attention is shown."""
    if one.token.startswith(PATCH):
        at = centres[int(one.token.removeprefix(PATCH))][None].numpy()
        scatter(axes, at, marker="*", s=90, color="#d55e00", edgecolors="white", linewidths=0.8, zorder=10)
