"""Cache of generated splits, read as memory maps.

A split is complete or absent.
"""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.shapes.generate import CAPTIONS, Job, generate
from bench.errors import SetupError
from bench.progress import Progress
from bench.store.cached import open_array, read_bytes, seal

LEVELS = 3
"""A split's file is named by the manifest, the split and itself."""


@dataclass(frozen=True)
class Split:
    """A cached split: arrays by file name, and captions."""

    arrays: dict[str, Any]
    captions: tuple[str, ...]


def cached(job: Job, folder: Path, progress: Progress, workers: int | None = None) -> Split:
    """Return a split from its folder, generating it if necessary.

    The folder is published by one rename of a finished temporary folder, so an interrupted process leaves no incomplete
    data. Other processes with the same request wait for the first.

    Raises:
        SetupError: The cache cannot be written (no space, no permission).
    """
    split = _read(job, folder)
    if split is not None:
        return split
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        # A worker re-imports a script that has no main guard: waiting here for the parent's lock would never end.
        raise RuntimeError('loading generated data at import time of a worker: guard it by if __name__ == "__main__"')
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_name(f".{folder.name}.lock")):
            split = _read(job, folder)
            if split is None:
                _make(job, folder, progress, workers)
                split = _read(job, folder)
    except OSError as error:
        raise _setup_error(error, folder, job) from error
    if split is None:
        raise SetupError(f"cached data in {folder} changes while it is read: delete the folder and run again")
    return split


def _read(job: Job, folder: Path) -> Split | None:
    """Open a cached split; None if absent or different."""
    arrays: dict[str, Any] = {}
    for stem, (shape, dtype) in job.layout().items():
        arrays[stem] = open_array(folder / f"{stem}.npy", dtype, shape, LEVELS)
        if arrays[stem] is None:
            return None
    captions = read_bytes(folder / CAPTIONS, LEVELS)
    return None if captions is None else Split(arrays, tuple(json.loads(captions)))


def _make(job: Job, folder: Path, progress: Progress, workers: int | None) -> None:
    """Generate a split in a temporary folder and rename it."""
    prefix = f".{folder.name}.{socket.gethostname()}."
    _sweep(folder.parent, prefix)
    temporary = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}.", suffix=".partial", dir=folder.parent))
    try:
        generate(job, temporary, progress, workers)
        for file in temporary.iterdir():
            seal(file, folder / file.name, LEVELS)
        temporary.chmod(0o755)
        if folder.exists() and _read(job, folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
        try:
            temporary.rename(folder)
        except OSError as error:
            # Without working locks another process may have been first: its copy is as good as ours.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sweep(parent: Path, prefix: str) -> None:
    """Remove temporary folders of dead processes of this host."""
    for path in parent.glob(f"{prefix}*.partial"):
        owner = path.name.removeprefix(prefix).split(".")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists() and Path("/proc/self").exists():
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, if locks work."""
    import fcntl

    with path.open("a") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _setup_error(error: OSError, folder: Path, job: Job) -> SetupError:
    """Return a one-line error about the cache, with its remedy."""
    size = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in job.layout().values())
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        need = f"{size / 1e6:.0f} MB for {job.count} generated objects"
        return SetupError(f"no space left for the data cache {folder.parent}: needs {need}; free some or move it")
    reason = error.strerror or str(error)
    return SetupError(f"cannot write the data cache {folder.parent}: {reason}; check its permissions or move it")
