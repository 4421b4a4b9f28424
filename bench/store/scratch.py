"""Temporary files and folders that name the process they belong to, so that those of killed ones can be removed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from bench.store.processes import host_name, process_alive, process_start

INCOMING = ".incoming-"
"""How the name of everything temporary begins."""

ABANDONED_SECONDS = 24 * 3600.0
"""What nobody on this machine owns, and nobody has touched for so long, belongs to a killed process elsewhere."""

_NAME = re.compile(re.escape(INCOMING) + r"([0-9a-f]{8})-(\d+)-(\d+(?:\.\d+)?)-[0-9a-f]{8}")


def scratch_name() -> str:
    """Return a new hidden name that tells machine, process and its start; more may be put behind it."""
    start = process_start(os.getpid()) or 0.0
    return f"{INCOMING}{_host()}-{os.getpid()}-{start:.2f}-{uuid.uuid4().hex[:8]}"


def remove_abandoned(parent: Path) -> int:
    """Delete what killed processes left directly below a folder; return how much.

    What a living process of this machine owns stays, however old it is.
    """
    removed = 0
    for path in _scratch(parent):
        if _abandoned(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            removed += 1
    return removed


def _scratch(parent: Path) -> Iterator[Path]:
    try:
        entries = list(os.scandir(parent))
    except OSError:
        return
    yield from (Path(entry.path) for entry in entries if entry.name.startswith(INCOMING))


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
