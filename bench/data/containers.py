"""Clouds, folds and rooms in memory, returned by data sets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bench.data.rows import select


@dataclass(frozen=True)
class CloudSet:
    """One split in memory (or memory-mapped).

    Attributes:
        points: float32 ``[n, N, 3]``, y up.
        labels: int64 ``[n]``, index into `classes`.
        ids: One stable name per object.
        classes: Class names, index = label.
        normals: float32 ``[n, N, 3]`` or None.
        parts: int64 ``[n, N]`` part id per point, or None. Negative: the point belongs to no part (clutter of a scan).
        captions: One sentence per object, or None.
        views: uint8 ``[n, V, H, W, C]`` with C 1 or 3, or None.
        views_kind: Kind of the views: ``shaded`` (rendered from the surface) or ``depth-of-points`` (depth image of the
            cloud itself, for sets without images).
    """

    points: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    normals: npt.NDArray[np.float32] | None = None
    parts: npt.NDArray[np.int64] | None = None
    captions: tuple[str, ...] | None = None
    views: npt.NDArray[np.uint8] | None = None
    views_kind: str | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, index: npt.NDArray[np.int64]) -> CloudSet:
        """Return the objects at `index` (int64 ``[m]``), in that order.

        Large arrays stay in their memory map.
        """

        def pick(array: npt.NDArray[np.generic] | None) -> npt.NDArray[np.generic] | None:
            return None if array is None else select(array, index)

        return replace(
            self,
            points=select(self.points, index),
            labels=self.labels[index],
            ids=tuple(self.ids[i] for i in index),
            normals=pick(self.normals),  # type: ignore[arg-type]
            parts=pick(self.parts),  # type: ignore[arg-type]
            captions=None if self.captions is None else tuple(self.captions[i] for i in index),
            views=pick(self.views),  # type: ignore[arg-type]
        )


NO_OBJECTS = CloudSet(np.empty((0, 1, 3), np.float32), np.empty(0, np.int64), (), ())
"""What a data set of rooms has in place of objects."""


@dataclass(frozen=True)
class GivenFold:
    """Few-shot fold that a data set provides.

    Attributes:
        classes: int64 ``[way]``, position = local label.
        support: int64 ``[way * shot]``, positions in the training split.
        query: int64 ``[q]``, positions in the test split.
    """

    classes: npt.NDArray[np.int64]
    support: npt.NDArray[np.int64]
    query: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Room:
    """One room for semantic segmentation.

    Attributes:
        name: E.g. ``Area_5_office_3``.
        area: Number of the area (building part) it belongs to; whole areas are held out.
        points: float32 ``[n, 3]``, metres, z up, shifted so that the smallest coordinate of each axis is 0.
        colours: uint8 ``[n, 3]``, or None.
        labels: int64 ``[n]``, index into `Dataset.classes`.
    """

    name: str
    area: int
    points: npt.NDArray[np.float32]
    colours: npt.NDArray[np.uint8] | None
    labels: npt.NDArray[np.int64]
