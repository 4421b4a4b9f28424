"""Share stored runs: verify and take in what others stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.common import PathLike, workspace_at

if TYPE_CHECKING:
    from bench.sharing.checking import Examined
    from bench.sharing.merging import Merged
    from bench.sharing.site import Site


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


def site(bundles: Sequence[PathLike], out: PathLike = "site", *, title: str = "Leaderboard") -> Site:
    """Write a static leaderboard of bundles (``bench site``).

    Every score is computed again from predictions; only what was judged alike, on the same seeds, is ranked.

    Args:
        bundles: The files; of runs that several hold with different numbers, the first counts.
        out: Folder for ``index.html`` and ``board.json``.
        title: Title of the page.

    Raises:
        UsageError: No bundle is given.
        DataError: A file is no bundle, or one that is not safe to read.
        SetupError: The folder cannot be written.
    """
    from bench.sharing.site import write_site

    return write_site([Path(bundle) for bundle in bundles], Path(out), title)
