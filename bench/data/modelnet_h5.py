"""Data sets in the layout of ``modelnet40_ply_hdf5_2048``.

With any list of classes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.data.base import DatasetCard, SplitName
from bench.data.corruptions import Clouds
from bench.data.h5io import Fields
from bench.data.h5set import H5Dataset, data_root, holding_folder, natural_key, read_lines
from bench.data.modelnet_c import ReleasedCorruptions
from bench.data.modelnet_names import MODELNET40
from bench.errors import DataError


class ModelNetH5(H5Dataset):
    """ModelNet40 as HDF5: ``ply_data_{train,test}*.h5``, ``shape_names.txt``.

    See docs/data-formats.md#modelnet40-as-hdf5. Fields: ``data`` [n,N,3], ``label`` [n] or [n,1], where there
    ``normal`` [n,N,3] and ``pid`` [n,N] (parts). ``train_files.txt`` and ``test_files.txt`` choose and order the files
    by base name; without them the files are taken in numerical order. ``*_id2file.json`` names the objects.
    """

    name: ClassVar[str] = "modelnet-h5"
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="A folder in the layout of modelnet40_ply_hdf5_2048 (CAD models, any class list)",
        licence="ModelNet40: none stated, the models' authors hold the copyright; other sets: see the folder",
        terms="ModelNet: for the convenience of academic research only",
        citation="ModelNet40: Wu et al., 3D ShapeNets: A Deep Representation for Volumetric Shapes, CVPR 2015; "
        "other sets: see the folder",
        normalisation=(
            "as stored: ModelNet40's clouds come centred in the unit sphere, y up; the Point-MAE family centres on the "
            "mean and scales the farthest point to radius 1 after drawing points, CrossPoint does nothing more"
        ),
        size="ModelNet40: 12,308 clouds of 2048 points, 0.3 GB of float32 coordinates, and as much of normals",
        counts={"train": 9_840, "test": 2_468},
        how_to_get=(
            "https://shapenet.cs.stanford.edu/media/modelnet40_ply_hdf5_2048.zip (its certificate has expired); "
            "unpack, then modelnet-h5:DIR"
        ),
    )
    fields: ClassVar[Fields] = Fields(normals="normal", parts="pid")

    def known_counts(self) -> dict[str, int]:
        """Return ModelNet40's numbers of objects per split.

        Empty if the classes are not those of ModelNet40.
        """
        return self.card.counts if set(self.classes()) == set(MODELNET40) else {}

    def corruptions(self) -> tuple[str, tuple[str, ...]]:
        """Return those of released files in the folder, else the general ones.

        See `Dataset.corruptions` and `bench.data.modelnet_c`.
        """
        released = ReleasedCorruptions.inside(self._folder())
        if released is None:
            return super().corruptions()
        return released.identity(self.place.cache), tuple(released.files)

    def corrupted(self, condition: str, clouds: Clouds) -> Clouds:
        """Return the test clouds under a condition; released ones where there are."""
        released = ReleasedCorruptions.inside(self._folder())
        if released is None:
            return super().corrupted(condition, clouds)
        labels = np.concatenate([head.labels for head in self._checked[1]["test"]])
        return released.clouds(condition, labels, self.place.cache)

    def _folder(self) -> Path:
        return data_root(self.place.root, self.name, "ply_data_train*.h5 and ply_data_test*.h5")

    def _files(self, split: SplitName) -> list[Path]:
        root = self._folder()
        listed = root / f"{split}_files.txt"
        if listed.exists():
            return self._listed(listed)
        found = sorted(root.glob(f"ply_data_{split}*.h5"), key=lambda p: natural_key(p.name))
        if not found:
            hint = holding_folder(root, f"ply_data_{split}*.h5")
            if not hint and (any(root.glob("*_objectdataset*.h5")) or holding_folder(root, "*_objectdataset*.h5")):
                hint = f"; it looks like the ScanObjectNN layout, try scanobjectnn-h5:{root}"
            raise DataError(f"{root}: no ply_data_{split}*.h5 (nor {split}_files.txt) here{hint}")
        return found

    def _listed(self, listed: Path) -> list[Path]:
        files: list[Path] = []
        for number, line in enumerate(read_lines(listed), start=1):
            path = listed.parent / re.split(r"[\\/]", line)[-1]
            if not path.is_file():
                raise DataError(f"{listed}: line {number} names {path.name}, which is not in {listed.parent}")
            if path in files:
                raise DataError(f"{listed}: line {number} names {path.name} a second time; remove one of the lines")
            files.append(path)
        return files

    def _class_list(self) -> Path | None:
        path = self._folder() / "shape_names.txt"
        return path if path.exists() else None

    def _names_file(self, split: SplitName, path: Path) -> Path | None:
        # The release writes ply_data_train0.h5 but ply_data_train_0_id2file.json.
        stem = re.sub(r"(?<=[^_0-9])([0-9]+)$", r"_\1", path.stem)
        names = path.with_name(f"{stem}_id2file.json")
        return names if names.exists() else None
