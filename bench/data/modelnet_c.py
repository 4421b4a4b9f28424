"""Released corrupted test clouds of ModelNet40: ModelNet-C and ModelNet40-C.

The folder ``modelnet_c`` (``clean.h5`` and ``{type}_{level}.h5``, levels 0 to 4) or ``modelnet40_c``
(``data_{type}_{severity}.npy``, severities 1 to 5, and ``label.npy``) lies in the folder of ModelNet40's HDF5 files,
whose test objects the clouds are made from, in the same order. See docs/data-formats.md#corrupted-modelnet40.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.arrays import read_npy
from bench.data.coordinates import float32_clouds, of_field
from bench.data.corruptions import CLEAN, LEVELS, Clouds
from bench.data.digest import file_digest, manifest_digest
from bench.data.h5io import Fields, load_arrays, read_head
from bench.errors import DataError

FOLDERS = {"modelnet_c": "modelnet-c", "modelnet40_c": "modelnet40-c"}
"""Folders that are looked for, and the name of what is in them."""
_H5 = re.compile(r"([a-z_]+)_([0-4])\.h5")
_NPY = re.compile(r"data_([a-z_]+)_([1-5])\.npy")


@dataclass(frozen=True)
class ReleasedCorruptions:
    """Files of a released corrupted test set.

    Attributes:
        name: ``modelnet-c`` or ``modelnet40-c``.
        folder: Their folder.
        files: By condition, e.g. ``jitter-3``.
    """

    name: str
    folder: Path
    files: dict[str, Path]

    @classmethod
    def inside(cls, root: Path) -> ReleasedCorruptions | None:
        """Find released files in a data set's folder; None without any.

        Raises:
            DataError: Both releases lie there, or a file is missing.
        """
        found = [root / name for name in FOLDERS if (root / name).is_dir()]
        if len(found) > 1:
            raise DataError(f"{root}: holds {found[0].name} and {found[1].name}; move one of them away")
        if not found:
            return None
        folder, pattern = found[0], _H5 if found[0].name == "modelnet_c" else _NPY
        first = 0 if pattern is _H5 else 1
        files: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            if (named := pattern.fullmatch(path.name)) is not None:
                files[f"{named[1]}-{int(named[2]) - first + 1}"] = path
        kinds = dict.fromkeys(name.rpartition("-")[0] for name in files)
        for kind in kinds:
            missing = [str(level) for level in range(1, LEVELS + 1) if f"{kind}-{level}" not in files]
            if missing:
                raise DataError(f"{folder}: {kind} lacks level {', '.join(missing)} of 1 to {LEVELS}; unpack it again")
        besides = folder / ("clean.h5" if pattern is _H5 else "label.npy")
        if not files or not besides.is_file():
            wanted = "clean.h5 and TYPE_LEVEL.h5" if pattern is _H5 else "label.npy and data_TYPE_SEVERITY.npy"
            raise DataError(f"{folder}: expected {wanted}; unpack the release there, or move the folder away")
        clean = {CLEAN: besides} if pattern is _H5 else {}
        return cls(FOLDERS[folder.name], folder, clean | files)

    def identity(self, cache: Path) -> str:
        """Return name and digest of the files."""
        paths = sorted({*self.files.values(), *self._labels_file})
        listed = [("", path.name, file_digest(path, cache)) for path in paths]
        return f"{self.name}/{manifest_digest(self.name, 1, {}, listed)[:16]}"

    @property
    def _labels_file(self) -> tuple[Path, ...]:
        return () if self.name == "modelnet-c" else (self.folder / "label.npy",)

    def clouds(self, condition: str, labels: npt.NDArray[np.int64], cache: Path) -> Clouds:
        """Read the clouds of a condition, float32 ``[n, N', 3]``.

        Args:
            condition: Condition.
            labels: Labels of the test split ``[n]``, which the file has to have, too.
            cache: Cache folder.

        Raises:
            DataError: A file is damaged, or is about other objects.
        """
        path = self.files[condition]
        if self.name == "modelnet-c":
            head = read_head(path, Fields())
            store = cache / "datasets" / self.identity(cache).replace("/", "-")
            found = load_arrays([head], Fields(), store, path.stem)
            points, own = found.points, head.labels
        else:
            values = read_npy(path)
            if values.ndim != 3 or values.shape[2] != 3:
                raise DataError(f"{path}: has shape {values.shape}, expected [n, N, 3]")
            points = float32_clouds(values, of_field(f"{path}:"))
            own = read_npy(self.folder / "label.npy", "iu").reshape(-1).astype(np.int64)
        if len(points) != len(labels) or not np.array_equal(own, labels):
            raise DataError(
                f"{path}: has {len(points)} objects whose labels are not those of the {len(labels)} test objects of "
                f"{self.folder.parent}; expected the same objects in the same order"
            )
        return points
