"""Walk the run folders and bring the index into line with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session

from bench.errors import SetupError
from bench.store import codec, folders, index
from bench.store.failures import file_failure
from bench.store.folders import DamagedFolderError, Manifest
from bench.store.records import RunRecord

RUNS = "runs"
FAILED = "failed"
KIND = "run"


@dataclass
class RebuildReport:
    """What a walk over the run folders found.

    Attributes:
        indexed: Finished runs now in the index.
        failed: Failed attempts now in the index.
        quarantined: Damaged folders: their new place and what was wrong.
        skipped: Folders left where they are because a newer bench wrote them, with that reason.
        dropped: Index rows removed because their folder is gone.
        database_replaced: Place of the damaged database file that was set aside, or None.
    """

    indexed: int = 0
    failed: int = 0
    quarantined: list[tuple[Path, str]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    dropped: int = 0
    database_replaced: Path | None = None


@dataclass(frozen=True)
class Entry:
    """One sound run folder."""

    folder: str
    """Relative to the results folder, POSIX."""
    manifest: Manifest
    record: RunRecord | None
    """None where the index has it already and the walk was asked to skip those."""


def check_run(results: Path, folder: Path, known: str | None, *, digests: bool) -> Manifest:
    """Verify a run folder: its files, its place, and that it is still what was indexed.

    Args:
        results: Results folder.
        folder: Run folder below it.
        known: Manifest digest in the index, or None where it is not indexed.
        digests: Recompute checksums.

    Raises:
        DamagedFolderError: Something does not match.
        SetupError: A newer bench wrote it, or the system refuses to read it.
    """
    try:
        manifest = folders.verify(folder, digests=digests)
    except OSError as error:
        raise file_failure("read", folder, error) from error
    finished = folder.parent.parent == results / RUNS
    folders.check_place(folder, manifest, kind=KIND, by_fingerprint=finished)
    if known is not None and known != manifest.digest:
        raise DamagedFolderError(folder, f"{folders.MANIFEST} was altered after the run was indexed")
    return manifest


def read_run(results: Path, folder: Path, *, series: bool) -> RunRecord:
    """Decode a verified run folder and compare its status with its place.

    Raises:
        DamagedFolderError: A file does not hold what its name promises.
        SetupError: The system refuses to read it.
    """
    try:
        record = codec.decode(folder, series=series)
    except OSError as error:
        raise file_failure("read", folder, error) from error
    expected = "done" if folder.parent.parent == results / RUNS else "failed"
    if record.status != expected:
        raise DamagedFolderError(folder, f"record.json has status '{record.status}' in '{folder.parent.parent.name}'")
    return record


def run_folders(results: Path) -> Iterator[Path]:
    """Yield every run folder, finished ones first."""
    for room in (RUNS, FAILED):
        for key in folders.subfolders(results / room):
            yield from folders.subfolders(key)


def set_aside(results: Path, damage: DamagedFolderError) -> Path | None:
    """Move a damaged folder to quarantine; None where another process did.

    Raises:
        SetupError: It cannot be moved.
    """
    try:
        return folders.quarantine(results, damage.folder, damage.reason)
    except OSError as error:
        raise file_failure("move the damaged folder", damage.folder, error) from error


def walk(
    results: Path, known: Mapping[str, str], report: RebuildReport, *, digests: bool, skip_known: bool
) -> list[Entry]:
    """Check every run folder and move the damaged ones to quarantine.

    Args:
        results: Results folder.
        known: Manifest digests of the index by relative folder.
        report: Receives what was set aside or skipped.
        digests: Recompute checksums.
        skip_known: Do not decode folders whose row is in the index.

    Raises:
        SetupError: A damaged folder cannot be moved.
    """
    for room in (RUNS, FAILED):
        folders.remove_abandoned(results / room)
    entries = []
    for folder in run_folders(results):
        name = folder.relative_to(results).as_posix()
        try:
            manifest = check_run(results, folder, known.get(name), digests=digests)
            decoded = None if skip_known and name in known else read_run(results, folder, series=False)
            entries.append(Entry(name, manifest, decoded))
        except DamagedFolderError as damage:
            if (target := set_aside(results, damage)) is not None:
                report.quarantined.append((target, damage.reason))
        except SetupError as error:
            report.skipped.append((folder, str(error)))
    return entries


def reconcile(session: Session, results: Path, entries: list[Entry], report: RebuildReport) -> None:
    """Make the rows equal to the folders, in the caller's write transaction.

    A run that another process published after the walk has its row already and keeps it: only rows whose
    folder no longer exists are removed.
    """
    walked = {entry.folder for entry in entries}
    for name in index.digests(session):
        if name not in walked and not (results / name / folders.MANIFEST).exists():
            index.remove(session, name)
            report.dropped += 1
    for entry in entries:
        if entry.record is not None:
            index.put(session, entry.folder, entry.record, entry.manifest)
        if entry.folder.startswith(f"{RUNS}/"):
            report.indexed += 1
        else:
            report.failed += 1
