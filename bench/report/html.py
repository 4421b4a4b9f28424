"""A document as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from bench.report import plots
from bench.report.document import AnyCell, Block, Cell, Document, Figure, Row, Table
from bench.report.terminal import SIGNS

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Bar:
    """A small drawing of a value with its interval.

    In percent of its width; zero is at `zero`.
    """

    zero: float
    at: float
    low: float | None
    high: float | None


class _Scale:
    """Range of a column's numbers, zero included."""

    def __init__(self, table: Table, at: int) -> None:
        cells = [row.cells[at] for row in table.shown]
        ends = [0.0, *(end for cell in cells if isinstance(cell, Cell) for end in _numbers(cell))]
        self._low, self._high = min(ends), max(ends)

    def bar(self, cell: AnyCell) -> Bar | None:
        """Return a cell's bar; None without a number."""
        if not isinstance(cell, Cell) or not isinstance(cell.value, int | float) or self._high <= self._low:
            return None
        low, high = (None if end is None else self._place(end) for end in (cell.low, cell.high))
        return Bar(self._place(0.0), self._place(cell.value), low, high)

    def _place(self, value: float) -> float:
        return round(4 + 92 * (value - self._low) / (self._high - self._low), 2)


def _numbers(cell: Cell) -> list[float]:
    return [float(end) for end in (cell.value, cell.low, cell.high) if isinstance(end, int | float)]


def to_html(document: Document, beside: Sequence[str] = ()) -> str:
    """Render a document as one self-contained page.

    Args:
        document: The document.
        beside: Names of files beside the page that hold the same.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html").render(
        document=document, beside=beside, kind=_kind, drawn=_drawn, grouped=_grouped, scales=_scales, signs=SIGNS
    )
    return page.rstrip("\n") + "\n"


def _kind(block: Block) -> str:
    return type(block).__name__


def _drawn(figure: Figure) -> tuple[str, str]:
    return plots.svg(figure.draw, figure.name)


def _scales(table: Table) -> dict[int, _Scale]:
    return {at: _Scale(table, at) for at, column in enumerate(table.columns) if column.bar}


def _grouped(table: Table) -> list[tuple[str, list[Row]]]:
    """Return shown rows by group; one group by default."""
    at = next((at for at, column in enumerate(table.columns) if column.name == table.group), None)
    if at is None:
        return [("", list(table.shown))]
    return [(name, list(rows)) for name, rows in groupby(table.shown, key=lambda row: str(row.cells[at]))]
