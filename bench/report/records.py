"""Cells of a report as records for programs.

One record each, at full precision (``results.csv``, `bench.api.Results.cells`).

Column names stay. `verdict` is that of the interval alone, as in the tables; `holds_after_holm` says of one that is
shown whether it holds at `p_holm`, too, and is empty where none is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bench.report.methods import MethodLine, deviation_texts
from bench.report.model import ReportModel, ReportRow, Section
from bench.report.runs import RunFacts
from bench.report.scores import numerics, protocol_options
from bench.stats.cells import Cell
from bench.stats.comparisons import Comparison
from bench.stats.intervals import Summary
from bench.texts import csv_text


@dataclass(frozen=True)
class _Line:
    """A cell with everything its record needs."""

    section: Section
    row: ReportRow
    card: MethodLine | None

    @property
    def cell(self) -> Cell:
        return self.row.cell

    @property
    def facts(self) -> RunFacts:
        return self.row.facts

    @property
    def versus(self) -> Comparison | None:
        return self.row.versus

    @property
    def bounded(self) -> Comparison | None:
        """The comparison, if it has an interval."""
        return self.versus if self.versus is not None and self.versus.low is not None else None

    @property
    def summary(self) -> Summary:
        return self.cell.summary

    @property
    def interval(self) -> Summary | None:
        """The summary, if its interval means anything."""
        return None if self.section.smoke else self.summary


COLUMNS: Mapping[str, Callable[[_Line], object]] = {
    "preset": lambda one: one.cell.preset,
    "protocol": lambda one: one.cell.protocol,
    "form": lambda one: one.cell.form,
    "protocol_options": lambda one: protocol_options(one.section),
    "dataset": lambda one: one.cell.dataset,
    "setting": lambda one: one.cell.setting,
    "metric": lambda one: one.cell.metric,
    "selection": lambda one: "val",
    "method": lambda one: one.cell.method,
    "architecture": lambda one: one.cell.architecture,
    "difference_of_spec": lambda one: one.cell.difference,
    "pretrain_data": lambda one: one.cell.pretrain_data,
    "pretrain_fraction": lambda one: None if one.cell.is_scratch else one.cell.fraction,
    "evaluate_at": lambda one: None if one.cell.is_scratch else one.cell.at,
    "label_fraction": lambda one: one.cell.label_fraction,
    "changes_from_preset": lambda one: "; ".join(change.words for change in one.row.deviations),
    "numerics": lambda one: numerics(one.row),
    "n_seeds": lambda one: one.summary.n,
    "seeds": lambda one: " ".join(map(str, sorted({unit.seed for unit in one.cell.scores}))),
    "n_split_seeds": lambda one: one.summary.splits,
    "split_seeds": lambda one: " ".join(map(str, sorted({unit.split for unit in one.cell.scores}))),
    "lost_runs": lambda one: " ".join(f"{unit}:{what.replace(' ', '-')}" for unit, what in one.cell.lost.items()),
    "folds": lambda one: one.summary.folds,
    "n_objects": lambda one: one.cell.n_objects,
    "chance": lambda one: floor.chance if (floor := one.section.floors.get(one.cell.setting)) else None,
    "most_frequent_class": lambda one: floor.majority if (floor := one.section.floors.get(one.cell.setting)) else None,
    "votes": lambda one: one.cell.votes,
    "mean": lambda one: one.summary.mean,
    "low": lambda one: one.interval and one.interval.low,
    "high": lambda one: one.interval and one.interval.high,
    "half_width": lambda one: one.interval and one.interval.half_width,
    "min": lambda one: one.summary.minimum,
    "max": lambda one: one.summary.maximum,
    "seed_deviation": lambda one: one.summary.deviation,
    "fold_deviation_of_one_encoder": lambda one: one.summary.fold_deviation,
    "std_folds": lambda one: one.cell.components.folds,
    "std_seeds": lambda one: one.cell.components.seeds,
    "std_splits": lambda one: one.cell.components.splits,
    "std_rest": lambda one: one.cell.components.rest,
    "interval_over": lambda one: one.summary.error.over if one.interval and one.interval.low is not None else None,
    "scratch": lambda one: one.versus and one.versus.second,
    "paired_seeds": lambda one: one.versus and one.versus.n,
    "dropped_seeds": lambda one: one.versus and " ".join(map(str, one.versus.dropped)),
    "paired_difference": lambda one: one.versus and one.versus.difference,
    "paired_low": lambda one: one.versus and one.versus.low,
    "paired_high": lambda one: one.versus and one.versus.high,
    "paired_df": lambda one: one.bounded and one.bounded.df,
    "variance_moderated": lambda one: one.bounded and one.bounded.moderated,
    "p": lambda one: one.versus and one.versus.p,
    "p_holm": lambda one: one.versus and one.versus.p_holm,
    "verdict": lambda one: one.versus and one.versus.words,
    "holds_after_holm": lambda one: one.versus.survives_holm if one.versus and one.versus.shown else None,
    "seen_class_names": lambda one: None if one.cell.seen is None else len(one.cell.seen),
    "evaluated_class_names": lambda one: one.cell.seen_total,
    "seen_names": lambda one: None if one.cell.seen is None else "; ".join(one.cell.seen),
    "parameters": lambda one: one.facts.parameters,
    "flops_forward": lambda one: one.facts.flops,
    "feature": lambda one: one.facts.feature,
    "pretrain_seconds": lambda one: one.facts.pretrain_seconds,
    "evaluate_seconds": lambda one: one.facts.evaluate_seconds,
    "pretrain_cpu_seconds": lambda one: one.facts.pretrain_cpu_seconds,
    "evaluate_cpu_seconds": lambda one: one.facts.evaluate_cpu_seconds,
    "step_flops": lambda one: one.facts.step_flops,
    "stages": lambda one: one.card and "; ".join(one.card.stages),
    "modalities": lambda one: one.card and "; ".join(one.card.modalities),
    "how_class_names_are_seen": lambda one: one.card and one.card.sees_class_names,
    "release_splits": lambda one: one.card and one.card.release_splits,
    "deviations": lambda one: one.card and "; ".join(deviation_texts(one.card)),
    "older_code": lambda one: one.cell.older_code,
    "values_by_seed": lambda one: " ".join(f"{seed}:{value!r}" for seed, value in one.cell.means.items()),
    "run_keys": lambda one: " ".join(one.cell.runs.values()),
}
"""Value of each column; None where it does not apply."""


def cell_rows(model: ReportModel) -> Iterator[list[object]]:
    """Yield the values of `COLUMNS` for every cell."""
    cards = {line.name: line for line in model.methods}
    for section in model.sections:
        for row in section.rows:
            line = _Line(section, row, cards.get(row.cell.method))
            yield [value(line) for value in COLUMNS.values()]


def to_csv(model: ReportModel) -> str:
    """Return CSV with one line per cell.

    Fractions are at full precision; fields are empty where there is nothing to say.
    """
    return csv_text(list(COLUMNS), cell_rows(model))
