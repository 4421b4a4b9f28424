"""Cost of each method: size, operations, wall and processor time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.report import quantities
from bench.report.document import Cell, Field, Notes, Part, Table
from bench.report.model import ReportRow, Section
from bench.report.runs import RunFacts

TITLE = "Cost"
NOTE = (
    "Wall-clock time depends on the machine and its load, processor time less so, operations not at all. Times are "
    "means over seeds, a first stage included."
)


@dataclass(frozen=True)
class Cost:
    """Cost of one method under one preset.

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
        """Return the largest of a cost over cells, or None."""
        known = [value for facts in self.evaluations if (value := getattr(facts, name)) is not None]
        return max(known, default=None)


def costs(sections: Iterable[Section]) -> list[Cost]:
    """Collect the costs of methods in headline tables."""
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
    Field("method", "method", lambda cost: cost.method, whole=True),
    Field("preset", "preset", lambda cost: cost.preset, sink=2),
    Field("parameters", "encoder parameters", lambda cost: quantities.count(cost.facts.parameters), right=True),
    Field(
        "flops_forward",
        "operations of a cloud",
        lambda cost: quantities.operations(cost.facts.flops),
        right=True,
        drop=1,
    ),
    Field(
        "pretrain_seconds",
        "pretraining of one seed",
        lambda cost: _pretraining(cost, quantities.seconds(cost.facts.pretrain_seconds)),
        right=True,
    ),
    Field(
        "pretrain_cpu_seconds",
        "its processor time",
        lambda cost: _pretraining(cost, quantities.seconds(cost.facts.pretrain_cpu_seconds)),
        right=True,
    ),
    Field(
        "step_flops",
        "operations of its training step",
        lambda cost: _pretraining(cost, quantities.operations(cost.facts.step_flops)),
        right=True,
    ),
    Field(
        "evaluate_seconds",
        "longest evaluation of one run",
        lambda cost: quantities.seconds(cost.longest("evaluate_seconds")),
        right=True,
        drop=4,
    ),
    Field(
        "evaluate_cpu_seconds",
        "its processor time",
        lambda cost: quantities.seconds(cost.longest("evaluate_cpu_seconds")),
        right=True,
        drop=3,
    ),
)


def table(sections: Iterable[Section]) -> Table:
    """Return the costs as a table."""
    return Table.of("cost", FIELDS, costs(sections), lambda cost: not cost.trained)


def part(sections: Iterable[Section]) -> Part:
    """Return the costs as a part of the document."""
    return Part(TITLE, (table(sections), Notes((NOTE,))), "cost")
