"""Share stored runs: verify and take in what others stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.common import PathLike, workspace_at

if TYPE_CHECKING:
    from bench.sharing.checking import Examined
    from bench.sharing.merging import Merged


def verify_bundle(bundle: PathLike) -> Examined:
    """Verify a bundle, offline (``bench bundle verify``).

    Every number that follows from stored predictions is computed again, every checksum compared, the report written
    again.

    Args:
        bundle: The file.

    Raises:
        DataError: It is no bundle, or one that is not safe to read.
    """
    from bench.sharing.checking import verify

    return verify(Path(bundle))


def merge(other: PathLike, results: PathLike | None = None, *, store_url: str | None = None) -> Merged:
    """Take the runs of a results folder or bundle in (``bench db merge``).

    Every run is verified first; nothing that is there is changed.

    Args:
        other: The other results folder, or a bundle.
        results: Results folder that takes them; made if need be.
        store_url: Database URL instead of the SQLite file in it.

    Raises:
        UsageError: There is nothing to take in.
        DataError: The bundle is not safe to read.
        SetupError: The results folder cannot be written.
    """
    from bench.sharing.merging import merge

    return merge(workspace_at(results), store_url, Path(other))
