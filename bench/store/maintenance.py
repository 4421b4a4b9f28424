"""Rebuild, upgrade and check the index (``bench db``)."""

from __future__ import annotations

import logging
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from bench.errors import BenchError, SetupError
from bench.store import folders, index, leases, scan
from bench.store.artifacts import ARTIFACTS, ArtifactStore
from bench.store.database import Condition, Database, ForeignDatabaseError
from bench.store.failures import DamagedDatabaseError, file_failure
from bench.store.files import shown
from bench.store.index import Head, IndexedRun
from bench.store.leases import Holder
from bench.store.scan import FAILED, RUNS, View
from bench.store.schema import VERSION, LeaseTable, MetricTable, RunTable
from bench.store.scratch import remove_abandoned
from bench.store.shared import Texts

_log = logging.getLogger(__name__)

AGAIN = "reruns"
"""Part of the results folder for further attempts of finished runs."""
WORK = "work"
"""Room for the saved state of unfinished jobs, each under the beginnings of its key and of its code fingerprint."""
_SAVED = re.compile("[0-9a-f]{16}-[0-9a-f]{16}")


@dataclass
class RebuildReport:
    """Findings of a rebuild.

    Attributes:
        indexed: Finished runs now in the index.
        failed: Failed attempts now in the index.
        quarantined: Damaged folders: their new place and what was wrong.
        skipped: Folders left where they are because they cannot be read here, with the reason.
        dropped: Index rows removed because their folder is gone.
        mended: Differences that were mended, in words; empty if index and folders agreed.
        database_replaced: Place of the damaged database file that was set aside, or None.
    """

    indexed: int = 0
    failed: int = 0
    quarantined: list[tuple[Path, str]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    dropped: int = 0
    mended: str = ""
    database_replaced: Path | None = None


@dataclass(frozen=True)
class StoreStatus:
    """State of a results folder and its index.

    Attributes:
        results: Results folder.
        database: Path or URL (without password) of the index.
        version: Version of the tables this bench works with.
        problem: Problem of the index, or None.
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
    version: int
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
    """Recreate the index from run folders, verifying every checksum.

    Whatever the index holds.

    The rows of this results folder are replaced in one transaction: others see the old index or the new one, and
    neither leases nor the rows of other results folders are touched. An SQLite file that is older or damaged is
    replaced, by one rename, with a new one that is already filled; leases survive as far as they can still be read
    from it, and a damaged file is kept in quarantine.

    Args:
        results: Results folder.
        url: Database URL; None for ``bench.sqlite`` in the results folder.

    Raises:
        SetupError: There is no results folder, it cannot be written, the database is locked, or a newer bench
            wrote it.
    """
    results = require_results(results)
    if not os.access(results, os.W_OK | os.X_OK):
        raise SetupError(f"results folder '{results}' is read-only; rebuild its index where it is writable")
    return rebuild_database(Database(results, url))


def rebuild_database(database: Database) -> RebuildReport:
    """Recreate a database's index (see `rebuild`)."""
    report = RebuildReport()
    sweep(database)
    try:
        condition, why = database.condition()
    except ForeignDatabaseError:
        if database.owner:
            raise
        condition, why = Condition.damaged, "it is another program's"
    if condition is Condition.current:
        try:
            _rewrite(database, report)
        except DamagedDatabaseError as error:
            if database.path is None:
                raise
            condition, why = Condition.damaged, error.found
    if condition is not Condition.current:
        if database.path is None:

            def filled(session: Session) -> None:
                fill(session, database, report)

            database.open(filled, _never)
        else:
            with database.exclusive_lock():
                replace_file(database, report, keep=condition is Condition.damaged)
        report.mended = report.mended or (why if condition is Condition.damaged else "")
    report.quarantined += ArtifactStore(database.results).check()
    return report


def refresh(database: Database, keys: Collection[str] | None = None, *, verify: bool = False) -> View:
    """Update the index from the folders; set nothing aside.

    Rows that agree are left as they are.

    Args:
        database: The index.
        keys: Only the runs of these keys; None for all.
        verify: Read every folder, every checksum verified.

    Raises:
        SetupError: The index cannot be read or written.
    """
    view = looked(database, keys=keys, verify=verify)
    indexed = view.indexed
    lost = [damage.folder.relative_to(database.results).as_posix() for damage in view.damaged]
    lost = [name for name in lost if name in indexed]
    if view.fresh or view.gone or lost or view.unlisted:
        with database.write() as session:
            for name in view.gone:
                if not (database.results / name).exists():
                    index.remove(session, database.owner, name)
            for name in lost:
                index.remove(session, database.owner, name)
            index.put(session, database.owner, view.fresh, view.new_texts)
            index.relist(session, view.unlisted)
    return view


def looked(
    database: Database,
    *,
    keys: Collection[str] | None = None,
    verify: bool = False,
    keep: bool = False,
    fits: scan.Fits | None = None,
    choose: scan.Choose | None = None,
) -> View:
    """Compare run folders with the index.

    See `bench.store.scan.look`.

    Raises:
        SetupError: The index cannot be read.
    """
    key = next(iter(keys)) if keys is not None and len(keys) == 1 else None
    texts = Texts()
    with database.read() as session:
        indexed = index.heads(session, database.owner, key)

    def complete(chosen: list[Head]) -> Iterator[IndexedRun]:
        # A separate transaction: one left open while folders are read would block writers.
        with database.read() as session:
            yield from index.complete(session, database.owner, chosen, texts)

    return scan.look(
        database.results,
        indexed,
        complete,
        keys=keys,
        verify=verify,
        keep=keep,
        fits=fits,
        choose=choose,
        texts=texts,
    )


def replace_file(database: Database, report: RebuildReport, *, keep: bool) -> None:
    """Replace a damaged or older SQLite file by another.

    The caller holds the exclusive lock.

    Args:
        database: The index.
        report: Receives what is found.
        keep: Whether the old file goes to quarantine.
    """
    assert database.path is not None
    salvaged = _salvage(database)
    kept = None
    if keep and database.path.exists():
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        kept = database.results / folders.QUARANTINE / f"{database.path.name}-{stamp}-{uuid.uuid4().hex[:8]}"
        try:
            kept.mkdir(parents=True)
            for path in [database.path, *database.companions()]:
                if path.is_file():
                    _second_name(path, kept / path.name)
        except OSError as error:
            raise file_failure("set aside", database.path, error) from error

    def filled(session: Session) -> None:
        fill(session, database, report)
        if salvaged:
            session.execute(insert(LeaseTable), [vars(one) for one in salvaged])

    database.create_file(filled)
    report.database_replaced = kept


def fill(session: Session, database: Database, report: RebuildReport | None = None) -> RebuildReport:
    """Fill a new database with the rows of all folders.

    Returns what was found.
    """
    report = report or RebuildReport()
    view = _verified(database, report, compare=False)
    index.remove(session, database.owner)
    index.put(session, database.owner, view.runs, view.new_texts, replacing=False)
    return report


def sweep(database: Database, cache: Path | None = None) -> int:
    """Remove what killed processes left; return how much.

    What a living process owns stays, and so does the saved state of unfinished jobs, which the next one takes up.

    Args:
        database: Index of the results folder.
        cache: Its cache, where that may be elsewhere.
    """
    results = database.results
    parents = [results, results / RUNS, results / FAILED, results / AGAIN, *folders.subfolders(results / ARTIFACTS)]
    removed = sum(map(remove_abandoned, parents)) + remove_abandoned(cache or results / "cache", deep=True)
    return removed + _remove_finished_work(database)


def _remove_finished_work(database: Database) -> int:
    """Delete checkpoints of jobs whose results are stored.

    Their process was killed before it could.
    """
    saved = [place for place in folders.subfolders(database.results / WORK) if _SAVED.fullmatch(place.name)]
    if not saved:
        return 0
    try:
        held = {(one.key[:16], one.key.rpartition(":")[2][:16]) for one in leases.living(database)}
    except BenchError as error:  # the caller rebuilds it
        _log.debug("saved states stay, leases cannot be read: %s", error)
        return 0
    stored: dict[str, list[Path]] = {}
    for parent in (RUNS, f"{ARTIFACTS}/encoder"):
        for place in folders.subfolders(database.results / parent):
            stored.setdefault(place.name[:16], []).append(place)
    removed = 0
    for place in saved:
        key, _, code = place.name.partition("-")
        if (key, code) not in held and any((one / code).is_dir() for one in stored.get(key, ())):
            shutil.rmtree(place, ignore_errors=True)
            removed += 1
    return removed


def status(results: Path, url: str | None = None) -> StoreStatus:
    """Return the state of a results folder; change nothing.

    Raises:
        SetupError: There is no results folder.
    """
    results = require_results(results)
    database = Database(results, url, readonly=True)
    problem, counts, held = None, (0, 0, 0), []
    try:
        condition, why = database.condition()
        if condition is Condition.current:
            counts, held = _counts(database), leases.holders(database)
            said = looked(database).disagreement()
            problem = f"it does not agree with the run folders: {said}; 'bench db rebuild' mends it" if said else None
        else:
            what = f"{condition.value}{why and f': {why}'}"
            problem = f"'{database.shown}' {what}; the next 'bench run' or 'bench db rebuild' makes it again"
    except BenchError as error:
        problem = str(error)
    return StoreStatus(
        results=results,
        database=database.shown,
        version=VERSION,
        problem=problem,
        done=counts[0],
        failed=counts[1],
        metrics=counts[2],
        folders=sum(1 for _ in scan.run_folders(results)),
        quarantined=_set_aside_count(results),
        artifacts={kind.name: len(list(kind.glob("[!.]*/[!.]*"))) for kind in folders.subfolders(results / ARTIFACTS)},
        leases=held,
        sizes=_sizes(database),
    )


def require_results(results: Path) -> Path:
    """Return the absolute path of an existing results folder.

    Raises:
        SetupError: There is none.
    """
    results = Path(results).absolute()
    if not results.is_dir():
        raise SetupError(f"no results folder at '{results}'; give the right one with --results")
    return results


def _rewrite(database: Database, report: RebuildReport) -> None:
    """Replace this results folder's rows in one transaction."""
    view = _verified(database, report, compare=True)
    report.mended = view.disagreement()
    report.dropped = len(view.gone)
    with database.write() as session:
        index.remove(session, database.owner)
        late = _late(database, view, report)
        texts = {name: text for run in late for name, text in (run.texts or {}).items()}
        index.put(session, database.owner, [*view.runs, *late], view.new_texts | texts, replacing=False)


def _verified(database: Database, report: RebuildReport, *, compare: bool) -> View:
    """Read every folder, compare rows, quarantine damaged folders."""
    view = looked(database, verify=True) if compare else scan.look(database.results, {}, verify=True)
    for damage in view.damaged:
        if (target := scan.set_aside(database.results, damage)) is not None:
            report.quarantined.append((target, damage.reason))
    report.skipped += [(folder, str(error)) for folder, error in view.refused]
    report.indexed = sum(run.status == "done" for run in view.runs)
    report.failed = len(view.runs) - report.indexed
    return view


def _late(database: Database, view: View, report: RebuildReport) -> list[IndexedRun]:
    """Return runs that were published while others were read."""
    known = {run.folder for run in view.runs} | {shown(folder) for folder, _ in view.refused}
    found = []
    for folder in scan.run_folders(database.results):
        if folder.relative_to(database.results).as_posix() not in known and shown(folder) not in known:
            try:
                found.append(scan.read_run(database.results, folder, series=False)[0])
            except (BenchError, OSError) as error:
                _log.debug("%s is left to the next command: %s", folder, error)
    report.indexed += sum(run.status == "done" for run in found)
    report.failed += sum(run.status == "failed" for run in found)
    return found


def _second_name(path: Path, other: Path) -> None:
    """Keep a file under another name until it is replaced."""
    try:
        other.hardlink_to(path)
    except OSError:
        shutil.copy2(path, other)  # A file system without hard links.


def _salvage(database: Database) -> list[Holder]:
    """Read living leases from a possibly damaged database."""
    if database.path is None or not database.path.is_file():
        return []
    try:
        old = Database(database.results, database.url, readonly=True)
        return leases.living(old)
    except BenchError as error:
        _log.debug("not every lease of the damaged database could be read: %s", error)
        return []


def _never(why: str) -> None:
    raise AssertionError(f"only a file is replaced: {why}")


def _counts(database: Database) -> tuple[int, int, int]:
    with database.read() as session:
        mine = RunTable.results == database.owner
        grouped = session.execute(select(RunTable.status, func.count()).where(mine).group_by(RunTable.status)).all()
        by_status = {str(name): int(count) for name, count in grouped}
        own = MetricTable.run_id.in_(select(RunTable.id).where(mine))
        metrics = session.execute(select(func.count()).select_from(MetricTable).where(own)).scalar_one()
    return by_status.get("done", 0), by_status.get("failed", 0), metrics


def _set_aside_count(results: Path) -> int:
    place = results / folders.QUARANTINE
    return sum(1 for path in place.rglob("*.reason.txt")) + sum(1 for path in place.glob("*.sqlite-*"))


def _sizes(database: Database) -> dict[str, int]:
    files = [] if database.path is None else [database.path, *database.companions()]
    sizes = {"database": sum(path.stat().st_size for path in files if path.exists())}
    for parent in (RUNS, FAILED, ARTIFACTS, folders.QUARANTINE):
        sizes[parent] = sum(path.stat().st_size for path in (database.results / parent).rglob("*") if path.is_file())
    return sizes
