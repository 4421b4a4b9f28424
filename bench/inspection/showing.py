"""Draw pictures of a data set's objects and rooms."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from bench.data.base import CloudSet, Room, SplitName
from bench.data.duplicates import thinned
from bench.errors import UsageError, unknown_name
from bench.inspection.opening import Opened
from bench.inspection.pictures import (
    ASLANT,
    FAINT,
    PALETTE,
    STYLE,
    VIEWS,
    Floats,
    View,
    by_number,
    draw_cloud,
    extent,
    plain,
    save,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Up = Literal["y", "z"]
MOST = 100
"""Most objects in one picture."""
ROOM_POINTS = 60_000
"""Most points of a room that are drawn."""
_ABOVE, _CORNER = View("from above", 0, 90), View("aslant", 30, 40)


@dataclass(frozen=True)
class Wanted:
    """Objects to draw, and how.

    Attributes:
        split: Split.
        index: Position in the split, or among its objects of `class_name`; None: the first, or, with a `count`,
            objects evenly spread over the split.
        class_name: Only objects of this class (rooms with points of it).
        count: Objects in a grid; 1 draws one object from several sides.
        up: Axis of the data that points up; rooms are always z up.
    """

    split: SplitName = "train"
    index: int | None = None
    class_name: str | None = None
    count: int = 1
    up: Up = "y"


def show(opened: Opened, wanted: Wanted, out: Path | None) -> tuple[Path, str]:
    """Draw objects or a room.

    Args:
        opened: The data set.
        wanted: Objects to draw.
        out: PNG to write; None: named after set, split and index, in the current folder.

    Returns:
        The file, and one line on what it shows.

    Raises:
        UsageError: No such class or index.
        DataError: The data cannot be read.
        SetupError: The picture cannot be written.
    """
    import matplotlib as mpl

    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: pictures are PNG, so the name must end in .png")
    with mpl.rc_context(STYLE):
        if opened.dataset.card.has_rooms:
            figure, row, line = _room_figure(opened, wanted)
        else:
            figure, row, line = _object_figure(opened, wanted)
        name = "".join(c if c.isalnum() or c in "-_." else "-" for c in opened.label)
        grid = f"-{wanted.count}" if wanted.count > 1 else ""
        path = out or Path(f"{name}-{wanted.split}-{row}{grid}.png")
        save(figure, path)
    return path, line


def chosen(rows: npt.NDArray[np.int64], wanted: Wanted, what: str) -> list[int]:
    """Choose row numbers: consecutive from `index`, or evenly spread.

    Raises:
        UsageError: The index lies outside, or the count does.
    """
    if not 1 <= wanted.count <= MOST:
        raise UsageError(f"--count {wanted.count}: expected 1 to {MOST}")
    if not len(rows):
        raise UsageError(f"there are no {what}")
    if wanted.index is None:
        even = np.linspace(0, len(rows) - 1, min(wanted.count, len(rows))).round().astype(np.int64)
        return [int(row) for row in rows[even if wanted.count > 1 else [0]]]
    if not 0 <= wanted.index < len(rows):
        raise UsageError(f"--index {wanted.index}: there are {len(rows):,} {what}, expected 0 to {len(rows) - 1}")
    return [int(row) for row in rows[wanted.index : wanted.index + wanted.count]]


def _object_figure(opened: Opened, wanted: Wanted) -> tuple[Figure, int, str]:
    clouds = opened.dataset.load(wanted.split)
    rows, what = np.arange(len(clouds)), f"{wanted.split} objects"
    if wanted.class_name is not None:
        if wanted.class_name not in clouds.classes:
            raise unknown_name("class", wanted.class_name, clouds.classes)
        rows = np.flatnonzero(clouds.labels == clouds.classes.index(wanted.class_name))
        what = f"{what} of class {wanted.class_name}"
    picked = chosen(rows, wanted, what)
    head = f"{opened.label}, {wanted.split}"
    if wanted.count == 1:
        row = picked[0]
        line = f"{head} {row}: {clouds.classes[clouds.labels[row]]}, {clouds.ids[row]}"
        return _one(clouds, row, line, wanted.up), row, line
    return _grid(clouds, picked, head, wanted.up), picked[0], f"{head}: {len(picked)} objects from {picked[0]}"


def upright(points: npt.NDArray[np.floating], up: Up) -> npt.NDArray[np.floating]:
    """Rotate points ``[..., 3]`` so that y points up."""
    return points if up == "y" else np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def object_colours(clouds: CloudSet, row: int) -> tuple[Floats, list[int]]:
    """Return point colours ``[N, 3]`` by part, and the parts.

    One colour if there are no parts.
    """
    if clouds.parts is None:
        return plain(clouds.points.shape[1]), []
    parts = np.asarray(clouds.parts[row])
    order = sorted(int(part) for part in np.unique(parts) if part >= 0)
    return by_number(parts, order), order


def _one(clouds: CloudSet, row: int, line: str, up: Up) -> Figure:
    """Draw one object from several sides, with image and caption."""
    from matplotlib.figure import Figure

    beside = clouds.views is not None or clouds.captions is not None
    width, height = (9.6 if beside else 7.0), 5.4
    figure = Figure(figsize=(width, height))
    points = upright(np.asarray(clouds.points[row]), up)
    normals = None if clouds.normals is None else upright(np.asarray(clouds.normals[row]), up)
    colours, parts = object_colours(clouds, row)
    small, side = 1.4, extent(points, VIEWS)
    boxes = [(0.1, 0.4, 4.6, 4.4)] + [(5.1, 0.12 + (2 - i) * (small + 0.2), small, small) for i in range(3)]
    for view, (left, bottom, wide, high) in zip(VIEWS, boxes, strict=True):
        axes = figure.add_axes((left / width, bottom / height, wide / width, high / height))
        draw_cloud(axes, points, colours, view, normals, side)
        axes.set_title(view.name, color=FAINT, fontsize=8, pad=2)
    figure.text(0.15 / width, 1 - 0.28 / height, line, fontsize=10.5, weight="bold", va="center")
    if parts:
        _legend(figure, [(PALETTE[i % len(PALETTE)], f"part {part}") for i, part in enumerate(parts)], 0.02)
    if beside:
        _beside(figure, clouds, row, left=6.9)
    return figure


def _beside(figure: Figure, clouds: CloudSet, row: int, left: float) -> None:
    """Draw an object's first images, its caption below them.

    Args:
        figure: Figure to draw on.
        clouds: The set.
        row: The object.
        left: Left edge in inches.
    """
    width, height = figure.get_size_inches()
    top = height - 0.75
    if clouds.views is not None:
        views = np.asarray(clouds.views[row])[:2]
        side = 2.3 if len(views) == 1 else 1.55
        for view in views:
            axes = figure.add_axes((left / width, (top - side) / height, side / width, side / height))
            axes.imshow(view[..., 0] if view.shape[-1] == 1 else view, cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
            top -= side + 0.08
        number = f"{len(views)} of {clouds.views.shape[1]} images" if clouds.views.shape[1] > 1 else "image"
        figure.text(left / width, top / height, f"{number}, {clouds.views_kind}", fontsize=8, color=FAINT, va="top")
        top -= 0.35
    if clouds.captions is not None:
        text = "\n".join(textwrap.wrap(f"“{clouds.captions[row]}”", width=32)[:6])
        figure.text(left / width, top / height, text, fontsize=9.5, va="top", linespacing=1.35)


def _grid(clouds: CloudSet, rows: Sequence[int], head: str, up: Up) -> Figure:
    """Draw objects side by side, each from the front right."""
    from matplotlib.figure import Figure

    columns = min(math.ceil(math.sqrt(len(rows))), 8)
    lines = -(-len(rows) // columns)
    cell = 2.1 if columns < 5 else 1.5
    width, height = columns * cell + 0.2, lines * (cell + 0.25) + 0.45
    figure = Figure(figsize=(width, height))
    figure.text(0.15 / width, 1 - 0.22 / height, head, fontsize=10, weight="bold", va="center")
    for place, row in enumerate(rows):
        line, column = divmod(place, columns)
        box = (0.1 + column * cell, height - 0.45 - (line + 1) * (cell + 0.25), cell, cell)
        axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
        normals = None if clouds.normals is None else upright(np.asarray(clouds.normals[row]), up)
        colours, _ = object_colours(clouds, row)
        draw_cloud(axes, upright(np.asarray(clouds.points[row]), up), colours, ASLANT, normals)
        axes.set_title(f"{row}: {clouds.classes[clouds.labels[row]]}", pad=2, fontsize=8 if cell > 2 else 6.5)
    return figure


def _legend(figure: Figure, entries: Sequence[tuple[str, str]], bottom: float) -> None:
    from matplotlib.patches import Patch

    patches = [Patch(color=colour, label=label) for colour, label in entries]
    figure.legend(
        handles=patches, loc="lower left", bbox_to_anchor=(0.01, bottom), ncols=7, frameon=False,
        fontsize=8, handlelength=0.9, handleheight=0.9, columnspacing=1.4, handletextpad=0.5,
    )  # fmt: skip


def _room_figure(opened: Opened, wanted: Wanted) -> tuple[Figure, int, str]:
    """Draw a room without its ceiling, from above and aslant.

    Coloured by class and, where scanned, as scanned.
    """
    from matplotlib.figure import Figure

    dataset = opened.dataset
    classes, rooms = dataset.classes(), dataset.rooms()
    if wanted.count > 1:
        raise UsageError(f"--count {wanted.count}: rooms are drawn one at a time; choose one with --index")
    if wanted.class_name is not None and wanted.class_name not in classes:
        raise unknown_name("class", wanted.class_name, classes)
    held_out = wanted.split == "test"
    fitting = [
        number
        for number, room in enumerate(rooms)
        if (room.area == dataset.test_area) == held_out
        and (wanted.class_name is None or (room.labels == classes.index(wanted.class_name)).any())
    ]
    what = f"{wanted.split} rooms" + (f" with class {wanted.class_name}" if wanted.class_name else "")
    number = chosen(np.asarray(fitting, dtype=np.int64), wanted, what)[0]
    room = rooms[number]
    inside = _without_ceiling(room, classes)
    rows = thinned(np.repeat(np.flatnonzero(inside)[:, None], 3, axis=1), ROOM_POINTS)[:, 0].astype(np.int64)
    points = upright(np.asarray(room.points[rows]), "z")
    paints = [("by class", by_number(room.labels[rows], range(len(classes))))]
    if room.colours is not None:
        paints.append(("colours as scanned", np.asarray(room.colours[rows], dtype=np.float64) / 255))
    width, height = 10.0, 0.8 + 4.4 * len(paints) + 0.7
    figure, side = Figure(figsize=(width, height)), extent(points, (_ABOVE, _CORNER))
    for line, (name, colours) in enumerate(paints):
        for column, view in enumerate((_ABOVE, _CORNER)):
            bottom = height - 0.85 - (line + 1) * 4.4 + 0.15
            axes = figure.add_axes(((0.1 + column * 4.95) / width, bottom / height, 4.85 / width, 4.15 / height))
            draw_cloud(axes, points, colours, view, side=side, marks=3.0)
            axes.set_title(f"{view.name}, {name}", color=FAINT, fontsize=8.5, pad=3)
    line_ = f"{opened.label}, {wanted.split}: {room.name}, area {room.area}, {len(room.points):,} points"
    figure.text(0.15 / width, 1 - 0.3 / height, line_, fontsize=11, weight="bold", va="center")
    counts = np.bincount(room.labels, minlength=len(classes))
    entries = [
        (PALETTE[i % len(PALETTE)], f"{name} {100 * counts[i] / counts.sum():.0f} %")
        for i, name in enumerate(classes)
        if counts[i]
    ]
    _legend(figure, entries, 0.005)
    return figure, fitting.index(number), f"{line_} (ceiling left out)"


def _without_ceiling(room: Room, classes: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    """Mark points that do not hide the room from above."""
    keep = np.ones(len(room.points), dtype=np.bool_)
    if "ceiling" in classes:
        keep = room.labels != classes.index("ceiling")
    if not keep.any() or "ceiling" not in classes:
        height = room.points[:, 2]
        keep = height <= height.min() + 0.88 * np.ptp(height)
    return keep if keep.any() else np.ones(len(room.points), dtype=np.bool_)
