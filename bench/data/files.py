"""Lock for work on data, and sizes in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.store.filelock import file_lock
from bench.store.publish import cannot_write as cannot_write  # the generators' sources, which keys hold, import it here


def in_words(count: float) -> str:
    """Return a number of bytes in words, e.g. ``4.6 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:,.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"


@contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Hold a lock file; wait until it is free.

    Yields:
        True while the lock is held; False if the file system has no locks. The caller's writes have to be atomic
        anyway; the lock only avoids double work.

    Raises:
        SetupError: The lock file cannot be made.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            locked = stack.enter_context(file_lock(path, exclusive=True, timeout=math.inf))
        except OSError as error:
            raise cannot_write(path, error) from error
        yield locked
