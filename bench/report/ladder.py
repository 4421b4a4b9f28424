"""Accuracy over the number of parameters that fine-tuning trains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report import quantities
from bench.report.document import Block, Column, Drawing, Figure, Notes, Paragraph, Part, Row, Table
from bench.report.model import ReportModel, ReportRow, Section
from bench.report.plots import INK, MARKERS, SERIES, canvas

TITLE = "Accuracy over trained parameters"
EXPLAINED = (
    "The same encoders, data and recipe; only what is trained differs. Parameters are counted by the harness, head "
    "included. The difference is paired with the untrained encoder of the same architecture, adapted in the same way."
)
FIELD = "protocol.options.adapt"


@dataclass(frozen=True)
class Ladder:
    """Ways of adapting encoders on one data set.

    Attributes:
        title: Data and setting.
        preset: Preset of the runs, with what was changed besides.
        rungs: Rows, by trained parameters.
    """

    title: str
    preset: str
    rungs: tuple[ReportRow, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, pretrained ones first."""
        found = sorted(self.rungs, key=lambda row: row.cell.is_opponent)
        return tuple(dict.fromkeys(row.cell.name for row in found))


def ladders(model: ReportModel) -> tuple[Ladder, ...]:
    """Collect data sets on which encoders were adapted in several ways."""
    groups: dict[tuple[str, str, str], list[tuple[Section, ReportRow]]] = defaultdict(list)
    for section in model.sections:
        for row in section.rows if section.main else ():
            if row.facts.trained is not None and section.protocol == "finetune" and section.form == "fair":
                groups[section.preset, section.dataset, row.cell.setting].append((section, row))
    found = []
    for (preset, dataset, setting), rows in groups.items():
        if len({adaptation(row) for _, row in rows}) > 1:
            rungs = sorted((row for _, row in rows), key=lambda row: (row.facts.trained or 0, row.cell.label))
            where = dataset if setting == "all" else f"{dataset}, {setting}"
            found.append(Ladder(where, preset, tuple(rungs)))
    return tuple(found)


def adaptation(row: ReportRow) -> str:
    """Name what was trained."""
    return row.cell.spec.get(FIELD, "full")


def parts(model: ReportModel) -> list[Block]:
    """Return the part of a report; empty where one way of adapting was run."""
    found = ladders(model)
    return (
        [Part(TITLE, (Paragraph(EXPLAINED, "soft"), *map(_part, found, range(len(found)))), "ladder")] if found else []
    )


def _part(ladder: Ladder, at: int) -> Part:
    smoke = ladder.preset == "smoke"
    columns = (
        Column("method", "method", whole=True),
        Column("trained", "trained", whole=True),
        Column("parameters", "parameters", right=True),
        Column("accuracy", "accuracy %", right=True),
        Column("versus", "difference to scratch", right=True, wrap=24),
    )
    rows = [
        Row(
            (
                row.cell.label,
                adaptation(row),
                quantities.count(row.facts.trained),
                quantities.score(row.cell.summary, smoke=smoke),
                quantities.NONE if smoke else quantities.difference(row.versus),
            ),
            row.cell.is_opponent,
        )
        for row in sorted(ladder.rungs, key=lambda row: (ladder.methods.index(row.cell.name), row.facts.trained or 0))
    ]
    blocks: list[Block] = [Table(f"ladder-{at}", columns, tuple(rows), group="method")]
    if smoke:
        blocks.append(Notes(("Smoke runs prove that every path works; their numbers mean nothing.",)))
    else:
        blocks.append(Figure(f"ladder-{at}", lambda: draw(ladder), "Mean over seeds with its 95 % interval."))
    return Part(ladder.title, tuple(blocks), f"ladder-{at}", tag=f"preset {ladder.preset}")


def draw(ladder: Ladder) -> Drawing:
    """Draw accuracy over trained parameters, one line per method."""
    figure = canvas(5.2, 3.4)
    axes = figure.subplots()
    axes.grid(axis="y")
    for at, method in enumerate(ladder.methods):
        rows: Sequence[ReportRow] = [row for row in ladder.rungs if row.cell.name == method]
        means = [100 * row.cell.summary.mean for row in rows]
        ends = [(row.cell.summary.low, row.cell.summary.high) for row in rows]
        bars = [[0.0 if low is None else mean - 100 * low for mean, (low, _) in zip(means, ends, strict=True)]]
        bars.append([0.0 if high is None else 100 * high - mean for mean, (_, high) in zip(means, ends, strict=True)])
        axes.errorbar(
            [row.facts.trained or 0 for row in rows],
            means,
            yerr=bars,
            color=SERIES[at % len(SERIES)],
            marker=MARKERS[at % len(MARKERS)],
            markersize=4,
            linewidth=1.1,
            linestyle=":" if rows[0].cell.is_opponent else "-",
            markerfacecolor="none" if rows[0].cell.is_opponent else SERIES[at % len(SERIES)],
            label=method,
        )
    axes.set_xscale("log")
    axes.set_xlabel("trained parameters", fontsize=9, color=INK)
    axes.set_ylabel("accuracy in percent", fontsize=9, color=INK)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, labelcolor=INK)
    told = "; ".join(
        f"{row.cell.label}, {adaptation(row)}: {row.facts.trained:,} trained, {100 * row.cell.summary.mean:.1f} %"
        for row in ladder.rungs
    )
    return Drawing(figure, f"{TITLE}, {ladder.title}. {told}.")
