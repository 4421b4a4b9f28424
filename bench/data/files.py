"""Small files of the data room: atomic writes, and a lock so that concurrent processes do a piece of work once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import SetupError
from bench.store.scratch import scratch_name


def cannot_write(path: Path, error: OSError) -> SetupError:
    """Build the error for a place that cannot be written."""
    reason = error.strerror or str(error)
    return SetupError(f"cannot write {path}: {reason}; free space there, make it writable, or choose another folder")


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file (text as UTF-8) so that a reader sees the old or the new content, never a part.

    Raises:
        SetupError: The place cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{scratch_name()}-{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode("utf-8") if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error


def in_words(count: float) -> str:
    """Bytes with a fitting unit: ``4.6 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:,.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"


def _umask() -> int:
    """The process's umask, which `mkstemp` does not apply (it makes files only their owner can read)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Hold the lock file `path`; waits for another process that holds it.

    Yields:
        True while the lock is held; False where the file system knows no locks: the caller's writes must be
        atomic anyway, the lock only saves double work.

    Raises:
        SetupError: The lock file cannot be made.
    """
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    except OSError as error:
        raise cannot_write(path, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError:
            yield False
        else:
            yield True
