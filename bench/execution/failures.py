"""Failed runs as records: status, exception and log path, apart from the finished ones."""

from __future__ import annotations

from pathlib import Path

from bench.execution.provenance import commit
from bench.paths import Workspace
from bench.plan.graph import PlannedRun
from bench.store.records import RunRecord
from bench.store.store import Store


def store_failure(workspace: Workspace, store_url: str | None, run: PlannedRun, error: str, log: Path) -> None:
    """Store that a run failed, and why.

    Args:
        workspace: Results folder.
        store_url: Database URL, or None.
        run: The run.
        error: One line.
        log: The job's log.
    """
    revision, dirty = commit()
    record = RunRecord(
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
        },
        error=f"{error} (log: {log})",
    )
    Store(workspace.results, store_url).publish(record)
