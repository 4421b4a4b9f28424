"""Records of failed runs, and the store that takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.environment import quoted
from bench.plan.graph import PlannedRun
from bench.provenance import commit
from bench.store.records import RunRecord
from bench.store.run_folders import RunFolders, WorkerStore
from bench.store.store import Store


def open_store(results: Path, url: str | None, *, indexes: bool) -> WorkerStore:
    """Open a results folder for writing.

    Args:
        results: The folder.
        url: Database URL, or None.
        indexes: Whether runs are indexed; without it, only folders are written.
    """
    return Store(results, url) if indexes else RunFolders(results)


def failed_record(run: PlannedRun, error: str, log: Path, command: Sequence[str], *, diverged: bool) -> RunRecord:
    """Return the record of a failed run.

    Args:
        run: The run.
        error: One line.
        log: The job's log.
        command: The command line that asked for it, as typed and without secrets.
        diverged: Whether a number of its networks, or of those it needs, stopped being finite.
    """
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
