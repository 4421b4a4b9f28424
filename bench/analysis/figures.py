"""Common style of analysis pictures.

Colours that colour-blind readers tell apart, and clouds with equal axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6000", "#5e3c99")
"""Okabe and Ito's palette, extended by two."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#9a9a9a"
FAINT = "#c8c8c8"
HEAT = "viridis"
"""Perceptually even, and readable without colour vision."""
STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,
    "figure.facecolor": "white",
}
_VIEW = (18.0, -60.0)
_ROOM = 1.05

Array = npt.NDArray[np.float32]


def look(index: int) -> tuple[str, str]:
    """Return colour and marker by index; the first 64 differ."""
    return COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """Yield a styled figure (inches) independent of global state."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def cloud_grid(figure: Figure, rows: int, columns: int) -> list[list[Any]]:
    """Make 3D axes in a grid."""
    grid = figure.subplots(rows, columns, squeeze=False, subplot_kw={"projection": "3d"})
    return [list(line) for line in grid]


def bare(axes: Any, points: Array) -> None:
    """Give 3D axes equal scale and no decoration.

    The scale is around points ``[N, 3]``.
    """
    centre = (points.min(0) + points.max(0)) / 2
    around = _upright(points - centre)
    # What leaves the axes on the screen is cut off, and a diagonal is longer there than along any axis.
    reach = _ROOM * float(max(np.abs(around).max(), np.abs(around @ _screen()).max())) or 1.0
    for setter, middle in zip((axes.set_xlim, axes.set_ylim, axes.set_zlim), _upright(centre[None])[0], strict=True):
        setter(middle - reach, middle + reach)
    axes.set_box_aspect((1, 1, 1), zoom=1.45)
    axes.view_init(*_VIEW)
    axes.set_axis_off()


def _screen() -> Array:
    """Return the screen's right and up directions, ``[3, 2]``."""
    elevation, azimuth = np.radians(_VIEW)
    right = (-np.sin(azimuth), np.cos(azimuth), 0.0)
    up = (-np.sin(elevation) * np.cos(azimuth), -np.sin(elevation) * np.sin(azimuth), np.cos(elevation))
    return np.array([right, up], dtype=np.float32).T


def scatter(axes: Any, points: Array, **style: Any) -> Any:
    """Draw points ``[N, 3]`` of a cloud, y up."""
    x, y, z = _upright(points).T
    return axes.scatter(x, y, z, **{"linewidths": 0, "depthshade": False, **style})


def _upright(points: Array) -> Array:
    """Turn y-up coordinates into matplotlib's z-up ones."""
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)


def label_row(axes: Any, text: str) -> None:
    """Write a row's label at its left."""
    axes.text2D(-0.02, 0.5, text, transform=axes.transAxes, rotation=90, va="center", ha="right", fontsize=8.5)


def shortened(text: str, limit: int = 26) -> str:
    """Cut a long name in the middle."""
    return text if len(text) <= limit else f"{text[: limit // 2 - 1]}…{text[-(limit // 2) :]}"


def panel_size(count: int, most: int = 4) -> tuple[int, int]:
    """Return rows and columns for a number of panels.

    >>> panel_size(3), panel_size(6)
    ((1, 3), (2, 4))
    """
    columns = min(count, most)
    return -(-count // columns), columns


def hide_rest(axes: Sequence[Any], used: int) -> None:
    """Hide axes beyond the first `used`."""
    for one in axes[used:]:
        one.set_visible(False)
