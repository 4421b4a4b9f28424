"""Draw clouds: orthographic, equal axes, y up, shaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]

INK, FAINT, PAPER = "#1c2330", "#8a94a6", "#ffffff"
PLAIN = (0.29, 0.47, 0.71)
"""Colour of a cloud without parts."""
PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6000"),
    *("#5e3c99", "#b2182b", "#4d9221", "#8c8c8c", "#1b7f8c", "#f781bf"),
)
"""Okabe and Ito's palette (told apart by colour-blind readers), extended for parts and the 13 classes of rooms."""
STYLE: Any = {
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.titlesize": 9.0,
    "axes.titlecolor": INK,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
}
_NEIGHBOURS = 12
_AMBIENT = 0.42


@dataclass(frozen=True)
class View:
    """Viewpoint in degrees (azimuth 0: along -z, 90: along -x)."""

    name: str
    azimuth: float
    elevation: float

    @property
    def axes(self) -> Floats:
        """Right, up and viewing axes of the picture, ``[3, 3]``."""
        around, above = math.radians(self.azimuth), math.radians(self.elevation)
        toward = np.array([math.sin(around) * math.cos(above), math.sin(above), math.cos(around) * math.cos(above)])
        right = np.array([math.cos(around), 0.0, -math.sin(around)])
        return np.asarray([right, np.cross(toward, right), toward], dtype=np.float64)


ASLANT = View("from front right", 35, 22)
VIEWS = (ASLANT, View("front", 0, 0), View("side", 90, 0), View("from above", 0, 90))


def estimated_normals(points: npt.NDArray[np.floating]) -> Floats:
    """Estimate normals of points ``[N, 3]``, up to sign.

    The direction of least spread around each point.
    """
    _, near = cKDTree(points).query(points, k=min(_NEIGHBOURS, len(points)))
    around = np.asarray(points, dtype=np.float64)[near.reshape(len(points), -1)]
    offsets = around - around.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))
    normals: Floats = vectors[:, :, 0]
    return normals


def shaded(colours: Floats, normals: npt.NDArray[np.floating], depth: Floats, view: View) -> Floats:
    """Shade colours ``[N, 3]`` by light and depth.

    Light comes from the viewer's upper left; far points fade a little.

    Args:
        colours: Red, green, blue in 0 to 1.
        normals: ``[N, 3]``, of either sign.
        depth: ``[N]``, larger is nearer.
        view: Viewpoint.
    """
    light = view.axes.T @ np.array([-0.35, 0.55, 0.76])
    length = np.linalg.norm(normals, axis=1)
    facing = np.abs(normals @ light) / np.where(length > 0, length, 1)
    span = float(np.ptp(depth)) or 1.0
    far = 1 - (depth - depth.min()) / span
    lit = colours * (_AMBIENT + (1 - _AMBIENT) * facing)[:, None]
    lit = lit + (1 - colours) * (0.25 * np.clip(facing - 0.85, 0, None) / 0.15)[:, None]
    return np.asarray(np.clip(lit + (1 - lit) * 0.35 * far[:, None], 0, 1), dtype=np.float64)


def draw_cloud(
    axes: Axes,
    points: npt.NDArray[np.floating],
    colours: Floats,
    view: View,
    normals: npt.NDArray[np.floating] | None = None,
    side: float | None = None,
    marks: float = 2.6,
) -> None:
    """Draw a cloud with equal axes and no frame.

    Args:
        axes: Axes to draw on.
        points: ``[N, 3]``, y up.
        colours: ``[N, 3]`` in 0 to 1.
        view: Viewpoint.
        normals: For the shading; estimated where there are none.
        side: Length that width and height of the picture stand for, so that several views have one scale; None: the
            cloud fills the picture.
        marks: Diameter of a mark by the distance to the nearest point, so that a surface looks closed.
    """
    good = np.isfinite(points).all(axis=1)
    points, colours = np.asarray(points[good], dtype=np.float64), colours[good]
    normals = estimated_normals(points) if normals is None else normals[good]
    right, up, depth = (points @ view.axes.T).T
    order = np.argsort(depth)
    paint = shaded(colours, normals, depth, view)[order]
    low, high = np.array([right.min(), up.min()]), np.array([right.max(), up.max()])
    side = side or float((high - low).max()) or 1.0
    middle = (low + high) / 2
    axes.set_xlim(middle[0] - 0.53 * side, middle[0] + 0.53 * side)
    axes.set_ylim(middle[1] - 0.53 * side, middle[1] + 0.53 * side)
    axes.set_aspect("equal")
    axes.set_axis_off()
    box = axes.get_window_extent()
    length = 72 * min(box.width, box.height) / axes.figure.dpi
    largest = 1.5 * length * math.sqrt(0.55 / max(len(points), 1))  # closes a surface that fills half of the picture
    size = float(np.clip(marks * _spacing(points) * length / (1.06 * side), 0.004 * length, largest))
    axes.scatter(right[order], up[order], s=size**2, c=paint, linewidths=0, rasterized=True)


def extent(points: npt.NDArray[np.floating], views: Sequence[View]) -> float:
    """Return a cloud's largest width or height in any view."""
    good = np.asarray(points[np.isfinite(points).all(axis=1)], dtype=np.float64)
    return max(float(np.ptp(good @ view.axes[:2].T, axis=0).max()) for view in views)


def _spacing(points: npt.NDArray[np.floating[Any]]) -> float:
    """Return the median distance to the nearest other point."""
    if len(points) < 2:
        return 0.0
    some = points[:: max(len(points) // 2048, 1)]
    return float(np.median(np.asarray(cKDTree(points).query(some, k=2)[0])[:, 1]))


def plain(count: int) -> Floats:
    """Return the colour of a cloud without parts, ``[count, 3]``."""
    return np.tile(np.asarray(PLAIN), (count, 1))


def by_number(numbers: npt.NDArray[np.integer], order: Sequence[int]) -> Floats:
    """Return palette colours ``[N, 3]`` by number; others are grey."""
    from matplotlib.colors import to_rgb

    known = {number: to_rgb(PALETTE[place % len(PALETTE)]) for place, number in enumerate(order)}
    grey = to_rgb("#c3c9d3")
    return np.asarray([known.get(int(number), grey) for number in numbers], dtype=np.float64).reshape(-1, 3)


def save(figure: Figure, path: Path) -> None:
    """Write a picture; on failure the old file stays.

    Raises:
        SetupError: The file cannot be written.
    """
    import io

    from bench.store.publish import write_whole

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=160, format="png", metadata={"Software": None})
    write_whole(path, drawn.getvalue())
