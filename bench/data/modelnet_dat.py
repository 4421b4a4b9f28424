"""Read the ``.dat`` cache of PointNet++ code, without running it.

The cache is a pickle of clouds and labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.arrays import cloud, finite
from bench.data.unpickle import load_pickle
from bench.errors import DataError


def read_dat(path: Path, labels: npt.NDArray[np.int64], normals: bool) -> dict[str, npt.NDArray[np.float32]]:
    """Read a file such as ``modelnet40_train_8192pts_fps.dat``.

    Its layout is ``[list of [N, 6] arrays, list of [1] labels]``.

    Args:
        path: The file.
        labels: int64 ``[n]``, labels of the split's list; the cache has the same order.
        normals: Whether to return normals, too.

    Returns:
        ``points`` float32 ``[n, N, 3]``, and ``normals`` where asked for.

    Raises:
        DataError: The layout is another, objects or labels differ from the list, or clouds are invalid.
    """
    content = load_pickle(path)
    if not (isinstance(content, list | tuple) and len(content) == 2 and all(isinstance(p, list) for p in content)):
        raise DataError(f"{path}: expected a pickled pair of lists, clouds and labels")
    clouds, stored = content
    if len(clouds) != len(stored):
        raise DataError(f"{path}: holds {len(clouds)} clouds but {len(stored)} labels; copy or download it again")
    if len(clouds) != len(labels):
        raise DataError(
            f"{path}: holds {len(clouds)} objects, the list of the split has {len(labels)}; they must match"
        )
    read = {"points": np.empty((0, 0, 3), np.float32)}
    if normals:
        read["normals"] = read["points"]
    for row, (values, label) in enumerate(zip(clouds, stored, strict=True)):
        if whole_number(label) != labels[row]:
            raise DataError(
                f"{path}: object {row} has label {_shown(label)}, the list of the split says {labels[row]}; "
                "the cache was made from another list"
            )
        table = numbers(values, path, f"object {row}", normals)
        if row == 0:
            read = {name: np.empty((len(clouds), len(table), 3), np.float32) for name in read}
        if len(table) != read["points"].shape[1]:
            raise DataError(f"{path}: object {row} has {len(table)} points, object 0 {read['points'].shape[1]}")
        read["points"][row] = cloud(table[:, :3], path, f"object {row} points")
        if normals:
            read["normals"][row] = finite(table[:, 3:6], path, f"object {row} normals")
    return read


def whole_number(value: Any) -> int | None:
    """Return the single whole number in a value, or None."""
    array = np.asarray(value) if isinstance(value, int | np.generic | np.ndarray) else np.empty(0)
    return int(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "iu" else None


def numbers(values: Any, path: Path, where: str, normals: bool = False) -> npt.NDArray[Any]:
    """Check that a pickled value is a table of points.

    Columns are x, y, z and, if requested, normals.

    Returns:
        The float array ``[N, 3 or more]``.

    Raises:
        DataError: It is not.
    """
    columns = 6 if normals else 3
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim != 2 or values.shape[1] < columns:
        held = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise DataError(f"{path}: {where} is {held}, expected a float array [N, {'6' if normals else '3 or 6'}]")
    return values


def _shown(label: Any) -> str:
    return str(label)[:40]
