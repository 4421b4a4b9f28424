"""Find each cell's opponent: no pretraining, judged alike."""

from __future__ import annotations

from collections.abc import Iterable

from bench.stats.cells import Cell


def opponent(cell: Cell, cells: Iterable[Cell]) -> Cell | None:
    """Find the `scratch` cell to compare a cell with.

    It has the same judge, architecture and backbone.

    Where untrained networks cannot be judged (zero-shot) it is the cell of the same teacher alone. Where several
    qualify (e.g. run at two precisions) the one whose spec agrees in most fields is taken.
    """
    alike = [other for other in cells if other.is_opponent and comparable(cell, other)]
    fitting = [other for other in alike if other.is_scratch and other.architecture == cell.architecture]
    fitting = fitting or [other for other in alike if not other.is_scratch and _teacher(other) == _teacher(cell)]
    return max(fitting, key=lambda other: (_agreement(cell, other), other.label), default=None)


def _teacher(cell: Cell) -> str | None:
    """Return the teacher of the cell's text space, if any."""
    return cell.spec.get("encoder.text_teacher.identity", cell.spec.get("encoder.teacher.identity"))


def comparable(first: Cell, second: Cell) -> bool:
    """Whether cells were judged alike and differ in encoder only."""
    return _judged(first) == _judged(second)


def judged_alike(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Group cells that may be compared with each other."""
    found: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        found.setdefault(_judged(cell), []).append(cell)
    return list(found.values())


def _judged(cell: Cell) -> tuple[object, ...]:
    return (cell.preset, cell.metric, cell.judge, cell.whole_setting, cell.label_fraction, cell.backbone)


def _agreement(first: Cell, second: Cell) -> int:
    return len(first.spec.items() & second.spec.items())
