"""Fixed random choices of objects, by their names.

For sets without a split, or sets that are read in part. The choice depends on the SHA-256 of the names alone: it is the
same on every machine and for every order of the list, and adding an object moves no other. `bench.data.splits` carves
validation from the remaining training objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.data.splits import Index


def shuffled_by_name(names: Sequence[str], purpose: str) -> Index:
    """Return all positions in an order fixed by the names.

    Args:
        names: One per object.
        purpose: Name of the order; another name gives another order.

    Returns:
        int64 ``[n]``; its first k entries are nested subsets.
    """
    digests = [hashlib.sha256(f"{purpose}\x1f{name}".encode("utf-8", "surrogateescape")).digest() for name in names]
    return np.asarray(sorted(range(len(names)), key=digests.__getitem__), dtype=np.int64)


def hold_out(names: Sequence[str], labels: npt.NDArray[np.int64], fraction: float) -> tuple[Index, Index]:
    """Split each class into train and test objects.

    Of a class with n objects ``round(fraction * n)`` go to test, at least one where n >= 2 and never all.

    Args:
        names: One per object.
        labels: int64 ``[n]``.
        fraction: Part that goes to test, in (0, 1).

    Returns:
        Ascending positions of train and of test; disjoint, together all.
    """
    order = shuffled_by_name(names, "hold-out")
    test = np.zeros(len(names), dtype=bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        if len(members) >= 2:
            test[members[: min(max(round(fraction * len(members)), 1), len(members) - 1)]] = True
    return np.flatnonzero(~test).astype(np.int64), np.flatnonzero(test).astype(np.int64)
