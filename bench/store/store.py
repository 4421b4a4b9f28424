"""The store: run folders, their index, and leases."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy.orm import Session

from bench.errors import SetupError
from bench.store import folders, index, leases, maintenance, scan
from bench.store.artifacts import ArtifactStore
from bench.store.database import BUSY_SECONDS, Condition, Database, NewerDatabaseError
from bench.store.failures import file_failure
from bench.store.files import shown
from bench.store.folders import DamagedFolderError
from bench.store.index import Head, IndexedRecord, IndexedRun, Row
from bench.store.leases import Holder, Lease
from bench.store.maintenance import RebuildReport
from bench.store.records import RunRecord
from bench.store.run_folders import destination_of, finished, place, stamp
from bench.store.scan import RUNS, View
from bench.store.shared import Texts

READER_BUSY_SECONDS = 5.0
_PUBLISHING_SECONDS = 1.5
"""Seconds that a reader waits for the rows of folders that were placed just now."""
_NAMED = 20
"""Most folders that are named one by one; more are only counted."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
SAID: set[tuple[Path, str]] = set()
"""Warnings of this process, with their results folders: a command may open one many times."""


@dataclass(frozen=True)
class StoredRun:
    """Location of a stored run.

    Attributes:
        key: Content key of the spec.
        fingerprint: Code fingerprint, whole.
        status: ``"done"`` or ``"failed"``.
        folder: Run folder, absolute.
        created_at: UTC time of storing, ISO 8601.
        manifest_sha256: SHA-256 of the folder's manifest when it was found.
    """

    key: str
    fingerprint: str
    status: Literal["done", "failed"]
    folder: Path
    created_at: str
    manifest_sha256: str


class Finished:
    """Finished runs of a results folder at one moment.

    Args:
        results: Results folder.
        view: State of its run folders.
    """

    def __init__(self, results: Path, view: View) -> None:
        self._refused = {
            folder.parent.name: refusal for folder, refusal in view.refused if folder.parent.parent == results / RUNS
        }
        self._codes = {key: {run.row.fingerprint for run in runs} for key, runs in view.by_key.items()}

    def has(self, key: str, fingerprint: str | None = None) -> bool:
        """Whether a run is stored and finished.

        Args:
            key: Content key.
            fingerprint: Code fingerprint (exact match), or None for any code.

        Raises:
            SetupError: A newer bench wrote a run of that key, or its folder cannot be read.
        """
        if key in self._refused:
            raise self._refused[key]
        codes = self._codes.get(key, ())
        return bool(codes) if fingerprint is None else fingerprint in codes


