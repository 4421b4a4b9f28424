"""File locks, shared or exclusive, released when processes die."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import SetupError


@contextmanager
def file_lock(path: Path, *, exclusive: bool, timeout: float) -> Iterator[bool]:
    """Hold a lock on `path` inside the block.

    Args:
        path: Lock file; stays behind, empty.
        exclusive: Alone, or together with other shared holders.
        timeout: Seconds to wait for it; infinity for as long as it takes.

    Yields:
        Whether the lock is held; False on a file system without locks.

    Raises:
        SetupError: Others held it for longer than `timeout`.
        OSError: The file cannot be created.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        locked = _wait(descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, path, timeout)
        try:
            yield locked
        finally:
            if locked:  # explicitly, not just by closing: a child forked meanwhile shares the lock through its copy
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _wait(descriptor: int, mode: int, path: Path, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.ENOLCK):
                return False  # without locks, only SQLite's own locking and atomic renames protect the files
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
        else:
            return True
        if time.monotonic() > deadline:
            raise SetupError(
                f"'{path}' is locked by another bench process for more than {timeout:.0f} s; "
                "wait for it or end it, then run the same command again"
            )
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
