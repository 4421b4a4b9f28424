"""The store: run folders as the truth, an index beside them, and leases that keep work single."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import JsonValue
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from bench.errors import SetupError
from bench.store import codec, folders, index, leases, maintenance, scan
from bench.store.artifacts import ArtifactStore
from bench.store.database import BUSY_SECONDS, Database
from bench.store.failures import file_failure
from bench.store.folders import DamagedFolderError, Manifest
from bench.store.leases import Holder, Lease
from bench.store.records import RunRecord
from bench.store.scan import FAILED, RUNS, RebuildReport

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredRun:
    """Where a run lies.

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


class Store:
    """Results of one results folder.

    Opening creates the folder and its index where absent, upgrades an older index, and indexes run folders that
    are there when the index is new. Instances may be shared by threads and survive a fork.

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
        """Open (see the class).

        Args:
            results: Results folder.
            url: Database URL; None for ``bench.sqlite`` in the results folder.
            readonly: See `open_readonly`.
            busy_seconds: How long to wait for another process that holds the database.

        Raises:
            SetupError: The folder or the database cannot be used; one line says why and how to mend it.
            UsageError: The URL is wrong or its driver is missing.
        """
        self.results = Path(results).absolute()
        self.readonly = readonly
        self.set_aside: list[tuple[Path, str]] = []
        if not readonly:
            make_writable(self.results)
        self.artifacts = ArtifactStore(self.results)
        self.database = Database(self.results, url, readonly=readonly, busy_seconds=busy_seconds)
        self.database.open(self._fill)

    @classmethod
    def open_readonly(cls, results: Path, url: str | None = None) -> Store:
        """Open for reports: nothing is created, moved or upgraded, a read-only file system will do.

        Raises:
            SetupError: There is nothing to read, or it cannot be read as it is.
        """
        return cls(results, url, readonly=True)

    def publish(self, record: RunRecord) -> StoredRun:
        """Store a run: a complete folder by one rename, then its rows.

        A finished run whose key and fingerprint are stored already is discarded in favour of the earlier one.
        Failed attempts are stored apart, each under its own time.

        Raises:
            SetupError: It cannot be written (full disk, read-only place); nothing half-written is left. Where only
                the index failed, the line says that the run itself is safe.
            ValueError, TypeError: The record is not complete or holds what cannot be stored; nothing is written.
        """
        if self.readonly:
            raise SetupError(f"results folder '{self.results}' was opened for reading only")
        files = codec.encode(record)
        destination = self._destination(record)
        try:
            staged = folders.stage(destination.parent.parent, files)
            try:
                manifest = folders.seal(staged, scan.KIND, record.key, record.fingerprint)
                placed = folders.place(staged, destination, self._set_aside)
            except BaseException:
                shutil.rmtree(staged, ignore_errors=True)
                raise
            if not placed:
                manifest = folders.read_manifest(destination)
        except OSError as error:
            raise file_failure("write", destination, error) from error
        stored = self._stored(destination, manifest)
        try:
            self._index(stored, manifest)
        except SetupError as error:
            raise SetupError(f"the run is safe in '{destination}' but not indexed yet: {error}") from error
        return stored

    def find(self, key: str, fingerprint: str | None = None) -> StoredRun | None:
        """Return a finished run.

        The folders decide; the index is mended where it lacks a sound folder or lists one that is gone.

        Args:
            key: Content key.
            fingerprint: Code fingerprint (exact match), or None for the newest of any code.

        Returns:
            The run, or None. A damaged folder is moved to quarantine, reported by a warning and in `set_aside`,
            and counts as absent. Failed attempts are never returned.

        Raises:
            SetupError: The store cannot be read, or a newer bench wrote the folder.
        """
        room = self.results / RUNS / folders.path_part(key, "key")
        names = None if fingerprint is None else {folders.path_part(fingerprint, "fingerprint")[: folders.SHORT]}
        with self.database.read() as session:
            known = index.digests(session, key)
        sound: list[StoredRun] = []
        for folder in folders.subfolders(room):
            if names is not None and folder.name not in names:
                continue
            name = folder.relative_to(self.results).as_posix()
            try:
                manifest = scan.check_run(self.results, folder, known.get(name), digests=False)
                if fingerprint not in (None, manifest.fingerprint):
                    continue
                stored = self._stored(folder, manifest)
                if name not in known and not self.readonly:
                    self._index(stored, manifest)
                sound.append(stored)
            except DamagedFolderError as damage:
                self._set_aside(damage)
        self._forget_missing(known)
        return max(sound, key=lambda run: run.created_at, default=None)

    def load(self, stored: StoredRun) -> RunRecord:
        """Read a whole run (predictions and curves too) after verifying every checksum.

        Raises:
            DamagedFolderError: It is incomplete or was altered; it was moved to quarantine and its rows removed.
            SetupError: It cannot be read.
        """
        try:
            scan.check_run(self.results, stored.folder, stored.manifest_sha256, digests=True)
            return scan.read_run(self.results, stored.folder, series=True)
        except DamagedFolderError as damage:
            target = self._set_aside(damage)
            if target is None:
                raise
            raise DamagedFolderError(
                damage.folder, damage.reason, f"moved to '{target}'; bench run with the same request makes it again"
            ) from damage

    def spec(self, stored: StoredRun) -> dict[str, JsonValue]:
        """Read what a run was asked to do, and verify nothing: for lists of runs.

        Raises:
            DamagedFolderError: It is missing or unreadable; nothing is moved.
        """
        return codec.decode_spec(stored.folder)

    def refresh(self, *, digests: bool = False) -> RebuildReport:
        """Bring the index into line with the folders: add missing runs, drop vanished ones, set damaged ones aside.

        Args:
            digests: Recompute checksums; otherwise presence and sizes are compared, which takes well under a
                millisecond per run.

        Raises:
            SetupError: The store cannot be written.
        """
        return maintenance.refresh(self.database, digests=digests)

    def rebuild(self) -> RebuildReport:
        """Recreate the index from the folders, every checksum verified (see `bench.store.maintenance.rebuild`)."""
        return maintenance.rebuild_database(self.database)

    def lease(self, kind: str, key: str, note: str = "") -> Lease | None:
        """Claim a piece of work; None where a living process holds it (see `bench.store.leases.claim`)."""
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

    def _destination(self, record: RunRecord) -> Path:
        key = folders.path_part(record.key, "key")
        fingerprint = folders.path_part(record.fingerprint, "fingerprint")
        if record.status == "done":
            return self.results / RUNS / key / fingerprint[: folders.SHORT]
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        return self.results / FAILED / key / f"{stamp}-{uuid.uuid4().hex[:8]}"

    def _stored(self, folder: Path, manifest: Manifest) -> StoredRun:
        status: Literal["done", "failed"] = "done" if folder.parent.parent == self.results / RUNS else "failed"
        return StoredRun(manifest.key, manifest.fingerprint, status, folder, manifest.created_at, manifest.digest)

    def _index(self, stored: StoredRun, manifest: Manifest) -> None:
        """Write the rows of a folder unless they are there.

        The folder, not the caller's record, is what gets indexed: it is what later readers will verify.
        """
        record = scan.read_run(self.results, stored.folder, series=False)
        name = stored.folder.relative_to(self.results).as_posix()
        try:
            with self.database.write() as session:
                if index.digests(session, stored.key).get(name) != manifest.digest:
                    index.put(session, name, record, manifest)
        except IntegrityError:
            # On a server two processes may insert the same folder at once; the other one's rows are the same.
            _log.debug("%s was indexed by another process", name)

    def _forget_missing(self, known: dict[str, str]) -> None:
        gone = [name for name in known if not (self.results / name).exists()]
        if gone and not self.readonly:
            with self.database.write() as session:
                for name in gone:
                    if not (self.results / name).exists():
                        index.remove(session, name)

    def _set_aside(self, damage: DamagedFolderError) -> Path | None:
        if self.readonly:
            _log.warning("%s; 'bench db rebuild' sets it aside", damage)
            return None
        target = scan.set_aside(self.results, damage)
        if target is not None:
            _log.warning("set aside '%s': %s; now '%s'", damage.folder, damage.reason, target)
            self.set_aside.append((target, damage.reason))
        with self.database.write() as session:
            if not damage.folder.exists():
                index.remove(session, damage.folder.relative_to(self.results).as_posix())
        return target

    def _fill(self, session: Session) -> None:
        report = RebuildReport()
        entries = scan.walk(self.results, {}, report, digests=True, skip_known=False)
        scan.reconcile(session, self.results, entries, report)
        for target, reason in report.quarantined:
            _log.warning("set aside a run folder: %s; now '%s'", reason, target)
        self.set_aside += report.quarantined


def make_writable(results: Path) -> None:
    """Create the results folder and make sure it can be written.

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
