"""Accuracy by class, and what is taken for what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.report import quantities, words
from bench.report.accuracy_plot import drawn_rows
from bench.report.document import AnyCell, Block, Cell, Column, Detail, Fold, Paragraph, Row, Table
from bench.report.model import ClassCounts, Counts, ReportRow, Section
from bench.stats.answers import NO_CLASS, read_answers

if TYPE_CHECKING:
    from bench.store.records import RunRecord

MOST_READ = 120
"""Runs of a report whose answers are read; each costs milliseconds."""
MOST_METHODS = 10
"""Methods of a table, pretrained ones first."""
MOST_SEEDS = 3
"""Runs of a method."""
MOST_CLASSES = 60
"""Classes of a matrix of confusions; more are not read by anybody."""
MOST_CONFUSED = 10
EXPLAINED = (
    "Share of each class's test objects that is named rightly, in percent: all answers of the runs counted together, "
    "folds included. For information: nothing was chosen by it, and no test was made."
)


def count_classes(
    sections: Iterable[Section],
    runs: Mapping[str, RunRecord],
    names: Callable[[RunRecord], Sequence[str]] = lambda _: (),
) -> dict[str, ClassCounts]:
    """Count answers by class, of the first setting of each headline table.

    Args:
        sections: Tables.
        runs: Records by key.
        names: Returns the names of the classes of a run's data set; empty where they are not known.

    Returns:
        Counts by the table's anchor; none for smoke tables, nor for protocols that do not name classes of objects.
    """
    found, read = {}, 0
    for section in sections:
        if not section.main or section.smoke or read >= MOST_READ:
            continue
        setting = section.settings[0]
        rows = sorted((row for row in drawn_rows(section) if row.cell.setting == setting), key=_opponents_last)
        counted: dict[str, tuple[Counts, int]] = {}
        one: RunRecord | None = None
        for row in rows[:MOST_METHODS]:
            keys = [key for key in row.cell.runs.values() if key in runs][:MOST_SEEDS]
            read += len(keys)
            if (counts := _counted([runs[key] for key in keys])) is not None:
                counted[_name(row, counted)] = counts, len(keys)
                one = one or runs[keys[0]]
            elif not counted:
                break
        if one is None:
            continue
        size = max(len(counts) for counts, _ in counted.values())
        told = tuple(map(str, names(one)))
        found[section.anchor] = ClassCounts(
            setting,
            tuple(told[at] if at < len(told) else str(at) for at in range(size)),
            {name: _padded(counts, size) for name, (counts, _) in counted.items()},
            {name: n for name, (_, n) in counted.items()},
            len({row.cell.label for row in section.rows if row.cell.setting == setting}) - len(counted),
        )
    return found


def _opponents_last(row: ReportRow) -> bool:
    return row.cell.is_opponent


def _name(row: ReportRow, taken: Iterable[str]) -> str:
    label = row.cell.label
    return f"{label} from {row.cell.pretrain_data}" if label in taken else label


def _counted(records: Iterable[RunRecord]) -> Counts | None:
    """Count true and named classes; None where classes were not named."""
    total: Counts | None = None
    for record in records:
        if not record.predictions:
            return None
        try:
            answers = read_answers(record.predictions)
        except ValueError:  # it labels points or ranks matches
            return None
        if answers.iou is not None:
            return None
        size = int(max(answers.labels.max(), answers.predicted.max())) + 1
        size = max(size, 0 if total is None else len(total))
        named = np.where(answers.predicted == NO_CLASS, size, answers.predicted)
        counts = np.zeros((size, size + 1), np.int64)
        np.add.at(counts, (answers.labels, named), 1)
        total = counts if total is None else counts + _padded(total, size)
    return total


def _padded(counts: Counts, size: int) -> Counts:
    """Return counts with further classes; the last column stays that of no class."""
    padded = np.zeros((size, size + 1), np.int64)
    padded[: len(counts), : len(counts)] = counts[:, :-1]
    padded[: len(counts), -1] = counts[:, -1]
    return padded


def fold(anchor: str, found: ClassCounts) -> Fold:
    """Return accuracies by class and confusions, folded.

    Args:
        anchor: Anchor of the table that they belong to.
        found: Counts.
    """
    where = "" if found.setting == "all" else f", {found.setting}"
    left = f" {found.left_out} more methods are left out." if found.left_out else ""
    n = ", ".join(sorted({words.numbers((n,)) for n in found.runs.values()}))
    told = Paragraph(f"{EXPLAINED} Runs of a method that were read: {n}.{left}", "soft")
    blocks: list[Block] = [told, _accuracies(anchor, found)]
    best = max(found.methods, key=lambda name: _right(found.methods[name]))
    blocks.append(Paragraph(f"Most frequent confusions of {best}, the method with the most right answers:"))
    blocks.append(_confused(anchor, found, best))
    if len(found.names) <= MOST_CLASSES:
        blocks.append(Fold(f"All confusions of {best}", (_matrix(anchor, found, best),), detail=Detail.PAGE))
    return Fold(f"Accuracy by class and confusions{where}", tuple(blocks), detail=Detail.PAGE)


def _right(counts: Counts) -> float:
    return float(np.trace(counts) / max(counts.sum(), 1))


def _accuracies(anchor: str, found: ClassCounts) -> Table:
    tested = next(iter(found.methods.values())).sum(1)
    columns = (
        Column("class", "class", whole=True),
        Column("objects", "answers", right=True),
        *(Column(f"method-{at}", name, right=True) for at, name in enumerate(found.methods)),
    )
    rows = []
    for at, name in enumerate(found.names):
        if not any(counts[at].sum() for counts in found.methods.values()):
            continue  # a class of training that no test object has
        shares = [(counts[at, at], counts[at].sum()) for counts in found.methods.values()]
        cells = [quantities.fraction(int(hit) / int(n)) if n else quantities.NONE for hit, n in shares]
        rows.append(Row((name, quantities.number(int(tested[at])), *cells)))
    return Table(f"{anchor}-classes", columns, tuple(rows))


def _confused(anchor: str, found: ClassCounts, method: str) -> Table:
    counts = found.methods[method].copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSED]
    rows = []
    for true, named in zip(*np.unravel_index(order, counts.shape), strict=True):
        if n := int(counts[true, named]):
            share = n / int(found.methods[method][true].sum())
            rows.append(
                Row((found.names[true], _class(found, int(named)), quantities.number(n), quantities.fraction(share)))
            )
    columns = (
        Column("class", "class", whole=True),
        Column("named", "named as", whole=True),
        Column("answers", "answers", right=True),
        Column("share", "% of the class", right=True),
    )
    return Table(f"{anchor}-confused", columns, tuple(rows))


def _class(found: ClassCounts, at: int) -> str:
    return found.names[at] if at < len(found.names) else "no class"


def _matrix(anchor: str, found: ClassCounts, method: str) -> Table:
    """Return true classes in rows, named classes in columns, in percent of the row."""
    counts = found.methods[method]
    named = [at for at in range(counts.shape[1]) if at < len(found.names) or counts[:, at].any()]
    rows = []
    for at, name in enumerate(found.names):
        if total := int(counts[at].sum()):
            cells: list[AnyCell] = [_share(int(counts[at, other]), total, at == other) for other in named]
            rows.append(Row((name, *cells)))
    columns = (
        Column("class", "class \\ named", whole=True),
        *(Column(f"named-{at}", _class(found, at), right=True) for at in named),
    )
    return Table(f"{anchor}-confusions", columns, tuple(rows))


def _share(n: int, total: int, right: bool) -> Cell:
    return Cell(f"{100 * n / total:.0f}" if n else "", n / total, "fraction", mark="best" if right and n else "")
