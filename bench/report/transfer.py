"""Matrices of training and test data sets, per method."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.report import quantities, words
from bench.report.apart import set_apart
from bench.report.document import AnyCell, Notes, Paragraph, Part, Table
from bench.stats.cells import Cell, judging, natural
from bench.stats.deviations import Deviations, heading, shared
from bench.stats.intervals import Summary

if TYPE_CHECKING:
    from bench.report.model import ReportModel, ReportRow

TITLE = "Transfer between data sets"
EXPLAINED = (
    "Rows are trained on, columns tested on. Off the diagonal only classes that both sets have are trained and tested, "
    "so that numbers of one column need not be about the same objects."
)
BETWEEN = " > "
_DATA = ("data.", "train_data.", "plugins.datasets.")
"""Fields of a spec that name the data judged on."""


@dataclass(frozen=True)
class Matrix:
    """Scores of one method by training and test set.

    Attributes:
        title: Method, and how it was judged.
        preset: Preset of the runs.
        changed: Deviations from the preset shared by all runs, in words.
        trained: Data sets trained on.
        tested: Data sets tested on.
        scores: Summary by (trained, tested); pairs that were not run are absent.
        classes: Common classes of two sets, in words, by (trained, tested).
        older: Pairs with a run of older code.
    """

    title: str
    preset: str
    changed: str
    trained: tuple[str, ...]
    tested: tuple[str, ...]
    scores: dict[tuple[str, str], Summary]
    classes: dict[tuple[str, str], str]
    older: tuple[tuple[str, str], ...] = ()


def matrices(model: ReportModel) -> tuple[Matrix, ...]:
    """Collect matrices of headline metrics.

    Where a method has a pair of different data sets.
    """
    rows = [row for section in model.sections if section.main for row in section.rows]
    names = _set_names(rows)
    groups: dict[tuple[str, str], dict[str, _Group]] = {}
    changed: dict[tuple[str, str], list[tuple[bool, Deviations]]] = {}
    for row in rows:
        cell = row.cell
        same = _besides_data(cell)
        group = groups.setdefault((cell.preset, _title(cell)), {})
        pair, key = _pair(row, names), json.dumps(same, sort_keys=True)
        if key in group and pair in group[key].cells:  # group by fields that describe neither judging nor the encoder
            same |= {"difference": cell.difference}
            key = json.dumps(same, sort_keys=True)
        group.setdefault(key, _Group(same)).cells.setdefault(pair, (cell, row.facts.classes))
        changed.setdefault((cell.preset, _title(cell)), []).append((not cell.is_opponent, row.deviations))
    found = []
    for (preset, title), group in groups.items():
        apart = set_apart({key: own.spec for key, own in group.items()})
        told_words = heading(shared(changed[preset, title]))
        told = f" with {told_words}" if told_words else ""
        matrix = [
            _matrix(f"{title} [{apart[k]}]" if apart[k] else title, preset, told, g.cells) for k, g in group.items()
        ]
        found += [one for one in matrix if one is not None]
    return tuple(found)


@dataclass
class _Group:
    """Cells of one encoder by training and test set."""

    spec: dict[str, str]
    cells: dict[tuple[str, str], tuple[Cell, str]] = field(default_factory=dict)


def _title(cell: Cell) -> str:
    form = "" if cell.form == "fair" else f" ({cell.form} form)"
    metric = "" if cell.metric == "accuracy" else f", {cell.metric.replace('_', ' ')}"
    setting = "" if cell.setting == "all" else f" {cell.setting.removeprefix('all, ')}"
    source = "" if cell.pretrain_data in ("", "none") else f" from {cell.pretrain_data}"
    return f"{cell.name}{source}, {cell.protocol}{setting}{form}{metric}"


def _besides_data(cell: Cell) -> dict[str, str]:
    """Return encoder and judging fields, without the data."""
    encoder = {name: value for name, value in cell.spec.items() if name.startswith("encoder.")}
    judged = {name: value for name, value in judging(cell.spec).items() if not name.startswith(_DATA)}
    return encoder | judged


def set_names(label: Mapping[str, str], other: bool) -> tuple[str, str]:
    """Return names of training and test set.

    Args:
        label: Labels of a run.
        other: Whether it is trained on another set, as its spec says.
    """
    whole = label.get("dataset", "")
    if not other:
        return whole, whole
    trained, _, tested = whole.rpartition(BETWEEN)  # runs of earlier code do not name the sets separately
    return label.get("trained_on", trained), label.get("tested_on", tested)


def _sets(row: ReportRow) -> list[tuple[str, dict[str, str]]]:
    """Return name and content of training and test set."""
    cell, label = row.cell, {"dataset": row.cell.dataset}
    label |= {"trained_on": row.facts.trained_on, "tested_on": row.facts.tested_on} if row.facts.trained_on else {}
    other = any(name.startswith("train_data.") for name in cell.spec)
    trained, tested = set_names(label, other)
    sets = []
    for name, prefix in ((trained, "train_data." if other else "data."), (tested, "data.")):
        content = {f.removeprefix(prefix): value for f, value in cell.spec.items() if f.startswith(prefix)}
        sets.append((name, content))
    return sets


def _set_names(rows: Iterable[ReportRow]) -> dict[str, str]:
    """Return distinct names of data sets.

    The content is named where sets of one name differ in it.
    """
    same: dict[str, dict[str, dict[str, str]]] = {}
    for name, content in (found for row in rows for found in _sets(row)):
        same.setdefault(name, {})[_set_key(name, content)] = content
    return {
        key: f"{name} [{words}]" if words else name
        for name, contents in same.items()
        for key, words in set_apart(contents).items()
    }


def _set_key(name: str, content: dict[str, str]) -> str:
    return json.dumps([name, content], sort_keys=True)


def _pair(row: ReportRow, names: dict[str, str]) -> tuple[str, str]:
    trained, tested = (names[_set_key(name, content)] for name, content in _sets(row))
    return trained, tested


def _matrix(title: str, preset: str, changed: str, cells: dict[tuple[str, str], tuple[Cell, str]]) -> Matrix | None:
    """Arrange cells as a matrix; None without different sets."""
    pairs = [pair for pair in cells if pair[0] != pair[1]]
    if not pairs:
        return None
    among = {name for pair in pairs for name in pair}
    kept = {pair: cell.summary for pair, (cell, _) in cells.items() if set(pair) <= among}
    trained_on = tuple(sorted({pair[0] for pair in kept}, key=natural))
    tested_on = tuple(sorted({pair[1] for pair in kept}, key=natural))
    classes = {pair: cells[pair][1] for pair in pairs if cells[pair][1]}
    older = tuple(pair for pair in kept if cells[pair][0].older_code)
    return Matrix(title, preset, changed, trained_on, tested_on, kept, classes, older)


def notes(found: Sequence[Matrix]) -> list[str]:
    """Return notes on pairs of sets, and older code."""
    shared = {f"{' > '.join(pair)}: {text}." for matrix in found for pair, text in matrix.classes.items()}
    older = words.older(f"{BETWEEN.join(pair)}, {matrix.title}" for matrix in found for pair in matrix.older)
    return sorted(shared, key=natural) + older


def table(matrix: Matrix, name: str) -> Table:
    """Return a matrix as a table, in percent."""
    smoke = matrix.preset == "smoke"
    rows: list[list[AnyCell]] = [
        [trained, *(quantities.score(matrix.scores.get((trained, one)), smoke=smoke) for one in matrix.tested)]
        for trained in matrix.trained
    ]
    return Table.plain(name, ["trained on \\ tested on", *matrix.tested], rows)


def part(found: Sequence[Matrix]) -> Part:
    """Return the matrices as a part of the document."""
    told = (Notes(tuple(lines)),) if (lines := notes(found)) else ()
    parts = [
        Part(
            one.title,
            (table(one, f"transfer-{at}"),),
            tag=f"preset {one.preset}{one.changed}",
            mark="SMOKE" if one.preset == "smoke" else "",
        )
        for at, one in enumerate(found, start=1)
    ]
    return Part(TITLE, (Paragraph(EXPLAINED, "soft"), *told, *parts), "transfer")
