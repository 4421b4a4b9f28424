"""Clouds with part labels, prepared for a segmentation network.

Parts are numbered, and the points of each cloud are drawn once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch

from bench.data.normalise import normalise_unit_sphere
from bench.errors import DataError
from bench.fingerprint import fingerprint
from bench.models.ops.fps import farthest_point_sample
from bench.progress import named
from bench.protocols.base import Task
from bench.protocols.segmentation_metrics import VOID
from bench.protocols.threads import for_batches
from bench.seeds import numpy_stream
from bench.spec import content_key
from bench.store.cached import open_array, write_array

if TYPE_CHECKING:
    from bench.data.base import CloudSet

Index = npt.NDArray[np.int64]
Parts = npt.NDArray[np.int16]

CLOUD_BATCH = 64


@dataclass(frozen=True)
class PartTable:
    """Parts numbered from 0 without gaps.

    Attributes:
        ids: The data set's id of each part, ascending ``[P]``.
        allowed: Parts of each category ``[C, P]``.
    """

    ids: Index
    allowed: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)

    def number(self, parts: npt.NDArray[np.integer]) -> Parts:
        """Map the data set's part ids to numbers from 0.

        `VOID` where negative, P where no category has the part.
        """
        place = np.searchsorted(self.ids, parts)
        known = self.ids[np.minimum(place, len(self.ids) - 1)] == parts
        return np.where(parts < 0, VOID, np.where(known, place, len(self.ids))).astype(np.int16)

    def restore(self, numbers: npt.NDArray[np.integer]) -> Parts:
        """Map part numbers to the data set's ids; `VOID` stays."""
        ids = self.ids[np.clip(numbers, 0, len(self.ids) - 1)]
        return np.where(numbers < 0, VOID, ids).astype(np.int16)


def part_table(task: Task) -> PartTable:
    """Return which parts each category has.

    The data set states them, or they are read from the training split.

    Raises:
        DataError: No point belongs to a part.
    """
    classes = task.train.classes
    stated: Mapping[str, Sequence[int]] = task.dataset.part_names() if task.dataset is not None else _seen(task.train)
    ids = np.array(sorted({part for parts in stated.values() for part in parts if part >= 0}), dtype=np.int64)
    if not len(ids):
        raise DataError("part segmentation: no point of the training split belongs to a part")
    allowed = np.stack([np.isin(ids, [part for part in stated.get(name, ()) if part >= 0]) for name in classes])
    return PartTable(ids, allowed)


def _seen(train: CloudSet) -> dict[str, list[int]]:
    assert train.parts is not None
    return {name: np.unique(train.parts[train.labels == label]).tolist() for label, name in enumerate(train.classes)}


def limit_objects(labels: Index, each: int | None, split_seed: int) -> Index:
    """Choose at most `each` objects per category; return ascending positions.

    The choice depends on the split seed only, so it is the same for every method.
    """
    if each is None:
        return np.arange(len(labels), dtype=np.int64)
    kept: list[Index] = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order = np.argsort(numpy_stream(split_seed, "split", "limit", int(label)).random(len(members)), kind="stable")
        kept.append(members[order[:each]])
    return np.sort(np.concatenate(kept)).astype(np.int64)


@dataclass(frozen=True)
class FixedClouds:
    """Clouds reduced to a fixed subset of their points.

    Attributes:
        points: float32 ``[n, K, 3]``.
        picks: int64 ``[n, K]`` rows of the stored clouds they are.
    """

    points: npt.NDArray[np.float32]
    picks: Index

    def of(self, parts: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Return the parts ``[n, K]`` of the kept points.

        `parts` are those of the stored clouds ``[n, N]``.
        """
        return np.take_along_axis(np.asarray(parts), self.picks, axis=1)


def fixed_clouds(
    task: Task, split: Literal["train", "test"], rows: Index | None, count: int, *, normalise: bool
) -> FixedClouds:
    """Reduce clouds by farthest point sampling; the picks are cached.

    Sampling starts at the first point.

    Args:
        task: The task.
        split: Split.
        rows: Objects wanted; None for all.
        count: Points kept; all of them where the clouds have no more.
        normalise: Centre each cloud and scale it into the unit sphere first.

    Raises:
        SetupError: The cache cannot be written.
    """
    stored = task.train.points if split == "train" else task.test.points
    points = np.array(stored if rows is None else stored[rows], dtype=np.float32)
    if normalise:
        points = normalise_unit_sphere(points)
    if count >= points.shape[1]:
        return FixedClouds(points, np.tile(np.arange(points.shape[1], dtype=np.int64), (len(points), 1)))
    identity: dict[str, object] = {"code": _code(), "manifest": task.data_manifest, "split": split, "points": count}
    identity |= {"rows": None if rows is None else rows.tolist(), "objects": len(points), "normalise": normalise}
    key = content_key({"kind": "part picks", **identity, "op_backend": task.numerics.op_backend})  # type: ignore[dict-item]
    file = task.cache / "clouds" / f"parts-{key[:32]}.npy"
    known = open_array(file, np.int32, (len(points), count))
    if known is None:
        picks = _sample(task, points, count, split)
        write_array(file, picks.astype(np.int32))
    else:
        picks = np.asarray(known, dtype=np.int64)
    return FixedClouds(np.take_along_axis(points, picks[..., None], axis=1), picks)


def _sample(task: Task, points: npt.NDArray[np.float32], count: int, split: str) -> Index:
    picks = np.empty((len(points), count), dtype=np.int64)

    def sample(start: int, stop: int) -> None:
        batch = torch.from_numpy(points[start:stop]).to(task.device)
        picks[start:stop] = farthest_point_sample(batch, count, backend=task.numerics.op_backend).cpu().numpy()

    stage = f"points of {split}"
    for_batches(len(points), CLOUD_BATCH, task.device, sample, named(task.progress, stage))
    return picks


@cache
def _code() -> str:
    """Return the fingerprint of this module, which cached files carry.

    Edited code must not read files that older code wrote.
    """
    return fingerprint([__name__]).digest
