"""Generate many objects into arrays on disk, in parallel.

The result does not depend on the number of worker processes.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.data.shapes.objects import categories, cloud_of, make_thing, part_offsets, stream, views_of
from bench.data.shapes.render import ViewKind
from bench.data.shapes.scan import scan_of
from bench.data.shapes.sketch import Group
from bench.environment import usable_cores
from bench.progress import Progress

_CHUNK = 40
_WORTH_A_POOL = 300
CAPTIONS = "captions.json"


@dataclass(frozen=True)
class Job:
    """One split to generate.

    Object i is of category ``i % number of categories``.

    Attributes:
        stream: Name of the random stream; different streams share no object.
        group: Group of categories.
        count: Number of objects.
        points: Points per cloud.
        views: Views per object, 0 for none.
        view_size: Height and width of the views in pixels.
        view_kind: ``shaded`` or ``depth``.
        scanned: Scan each object in a scene instead of sampling its whole surface.
    """

    stream: str
    group: Group
    count: int
    points: int
    views: int
    view_size: int
    view_kind: ViewKind
    scanned: bool

    def layout(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and type of every array, by file name."""
        n, m = self.count, self.points
        arrays: dict[str, tuple[tuple[int, ...], str]] = {
            "points": ((n, m, 3), "<f4"),
            "normals": ((n, m, 3), "<f4"),
            "parts": ((n, m), "<i8"),
        }
        if self.views:
            arrays["views"] = ((n, self.views, self.view_size, self.view_size, 1), "|u1")
        return arrays

    def labels(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the label of every object, int64 ``[count]``."""
        return np.arange(self.count, dtype=np.int64) % len(categories(self.group))

    def ids(self) -> tuple[str, ...]:
        """Return the name of every object."""
        kinds = categories(self.group)
        names = [c.name.replace(" ", "_") for c in kinds]
        return tuple(f"{self.stream}/{i:06d}-{names[i % len(names)]}" for i in range(self.count))


def _allocate(job: Job, folder: Path) -> None:
    """Create the array files at full size.

    A full disk is then an error here and not a crash in a worker.
    """
    for stem, (shape, dtype) in job.layout().items():
        path = folder / f"{stem}.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape).flush()
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # some file systems cannot reserve
                        raise


def fill(job: Job, folder: Path, start: int, stop: int) -> list[str]:
    """Generate objects ``start:stop`` into the arrays of a folder.

    Returns:
        Their captions.
    """
    arrays = {stem: np.load(folder / f"{stem}.npy", mmap_mode="r+") for stem in job.layout()}
    kinds, offsets = categories(job.group), part_offsets(job.group)
    captions = []
    for i in range(start, stop):
        thing = make_thing(job.stream, i, kinds[i % len(kinds)])
        rng = stream(job.stream, i, "cloud")
        if job.scanned:
            points, normals, part = scan_of(thing, job.stream, i, job.points, rng)
        else:
            points, normals, part = cloud_of(thing, job.points, rng)
        arrays["points"][i], arrays["normals"][i] = points, normals
        arrays["parts"][i] = np.where(part < 0, part, part + offsets[thing.category.name])
        if job.views:
            rng = stream(job.stream, i, "views")
            arrays["views"][i] = views_of(thing, job.views, job.view_size, job.view_kind, rng)
        captions.append(thing.caption)
    for array in arrays.values():
        array.flush()
    return captions


def generate(job: Job, folder: Path, progress: Progress, workers: int | None = None) -> None:
    """Generate a split into an existing empty folder.

    Args:
        job: Split to generate.
        folder: Folder for the ``.npy`` files and the captions.
        progress: Called with (objects done, objects in total).
        workers: Worker processes; by default one per available core, or a single one for a small job. The result does
            not depend on it.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    _allocate(job, folder)
    chunks = [(a, min(a + _CHUNK, job.count)) for a in range(0, job.count, _CHUNK)]
    captions: dict[int, list[str]] = {}
    progress(0, job.count)

    def note(start: int, made: list[str]) -> None:
        captions[start] = made
        progress(sum(len(c) for c in captions.values()), job.count)

    if workers is None:
        workers = usable_cores() if job.count >= _WORTH_A_POOL else 1
    workers = min(workers, len(chunks))
    if workers > 1 and not multiprocessing.current_process().daemon:
        _fill_in_pool(job, folder, chunks, workers, note)
    for start, stop in chunks:
        if start not in captions:
            note(start, fill(job, folder, start, stop))
    lines = [line for start, _ in chunks for line in captions[start]]
    (folder / CAPTIONS).write_text(json.dumps(lines, indent=0), encoding="utf-8")


def _start_worker() -> None:
    """Ignore Ctrl-C in a worker; end with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _fill_in_pool(
    job: Job, folder: Path, chunks: list[tuple[int, int]], workers: int, note: Callable[[int, list[str]], None]
) -> None:
    """Fill chunks in worker processes.

    If the pool breaks, the caller fills the remaining chunks. Workers are spawned, not forked: the parent may hold
    torch threads. A pool breaks where the caller's script has no ``if __name__ == "__main__"`` guard, or where the
    system kills a worker.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        starts: dict[Future[list[str]], int] = {}
        try:
            starts = {pool.submit(fill, job, folder, *chunk): chunk[0] for chunk in chunks}
            waiting = set(starts)
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in finished:
                    note(starts[future], future.result())
        except BrokenProcessPool:
            return
        finally:
            for future in starts:
                future.cancel()
