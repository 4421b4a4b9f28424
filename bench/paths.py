"""Folders of results, and ``cache`` for what can be recomputed."""

from __future__ import annotations

import errno
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from bench.errors import SetupError, UsageError


def resident_bytes() -> int | None:
    """Return how much data memory may hold, in bytes.

    ``BENCH_RESIDENT_GB`` sets it; None if the variable is unset.

    Raises:
        UsageError: Not a number, or negative.
    """
    told = os.environ.get("BENCH_RESIDENT_GB")
    if not told:
        return None
    try:
        size = int(float(told) * 1e9)
    except (ValueError, OverflowError):
        size = -1
    if size < 0:
        raise UsageError(
            f"BENCH_RESIDENT_GB = '{told}': expected how many gigabytes of a data set are read into memory, e.g. 8, "
            "or 0 to stream everything from the disk"
        )
    return size


@dataclass(frozen=True)
class Workspace:
    """A results folder.

    Attributes:
        results: Root; ``BENCH_RESULTS`` or ``./results`` by default.
        cache: Data sets, teacher features and compiled kernels; ``BENCH_CACHE`` or ``<results>/cache``.
    """

    results: Path
    cache: Path

    @classmethod
    def at(cls, results: Path | None = None) -> Workspace:
        """Return the workspace at `results`, or at the default place."""
        root = (results or Path(os.environ.get("BENCH_RESULTS", "results"))).absolute()
        cache = os.environ.get("BENCH_CACHE")
        return cls(root, Path(cache).absolute() if cache else root / "cache")

    @property
    def logs(self) -> Path:
        """Folder of log files, one per job."""
        return self.results / "logs"

    def work(self, key: str) -> Path:
        """Return the folder for a job's checkpoints."""
        return self.results / "work" / key

    def refuse_file(self) -> None:
        """Refuse a file in place of the results folder.

        Raises:
            SetupError: A file is in its way.
        """
        if file := next((path for path in (self.results, *self.results.parents) if path.is_file()), None):
            raise SetupError(f"{file} is a file; choose another place with --results DIR")

    def prepare(self) -> None:
        """Create the folders and check that they can be written.

        Raises:
            SetupError: A folder cannot be created or written.
            UsageError: ``BENCH_RESIDENT_GB`` is no size.
        """
        resident_bytes()
        for folder in (self.results, self.cache, self.logs):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / f".write-probe-{uuid.uuid4().hex}"  # process ids repeat on other machines
                probe.write_text("bench")
                probe.unlink()
            except OSError as error:
                full = "free the space or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
                raise SetupError(
                    f"cannot write to {folder}: {_why(folder, error)}; {full}choose another place with --results DIR"
                ) from error


def _why(folder: Path, error: OSError) -> str:
    """Return why a folder cannot be used, in words."""
    file = next((place for place in (folder, *folder.parents) if place.exists() and not place.is_dir()), None)
    return f"{file} is a file" if file is not None else error.strerror or str(error)
