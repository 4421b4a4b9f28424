"""Provenance of runs, and failed runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.plan.skips import reasons_of
from bench.report import quantities, words
from bench.report.document import NOTHING, Cell, Detail, Facts, Field, Fold, Paragraph, Part, Table
from bench.report.model import ReportModel
from bench.report.runs import NOT_RECORDED, Environment, RescoredNumber, RunLine

MOST_GAPS = 1000
"""Entries of what was not run; a report of more is one of other studies beside each other."""
MISSING = (
    "Settings and seeds that other methods of the same table have: skipped because they do not apply, left out of the "
    "request, or still to be run. The reason is known of what a plan of this results folder skipped."
)
RUN_FIELDS: tuple[Field[RunLine], ...] = (
    Field("run", "run", lambda line: line.label),
    Field("seed", "seed", lambda line: line.seed),
    Field("key", "key", lambda line: Cell(line.run.key[:12], line.run.key, hover=line.run.key)),
    Field("fingerprint", "code", lambda line: _code(line)),
    Field("commit", "commit", lambda line: _commit(line)),
    Field("host", "host", lambda line: line.told("host") or NOTHING),
    Field("device", "device", lambda line: line.told("device") or NOTHING),
    Field("seconds", "seconds", lambda line: quantities.seconds(line.run.cost.get("evaluate_seconds"))),
    Field("finished", "finished", lambda line: line.told("finished") or NOTHING),
    Field("seed_streams", "seed streams", lambda line: line.told("seeds") or NOTHING),
)
FAILURE_FIELDS: tuple[Field[RunLine], ...] = (
    Field("run", "run", lambda line: line.label),
    Field("seed", "seed", lambda line: line.seed),
    Field("status", "status", lambda line: line.run.status),
    Field("reason", "reason", lambda line: _reason(line), below=True),
    Field("log", "log", lambda line: line.told("log") or NOTHING, below=True),
)


RESCORED = (
    "bench db rescore computed these from stored predictions with newer metric code. All tables have the new values; "
    "the old run folders are kept in rescored/."
)
RESCORED_FIELDS: tuple[Field[RescoredNumber], ...] = (
    Field("run", "run", lambda one: one.line.label),
    Field("seed", "seed", lambda one: one.line.seed),
    Field("number", "number", lambda one: one.number),
    Field("old", "old value", lambda one: Cell(f"{one.old:.4f}", one.old)),
    Field("metric_code", "by metric code", lambda one: Cell(str(one.code), one.code)),
    Field("new", "new value", lambda one: NOTHING if one.new is None else Cell(f"{one.new:.4f}", one.new)),
)


def _code(line: RunLine) -> Cell:
    code = line.run.fingerprint
    return Cell(f"{code[:8]}{' older' if line.older_code else ''}", code, hover=code)


def _commit(line: RunLine) -> str:
    changes = " + changes" if line.provenance.get("dirty") is True else ""
    return f"{(line.told('commit') or NOT_RECORDED)[:12]}{changes}"


def _reason(line: RunLine) -> Cell:
    """Return the first line of a reason; pages list all."""
    lines = tuple(line.reason.splitlines())
    return Cell(lines[0], line.reason, items=lines if len(lines) > 1 else ())


@dataclass(frozen=True)
class Gap:
    """Runs that others of their table have, and a method lacks.

    Attributes:
        table: Title of the table, and its preset.
        anchor: Anchor of the table.
        setting: Setting.
        method: Method.
        seeds: Seeds that were not run, in words; ``all`` where none was.
        reason: Why a plan skipped it; empty where none did.
    """

    table: str
    anchor: str
    setting: str
    method: str
    seeds: str
    reason: str = ""


GAP_FIELDS: tuple[Field[Gap], ...] = (
    Field("table", "table", lambda gap: gap.table),
    Field("setting", "setting", lambda gap: gap.setting),
    Field("method", "method", lambda gap: gap.method, whole=True),
    Field("seeds", "seeds not run", lambda gap: gap.seeds),
    Field("reason", "why", lambda gap: gap.reason, below=True),
)


def gaps(model: ReportModel) -> list[Gap]:
    """List what methods of a preset were not run with.

    Of headline tables: settings that other methods of the report have, and seeds that others of the setting have. What
    a plan skipped because it does not apply is among it: a method without text, say, in zero-shot.
    """
    methods: dict[str, dict[str, str]] = {}
    for section in model.shown:
        own = methods.setdefault(section.preset_words, {})
        own.update(
            (row.cell.label, row.cell.method) for row in section.rows if not row.cell.is_opponent and section.main
        )
    found = []
    for section in model.shown:
        if not section.main or section.smoke:
            continue
        title = f"{section.title}, {section.preset_words}"
        for setting in section.settings:
            rows = {row.cell.label: row.cell for row in section.rows if row.cell.setting == setting}
            every = {unit.seed for cell in rows.values() for unit in (*cell.scores, *cell.lost)}
            for label, method in methods[section.preset_words].items():
                cell = rows.get(label)
                own_seeds = {unit.seed for unit in (*cell.scores, *cell.lost)} if cell else set()
                if (lacking := every - own_seeds) and not (cell is not None and cell.is_single):
                    told = words.numbers(tuple(sorted(lacking))) if cell else "all"
                    asked = (method, section.protocol, section.dataset)
                    why = "" if cell else reasons_of(model.skipped, asked, setting, section.settings)
                    found.append(Gap(title, section.anchor, setting, label, told, why))
                    if len(found) == MOST_GAPS:
                        return found
    return found


def without_result(model: ReportModel) -> list[Part]:
    """Return failed runs, rescored numbers, and what was not run."""
    parts = []
    if model.failures:
        table = Table.of("failures", FAILURE_FIELDS, model.failures)
        parts.append(Part("Runs without a result", (table,), "failures"))
    if model.rescored:
        table = Table.of("rescored", RESCORED_FIELDS, model.rescored)
        parts.append(Part("Rescored numbers", (Paragraph(RESCORED, "soft"), table), "rescored"))
    if missing := gaps(model):
        told = Paragraph(MISSING, "soft")
        table = Table.of("missing", GAP_FIELDS, missing)
        parts.append(Part("Not run", (told, table), "missing", detail=Detail.PAGE))
    return parts


def part(model: ReportModel) -> Part:
    """Return the runs' provenance as a part, newest first."""
    runs, n = Table.of("runs", RUN_FIELDS, model.runs), model.environment.runs
    title = f"All {n} runs" if n <= runs.most else f"The newest {runs.most} of {n:,} runs; bench runs lists all"
    return Part("Provenance", (facts(model.environment), Fold(title, (runs,))), "provenance", detail=Detail.PAGE)


def facts(made: Environment) -> Facts:
    """Return what runs have in common, and differences."""
    versions = [f"{name} {version}" for name, version in made.versions]
    kinds = {
        "commits": made.commits,
        "hosts": made.hosts,
        "devices": made.devices,
        "machines": made.machines,
        "versions": versions,
    }
    return Facts(tuple((name, _joined(found)) for name, found in kinds.items()))


def _joined(found: Iterable[str]) -> str:
    return ", ".join(found) or NOT_RECORDED
