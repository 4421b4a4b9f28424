"""The report as Markdown (for people and pull requests) and as CSV (for programs)."""

from __future__ import annotations

from collections.abc import Sequence

from bench.report import methods, scaling, selection, tables, transfer, tuning
from bench.report.markdown import escape, table
from bench.report.model import ReportModel, ReportRow, Section
from bench.report.summary import Sentence
from bench.stats.components import variance_components
from bench.stats.intervals import run_means
from bench.texts import csv_text

EMPTY = "No finished runs yet. Start with: bench run --method recon --protocol fewshot"

CSV_COLUMNS = (
    "preset",
    "protocol",
    "form",
    "protocol_options",
    "dataset",
    "setting",
    "metric",
    "selection",
    "method",
    "architecture",
    "difference_of_spec",
    "pretrain_data",
    "pretrain_fraction",
    "label_fraction",
    "changes_from_preset",
    "numerics",
    "n_seeds",
    "seeds",
    "n_split_seeds",
    "split_seeds",
    "lost_runs",
    "folds",
    "n_objects",
    "chance",
    "most_frequent_class",
    "votes",
    "mean",
    "low",
    "high",
    "half_width",
    "min",
    "max",
    "seed_deviation",
    "fold_deviation_of_one_encoder",
    "std_folds",
    "std_seeds",
    "std_splits",
    "std_rest",
    "interval_over",
    "scratch",
    "paired_seeds",
    "dropped_seeds",
    "paired_difference",
    "paired_low",
    "paired_high",
    "paired_df",
    "variance_moderated",
    "p",
    "p_holm",
    "verdict",
    "holds_after_holm",
    "seen_class_names",
    "evaluated_class_names",
    "seen_names",
    "parameters",
    "flops_forward",
    "feature",
    "pretrain_seconds",
    "evaluate_seconds",
    "pretrain_cpu_seconds",
    "evaluate_cpu_seconds",
    "step_flops",
    "stages",
    "modalities",
    "how_class_names_are_seen",
    "release_splits",
    "deviations",
    "older_code",
    "values_by_seed",
    "run_keys",
)
"""Columns of ``results.csv``. `verdict` is that of the interval alone, as in the tables; `holds_after_holm` says of one
that is shown whether it holds at `p_holm`, too, and is empty where none is shown."""


def cell_records(model: ReportModel) -> list[dict[str, object]]:
    """Return the values of `CSV_COLUMNS` of every cell; what does not apply is absent or None."""
    cards = {line.name: _card(line) for line in model.methods}
    lines = [(section, row) for section in model.sections for row in section.rows]
    return [_record(section, row) | cards.get(row.cell.method, {}) for section, row in lines]


def to_csv(model: ReportModel) -> str:
    """One line per cell, fractions at full precision; empty where there is nothing to say."""
    return csv_text(CSV_COLUMNS, ([record.get(name) for name in CSV_COLUMNS] for record in cell_records(model)))


def _card(line: methods.MethodLine) -> dict[str, object]:
    return {
        "stages": "; ".join(line.stages),
        "modalities": "; ".join(line.modalities),
        "how_class_names_are_seen": line.sees_class_names,
        "release_splits": line.release_splits,
        "deviations": "; ".join(methods.deviation_texts(line)),
    }


