"""Share stored runs: verify bundles of other people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.common import PathLike

if TYPE_CHECKING:
    from bench.sharing.checking import Examined


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
