"""Score stored predictions again with today's metric code."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import JsonValue

from bench.paths import Workspace
from bench.protocols.metric_code import METRIC_CODE
from bench.sharing.checking import Finding, malformed, numbers_of
from bench.stats.recomputed import Check
from bench.store import codec, folders, scan
from bench.store.codec import Content
from bench.store.failures import file_failure
from bench.store.maintenance import sweep
from bench.store.publish import sync_folder
from bench.store.queries import fitting, require_stored
from bench.store.records import RunRecord
from bench.store.store import Store

RESCORED = "rescored"
"""Part of the results folder for run folders as they were before they were scored again."""


@dataclass(frozen=True)
class Changed:
    """A number that today's metric code computes otherwise.

    Attributes:
        run: Folder of the run.
        name: Metric with variant and fold.
        old: Stored value.
        new: Value that today's code gives.
    """

    run: str
    name: str
    old: float
    new: float


@dataclass
class Rescored:
    """Result of scoring again.

    Attributes:
        runs: Runs whose numbers changed and were stored.
        unchanged: Runs whose numbers stay.
        changed: Numbers that changed.
        unverified: Runs whose predictions cannot be scored, with the reason.
        wrong: Runs of today's metric code whose numbers do not follow from their predictions; they stay as they are.
        restored: Runs that a killed command had left half done, and that were put back first.
    """

    runs: int = 0
    unchanged: int = 0
    changed: list[Changed] = field(default_factory=list)
    unverified: dict[str, str] = field(default_factory=dict)
    wrong: list[Finding] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)


def rescore(
    workspace: Workspace,
    store_url: str | None,
    labels: Mapping[str, Collection[str]] | None = None,
    *,
    keys: Collection[str] | None = None,
    dry_run: bool = False,
) -> Rescored:
    """Score stored predictions again; keep what they were.

    A run whose numbers change gets a new folder in the place of the old one, which moves to ``rescored/`` unchanged.
    Provenance of the new one holds the old values and the version that gave them. A run of today's metric code whose
    numbers do not follow was altered, and is named, not mended.

    Args:
        workspace: Results folder.
        store_url: Database URL, or None.
        labels: Only runs that have, of every label, one of these values.
        keys: Only the runs of these keys; None for all.
        dry_run: Change nothing; only say what would change.

    Raises:
        UsageError: No run has such labels.
        SetupError: The results folder cannot be read or written.
    """
    fits, found = fitting(labels or {}), Rescored()
    if not dry_run:
        found.restored = _put_back(workspace.results)
    store = Store.open_readonly(workspace.results, store_url) if dry_run else Store(workspace.results, store_url)
    if not dry_run:
        sweep(store.database)
    require_stored(store, labels or {})
    done = [run for run in store.runs() if run.status == "done" and fits(run.row)]
    for run in (run for run in done if keys is None or run.key in keys):
        try:
            _, content = scan.read_run(store.results, store.results / run.folder, series=True, keep=True)
        except OSError as error:
            raise file_failure("read", store.results / run.folder, error) from error
        _rescore(store, run.folder, content, found, dry_run=dry_run)
    if not dry_run and (found.runs or found.restored):
        store.refresh()
    return found


def _rescore(store: Store, name: str, content: Content, found: Rescored, *, dry_run: bool) -> None:
    numbers = numbers_of(content)
    if numbers.malformed:
        found.wrong.append(malformed(name, numbers))
        return
    if numbers.unreadable:
        found.unverified[name] = numbers.unreadable
        return
    off = [check for check in numbers.checks if not check.holds]
    if not off:
        found.unchanged += 1
        return
    record = content.record()
    if (odd := [check for check in off if check.at is None]) or scored_by(record) == METRIC_CODE:
        first = (odd or off)[0]
        words = f"{first.title} is stored as {first.stored:.6f}, but the predictions give {first.recomputed:.6f}"
        found.wrong.append(Finding(name, words))
        return
    found.runs += 1
    found.changed += [Changed(name, check.title, check.stored, check.recomputed) for check in off]
    if not dry_run:
        _replace(store, name, _with_new_values(record, off))


def scored_by(record: RunRecord) -> int:
    """Return the metric code of a run; 0 where an older bench stored none."""
    code = record.provenance.get("metric_code", 0)
    return code if isinstance(code, int) else 0


def _with_new_values(record: RunRecord, changed: list[Check]) -> RunRecord:
    """Return a run with new values, and the old ones in provenance."""
    values = {check.at: check.recomputed for check in changed}
    metrics = [
        row.model_copy(update={"value": values[at]}) if at in values else row for at, row in enumerate(record.metrics)
    ]
    before = record.provenance.get("rescored", [])
    old: dict[str, JsonValue] = {check.title: check.stored for check in changed}
    new: dict[str, JsonValue] = {check.title: check.recomputed for check in changed}
    entry: dict[str, JsonValue] = {"metric_code": scored_by(record), "values": old, "new": new}
    rescored: list[JsonValue] = [*(before if isinstance(before, list) else []), entry]
    return replace(
        record, metrics=metrics, provenance={**record.provenance, "metric_code": METRIC_CODE, "rescored": rescored}
    )


def _replace(store: Store, name: str, record: RunRecord) -> None:
    """Put a run's new folder in the place of the old one.

    The old one moves aside first; where a kill comes in between, `_put_back` puts it back.
    """
    destination = store.results / name
    above = store.results / RESCORED / destination.parent.name
    try:
        above.mkdir(parents=True, exist_ok=True)
        earlier = sum(other.startswith(f"{destination.name}-") for other in folders.names_in(above))
        staged = folders.stage(destination.parent.parent, codec.encode(record))
        try:
            folders.seal(staged, scan.KIND, record.key, record.fingerprint)
            destination.rename(above / f"{destination.name}-{earlier + 1}")
            staged.rename(destination)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
        for changed in (above, destination.parent):
            sync_folder(changed)
    except OSError as error:
        raise file_failure("write", destination, error) from error


def _put_back(results: Path) -> list[str]:
    """Restore runs whose new folder was not yet in place when a command was killed."""
    restored = []
    for above in folders.subfolders(results / RESCORED):
        kept: dict[str, int] = {}
        for name in folders.names_in(above):
            code, _, number = name.rpartition("-")
            if number.isdecimal():
                kept[code] = max(kept.get(code, 0), int(number))
        for code, last in kept.items():
            destination = results / scan.RUNS / above.name / code
            if not destination.exists():
                try:
                    destination.parent.mkdir(parents=True, exist_ok=True)
                    (above / f"{code}-{last}").rename(destination)
                except OSError as error:
                    raise file_failure("write", destination, error) from error
                restored.append(f"{scan.RUNS}/{above.name}/{code}")
    return restored
