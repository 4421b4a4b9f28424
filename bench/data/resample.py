"""A fixed number of points from clouds of any size, the same on every machine and in every run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.seeds import numpy_stream

RESAMPLE_SEED = 0
"""Root of these streams: the data does not depend on a run's seed."""


def resample_index(count: int, points: int, *name: int | str) -> npt.NDArray[np.int64]:
    """Choose rows of a cloud at random, by a stream of the object's own.

    A cloud with enough points gives distinct rows; one with fewer gives each of its rows and, to make up the number,
    rows drawn with replacement. The order is random, so the first k rows are a random subset of the cloud.

    Args:
        count: Points of the cloud, at least 1.
        points: Points wanted.
        name: The object, e.g. the data set's name and the file's path in its folder.

    Returns:
        int64 ``[points]``, positions in ``0..count-1``.
    """
    rng = numpy_stream(RESAMPLE_SEED, "data", "resample", *name)
    # Sorting uniform draws rests on the bare stream only, unlike Generator.permutation.
    order = np.argsort(rng.random(count), kind="stable")
    if count >= points:
        return order[:points].astype(np.int64)
    more = np.minimum((rng.random(points - count) * count).astype(np.int64), count - 1)
    return np.concatenate([order, more]).astype(np.int64)
