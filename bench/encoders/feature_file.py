"""Read features that another framework wrote, as ``.npz`` or HDF5.

Every fault is one line. Pickled objects are never loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.arrays import read_npz
from bench.data.h5io import open_field, open_h5
from bench.encoders.base import Feature
from bench.errors import DataError
from bench.spec import WIDEST

Array = npt.NDArray[np.float32]
SPLITS = ("train", "test")
IDS, SPLIT = "ids", "split"
"""Names of the arrays that are no features."""
_NPZ, _H5 = (".npz",), (".h5", ".hdf5")
_EVERY_KIND = "fiubcUSmMV"
"""Types of NumPy arrays without Python objects; which of them belong where is checked here."""


@dataclass(frozen=True)
class FeatureFile:
    """Features of the objects of one data set.

    Attributes:
        path: The file.
        rows: Row by split and id of the object.
        features: float32 ``[n, F]`` by name.
    """

    path: Path
    rows: Mapping[str, Mapping[str, int]]
    features: Mapping[str, Array]

    @property
    def declared(self) -> dict[str, Feature]:
        """Its features as an encoder declares them."""
        return {name: Feature(values.shape[1], f"'{name}' of the file") for name, values in self.features.items()}

    def of(self, name: str, split: str, ids: Sequence[str]) -> Array:
        """Return a feature of objects, in their order, ``[len(ids), F]``."""
        rows = self.rows[split]
        return self.features[name][[rows[one] for one in ids]]

    def check(self, ids: Mapping[str, Sequence[str]], where: str) -> None:
        """Compare the file's objects with those of a data set.

        Args:
            ids: Ids of all objects by split.
            where: Name of the data set.

        Raises:
            DataError: An object is missing, in the other split, or not in the data set; the line names it.
        """
        for split in SPLITS:
            other = self.rows[SPLITS[1 - SPLITS.index(split)]]
            lacking = [one for one in ids[split] if one not in self.rows[split]]
            if lacking and lacking[0] in other and lacking[0] not in ids[SPLITS[1 - SPLITS.index(split)]]:
                raise DataError(
                    f"{self.path}: row {other[lacking[0]]}, object {_shown(lacking[0])}, is of split "
                    f"'{SPLITS[1 - SPLITS.index(split)]}', but {where} has it in '{split}'{_more(lacking)}"
                )
            if lacking:
                raise DataError(
                    f"{self.path}: has no row for object {_shown(lacking[0])} of the {split} split of "
                    f"{where}{_more(lacking)}; write one row for each of its {len(ids[split])} objects"
                )
            known = set(ids[split])
            extra = [one for one in self.rows[split] if one not in known]
            if extra:
                raise DataError(
                    f"{self.path}: row {self.rows[split][extra[0]]} is of object {_shown(extra[0])}, which is not in "
                    f"the {split} split of {where}{_more(extra)}; write the rows of that data set alone"
                )


def read_feature_file(path: Path) -> FeatureFile:
    """Read and check a file of features.

    Raises:
        DataError: Missing, damaged, pickled, of another layout, or with a value that is not finite.
    """
    if path.suffix.lower() in _NPZ:
        arrays = read_npz(path, _EVERY_KIND)
    elif path.suffix.lower() in _H5:
        arrays = _read_h5(path)
    else:
        raise DataError(f"{path}: expected a file of features that ends in {', '.join((*_NPZ, *_H5))}")
    for name in (IDS, SPLIT):
        if name not in arrays:
            held = ", ".join(sorted(map(_shown, arrays))) or "nothing"
            raise DataError(f"{path}: array '{name}' is missing (it holds {held}); expected ids, split and features")
    ids, splits = (_texts(arrays.pop(name), path, name) for name in (IDS, SPLIT))
    if len(splits) != len(ids):
        raise DataError(f"{path}: {len(ids)} ids and {len(splits)} splits; expected one of each per object")
    if not arrays:
        raise DataError(f"{path}: holds no features; add an array such as 'features', float [objects, width]")
    rows: dict[str, dict[str, int]] = {split: {} for split in SPLITS}
    for row, (one, split) in enumerate(zip(ids, splits, strict=True)):
        if split not in rows:
            raise DataError(f"{path}: split of row {row} is {_shown(split)}, expected 'train' or 'test'")
        if one in rows[split]:
            raise DataError(
                f"{path}: rows {rows[split][one]} and {row} are both of object {_shown(one)} in split '{split}'; "
                "write each object once"
            )
        rows[split][one] = row
    return FeatureFile(path, rows, {name: _feature(value, path, name, ids) for name, value in arrays.items()})


def _read_h5(path: Path) -> dict[str, npt.NDArray[Any]]:
    import h5py

    found: dict[str, npt.NDArray[Any]] = {}
    with open_h5(path) as file:
        for name in list(file):
            field = open_field(file, path, name)
            if h5py.check_string_dtype(field.dtype) is not None:
                try:
                    found[name] = np.asarray(field.asstr()[...], dtype=np.str_)
                except UnicodeDecodeError as error:
                    raise DataError(f"{path}: array '{name}' is not UTF-8 text ({error.reason})") from error
            elif field.dtype.hasobject:
                raise DataError(f"{path}: array '{name}' holds {field.dtype}, expected texts or floats")
            else:
                found[name] = np.asarray(field[...])
    return found


def _texts(values: npt.NDArray[Any], path: Path, name: str) -> tuple[str, ...]:
    if values.dtype.kind not in "US" or values.ndim != 1:
        raise DataError(f"{path}: array '{name}' is {_described(values)}, expected texts [objects]")
    if not len(values):
        raise DataError(f"{path}: array '{name}' is empty; expected one text per object")
    if values.dtype.kind == "U":
        return tuple(values.tolist())
    try:
        return tuple(text.decode("utf-8") for text in values.tolist())
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: array '{name}' is not UTF-8 text ({error.reason})") from error


def _feature(values: npt.NDArray[Any], path: Path, name: str, ids: Sequence[str]) -> Array:
    if values.dtype.kind != "f" or values.ndim != 2 or len(values) != len(ids) or not 0 < values.shape[1] <= WIDEST:
        raise DataError(
            f"{path}: array {_shown(name)} is {_described(values)}, expected floats [{len(ids)} objects, width] with a "
            f"width of 1 to {WIDEST}"
        )
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(values, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(found).all(1))
    if len(bad):
        row, column = int(bad[0]), int(np.flatnonzero(~np.isfinite(found[bad[0]]))[0])
        raise DataError(
            f"{path}: array {_shown(name)} row {row} (object {_shown(ids[row])}) column {column} is "
            f"{values[row, column]}, expected a finite float32{_more(bad)}"
        )
    return found


def _described(values: npt.NDArray[Any]) -> str:
    return f"{values.dtype} [{', '.join(map(str, values.shape))}]"


def _more(rows: Sequence[object] | npt.NDArray[Any]) -> str:
    return f" (and {len(rows) - 1} more)" if len(rows) > 1 else ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
