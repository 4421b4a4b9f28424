"""Check labels from files: class numbers and part ids.

Errors name the row. Every reader passes numeric labels to these functions, so that one module decides which labels are
valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.data.faults import collect_or_raise
from bench.errors import DataError

Labels = npt.NDArray[np.int64]
MOST_PARTS = 32_767
"""Largest part id: ids are stored in 16 bits."""
PART_GAP = 32
"""Most unused part ids between two used ones; a larger gap shows a stray id such as 255."""


class Held(NamedTuple):
    """Labels of one file, with file and field for messages.

    Attributes:
        where: The file and the field, for messages.
        labels: int64 ``[n]``, by row.
    """

    where: str
    labels: Labels


def class_numbers(values: npt.NDArray[Any], where: str) -> Labels:
    """Return class numbers from a file as int64, after checking.

    Whole numbers from 0; floats with whole values are accepted.

    Args:
        values: ``[n]``.
        where: The file and the field, for messages.

    Raises:
        DataError: Another type, or a value that is negative, no whole number, or too large for any class.
    """
    labels = _whole(values, where)
    negative = np.flatnonzero(labels < 0)
    if len(negative):
        row = int(negative[0])
        raise DataError(
            f"{where} row {row} is {labels[row]}, expected a class number from 0; remove or mend that object"
        )
    return labels


def part_numbers(values: npt.NDArray[Any], where: str, start: int = 0) -> Labels:
    """Return part ids from a file as int64, after checking.

    Whole numbers from 0, or -1 for a point of no part.

    Args:
        values: ``[n, N]``.
        where: The file and the field, for messages.
        start: Number of the first row.

    Raises:
        DataError: Another type, or a value that is no whole number, below -1, or beyond `MOST_PARTS`.
    """
    parts = _whole(values, where, start)
    outside = np.argwhere((parts < -1) | (parts > MOST_PARTS))
    if len(outside):
        row, point = (int(i) for i in outside[0])
        raise DataError(
            f"{where} row {start + row} point {point} is {parts[row, point]}, "
            f"expected a part id from 0 to {MOST_PARTS}, or -1 for a point of no part"
        )
    return parts


def check_named(held: Sequence[Held], classes: Sequence[str], source: str) -> None:
    """Refuse labels without a class name.

    A named class may have no objects.

    Args:
        held: The labels, file after file.
        classes: Names, index = label.
        source: Source of the names, e.g. ``shape_names.txt``.

    Raises:
        DataError: A label has no name; the message has its row.
    """
    fault: DataError | None = None
    for where, labels in held:
        beyond = np.flatnonzero(labels >= len(classes))
        if len(beyond):
            row = int(beyond[0])
            error = DataError(
                f"{where} row {row} is {labels[row]}, expected 0 to {len(classes) - 1}: "
                f"{source} names {len(classes)} classes"
            )
            fault = collect_or_raise(error, fault)
    if fault is not None:
        raise fault


def count_unnamed(held: Sequence[Held], how: str) -> int:
    """Return the number of classes that have no names.

    Every number from 0 to the highest label has to occur.

    Args:
        held: The labels of all splits, file after file.
        how: Advice how to name classes, which permits empty ones.

    Raises:
        DataError: A number below the highest label has no object; the message has the row of the first label above it.
    """
    used = np.unique(np.concatenate([labels for _, labels in held]))
    unused = np.flatnonzero(used != np.arange(len(used)))
    if not len(unused):
        return len(used)
    gap = int(unused[0])
    value = int(used[gap])
    where, labels = next(one for one in held if (one.labels == value).any())
    row = int(np.flatnonzero(labels == value)[0])
    raise DataError(
        f"{where} row {row} is {value}, but no object has the label {gap}; without class names labels number the "
        f"classes from 0 without gaps: mend the label, or {how}"
    )


def check_part_gaps(used: Labels, where: str) -> None:
    """Refuse part ids with a large gap below them.

    Args:
        used: Distinct ids, ascending.
        where: The files and the field, for messages.

    Raises:
        DataError: More than `PART_GAP` ids are unused below an id.
    """
    ids = np.concatenate([[-1], used[used >= 0]])
    far = np.flatnonzero(np.diff(ids) > PART_GAP + 1)
    if len(far):
        value, below = int(ids[far[0] + 1]), int(ids[far[0]])
        raise DataError(
            f"{where} holds part id {value}, but none from {below + 1} to {value - 1}; "
            "expected ids from 0 without large gaps: mend that id, or use -1 for points of no part"
        )


def _whole(values: npt.NDArray[Any], where: str, start: int = 0) -> Labels:
    """Return whole numbers as int64, after checking.

    Raises:
        DataError: Another type, a fraction, NaN, infinity, or a number beyond 64 bits.
    """
    if values.dtype.kind not in "iuf":
        raise DataError(f"{where} holds {values.dtype}, expected whole numbers (an integer type)")
    if values.dtype.kind == "i":
        return values.astype(np.int64)
    if values.dtype.kind == "u":
        wrong = values > np.iinfo(np.int64).max if values.dtype.itemsize == 8 else np.zeros(values.shape, dtype=bool)
    else:
        exact = values.astype(np.float64)
        wrong = ~((exact == np.rint(exact)) & (np.abs(exact) < 2.0**53))  # NaN compares false
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        point = f" point {at[1]}" if len(at) > 1 else ""
        raise DataError(f"{where} row {start + at[0]}{point} is {values[at]}, expected a whole number")
    return values.astype(np.int64)
