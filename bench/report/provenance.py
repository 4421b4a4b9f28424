"""Provenance of runs, and failed runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.report import quantities
from bench.report.document import NOTHING, Cell, Detail, Facts, Field, Fold, Part, Table
from bench.report.model import ReportModel
from bench.report.runs import NOT_RECORDED, Environment, RunLine

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


def failures(found: Sequence[RunLine]) -> Part:
    """Return failed runs as a part of the document."""
    return Part("Runs without a result", (Table.of("failures", FAILURE_FIELDS, found),), "failures")


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
