"""Data set of cloud files, resampled to equal size.

The files are ``<class>/<file>``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bench.data.base import DatasetCard
from bench.data.classfolders import ClassFolders
from bench.data.cloudfiles import READERS, read_cloud
from bench.data.converted import Column, Reader
from bench.data.resample import resample_index


class Clouds(ClassFolders):
    """Clouds of any size in the common formats (`bench.data.cloudfiles`).

    Of a cloud with more than `points` points, a random subset is kept, fixed by the file's path; a cloud with fewer
    keeps all and repeats some. Coordinates are not scaled or rotated (y should point up).
    """

    name: ClassVar[str] = "clouds"
    suffixes: ClassVar[tuple[str, ...]] = tuple(READERS)
    revision: ClassVar[int] = 2
    card: ClassVar[DatasetCard] = DatasetCard(
        summary="a folder of clouds, <class>/<file> in npy, npz, ply, pcd, txt, csv or xyz",
        licence="that of your files",
        terms="those of your files",
        citation="none: your files",
        normalisation="none: coordinates as in the files",
        how_to_get="your own files: clouds:DIR with DIR/<class>/<file>",
    )

    def _reader(self, root: Path) -> Reader:
        assert isinstance(self.options, self.Options)
        points = self.options.points

        def read(path: Path) -> dict[str, npt.NDArray[np.float32]]:
            found = read_cloud(path)
            return {"points": found[resample_index(len(found), points, "clouds", path.relative_to(root).as_posix())]}

        return Reader("clouds", {"points": Column("float32", (points, 3))}, read, revision=2)
