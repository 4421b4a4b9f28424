"""The selection ledger as a table: cells by rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.report import quantities
from bench.report.apart import set_apart
from bench.report.document import Cell, Detail, Field, Paragraph, Part, Table
from bench.report.model import ReportModel
from bench.stats.cells import Cell as ScoredCell
from bench.stats.cells import judging
from bench.stats.deviations import Deviations, heading
from bench.stats.selection import LAST, TEST, VAL, LedgerLine, Rule

TITLE = "What selection changes"
EMPTY = (
    "No stored run was reported under more than one selection rule yet. Add --legacy to bench run, or use a protocol "
    "that trains by epochs (finetune, mlp)."
)
SMOKE_NOTE = "SMOKE lines prove that the path works; their numbers mean nothing, so no inflation is shown."


@dataclass(frozen=True)
class _Line:
    """One cell of the ledger, with words that identify it."""

    line: LedgerLine
    deviations: Deviations
    judged: str
    method: str


_FIELDS: tuple[Field[_Line], ...] = (
    Field("judged", "judged by", lambda one: _judged(one)),
    Field("method", "method", lambda one: _method(one)),
    Field("seeds", "seeds", lambda one: Cell(str(one.line.scores[VAL].n), one.line.scores[VAL].n)),
    Field("val", "val", lambda one: _score(one.line, VAL)),
    Field("last", "last epoch", lambda one: _score(one.line, LAST)),
    Field("test", "test", lambda one: _score(one.line, TEST)),
    Field("val_voted", "val, voted", lambda one: _voted(one.line, "val")),
    Field("last_voted", "last, voted", lambda one: _voted(one.line, "last")),
    Field("test_voted", "test, voted", lambda one: _voted(one.line, "test")),
    Field("maximum", "max of votes", lambda one: _maximum(one.line)),
    Field("inflation", "inflation", lambda one: _inflation(one.line)),
    Field("best_of_seeds", "best seed", lambda one: _added(one.line, one.line.best_of_seeds)),
    Field("together", "all habits", lambda one: _added(one.line, one.line.together)),
)


def part(model: ReportModel) -> Part:
    """Return the selection ledger as a part of the document."""
    smoke = [Paragraph(SMOKE_NOTE, "warning")] if any(map(_smoke, model.ledger)) else []
    return Part(
        TITLE, (*smoke, Paragraph(explained(model.ledger), "soft"), table(model)), "selection", detail=Detail.FILES
    )


def explained(ledger: Sequence[LedgerLine]) -> str:
    """Say what the columns mean that the lines fill."""
    rules = {rule for line in ledger for rule in line.scores}
    told = [
        "The same trained networks, reported under different rules; accuracy in percent.",
        "“val” is the number of the tables above: chosen on validation, test scored once.",
    ]
    if any(rule.selection == TEST.selection for rule in rules):
        told.append("“test” is the epoch or setting with the highest test accuracy, as much of the literature reports.")
    if any(rule.voted for rule in rules):
        told.append("“voted” averages predictions over random draws of points.")
    if any(rule.repeats > 1 for rule in rules):
        told.append("“max of votes” is the best of several repeats of the vote at the epoch chosen on test.")
    if any(line.inflation is not None for line in ledger):
        told.append("Inflation is test minus val, paired by seed, with its 95 % interval.")
    return " ".join(
        [
            *told,
            "“best seed” is the best seed minus the mean over seeds, both chosen on validation; “all habits” is the "
            "best seed under the most flattering rule of this table minus the honest mean. Points.",
        ]
    )


def table(model: ReportModel) -> Table:
    """Return the selection ledger as a table."""
    lines = [
        _Line(line, model.deviations.get(next(iter(line.cell.runs.values())), ()), "", "") for line in model.ledger
    ]
    named: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, one in enumerate(lines):
        named[_judged(one), _method(one)].append(place)
    for places in named.values():
        for place, (judged, method) in zip(places, _apart([lines[p].line.cell for p in places]), strict=True):
            lines[place] = replace(lines[place], judged=judged, method=method)
    return Table.of("selection", _FIELDS, lines)


def _apart(cells: Sequence[ScoredCell]) -> list[tuple[str, str]]:
    """Return words that tell cells of one name apart.

    They say how the cells were judged, and on what they were pretrained.
    """
    if len(cells) < 2:
        return [("", "")] * len(cells)
    several = len({cell.pretrain_data for cell in cells}) > 1  # e.g. a part of the data and all of it
    methods = [f", pretrained on {cell.pretrain_data}" if several else "" for cell in cells]
    words_of = set_apart({at: judging(cell.spec) for at, cell in enumerate(cells)}).values()
    return [(f" [{text}]" if text else "", method) for text, method in zip(words_of, methods, strict=True)]


def _judged(one: _Line) -> str:
    cell = one.line.cell
    form = "" if cell.form == "fair" else f" ({cell.form} form)"
    metric = "" if cell.metric == "accuracy" else f", {cell.metric.replace('_', ' ')}"
    preset = f"{cell.preset} with {heading(one.deviations)}" if one.deviations else cell.preset
    smoke = "SMOKE: " * _smoke(one.line)
    return f"{smoke}{cell.protocol}{form} on {cell.dataset}, {cell.setting}{metric}, {preset}{one.judged}"


def _method(one: _Line) -> str:
    cell = one.line.cell
    return (f"{cell.label} (older code)" if cell.older_code else cell.label) + one.method


def _smoke(line: LedgerLine) -> bool:
    return line.cell.preset == "smoke"


def _score(line: LedgerLine, rule: Rule, note: str = "") -> Cell:
    summary, n = line.scores.get(rule), line.scores[VAL].n
    fewer = summary is not None and summary.n < n and not _smoke(line)  # not every seed was run with --legacy
    note = f" ({summary.n} of {n} seeds)" + note if summary is not None and fewer else note
    return quantities.score(summary, smoke=_smoke(line), note=note)


def _voted(line: LedgerLine, selection: str) -> Cell:
    return _score(line, Rule(voted=True, selection=selection), f" ({line.votes})")


def _maximum(line: LedgerLine) -> Cell:
    maxima = [rule for rule in line.scores if rule.repeats > 1]
    return _score(line, maxima[-1], f" ({maxima[-1].repeats} × {line.votes})") if maxima else quantities.NONE


def _inflation(line: LedgerLine) -> Cell:
    found = line.inflation
    if found is None or _smoke(line):
        return quantities.NONE
    return quantities.points(found.mean, found.low, found.high)


def _added(line: LedgerLine, value: float | None) -> Cell:
    return quantities.NONE if value is None or _smoke(line) else quantities.points(value)
