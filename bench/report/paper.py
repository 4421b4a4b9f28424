"""Tables for a paper: few, small, each explained by its caption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from bench.report import contents, cost, selection
from bench.report.accuracy_plot import accuracy_plot
from bench.report.document import Block, Document, Figure, Paragraph, Part, Table
from bench.report.matrix import Column, Matrix, by_preset
from bench.report.model import ReportModel, Section
from bench.report.scores import SMOKE_LINE

MOST_COLUMNS = 6
"""Scores side by side that a page of a paper has room for."""
COST = ("method", "preset", "parameters", "flops_forward", "step_flops", "pretrain_seconds")


def document(model: ReportModel, title: str = "") -> Document:
    """Return scores, selection and cost as a document.

    A table has a row per method and a column per setting; protocols without settings share one.

    Args:
        model: Content of the report.
        title: Title; that of a report by default.
    """
    blocks: list[Block] = []
    for preset, sections in by_preset(model.shown).items():
        smoke = [Paragraph(SMOKE_LINE, "warning")] if sections[0].smoke else []
        tables = [block for at, one in enumerate(_matrices(sections)) for block in _scores(one, preset, at)]
        blocks.append(Part(f"Preset {preset}", (*smoke, *tables)))
    if model.ledger:
        table = replace(selection.table(model), caption=selection.explained(model.ledger))
        blocks.append(Part(selection.TITLE, (table,)))
    if any(section.main for section in model.shown):
        table = _without_common_preset(cost.table(model.shown))
        blocks.append(Part(cost.TITLE, (replace(table, caption=f"Cost of each method. {cost.NOTE}"),)))
    return Document(title or contents.TITLE, tuple(blocks), contents.lead(model))


def _matrices(sections: Sequence[Section]) -> Iterator[Matrix]:
    """Yield matrices of at most `MOST_COLUMNS` columns.

    A section with settings has its own; the others stand side by side.
    """
    own = [section for section in sections if len(section.settings) > 1]
    for section in own:
        yield from _cut([Column(section, setting) for setting in section.settings])
    yield from _cut([Column(one, one.settings[0]) for one in sections if one not in own])


def _cut(columns: Sequence[Column]) -> Iterator[Matrix]:
    for at in range(0, len(columns), MOST_COLUMNS):
        yield Matrix(columns[at : at + MOST_COLUMNS])


def _scores(matrix: Matrix, preset: str, at: int) -> Iterable[Block]:
    title = matrix.title
    metric = matrix.common[3] or "Score"
    measured = (
        f"{title[:1].upper()}{title[1:]}, preset {preset}: {metric} in percent, mean ± half of the 95 % interval."
    )
    caption = " ".join([measured, *matrix.judged(), *matrix.explained()])
    yield replace(matrix.table(f"scores-{at + 1}"), caption=caption)
    for section in dict.fromkeys(column.section.anchor for column in matrix.columns):
        shown = next(column.section for column in matrix.columns if column.section.anchor == section)
        yield Figure(shown.anchor, lambda shown=shown: accuracy_plot(shown), f"{shown.title}, preset {preset}.")  # type: ignore[misc]


def _without_common_preset(table: Table) -> Table:
    presets = {row["preset"] for row in table.texts()}
    return table.only([name for name in COST if name != "preset" or len(presets) > 1])
