"""Provenance of runs, and failed runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.report import quantities
from bench.report.document import NOTHING, Cell, Detail, Facts, Field, Fold, Part, Table
from bench.report.model import ReportModel
from bench.report.runs import NOT_RECORDED, Environment, Failure, RunLine

RUN_FIELDS: tuple[Field[RunLine], ...] = (
    Field("run", "run", lambda run: run.label),
    Field("seed", "seed", lambda run: run.seed),
    Field("key", "key", lambda run: Cell(run.key[:12], run.key, hover=run.key)),
    Field("fingerprint", "code", lambda run: _code(run)),
    Field("commit", "commit", lambda run: f"{run.commit[:12]}{' + changes' if run.dirty else ''}"),
    Field("host", "host", lambda run: run.host or NOTHING),
    Field("device", "device", lambda run: run.device or NOTHING),
    Field("seconds", "seconds", lambda run: quantities.seconds(run.seconds)),
    Field("finished", "finished", lambda run: run.finished or NOTHING),
    Field("seed_streams", "seed streams", lambda run: run.seeds or NOTHING),
)
FAILURE_FIELDS: tuple[Field[Failure], ...] = (
    Field("run", "run", lambda failure: failure.label),
    Field("seed", "seed", lambda failure: failure.seed),
    Field("status", "status", lambda failure: failure.status),
    Field("reason", "reason", lambda failure: _reason(failure), below=True),
    Field("log", "log", lambda failure: failure.log or NOTHING, below=True),
)


def _code(run: RunLine) -> Cell:
    return Cell(f"{run.fingerprint[:8]}{' older' if run.older_code else ''}", run.fingerprint, hover=run.fingerprint)


def _reason(failure: Failure) -> Cell:
    """Return the first line of a reason; the page lists all of them."""
    lines = tuple(failure.reason.splitlines())
    return Cell(lines[0], failure.reason, items=lines if len(lines) > 1 else ())


def failures(found: Sequence[Failure]) -> Part:
    """Return the runs without a result as a part of the document."""
    return Part("Runs without a result", (Table.of("failures", FAILURE_FIELDS, found),), "failures")


def part(model: ReportModel) -> Part:
    """Return what the runs were made with as a part of the document, the newest run first."""
    newest = sorted(model.runs, key=lambda run: run.finished, reverse=True)
    runs = Table.of("runs", RUN_FIELDS, newest)
    title = f"All {len(newest)} runs" if len(newest) <= runs.most else f"The newest {runs.most} of {len(newest):,} runs"
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
