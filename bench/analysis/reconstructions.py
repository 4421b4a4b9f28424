"""Reconstructions: visible patches and what the network filled in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from bench.analysis.figures import COLOURS, FAINT, bare, cloud_grid, label_row, new_figure, scatter, shortened
from bench.errors import UsageError
from bench.methods.base import Batch, Given, PretrainModel
from bench.models.decoder import MaskedDecoder
from bench.models.ops import gather_points
from bench.models.ops.chamfer import chamfer_nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VISIBLE, FILLED = COLOURS[0], COLOURS[1]
_PIXELS = 32


@dataclass(frozen=True)
class Reconstruction:
    """Masked clouds and their reconstructions.

    Attributes:
        points: The clouds ``[n, N, 3]``.
        visible: Points of the visible patches ``[n, V * K, 3]``.
        hidden: Points of the hidden patches ``[n, M * K, 3]``.
        predicted: Predicted points of the hidden patches ``[n, M * K, 3]``.
        chamfer_l1: Of each object's hidden patches, each compared with its own prediction ``[n]``.
        chamfer_l2: The same on squared distances ``[n]``.
        losses: The model's own losses on this batch, by name.
        hidden_share: Part of the patches that was hidden.
    """

    points: Tensor
    visible: Tensor
    hidden: Tensor
    predicted: Tensor
    chamfer_l1: Tensor
    chamfer_l2: Tensor
    losses: dict[str, float]
    hidden_share: float


@torch.no_grad()
def reconstruct(
    model: PretrainModel, given: Given, points: Tensor, seed: int, name: str, *, views: int = 1
) -> Reconstruction:
    """Mask clouds as in pretraining; let the network reconstruct them.

    Args:
        model: A whole pretraining network, in evaluation mode.
        given: Inputs it was built with; targets of losses other than reconstruction are blank, so ignore those losses.
        points: ``[n, N, 3]``.
        seed: Of the masks.
        name: Name of the encoder in messages.
        views: Views of each cloud that the method asks for.

    Raises:
        UsageError: The network has no decoder that fills in hidden patches with points.
    """
    decoder = next((module for module in model.modules() if isinstance(module, MaskedDecoder)), None)
    if decoder is None:
        raise UsageError(
            f"{name} has no decoder that fills in the points of hidden patches, so there is no reconstruction to show; "
            "choose an encoder of a method that has one, such as point-mae or recon"
        )
    outputs: list[Tensor] = []
    handle = decoder.register_forward_hook(_keeper(outputs))
    try:
        prepared = model.prepare(_batch(given, points, seed, views))
        losses = model.compute(prepared)
    finally:
        handle.remove()
    count, hidden, size = prepared["masked_patches"].shape[:3]
    predicted = outputs[0].float().view(count, hidden, size, 3)
    truth = prepared["masked_patches"].float()
    near = chamfer_nearest(predicted.flatten(0, 1), truth.flatten(0, 1))
    l1 = (near.distance1.sqrt().mean(1) + near.distance2.sqrt().mean(1)) / 2
    l2 = near.distance1.mean(1) + near.distance2.mean(1)
    visible = _visible_patches(prepared)
    at, of_visible = prepared["masked_centres"][:, :, None], prepared["visible_centres"][:, :, None]
    return Reconstruction(
        points=points,
        visible=(visible + of_visible).flatten(1, 2),
        hidden=(truth + at).flatten(1, 2),
        predicted=(predicted + at).flatten(1, 2),
        chamfer_l1=l1.view(count, hidden).mean(1),
        chamfer_l2=l2.view(count, hidden).mean(1),
        losses={loss: float(value) for loss, value in losses.items()},
        hidden_share=hidden / (hidden + visible.shape[1]),
    )


def _keeper(outputs: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append(output)

    return hook


def _batch(given: Given, points: Tensor, seed: int, views: int) -> Batch:
    """Return a batch whose targets other than points are blank."""
    count = len(points)
    return Batch(
        points=points,
        image_features=None if given.image is None else torch.zeros(count, given.image),
        text_features=None if given.text is None else torch.zeros(count, given.text),
        labels=torch.zeros(count, dtype=torch.int64),
        other_points=(points,) * (views - 1),
        images=None if given.pixels is None else torch.zeros(count, _PIXELS, _PIXELS, given.pixels, dtype=torch.uint8),
        generator=torch.Generator().manual_seed(seed),
    )


def _visible_patches(prepared: dict[str, Tensor]) -> Tensor:
    """Return centred points of visible patches, ``[n, V, K, 3]``."""
    if "visible_patches" in prepared:
        return prepared["visible_patches"].float()
    return gather_points(prepared["patches"], prepared["visible"]).float()


def draw(name: str, found: Reconstruction, objects: Sequence[str]) -> Figure:
    """Draw objects as rows: cloud, visible, reconstructed, hidden patches.

    Args:
        name: Name of the encoder.
        found: Masked clouds.
        objects: Label of each row.
    """
    rows = len(found.points)
    titles = ("input", f"visible ({100 * (1 - found.hidden_share):.0f} % of patches)", "visible + filled in", "truth")
    with new_figure(0.7 + 2.1 * len(titles), 1.0 + 2.0 * rows) as figure:
        grid = cloud_grid(figure, rows, len(titles))
        for row in range(rows):
            cloud, seen, truth, filled = (
                part[row].numpy() for part in (found.points, found.visible, found.hidden, found.predicted)
            )
            drawn = (((cloud, FAINT),), ((seen, VISIBLE),), ((seen, VISIBLE), (filled, FILLED)), ((truth, FILLED),))
            for column, layers in enumerate(drawn):
                axes = grid[row][column]
                scatter(axes, cloud, s=3, color=FAINT, alpha=0.35)
                for points, colour in layers:
                    scatter(axes, points, s=5, color=colour if column else "#444444")
                bare(
                    axes, np.concatenate((cloud, filled))
                )  # reconstructed points may lie outside the cloud; show them all
                if row == 0:
                    axes.set_title(titles[column], fontsize=9)
            label_row(grid[row][0], shortened(objects[row]))
            error = f"CDL1 {1000 * float(found.chamfer_l1[row]):.1f}, CDL2 {1000 * float(found.chamfer_l2[row]):.2f}"
            grid[row][2].text2D(
                0.5, 0.0, f"{error} (x 0.001)", transform=grid[row][2].transAxes, ha="center", fontsize=7.5
            )
        figure.suptitle(f"Reconstructions by {name}", fontsize=11)
    return figure
