"""The report as one HTML file: everything inline, nothing fetched, readable on paper and in the dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from bench.report import methods, scaling, selection, tables, transfer, tuning, words
from bench.report.model import ReportModel, ReportRow, Section
from bench.report.plots import Plot, accuracy_plot, curve_plot
from bench.report.summary import Sentence
from bench.report.text import EMPTY

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 5
"""Findings that are told in short; a page of sentences is read by nobody."""


@dataclass(frozen=True)
class Bar:
    """A small drawing of a difference with its interval, in percent of its width; zero is at `zero`."""

    zero: float
    at: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class RowView:
    """A row with what only HTML shows."""

    text: dict[str, str]
    sort: dict[str, str]
    verdict: str
    bar: Bar | None
    names: str
    scratch: bool


@dataclass(frozen=True)
class SectionView:
    """A section with its plot."""

    section: Section
    heading: str
    told: list[str]
    options: str
    changes: list[str]
    card: str
    columns: dict[str, str]
    groups: list[tuple[str, list[RowView]]]
    plot: Plot
    intervals: bool
    pairs: list[tuple[str, tuple[str, ...]]]
    pair_notes: list[str]
    candidates: tuple[list[str], list[list[str]]]
    notes: list[str]


def to_html(model: ReportModel, summary: Sequence[Sentence]) -> str:
    """Render the report as one self-contained page.

    Args:
        model: What it says.
        summary: What it says in plain words.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    curves = [
        (preset, curve_plot(panels := list(group), f"curves{index}"), max(panel.hidden for panel in panels))
        for index, (preset, group) in enumerate(groupby(model.panels, key=lambda panel: panel.preset))
    ]
    searches = [
        (group, tuning.history_plot(group, f"history{index}"), tuning.importance_plot(group, f"importance{index}"))
        for index, group in enumerate(tuning.groups(model.studies))
    ]
    parts = [(figure, scaling.scaling_plot(figure, f"parts{i}")) for i, figure in enumerate(scaling.figures(model))]
    losses = [
        (preset, scaling.loss_plot(list(group), f"partloss{i}"))
        for i, (preset, group) in enumerate(groupby(scaling.loss_panels(model.panels), key=lambda panel: panel.preset))
    ]
    findings = [sentence for sentence in summary if sentence.kind != "warning"]
    page = environment.get_template("index.html").render(
        model=model,
        summary=findings[:SHOWN],
        more=findings[SHOWN:],
        warnings=[sentence for sentence in summary if sentence.kind == "warning"],
        sections=[_view(section) for section in model.shown],
        curves=curves,
        searches=searches,
        parts=parts,
        part_losses=losses,
        matrices=transfer.matrices(model),
        empty=EMPTY,
        words=words,
        tables=tables,
        methods=methods,
        selection=selection,
        tuning=tuning,
        scaling=scaling,
        transfer=transfer,
    )
    return page + "\n" if not page.endswith("\n") else page


def _view(section: Section) -> SectionView:
    scale = _scale(section)
    groups = [
        (setting, [_row_view(row, section, scale) for row in rows])
        for setting, rows in groupby(section.rows, key=lambda row: row.cell.setting)
    ]
    columns = tables.columns(section)
    columns.pop("setting")
    return SectionView(
        section=section,
        heading=section.title,
        told=tables.told(section),
        options=tables.options(section),
        changes=tables.changes(section),
        card=next((row.facts.card for row in section.rows if row.facts.card), ""),
        columns=columns,
        groups=groups,
        plot=accuracy_plot(section, section.anchor),
        intervals=not section.smoke and any(row.cell.summary.n > 1 for row in section.rows),
        pairs=[(pair.comparison.verdict, tables.pair_texts(pair)) for pair in section.pairs],
        pair_notes=tables.pair_notes(section),
        candidates=tables.candidates(section),
        notes=tables.notes(section),
    )


def _row_view(row: ReportRow, section: Section, scale: tuple[float, float]) -> RowView:
    versus, summary = row.versus, row.cell.summary
    return RowView(
        text=tables.row_texts(row, section),
        sort={
            "score": repr(summary.mean),
            "span": repr(summary.minimum),
            "difference": "" if versus is None or versus.difference is None else repr(versus.difference),
            "p_holm": "" if versus is None or versus.p_holm is None else repr(versus.p_holm),
            "pretrain_seconds": "" if row.facts.pretrain_seconds is None else repr(row.facts.pretrain_seconds),
            "size": "" if row.facts.parameters is None else repr(row.facts.parameters),
            "seen": "" if row.cell.seen is None else repr(len(row.cell.seen)),
        },
        verdict="" if versus is None else versus.verdict,
        bar=_bar(row, scale),
        names=", ".join(row.cell.seen or ()),
        scratch=row.cell.is_scratch,
    )


def _scale(section: Section) -> tuple[float, float]:
    """Range of the differences of a table, zero included, so that its bars share one scale."""
    ends = [0.0]
    for row in section.rows:
        if row.versus is not None:
            ends += [end for end in (row.versus.difference, row.versus.low, row.versus.high) if end is not None]
    return min(ends), max(ends)


def _bar(row: ReportRow, scale: tuple[float, float]) -> Bar | None:
    versus, (start, end) = row.versus, scale
    if versus is None or versus.difference is None or end <= start:
        return None

    def place(value: float) -> float:
        return round(4 + 92 * (value - start) / (end - start), 2)

    low = None if versus.low is None else place(versus.low)
    high = None if versus.high is None else place(versus.high)
    return Bar(place(0.0), place(versus.difference), low, high)
