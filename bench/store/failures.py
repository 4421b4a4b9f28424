"""Turn system and database errors into one-line messages."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from bench.errors import SetupError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NEARLY_NOTHING = 64 * 1024
"""Below this many free bytes an input/output error of SQLite is reported as a full disk (its WAL needs 32 KiB)."""


class DamagedDatabaseError(SetupError):
    """The index cannot be read.

    `bench db rebuild` makes it again from the run folders.

    Attributes:
        found: The problem.
    """

    def __init__(self, where: str, found: str) -> None:
        self.found = found
        super().__init__(
            f"database '{where}' is damaged ({found}); run 'bench db rebuild' to recreate it from the run folders"
        )


def file_failure(action: str, path: Path, error: OSError) -> SetupError:
    """Turn an operating-system error into one line.

    Args:
        action: Attempted action, as an infinitive: ``"write"``, ``"create"``.
        path: File or folder concerned.
        error: Error of the operating system.
    """
    if error.errno in _FULL:
        return _disk_full(action, path)
    if error.errno in _DENIED:
        return SetupError(
            f"cannot {action} '{path}': {error.strerror}; make the folder writable or choose another with --results"
        )
    return SetupError(f"cannot {action} '{path}': {error.strerror or error}; check the path given with --results")


def database_failure(where: str, path: Path | None, error: BaseException) -> SetupError:
    """Turn a database error into one line.

    Args:
        where: The database as the user names it (a path, or a URL without its password).
        path: File of an SQLite database, None for a server.
        error: Exception of the driver (for SQLAlchemy, the ``orig`` of its exception).
    """
    name = str(getattr(error, "sqlite_errorname", ""))
    text = " ".join(str(error).split())
    if path is None:
        return SetupError(f"database '{where}' refused: {text}; check that the server runs and the URL is right")
    if name.startswith("SQLITE_FULL") or (_is_io(name) and free_bytes(path.parent) < _NEARLY_NOTHING):
        return _disk_full("write", path)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return SetupError(
            f"database '{where}' is locked by another process; "
            "end that process (or wait for it) and run the same command again"
        )
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return DamagedDatabaseError(where, text)
    if name.startswith(("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_CANTOPEN")):
        return SetupError(
            f"database '{where}' cannot be opened for writing ({text}); "
            "make its folder writable or choose another with --results"
        )
    if "no such table" in text or "no such column" in text:
        return DamagedDatabaseError(where, text)
    if name in ("SQLITE_ERROR", "SQLITE_MISMATCH", "SQLITE_FORMAT", "SQLITE_TOOBIG", "SQLITE_SCHEMA"):
        return DamagedDatabaseError(where, text)
    return SetupError(f"database '{where}' failed: {text}; 'bench db rebuild' recreates it from the run folders")


def free_bytes(folder: Path) -> int:
    """Return the free bytes at `folder`; 0 if unknown."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


def _is_io(name: str) -> bool:
    return name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN"))


def _disk_full(action: str, path: Path) -> SetupError:
    return SetupError(
        f"disk full: cannot {action} '{path}' ({free_bytes(path.parent)} bytes free); "
        "free some space or choose another folder with --results; nothing half-written was kept"
    )
