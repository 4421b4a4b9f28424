"""What ``bench db`` does: recreate the index from the folders, bring it up to date, and say how it stands."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from bench.errors import BenchError, SetupError
from bench.store import folders, index, scan
from bench.store.artifacts import ROOM, ArtifactStore
from bench.store.database import Database
from bench.store.failures import file_failure
from bench.store.leases import Holder, holders
from bench.store.scan import FAILED, RUNS, RebuildReport
from bench.store.schema import HEAD, LeaseTable, MetricTable, RunTable

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoreStatus:
    """How a results folder and its index stand.

    Attributes:
        results: Results folder.
        database: Path or URL (without password) of the index.
        revision: Schema revision of the index, None for an empty database.
        head: Schema revision this bench works with.
        problem: What is wrong with the index, or None.
        done: Finished runs in the index.
        failed: Failed attempts in the index.
        metrics: Numbers in the index.
        folders: Run folders on disk, finished and failed.
        quarantined: Folders and databases set aside.
        artifacts: Artefacts on disk by kind.
        leases: Recorded leases, dead holders included.
        sizes: Bytes of ``database``, ``runs``, ``failed``, ``artifacts`` and ``quarantine``.
    """

    results: Path
    database: str
    revision: str | None
    head: str
    problem: str | None
    done: int
    failed: int
    metrics: int
    folders: int
    quarantined: int
    artifacts: dict[str, int]
    leases: list[Holder] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)


def rebuild(results: Path, url: str | None = None) -> RebuildReport:
    """Recreate the index from the run folders, verifying every checksum.

    A readable database is rewritten in one transaction: others see the old index or the new one, and leases
    survive. An unreadable SQLite file is moved to quarantine and replaced, by one rename, with a new one that is
    already filled; leases survive as far as they can still be read from it.

    Args:
        results: Results folder.
        url: Database URL; None for ``bench.sqlite`` in the results folder.

    Raises:
        SetupError: There is no results folder, it cannot be written, the database is locked, or a newer bench
            wrote it.
    """
    results = Path(results).absolute()
    if not results.is_dir():
        raise SetupError(f"no results folder at '{results}'; give the right one with --results")
    if not os.access(results, os.W_OK | os.X_OK):
        raise SetupError(f"results folder '{results}' is read-only; rebuild its index where it is writable")
    return rebuild_database(Database(results, url))


def rebuild_database(database: Database) -> RebuildReport:
    """Recreate the index of an opened or damaged database (see `rebuild`)."""
    report = RebuildReport()
    missing = database.path is not None and not database.path.exists()
    damage = None if missing else database.damage()
    if damage is not None and database.path is None:
        raise damage
    if damage is not None:
        _replace(database, report)
    else:
        made: list[Session] = []

        def fill(session: Session) -> None:
            made.append(session)
            _rewrite(session, database.results, {}, report)

        database.open(fill)
        if not made:
            with database.read() as session:
                known = index.digests(session)
            entries = scan.walk(database.results, known, report, digests=True, skip_known=False)
            with database.write() as session:
                scan.reconcile(session, database.results, entries, report)
    report.quarantined += ArtifactStore(database.results).check()
    return report


def refresh(database: Database, *, digests: bool) -> RebuildReport:
    """Add rows of folders the index lacks, drop rows of folders that are gone, set damaged folders aside."""
    report = RebuildReport()
    with database.read() as session:
        known = index.digests(session)
    entries = scan.walk(database.results, known, report, digests=digests, skip_known=True)
    new = any(entry.record is not None for entry in entries)
    if new or len(entries) != len(known):
        with database.write() as session:
            scan.reconcile(session, database.results, entries, report)
    else:
        report.indexed = sum(entry.folder.startswith(f"{RUNS}/") for entry in entries)
        report.failed = len(entries) - report.indexed
    return report


def status(results: Path, url: str | None = None) -> StoreStatus:
    """Say how a results folder stands; an older index is left as it is.

    Raises:
        SetupError: There is no results folder.
    """
    results = Path(results).absolute()
    if not results.is_dir():
        raise SetupError(f"no results folder at '{results}'; give the right one with --results")
    database = Database(results, url, readonly=True)
    revision, problem, counts, held = None, None, (0, 0, 0), []
    try:
        if database.path is not None and not database.path.exists():
            problem = f"'{database.shown}' does not exist; 'bench db rebuild' creates it"
        elif (damage := database.damage()) is not None:
            problem = str(damage)
        else:
            revision = database.revision()
            if revision == HEAD:
                counts, held = _counts(database), holders(database)
            else:
                problem = f"schema revision {revision} is older than {HEAD}; the next 'bench run' upgrades it"
    except BenchError as error:
        problem = str(error)
    return StoreStatus(
        results=results,
        database=database.shown,
        revision=revision,
        head=HEAD,
        problem=problem,
        done=counts[0],
        failed=counts[1],
        metrics=counts[2],
        folders=sum(1 for _ in scan.run_folders(results)),
        quarantined=_set_aside_count(results),
        artifacts={kind.name: len(list(kind.glob("[!.]*/[!.]*"))) for kind in folders.subfolders(results / ROOM)},
        leases=held,
        sizes=_sizes(database),
    )


def _rewrite(session: Session, results: Path, known: dict[str, str], report: RebuildReport) -> None:
    entries = scan.walk(results, known, report, digests=True, skip_known=False)
    scan.reconcile(session, results, entries, report)


def _replace(database: Database, report: RebuildReport) -> None:
    """Set a damaged SQLite file aside and put a filled new one in its place."""
    assert database.path is not None
    salvaged, known = _salvage(database)
    with database.exclusive_lock():

        def fill(session: Session) -> None:
            _rewrite(session, database.results, known, report)
            if salvaged:
                session.execute(insert(LeaseTable), salvaged)

        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        kept = database.results / folders.QUARANTINE / f"{database.path.name}-{stamp}-{uuid.uuid4().hex[:8]}"
        try:
            kept.mkdir(parents=True)
            for path in [database.path, *database.companions()]:
                if path.exists():
                    _second_name(path, kept / path.name)
        except OSError as error:
            raise file_failure("set aside", database.path, error) from error
        database.create_file(fill)
        report.database_replaced = kept


def _second_name(path: Path, other: Path) -> None:
    """Keep a file under another name too, so that the old one stands until the new one replaces it."""
    try:
        other.hardlink_to(path)
    except OSError:
        shutil.copy2(path, other)  # A file system without hard links.


def _salvage(database: Database) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Read leases and manifest digests from a damaged database as far as possible."""
    leases: list[dict[str, Any]] = []
    known: dict[str, str] = {}
    try:
        leases = [vars(holder) for holder in holders(database)]
        with database.read() as session:
            known = index.digests(session)
    except BenchError as error:
        _log.debug("not everything of the damaged database could be read: %s", error)
    return leases, known


def _counts(database: Database) -> tuple[int, int, int]:
    with database.read() as session:
        grouped = session.execute(select(RunTable.status, func.count().label("n")).group_by(RunTable.status))
        by_status = {row.status: int(row.n) for row in grouped}
        metrics = session.execute(select(func.count()).select_from(MetricTable)).scalar_one()
    return by_status.get("done", 0), by_status.get("failed", 0), metrics


def _set_aside_count(results: Path) -> int:
    place = results / folders.QUARANTINE
    return sum(1 for path in place.rglob("*.reason.txt")) + sum(1 for path in place.glob("*.sqlite-*"))


def _sizes(database: Database) -> dict[str, int]:
    files = [] if database.path is None else [database.path, *database.companions()]
    sizes = {"database": sum(path.stat().st_size for path in files if path.exists())}
    for room in (RUNS, FAILED, ROOM, folders.QUARANTINE):
        sizes[room] = sum(path.stat().st_size for path in (database.results / room).rglob("*") if path.is_file())
    return sizes
