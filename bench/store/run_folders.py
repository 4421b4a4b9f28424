"""Run folders without an index, for workers on other machines.

SQLite must not be opened by several machines over a network file system. A worker on a node of a cluster therefore
writes sealed run folders only, and the process that submitted it indexes them. Who does which work is settled by
files, see `bench.store.file_leases`.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from bench.store import codec, file_leases, folders, scan
from bench.store.artifacts import ArtifactStore
from bench.store.failures import file_failure
from bench.store.files import shown
from bench.store.folders import DamagedFolderError
from bench.store.leases import Holder
from bench.store.records import RunRecord
from bench.store.scan import FAILED, RUNS

_log = logging.getLogger(__name__)


class WorkerStore(Protocol):
    """Store of a worker: `Store` or `RunFolders`."""

    @property
    def artifacts(self) -> ArtifactStore:
        """Pretrained encoders and teachers."""

    def publish(self, record: RunRecord) -> object:
        """Store a run."""

    def find(self, key: str, fingerprint: str) -> object | None:
        """Return a finished run, or None."""

    def lease(self, kind: str, key: str, note: str = "") -> AbstractContextManager[object] | None:
        """Claim a piece of work; None where another process holds it."""

    def wait_for(self, kind: str, key: str, on_wait: Callable[[Holder, float], None] | None = None) -> bool:
        """Wait until nobody holds it."""


class RunFolders:
    """Runs and artefacts of a results folder, without the index.

    Attributes:
        results: Results folder, absolute.
        artifacts: Pretrained encoders, teachers and features.
    """

    def __init__(self, results: Path) -> None:
        self.results = Path(results).absolute()
        self.artifacts = ArtifactStore(self.results)

    def publish(self, record: RunRecord) -> Path:
        """Store a run as a folder, complete by one rename.

        Of a finished run the folder that is there first stays.

        Raises:
            SetupError: It cannot be written; nothing half-written is left.
        """
        destination = destination_of(self.results, record)
        place(record, destination, self._set_aside)
        return destination

    def find(self, key: str, fingerprint: str) -> Path | None:
        """Return the folder of a finished run, or None.

        A damaged one is moved to quarantine and counts as absent.

        Raises:
            SetupError: It cannot be read, or a newer bench wrote it.
        """
        folder = finished(self.results, key, fingerprint)
        if not folder.is_dir():
            return None
        try:
            run, _ = scan.read_run(self.results, folder, series=False)
        except DamagedFolderError as damage:
            self._set_aside(damage)
            return None
        except OSError as error:
            raise file_failure("read", folder, error) from error
        return folder if run.row.fingerprint == fingerprint else None

    def lease(self, kind: str, key: str, note: str = "") -> file_leases.FileLease | None:
        """Claim a piece of work (see `bench.store.file_leases.claim`)."""
        return file_leases.claim(self.results, kind, key, note)

    def wait_for(self, kind: str, key: str, on_wait: Callable[[Holder, float], None] | None = None) -> bool:
        """Wait for a lease (see `bench.store.file_leases.wait_for`)."""
        return file_leases.wait_for(self.results, kind, key, on_wait)

    def _set_aside(self, damage: DamagedFolderError) -> None:
        target = scan.set_aside(self.results, damage)
        if target is not None:
            _log.warning("set aside '%s': %s; now '%s'", shown(damage.folder), damage.reason, shown(target))


def destination_of(results: Path, record: RunRecord) -> Path:
    """Return the place of a run's folder.

    Failed attempts are stored apart, each under its own time.
    """
    if record.status == "done":
        return finished(results, record.key, record.fingerprint)
    return results / FAILED / folders.path_part(record.key, "key") / stamp()


def place(record: RunRecord, destination: Path, on_damage: Callable[[DamagedFolderError], object]) -> None:
    """Write a run folder and rename it into place.

    Args:
        record: The run.
        destination: Its place; a sound folder that stands there stays.
        on_damage: Moves a damaged folder away that stands there.

    Raises:
        SetupError: It cannot be written; nothing half-written is left.
    """
    files = codec.encode(record)
    try:
        staged = folders.stage(destination.parent.parent, files)
        try:
            folders.seal(staged, scan.KIND, record.key, record.fingerprint)
            folders.place(staged, destination, on_damage)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    except OSError as error:
        raise file_failure("write", destination, error) from error


def stamp() -> str:
    """Return a new folder name: time and random digits."""
    return f"{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}-{uuid.uuid4().hex[:8]}"


def finished(results: Path, key: str, fingerprint: str) -> Path:
    """Return the place of a finished run's folder."""
    code = folders.path_part(fingerprint, "fingerprint")[: folders.SHORT]
    return results / RUNS / folders.path_part(key, "key") / code