def _record(section: Section, row: ReportRow) -> dict[str, object]:
    cell, facts, versus = row.cell, row.facts, row.versus
    summary, components = cell.summary, variance_components(cell.scores)
    interval = not section.smoke
    floor = section.floors.get(cell.setting)
    record: dict[str, object] = {
        "preset": cell.preset,
        "protocol": cell.protocol,
        "form": cell.form,
        "protocol_options": tables.options(section),
        "dataset": cell.dataset,
        "setting": cell.setting,
        "metric": cell.metric,
        "selection": "val",
        "method": cell.method,
        "architecture": cell.architecture,
        "difference_of_spec": cell.difference,
        "pretrain_data": cell.pretrain_data,
        "pretrain_fraction": None if cell.is_scratch else cell.fraction,
        "label_fraction": cell.label_fraction,
        "changes_from_preset": "; ".join(one.words for one in row.deviations),
        "numerics": tables.numerics(row),
        "n_seeds": summary.n,
        "seeds": " ".join(map(str, sorted({unit.seed for unit in cell.scores}))),
        "n_split_seeds": summary.splits,
        "split_seeds": " ".join(map(str, sorted({unit.split for unit in cell.scores}))),
        "lost_runs": " ".join(f"{unit}:{what.replace(' ', '-')}" for unit, what in cell.lost.items()),
        "folds": summary.folds,
        "n_objects": cell.n_objects,
        "chance": None if floor is None else floor.chance,
        "most_frequent_class": None if floor is None else floor.majority,
        "votes": cell.votes,
        "mean": summary.mean,
        "low": summary.low if interval else None,
        "high": summary.high if interval else None,
        "half_width": summary.half_width if interval else None,
        "min": summary.minimum,
        "max": summary.maximum,
        "seed_deviation": summary.deviation,
        "fold_deviation_of_one_encoder": summary.fold_deviation,
        "std_folds": components.folds,
        "std_seeds": components.seeds,
        "std_splits": components.splits,
        "std_rest": components.rest,
        "interval_over": summary.error.over if interval and summary.low is not None else None,
        "seen_class_names": None if cell.seen is None else len(cell.seen),
        "evaluated_class_names": cell.seen_total,
        "seen_names": None if cell.seen is None else "; ".join(cell.seen),
        "parameters": facts.parameters,
        "flops_forward": facts.flops,
        "feature": facts.feature,
        "pretrain_seconds": facts.pretrain_seconds,
        "evaluate_seconds": facts.evaluate_seconds,
        "pretrain_cpu_seconds": facts.pretrain_cpu_seconds,
        "evaluate_cpu_seconds": facts.evaluate_cpu_seconds,
        "step_flops": facts.step_flops,
        "older_code": cell.older_code,
        "values_by_seed": " ".join(f"{seed}:{value!r}" for seed, value in run_means(cell.scores).items()),
        "run_keys": " ".join(cell.runs.values()),
    }
    if versus is not None:
        record |= {
            "scratch": versus.second,
            "paired_seeds": versus.n,
            "dropped_seeds": " ".join(map(str, versus.dropped)),
            "paired_difference": versus.difference,
            "paired_low": versus.low,
            "paired_high": versus.high,
            "paired_df": versus.df if versus.low is not None else None,
            "variance_moderated": versus.moderated if versus.low is not None else None,
            "p": versus.p,
            "p_holm": versus.p_holm,
            "verdict": versus.words,
            "holds_after_holm": versus.survives_holm if versus.shown else None,
        }
    return record


def to_markdown(model: ReportModel, summary: Sequence[Sentence]) -> str:
    """The whole report without plots and provenance of single runs."""
    parts = ["# Results", ""]
    if not model.sections:
        parts += [EMPTY, ""]
    parts += [f"- {escape(sentence.text)}" for sentence in summary] + [""] * bool(summary)
    for section in model.shown:
        parts += _section(section)
    parts += scaling.markdown(model) + transfer.markdown(model)
    if model.ledger:
        parts += [f"## {selection.TITLE}", "", escape(selection.EXPLAINED), ""]
        parts += [escape(selection.SMOKE_NOTE), ""] if selection.has_smoke(model.ledger) else []
        parts += [*table(*selection.table(model.ledger, model.deviations)), ""]
    parts += tuning.markdown(model.studies)
    if model.methods:
        body = [methods.line_texts(line) for line in model.methods]
        parts += ["## Methods in this report", "", *table(methods.HEADINGS, body), ""]
        parts += [f"- {escape(f'{line.name}: {line.paper}')}" for line in model.methods] + [""]
    if model.failures:
        head = ("run", "seed", "status", "reason", "log")
        failed = [(f.label, f.seed, f.status, f.reason.splitlines()[0], f.log) for f in model.failures]
        parts += ["## Runs without a result", "", *table(head, failed), ""]
    return "\n".join(parts).rstrip("\n") + "\n"


def _section(section: Section) -> list[str]:
    parts = [f"## {escape(tables.heading(section))}", ""]
    if section.smoke:
        parts += [f"**{tables.SMOKE_LINE}**", ""]
    for line in tables.told(section):
        parts += [escape(line), ""]
    if section.options:
        parts += [escape(f"Protocol: {tables.options(section)}."), ""]
    for line in tables.changes(section):
        parts += [escape(line), ""]
    columns = tables.columns(section)
    texts = [tables.row_texts(row, section) for row in section.rows]
    parts += [*table(list(columns.values()), [[text[name] for name in columns] for text in texts]), ""]
    parts += [f"- {escape(note)}" for note in tables.notes(section)]
    if section.pairs:
        body = [tables.pair_texts(pair) for pair in section.pairs]
        parts += ["", "Pretrained methods against each other:", "", *table(tables.PAIR_HEADINGS, body)]
        notes = tables.pair_notes(section)
        parts += [""] * bool(notes) + [f"- {escape(note)}" for note in notes]
    heads, candidates = tables.candidates(section)
    if candidates:
        parts += ["", f"Candidates. {tables.CANDIDATES_LINE}", "", *table(heads, candidates)]
    return [*parts, ""]
