"""Turn the clouds of a data set: about the vertical axis, or in any way.

The train and test pairs z/z, z/SO3 and SO3/SO3 are those of the literature (docs/reference.md#rotations). The vertical
axis is y here, as in all data sets of this package.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.data.containers import CloudSet
from bench.seeds import numpy_stream
from bench.spec import Rotation

REVISION = 1
SEED = 0


def turned(clouds: CloudSet, split: Literal["train", "test"], rotation: Rotation) -> CloudSet:
    """Return a split whose objects are turned, normals too.

    Every object has one rotation, fixed by its position in the split, and the same for every method and seed.
    """
    if rotation == "none":
        return clouds
    train, _, test = rotation.partition("/")
    matrices = _matrices(train if split == "train" else test, split, len(clouds))
    normals = None if clouds.normals is None else _apply(clouds.normals, matrices)
    return replace(clouds, points=_apply(clouds.points, matrices), normals=normals, views=None, views_kind=None)


def _matrices(kind: str, split: str, count: int) -> npt.NDArray[np.float64]:
    """Return rotations ``[count, 3, 3]``, uniform about y (``z``) or on SO(3)."""
    draws = numpy_stream(SEED, "data", "rotation", REVISION, kind, split)
    if kind == "z":
        angle = draws.uniform(0, np.pi, count)  # half of it, for the quaternion
        quaternion = np.stack([np.cos(angle), np.zeros(count), np.sin(angle), np.zeros(count)])
    else:
        quaternion = draws.standard_normal((4, count))
        quaternion /= np.linalg.norm(quaternion, axis=0)
    w, x, y, z = quaternion
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.moveaxis(np.array(rows), 2, 0)


def _apply(vectors: npt.NDArray[np.float32], matrices: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = (np.asarray(vectors) @ matrices.swapaxes(1, 2)).astype(np.float32)
    return found
