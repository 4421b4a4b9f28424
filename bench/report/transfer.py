"""Training on one data set, testing on another: a matrix for each method.

Cells of such runs are named ``TRAINED > TESTED`` (`bench.plan.graph.run_label`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report import words
from bench.report.plain import plain_table
from bench.stats.cells import Cell, natural
from bench.stats.intervals import Summary

if TYPE_CHECKING:
    from rich.console import Console

    from bench.report.model import ReportModel

TITLE = "Transfer between data sets"
EXPLAINED = (
    "Rows are trained on, columns tested on. Off the diagonal only classes that both sets have are trained and tested, "
    "so that numbers of one column need not be about the same objects."
)
BETWEEN = " > "


@dataclass(frozen=True)
class Matrix:
    """One method, trained on each data set and tested on each.

    Attributes:
        title: Method, and how it was judged.
        preset: Preset of the runs.
        trained: Data sets trained on.
        tested: Data sets tested on.
        scores: Summary by (trained, tested); pairs that were not run are absent.
        classes: What the sets of a pair have in common, in words, by (trained, tested).
    """

    title: str
    preset: str
    trained: tuple[str, ...]
    tested: tuple[str, ...]
    scores: dict[tuple[str, str], Summary]
    classes: dict[tuple[str, str], str]

    @property
    def heading(self) -> str:
        """Heading of its table."""
        smoke = "SMOKE: " if self.preset == "smoke" else ""
        return f"{smoke}{TITLE}: {self.title}, preset {self.preset}"


def matrices(model: ReportModel) -> tuple[Matrix, ...]:
    """Collect the matrices of a report: of headline metrics, where a method has a pair of different data sets."""
    groups: dict[tuple[str, ...], dict[tuple[str, str], tuple[Cell, str]]] = {}
    for section in model.sections:
        for row in section.rows if section.main else ():
            cell = row.cell
            trained, _, tested = cell.dataset.rpartition(BETWEEN)
            form = "" if cell.form == "fair" else f" ({cell.form} form)"
            metric = "" if cell.metric == "accuracy" else f", {cell.metric.replace('_', ' ')}"
            setting = "" if cell.setting == "all" else f" {cell.setting.removeprefix('all, ')}"
            source = "" if cell.pretrain_data in ("", "none") else f" from {cell.pretrain_data}"
            title = f"{cell.label}{source}, {cell.protocol}{setting}{form}{metric}"
            groups.setdefault((cell.preset, title), {})[trained or tested, tested] = (cell, row.facts.classes)
    found = []
    for (preset, title), cells in groups.items():
        pairs = [pair for pair in cells if pair[0] != pair[1]]
        if pairs:
            among = {name for pair in pairs for name in pair}
            kept = {pair: cell.summary for pair, (cell, _) in cells.items() if set(pair) <= among}
            trained_on = tuple(sorted({pair[0] for pair in kept}, key=natural))
            tested_on = tuple(sorted({pair[1] for pair in kept}, key=natural))
            classes = {pair: cells[pair][1] for pair in pairs if cells[pair][1]}
            found.append(Matrix(title, preset, trained_on, tested_on, kept, classes))
    return tuple(found)


def notes(found: Sequence[Matrix]) -> list[str]:
    """What the sets of each pair have in common, one line a pair."""
    shared = {f"{' > '.join(pair)}: {text}." for matrix in found for pair, text in matrix.classes.items()}
    return sorted(shared, key=natural)


def headings(matrix: Matrix) -> list[str]:
    """Headings of a matrix."""
    return ["trained on \\ tested on", *matrix.tested]


def rows(matrix: Matrix) -> list[list[str]]:
    """Rows of a matrix, in percent."""

    def text(trained: str, tested: str) -> str:
        summary = matrix.scores.get((trained, tested))
        if summary is None:
            return "–"
        return words.percent(summary.mean) if matrix.preset == "smoke" else words.score(summary)

    return [[trained, *(text(trained, tested) for tested in matrix.tested)] for trained in matrix.trained]


def markdown(model: ReportModel) -> list[str]:
    """Lines of the Markdown report."""
    from bench.report.text import table

    found = matrices(model)
    lines = [EXPLAINED, "", *(f"- {note}" for note in notes(found)), ""] if found else []
    for matrix in found:
        lines += [f"### {matrix.heading}", "", *table(headings(matrix), rows(matrix)), ""]
    return [f"## {TITLE}", "", *lines] if lines else []


def print_transfer(model: ReportModel, console: Console) -> None:
    """Print the matrices."""
    from rich.text import Text

    found = matrices(model)
    for matrix in found:
        console.print(Text(matrix.heading, style="bold"))
        console.print(plain_table(headings(matrix), rows(matrix)))
    if found:
        console.print(Text(" ".join([EXPLAINED, *notes(found)]), style="dim"))
        console.print()
