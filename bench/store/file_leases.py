"""Leases kept as files, where no database is shared.

A lease is a file of the results folder (``leases/``). Its holder touches it every few seconds from a thread. A holder
on this machine is dead when its process is gone. One elsewhere is dead when its file has not changed for
`STALE_SECONDS` on the clock of whoever waits, so that machines' clocks need not agree. A lease that was taken over
wrongly costs repeated work, never a mixed result, because folders are published whole and the first one stays.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from bench.store.failures import file_failure
from bench.store.leases import HEARTBEAT_SECONDS, STALE_SECONDS, Holder
from bench.store.processes import host_name, process_alive, process_start

LEASES = "leases"
_UNKNOWN = "another process"

_log = logging.getLogger(__name__)


class FileLease:
    """A lease of this process; a context manager releases it."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.holder = holder
        self._path = path
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease {holder.kind} {holder.key[:12]}", daemon=True)
        self._thread.start()

    def __enter__(self) -> FileLease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Release the lease; harmless if already released or lost."""
        if self._done.is_set():
            return
        self._done.set()
        self._thread.join()
        _remove(self._path, self.holder.owner)

    def _beat(self) -> None:
        while not self._done.wait(HEARTBEAT_SECONDS):
            found = _read(self._path)
            if found is None or found.owner != self.holder.owner:
                return  # lost
            try:
                os.utime(self._path)
            except OSError as error:
                _log.debug("heartbeat of %s %s: %s", self.holder.kind, self.holder.key[:12], error)


def claim(results: Path, kind: str, key: str, note: str = "") -> FileLease | None:
    """Claim a piece of work.

    Args:
        results: Results folder.
        kind: Kind of work.
        key: Content key of the work.
        note: Shown to those who wait.

    Returns:
        The lease, or None where another process holds it; `wait_for` removes that of a dead one.

    Raises:
        SetupError: The folder cannot be written.
    """
    now = time.time()
    start = process_start(os.getpid()) or 0.0
    mine = Holder(kind, key, uuid.uuid4().hex, host_name(), os.getpid(), start, now, now, note)
    path = _path(results, kind, key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return None
    except OSError as error:
        raise file_failure("write", path, error) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(vars(mine), file)
    return FileLease(path, mine)


def wait_for(
    results: Path, kind: str, key: str, on_wait: Callable[[Holder, float], None] | None = None, *, pause: float = 0.05
) -> bool:
    """Wait until no living process holds a lease.

    Afterwards the work may be done or may have failed: look for its result, and claim it again if there is none.

    Args:
        results: Results folder.
        kind: Kind of work.
        key: Content key of the work.
        on_wait: Called with the holder and the seconds waited so far, at least once per second.
        pause: Seconds before the first look again.

    Returns:
        True.
    """
    path = _path(results, kind, key)
    start = changed = time.monotonic()
    beat: tuple[int, int] | None = None
    while True:
        try:
            state = path.stat()
        except OSError:
            return True
        now = time.monotonic()
        if beat != (state.st_mtime_ns, state.st_ino):
            beat, changed = (state.st_mtime_ns, state.st_ino), now
        found = _read(path) or Holder(kind, key, "", _UNKNOWN, 0, 0.0, time.time(), 0.0, "")
        here = found.host == host_name()
        if (here and not process_alive(found.pid, found.process_start)) or (not here and now - changed > STALE_SECONDS):
            _remove(path, found.owner)
            return True
        if on_wait is not None:
            on_wait(found, now - start)
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)


def _path(results: Path, kind: str, key: str) -> Path:
    return results / LEASES / f"{kind}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def _read(path: Path) -> Holder | None:
    """Return a lease's holder; None if unknown or absent."""
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _remove(path: Path, owner: str) -> None:
    """Remove a lease if it is still this owner's."""
    found = _read(path)
    if (found.owner if found is not None else "") == owner:
        with suppress(OSError):
            path.unlink()
