"""Temporary files and folders named after their process.

Those of killed processes can then be removed.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.store.processes import host_name, process_alive, process_start

INCOMING = ".incoming-"
"""First characters of the name of everything temporary."""

ABANDONED_SECONDS = 24 * 3600.0
"""Seconds after which an untouched temporary file of another machine counts as left by a killed process."""

_NAME = re.compile(re.escape(INCOMING) + r"([0-9a-f]{8})-(\d+)-(\d+(?:\.\d+)?)-[0-9a-f]{8}")

_OLDER = re.compile(r"\..+\.(part|partial)")
"""Unfinished files and folders of a cache that name no process."""


def scratch_name() -> str:
    """Return a new hidden name for this process's temporaries.

    It tells machine, process and its start; more may be put behind it.
    """
    start = process_start(os.getpid()) or 0.0
    return f"{INCOMING}{_host()}-{os.getpid()}-{start:.2f}-{uuid.uuid4().hex[:8]}"


def remove_abandoned(parent: Path, *, deep: bool = False) -> int:
    """Delete what killed processes left below a folder.

    Directly below it; returns how much.

    What a living process of this machine owns stays, however old it is.

    Args:
        parent: The folder; nothing happens where there is none.
        deep: Look into the folders below too, as in a cache.
    """
    try:
        entries = list(os.scandir(parent))
    except OSError:
        return 0
    removed = 0
    for entry in entries:
        path = Path(entry.path)
        if not entry.name.startswith(INCOMING) and not (deep and _OLDER.fullmatch(entry.name)):
            if deep and entry.is_dir(follow_symlinks=False):
                removed += remove_abandoned(path, deep=True)
        elif _abandoned(path):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            removed += 1
    return removed


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield an empty temporary folder.

    What killed processes left is removed first.

    Args:
        parent: Parent folder; None for the system's temporary folder.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    remove_abandoned(place)
    with tempfile.TemporaryDirectory(dir=place, prefix=f"{scratch_name()}-") as name:
        yield Path(name)


def lent_cache(cache: Path) -> Path:
    """Return a writable cache: the given one, or a stand-in.

    The stand-in lasts until the process ends.

    The other has links to all that is cached here, and takes what is made now.
    """
    place = next(path for path in (cache, *cache.parents) if path.exists())
    if os.access(place, os.W_OK | os.X_OK):
        return cache
    temporary = Path(tempfile.gettempdir())
    remove_abandoned(temporary)
    lent = temporary / scratch_name()
    lent.mkdir(mode=0o700)
    atexit.register(shutil.rmtree, lent, ignore_errors=True)
    for folder, subfolders, files in os.walk(cache):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        here = lent / Path(folder).relative_to(cache)
        here.mkdir(exist_ok=True)
        for name in files:
            if not name.startswith("."):  # locks and unfinished work
                (here / name).symlink_to(Path(folder) / name)
    return lent


def _abandoned(path: Path) -> bool:
    named = _NAME.match(path.name)
    if named is not None and named[1] == _host():
        return not process_alive(int(named[2]), float(named[3]))
    try:
        newest = max(one.lstat().st_mtime for one in [path, *path.rglob("*")])
    except OSError:
        return False
    return time.time() - newest > ABANDONED_SECONDS


def _host() -> str:
    return hashlib.sha256(host_name().encode()).hexdigest()[:8]