class Store:
    """Stored results of one results folder.

    Opened for writing, it creates the folder and its index where absent, and makes an index anew that is older or
    damaged. Opened for reading, it creates and changes nothing: where the index is missing, damaged or disagrees with
    the run folders, the folders are read, and a warning says so. Instances may be shared by threads and survive a fork.

    Attributes:
        results: Results folder, absolute.
        database: The index.
        artifacts: Pretrained encoders, teachers and features of this results folder.
        readonly: Whether nothing may be written.
        set_aside: Run folders found damaged and moved to quarantine through this object, with the reason.
    """

    def __init__(
        self, results: Path, url: str | None = None, *, readonly: bool = False, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        """Open the store (see the class).

        Args:
            results: Results folder.
            url: Database URL; None for ``bench.sqlite`` in the results folder.
            readonly: See `open_readonly`.
            busy_seconds: Seconds to wait for another process that locks the database.

        Raises:
            SetupError: The folder or the database cannot be used; one line says why and how to mend it.
            UsageError: The URL is wrong or its driver is missing.
        """
        self.results = Path(results).absolute()
        self.readonly = readonly
        self.set_aside: list[tuple[Path, str]] = []
        self.artifacts = ArtifactStore(self.results, readonly=readonly)
        self.database = Database(self.results, url, readonly=readonly, busy_seconds=busy_seconds)
        self._verify = self._keep = False
        self._keys: Collection[str] | None = None
        self._fits: scan.Fits | None = None
        self._choose: scan.Choose | None = None
        self._seen: View | None = None
        self._taken: dict[str, IndexedRun] = {}
        if readonly:
            maintenance.require_results(self.results)
        else:
            make_writable(self.results)
            self.database.open(self._fill, self._replace)

    @classmethod
    def open_readonly(
        cls,
        results: Path,
        url: str | None = None,
        *,
        keys: Collection[str] | None = None,
        verify: bool = False,
        keep: bool = False,
        fits: scan.Fits | None = None,
        choose: scan.Choose | None = None,
    ) -> Store:
        """Open for reading: nothing is created, moved or changed.

        A read-only file system will do.

        Everything is looked at once, at the first question; later ones see the same.

        Args:
            results: Results folder.
            url: Database URL; None for ``bench.sqlite`` in the results folder.
            keys: Only the runs of these keys; None for all.
            verify: Believe nothing of the index: read every run folder, every checksum verified.
            keep: Keep what is read of a folder, so that `load` need not read it again.
            fits: Says by its labels whether a row of the index may be wanted (`bench.store.queries.fitting`).
            choose: Picks the rows that are wanted, of those that fit; the folders of others are not looked at. Runs
                that the index does not know are read and returned, whatever they are.

        Raises:
            SetupError: There is no results folder, or a newer bench wrote its index.
        """
        store = cls(results, url, readonly=True, busy_seconds=READER_BUSY_SECONDS)
        store._keys, store._verify, store._keep = keys, verify, keep
        store._fits, store._choose = (None, None) if verify else (fits, choose)
        return store

    def runs(self) -> list[IndexedRun]:
        """Return all undamaged runs, finished and failed, oldest first.

        A writer brings the index into line with the folders on the way, and sets damaged folders aside.

        Raises:
            SetupError: The store cannot be read.
        """
        return self._current().runs

    def others(self) -> list[Head]:
        """Return heads of runs that were not chosen, unordered.

        See `open_readonly`.
        """
        return self._current().others

    def heads(self) -> list[Head | Row]:
        """Return the head of every run, chosen or not."""
        return [*(run.row for run in self.runs()), *self.others()]

    def texts(self) -> Texts:
        """Return the texts that the rows of `runs` name."""
        return self._current().texts

    def record(self, run: IndexedRun) -> RunRecord:
        """Return a run's record from the index.

        Predictions and curves are read from its folder when they are used.

        Raises:
            DamagedFolderError: Predictions or curves were asked for, and the folder is incomplete or was altered.
        """
        return IndexedRecord(run, self.texts(), self._load)

    def forget(self) -> None:
        """Free what was looked at; the next question looks again.

        Records that were given out keep what they need.
        """
        self._seen, self._taken = None, {}

    def publish(self, record: RunRecord) -> StoredRun:
        """Store a run: folder by one rename, then rows.

        A finished run whose key and fingerprint are stored already is discarded in favour of the earlier one.
        Failed attempts are stored apart, each under its own time.

        Raises:
            SetupError: It cannot be written (full disk, read-only place); nothing half-written is left. Where only
                the index failed, the line says that the run itself is safe.
            ValueError, TypeError: The record is not complete or holds what cannot be stored; nothing is written.
        """
        if self.readonly:
            raise SetupError(f"results folder '{self.results}' was opened for reading only")
        destination = destination_of(self.results, record)
        place(record, destination, self._set_aside)
        try:
            return self.stored(self._index(destination))
        except (SetupError, OSError) as error:
            raise SetupError(f"the run is safe in '{destination}' but not indexed yet: {error}") from error

    def publish_again(self, record: RunRecord) -> Path:
        """Store another attempt of a finished run beside it.

        No table shows it, and nothing is overwritten.

        Returns:
            Its folder, complete by one rename.

        Raises:
            SetupError: It cannot be written; nothing half-written is left.
        """
        if self.readonly:
            raise SetupError(f"results folder '{self.results}' was opened for reading only")
        destination = self.results / maintenance.AGAIN / folders.path_part(record.key, "key") / stamp()
        place(record, destination, self._set_aside)
        return destination

    def find(self, key: str, fingerprint: str | None = None) -> StoredRun | None:
        """Return a finished run, or None.

        The folders decide; the index is mended where it lacks a sound folder.

        Args:
            key: Content key.
            fingerprint: Code fingerprint (exact match), or None for the newest of any code.

        Returns:
            The run, or None. A damaged folder is moved to quarantine, reported by a warning and in `set_aside`,
            and counts as absent. Failed attempts are never returned.

        Raises:
            SetupError: The store cannot be read, or a newer bench wrote the folder.
        """
        folders.path_part(key, "key")
        if fingerprint is not None:
            folders.path_part(fingerprint, "fingerprint")
        if (
            fingerprint is not None
            and not self.readonly
            and not os.path.lexists(finished(self.results, key, fingerprint))
        ):
            return None
        view = self._view() if self.readonly else self._mend(key)
        for folder, refusal in view.refused:
            if folder.parent == self.results / RUNS / key:
                raise refusal
        found = [run for run in view.by_key.get(key, ()) if fingerprint in (None, run.row.fingerprint)]
        return self.stored(found[-1]) if found else None

    def finished(self) -> Finished:
        """Look all finished runs up at once, to ask for many.

        Index and damaged folders are treated as by `runs`.

        Raises:
            SetupError: The store cannot be read.
        """
        return Finished(self.results, self._current())

    def load(self, stored: StoredRun) -> RunRecord:
        """Read a whole run, verifying every checksum.

        Predictions and curves too.

        Raises:
            DamagedFolderError: It is incomplete or was altered; a writer moved it to quarantine and removed its rows.
            SetupError: It cannot be read, or the index said something else of it.
        """
        return self._whole(stored, self._row_of(stored))

    def _load(self, run: IndexedRun) -> RunRecord:
        """Read a run whole, as its row says it is."""
        return self._whole(self.stored(run), run)

    def _whole(self, stored: StoredRun, taken: IndexedRun | None) -> RunRecord:
        name = stored.folder.relative_to(self.results).as_posix()
        if self._seen is not None and name in self._seen.records:
            return self._seen.records[name]
        try:
            run, content = scan.read_run(self.results, stored.folder, series=True, keep=True)
        except DamagedFolderError as damage:
            target = None if self.readonly else self._set_aside(damage)
            if target is None:
                raise
            raise DamagedFolderError(
                damage.folder, damage.reason, f"moved to '{target}'; bench run with the same request makes it again"
            ) from damage
        except OSError as error:
            raise file_failure("read", stored.folder, error) from error
        if self.stored(run) != stored or not (taken is None or index.same(taken, run)):
            raise SetupError(
                f"run '{name}' differs from its row in the index; mend the index with 'bench db rebuild', then run the "
                "same command again"
            )
        return content.record()

    def refresh(self, *, verify: bool = False) -> RebuildReport:
        """Update the index from the folders.

        Add missing runs, drop vanished ones, set damaged ones aside.

        Args:
            verify: Read every folder, every checksum verified; otherwise those whose files have other sizes, times or
                inodes than when they were indexed, which takes well under a millisecond per run.

        Raises:
            SetupError: The store cannot be written.
        """
        before = len(self.set_aside)
        view = self._mend(None, verify=verify)
        done = sum(run.status == "done" for run in view.runs)
        return RebuildReport(
            indexed=done,
            failed=len(view.runs) - done,
            quarantined=self.set_aside[before:],
            skipped=[(folder, str(error)) for folder, error in view.refused],
            dropped=len(view.gone),
            mended=view.disagreement(),
        )

    def tidy(self, cache: Path | None = None) -> Finished:
        """Update the index; remove what killed processes left.

        Called once a command.

        Args:
            cache: Cache of the results folder, where that may be elsewhere.

        Returns:
            The finished runs.

        Raises:
            SetupError: The store cannot be written.
        """
        maintenance.sweep(self.database, cache)
        leases.remove_dead(self.database)
        view = self._mend(None)
        if said := view.disagreement():
            _log.warning("the index did not agree with the run folders: %s; mended from the folders", said)
        self._name(view)
        return Finished(self.results, view)

    def rebuild(self) -> RebuildReport:
        """Recreate the index (see `bench.store.maintenance.rebuild`).

        Every checksum is verified.
        """
        return maintenance.rebuild_database(self.database)

    def lease(self, kind: str, key: str, note: str = "") -> Lease | None:
        """Claim a piece of work (see `bench.store.leases.claim`).

        None where a living process holds it.
        """
        return leases.claim(self.database, kind, key, note)

    def holder(self, kind: str, key: str) -> Holder | None:
        """Return the living holder of a lease, or None."""
        return leases.holder(self.database, kind, key)

    def wait_for(
        self,
        kind: str,
        key: str,
        on_wait: Callable[[Holder, float], None] | None = None,
        *,
        timeout: float | None = None,
    ) -> bool:
        """Wait until no living process holds a lease (see `bench.store.leases.wait_for`)."""
        return leases.wait_for(self.database, kind, key, on_wait, timeout=timeout)

    def stored(self, run: IndexedRun) -> StoredRun:
        """Return the location of an indexed run."""
        row = run.row
        place = Path(f"{self.results}/{row.folder}")
        return StoredRun(row.key, row.fingerprint, run.status, place, row.created_at, row.manifest_sha256)

    def _view(self) -> View:
        """Scan everything once; warn where the index is wrong."""
        if self._seen is None:
            view, unusable = self._looked()
            until = time.monotonic() + _PUBLISHING_SECONDS
            while not unusable and time.monotonic() < until and any(map(self._young, view.missing)):
                # A run that is being published has its folder before its row.
                time.sleep(0.05)
                later = self._indexed()
                view.missing = [name for name in view.missing if name not in later]
            if unusable and view.runs:
                self._warn(f"index {unusable}; read {len(view.runs)} run folders instead")
            elif not unusable and (said := view.disagreement()):
                self._warn(
                    f"index '{shown(self.database.shown)}' does not agree with the run folders: {said}; "
                    "took the folders, 'bench db rebuild' mends it"
                )
            for damage in self._first(view.damaged):
                name = shown(damage.folder.relative_to(self.results))
                self._warn(f"left out {name}: {damage.reason}; 'bench db rebuild' sets it aside")
            self._name(view)
            view.indexed = {}  # Nothing asks for it again, and there may be 100,000.
            self._seen = view
        return self._seen

    def _current(self) -> View:
        return self._view() if self.readonly else self._mend(None)

    def _young(self, name: str) -> bool:
        try:
            return abs(time.time() - (self.results / name).lstat().st_ctime) < 10 * _PUBLISHING_SECONDS
        except OSError:
            return False

    def _indexed(self) -> set[str]:
        """Return the folders that have rows now."""
        with self.database.read() as session:
            return set(index.heads(session, self.database.owner))

    def _looked(self) -> tuple[View, str]:
        """Scan everything; say why the index is unusable, if so."""
        looking: dict[str, Any] = {
            "keys": self._keys,
            "verify": self._verify,
            "keep": self._keep,
            "fits": self._fits,
            "choose": self._choose,
        }
        words = self._unusable(looking)
        if isinstance(words, View):
            return words, ""
        return scan.look(self.results, {}, **looking), words

    def _unusable(self, looking: dict[str, Any]) -> View | str:
        """Scan with the index, or return why it is unusable."""
        try:
            condition, why = self.database.condition()
            if condition is Condition.current:
                return maintenance.looked(self.database, **looking)
            words = f"{condition.value}{why and f' ({why})'}"
        except NewerDatabaseError:
            raise
        except SetupError as error:
            if self.database.path is None:
                raise
            return f"cannot be used: {error}"
        return f"'{shown(self.database.shown)}' {words}"

    def _mend(self, key: str | None, *, verify: bool = False) -> View:
        """Update the index from folders; set damaged ones aside."""
        view = maintenance.refresh(self.database, None if key is None else [key], verify=verify)
        for damage in view.damaged:
            self._set_aside(damage)
        return view

    def _name(self, view: View) -> None:
        """Warn of folders that are left in place."""
        for _, refusal in self._first(view.refused):
            self._warn(f"left out: {refusal}")

    def _first(self, found: list[_T]) -> list[_T]:
        """Return the first few findings; warn how many are left."""
        if len(found) > _NAMED:
            self._warn(f"{len(found)} run folders are left out, the first {_NAMED} of them:")
        return found[:_NAMED]

    def _warn(self, text: str) -> None:
        """Warn of a fact of this folder once, however often a command reads it."""
        if (self.results, text) not in SAID:
            SAID.add((self.results, text))
            _log.warning("%s", text)

    def _row_of(self, stored: StoredRun) -> IndexedRun | None:
        """Return what was taken from the index for a run's folder."""
        if self._seen is not None and len(self._taken) != len(self._seen.runs):
            self._taken = {one.folder: one for one in self._seen.runs}
        return self._taken.get(stored.folder.relative_to(self.results).as_posix())

    def _index(self, folder: Path) -> IndexedRun:
        """Write a folder's rows unless they exist.

        The folder, not the caller's record, is what gets indexed: it is what later readers will verify.
        """
        run, _ = scan.read_run(self.results, folder, series=False)
        with self.database.write() as session:
            index.put(session, self.database.owner, [run], run.texts or {})
        return run

    def _set_aside(self, damage: DamagedFolderError) -> Path | None:
        target = scan.set_aside(self.results, damage)
        if target is not None:
            _log.warning("set aside '%s': %s; now '%s'", shown(damage.folder), damage.reason, shown(target))
            self.set_aside.append((target, damage.reason))
        with self.database.write() as session:
            if not damage.folder.exists():
                index.remove(session, self.database.owner, damage.folder.relative_to(self.results).as_posix())
        return target

    def _fill(self, session: Session) -> None:
        self._report(maintenance.fill(session, self.database))

    def _replace(self, why: str) -> None:
        _log.warning("index '%s' %s; made again from the run folders", shown(self.database.shown), why)
        report = RebuildReport()
        maintenance.replace_file(self.database, report, keep=Condition.damaged.value in why)
        self._report(report)

    def _report(self, report: RebuildReport) -> None:
        for target, reason in report.quarantined:
            _log.warning("set aside a run folder: %s; now '%s'", reason, shown(target))
        for _, reason in report.skipped:
            _log.warning("left out: %s", reason)
        self.set_aside += report.quarantined


def make_writable(results: Path) -> None:
    """Create the results folder and check that it is writable.

    Raises:
        SetupError: It is read-only, on a full disk, or not a folder.
    """
    if results.exists() and not results.is_dir():
        raise SetupError(f"results folder '{results}' is a file; choose a folder with --results")
    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise file_failure("create", results, error) from error
    if not os.access(results, os.W_OK | os.X_OK):
        raise SetupError(f"results folder '{results}' is read-only; make it writable or choose another with --results")
