"""What each method cost: size, operations, time of the clock and of the processors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.report import quantities
from bench.report.document import Cell, Column, Field, Notes, Part, Table
from bench.report.model import ReportRow, Section
from bench.report.runs import RunFacts

TITLE = "Cost"
NOTE = (
    "Seconds of the clock depend on the machine and on what else it did; processor time less so; operations not at "
    "all. Times are means over seeds, a first stage included."
)


@dataclass(frozen=True)
class Cost:
    """One method under one preset.

    Attributes:
        method: Label of its cells.
        preset: Preset, with what was changed of it.
        trained: Whether it was pretrained.
        facts: Facts of one of its cells: pretraining is the same for all.
        evaluations: Facts of all its cells.
    """

    method: str
    preset: str
    trained: bool
    facts: RunFacts
    evaluations: tuple[RunFacts, ...]

    def longest(self, name: str) -> float | None:
        """Return the largest of a cost over the cells; None where it is not recorded."""
        known = [value for facts in self.evaluations if (value := getattr(facts, name)) is not None]
        return max(known, default=None)


def costs(sections: Iterable[Section]) -> list[Cost]:
    """Collect the costs of the methods in tables of headline metrics."""
    found: dict[tuple[str, str], list[ReportRow]] = {}
    for section in sections:
        for row in section.rows if section.main else ():
            found.setdefault((row.cell.label, section.preset_words), []).append(row)
    return [
        Cost(name, preset, not rows[0].cell.is_opponent, rows[0].facts, tuple(row.facts for row in rows))
        for (name, preset), rows in found.items()
    ]


def _pretraining(cost: Cost, cell: Cell) -> Cell:
    return cell if cost.trained else quantities.NONE


FIELDS: tuple[Field[Cost], ...] = (
    Field(Column("method", "method", whole=True), lambda cost: cost.method),
    Field(Column("preset", "preset", narrow="sink", order=2), lambda cost: cost.preset),
    Field(
        Column("parameters", "encoder parameters", right=True, optional=True),
        lambda cost: quantities.count(cost.facts.parameters),
    ),
    Field(
        Column("flops_forward", "operations of a cloud", "FLOP", right=True, narrow="drop", order=1, optional=True),
        lambda cost: quantities.operations(cost.facts.flops),
    ),
    Field(
        Column("pretrain_seconds", "pretraining of one seed", "s", right=True, optional=True),
        lambda cost: _pretraining(cost, quantities.seconds(cost.facts.pretrain_seconds)),
    ),
    Field(
        Column("pretrain_cpu_seconds", "its processor time", "s", right=True, optional=True),
        lambda cost: _pretraining(cost, quantities.seconds(cost.facts.pretrain_cpu_seconds)),
    ),
    Field(
        Column("step_flops", "operations of its training step", "FLOP", right=True, optional=True),
        lambda cost: _pretraining(cost, quantities.operations(cost.facts.step_flops)),
    ),
    Field(
        Column("evaluate_seconds", "longest evaluation of one run", "s", right=True, narrow="drop", order=4),
        lambda cost: quantities.seconds(cost.longest("evaluate_seconds")),
    ),
    Field(
        Column("evaluate_cpu_seconds", "its processor time", "s", right=True, narrow="drop", order=3, optional=True),
        lambda cost: quantities.seconds(cost.longest("evaluate_cpu_seconds")),
    ),
)


def table(sections: Iterable[Section]) -> Table:
    """Return the costs as a table."""
    return Table.of("cost", FIELDS, costs(sections), lambda cost: not cost.trained)


def part(sections: Iterable[Section]) -> Part:
    """Return the costs as a part of the document."""
    return Part(TITLE, (table(sections), Notes((NOTE,))), "cost")
