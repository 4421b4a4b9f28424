"""Resample clouds to a fixed number of points, reproducibly.

The same on every machine and in every run.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bench.seeds import numpy_stream

RESAMPLE_SEED = 0
"""Root of these streams: the data does not depend on a run's seed."""


def resample_index(count: int, points: int, *name: int | str) -> npt.NDArray[np.int64]:
    """Return random rows of a cloud, from its own stream.

    Rows are distinct if the cloud has enough points; otherwise each row occurs, and further ones are drawn with
    replacement. The order is random, so the first k rows are a random subset of the cloud.

    Args:
        count: Points of the cloud, at least 1.
        points: Points wanted.
        name: The object, e.g. the data set's name and the file's path in its folder.

    Returns:
        int64 ``[points]``, positions in ``0..count-1``.
    """
    rng = numpy_stream(RESAMPLE_SEED, "data", "resample", *name)
    # Sorting uniform numbers does not depend on NumPy's version, unlike Generator.permutation.
    order = np.argsort(rng.random(count), kind="stable")
    if count >= points:
        return order[:points].astype(np.int64)
    more = np.minimum((rng.random(points - count) * count).astype(np.int64), count - 1)
    return np.concatenate([order, more]).astype(np.int64)
