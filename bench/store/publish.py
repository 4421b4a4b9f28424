"""Write files so that they appear whole or not.

Every file is written beside its place, under a name that says which process it belongs to
(`bench.store.scratch`), and renamed into it: a reader finds the old content or the new, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from bench.errors import SetupError
from bench.store.scratch import scratch_name

_MEND = "make it writable, or choose another folder"


def cannot_write(path: Path, error: OSError, what: str = "", mend: str = _MEND) -> SetupError:
    """Build the error for a file that cannot be written.

    Args:
        path: The file.
        error: Error of the operating system.
        what: Description of the file, e.g. ``the baseline``.
        mend: Remedy other than freeing space.
    """
    reason = error.strerror or str(error)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    named = f"{what} {path}" if what else str(path)
    return SetupError(f"cannot write {named}: {reason}; {f'free space there, {mend}' if full else mend}")


@contextlib.contextmanager
def whole_file(path: Path, what: str = "", mend: str = _MEND, *, suffix: str = "") -> Iterator[BinaryIO]:
    """Yield a stream whose file appears at the end.

    It is on the disk then.

    Args:
        path: Its place; folders are made.
        what: Description of the file, for the error.
        mend: Remedy other than freeing space, for the error.
        suffix: Ends the name of the unfinished file.

    Raises:
        SetupError: It cannot be written; what was there before still is, and nothing else is left.
    """
    temporary = path.with_name(f"{scratch_name()}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error, what, mend) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_whole(path: Path, content: str | bytes, what: str = "", mend: str = _MEND) -> None:
    """Write a whole file (text as UTF-8; see `whole_file`)."""
    with whole_file(path, what, mend) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk.

    A rename in it then survives a power cut.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync folders; the rename is still atomic there.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
