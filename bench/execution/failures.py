"""Store failed runs as records, apart from finished ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.environment import quoted
from bench.paths import Workspace
from bench.plan.graph import PlannedRun
from bench.provenance import commit
from bench.store.records import RunRecord
from bench.store.store import Store


def store_failure(
    workspace: Workspace,
    store_url: str | None,
    run: PlannedRun,
    error: str,
    log: Path,
    command: Sequence[str],
    *,
    diverged: bool,
) -> None:
    """Store a failed run with its error.

    Args:
        workspace: Results folder.
        store_url: Database URL, or None.
        run: The run.
        error: One line.
        log: The job's log.
        command: The command line that asked for it, as typed and without secrets.
        diverged: Whether a number of its networks, or of those it needs, stopped being finite.
    """
    record = failed_record(run, error, log, command, diverged=diverged)
    Store(workspace.results, store_url).publish(record)


def failed_record(run: PlannedRun, error: str, log: Path, command: Sequence[str], *, diverged: bool) -> RunRecord:
    """Return the record of a failed run (see `store_failure`)."""
    revision, dirty = commit()
    return RunRecord(
        key=run.key,
        fingerprint=run.fingerprint.digest,
        status="failed",
        spec=run.spec.model_dump(mode="json"),
        label=run.label,
        provenance={
            "commit": revision,
            "dirty": dirty,
            "seeds": {"root": run.spec.seed, "split": run.spec.split_seed},
            "log": str(log),
            "command": quoted(command),
        },
        error=f"{error} (log: {log})",
        failure="diverged" if diverged else "failed",
    )
