"""Train on one data set and test on another.

Classes are matched by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bench.data.base import CloudSet
from bench.data.seen import words_of
from bench.errors import DataError

Index = npt.NDArray[np.int64]
FEWEST = 2
"""Least number of shared classes."""


@dataclass(frozen=True)
class CommonClasses:
    """Classes that two sets share, in the tested set's order.

    Attributes:
        names: Names as in the tested set; position = new label.
        train: Label of each class in the training set.
        test: Label of each class in the tested set.
        left_out: Classes that only the training set has, and those that only the tested set has.
    """

    names: tuple[str, ...]
    train: tuple[int, ...]
    test: tuple[int, ...]
    left_out: tuple[tuple[str, ...], tuple[str, ...]]

    def describe(self) -> str:
        """Describe shared and left-out classes in one line."""
        sizes = [len(self.names) + len(gone) for gone in self.left_out]
        text = f"{len(self.names)} classes in common, of {sizes[0]} trained on and {sizes[1]} tested on"
        for gone, where in zip(self.left_out, ("trained on", "tested on"), strict=True):
            if gone:
                text += f"; not in the other ({where}): {', '.join(gone[:6])}"
                text += f" and {len(gone) - 6} more" if len(gone) > 6 else ""
        return text


def common_classes(train: Sequence[str], test: Sequence[str]) -> CommonClasses:
    """Match class names of two sets.

    Case and word separators (``night_stand``, ``night stand``) make no difference.

    Args:
        train: Classes of the training set, index = label.
        test: Classes of the tested set, index = label.
    """
    place: dict[tuple[str, ...], int] = {}
    for label, name in enumerate(train):
        place.setdefault(words_of(name), label)
    shared: dict[int, tuple[str, int]] = {}
    for label, name in enumerate(test):
        if words_of(name) in place:  # the first of two spellings counts
            shared.setdefault(place[words_of(name)], (name, label))
    tested = {label for _, label in shared.values()}
    return CommonClasses(
        names=tuple(name for name, _ in shared.values()),
        train=tuple(shared),
        test=tuple(label for _, label in shared.values()),
        left_out=(
            tuple(name for label, name in enumerate(train) if label not in shared),
            tuple(name for label, name in enumerate(test) if label not in tested),
        ),
    )


def restrict(clouds: CloudSet, kept: Sequence[int], names: tuple[str, ...]) -> tuple[CloudSet, Index]:
    """Keep the objects of some classes and renumber the classes.

    Args:
        clouds: One split.
        kept: Labels to keep; position = new label.
        names: New class names.

    Returns:
        The objects kept, in their order, and their positions in `clouds`.

    Raises:
        DataError: Fewer than two of the classes have an object here.
    """
    renumbered = np.full(len(clouds.classes), -1, dtype=np.int64)
    renumbered[list(kept)] = np.arange(len(kept))
    labels = renumbered[clouds.labels]
    rows = np.flatnonzero(labels >= 0).astype(np.int64)
    if len(np.unique(labels[rows])) < FEWEST:
        raise DataError(
            f"only {len(np.unique(labels[rows]))} of the {len(names)} classes that both data sets have "
            f"({', '.join(names[:6])}) has objects; at least {FEWEST} are needed"
        )
    return replace(clouds.subset(rows), labels=labels[rows], classes=names), rows
