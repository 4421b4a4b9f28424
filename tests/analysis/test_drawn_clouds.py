"""Clouds in pictures: what is cut off at the edge of a panel looks like a cloud of another shape."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.analysis.figures import bare, cloud_grid, new_figure, scatter

CORNERS = np.array(list(itertools.product([-1, 1], repeat=3)), dtype=np.float32)
DIAGONAL = np.array([[-1, -1, 1], [1, 1, -1]], dtype=np.float32)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 0.2, 1), (0.1, 1, 0.9), (1, 1, 0.05), (0.02, 1, 0.02)])
@pytest.mark.parametrize("cloud", [CORNERS, DIAGONAL], ids=["box", "diagonal"])
def test_every_point_lies_within_its_panel(cloud: np.ndarray, shape: tuple[float, ...]) -> None:
    """The top of tall objects was missing from attention maps and reconstructions."""
    from mpl_toolkits.mplot3d import proj3d

    points = (cloud * np.array(shape) * 0.7 + 0.1).astype(np.float32)
    with new_figure(3, 3) as figure:
        ((axes,),) = cloud_grid(figure, 1, 1)
        bare(axes, points)
        scatter(axes, points, s=4)
        figure.canvas.draw()
        x, y, _ = proj3d.proj_transform(points[:, 0], -points[:, 2], points[:, 1], axes.get_proj())
        place = axes.transAxes.inverted().transform(axes.transData.transform(np.stack([x, y], axis=1)))
    assert place.min() > 0
    assert place.max() < 1
    assert np.ptp(place, axis=0).max() > 0.4  # and is no speck in its middle
