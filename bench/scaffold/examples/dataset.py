"""Data set: your own clouds, read or made in `load`."""

import hashlib
from typing import Any

import numpy as np
from pydantic import Field

from bench.data.base import CloudSet, Dataset, DatasetCard, SplitName

VERSION = 1
"""Raise it whenever `load` returns something else: it is part of the manifest, and so of every key."""
AXES = {"ball": (1.0, 1.0, 1.0), "plate": (1.0, 0.1, 1.0), "rod": (0.1, 1.0, 0.1)}


class DatasetExample(Dataset):
    """Ellipsoids of three classes, y up."""

    name = "dataset-example"
    card = DatasetCard(
        summary="ellipsoids of three classes",
        licence="MIT",
        terms="none",
        citation="none",
        normalisation="centred, farthest point at distance 1",
        in_unit_sphere=True,
    )

    class Options(Dataset.Options):
        """Options that change the data; they enter the key."""

        per_class: int = Field(30, ge=2, le=100_000)
        """Training objects of each class; half as many are in the test split."""
        points: int = Field(1024, ge=16, le=65_536)
        """Points of a cloud."""

    def manifest(self) -> str:
        """Return the digest of what the clouds depend on; for files: digest their content (`bench.data.digest`)."""
        options = self.options.model_dump_json()
        return hashlib.sha256(f"{self.name} {VERSION} {options}".encode()).hexdigest()

    def classes(self) -> tuple[str, ...]:
        """Return the class names; the index is the label."""
        return tuple(AXES)

    def train_size(self) -> int:
        """Return the number of training objects, without making them."""
        return len(AXES) * int(self._options().per_class)

    def load(self, split: SplitName) -> CloudSet:
        """Make one split: clouds, labels and stable names."""
        options = self._options()
        count = options.per_class if split == "train" else options.per_class // 2
        labels = np.repeat(np.arange(len(AXES), dtype=np.int64), count)
        clouds = np.empty((len(labels), options.points, 3), np.float32)
        for i, label in enumerate(labels):
            rng = np.random.default_rng([split == "test", i])
            ball = rng.normal(size=(options.points, 3))
            ball *= rng.uniform(0.8, 1.2, 3) / np.linalg.norm(ball, axis=1, keepdims=True)
            cloud = ball * list(AXES.values())[label]
            cloud -= cloud.mean(0)
            clouds[i] = cloud / np.linalg.norm(cloud, axis=1).max()
        ids = tuple(f"{self.classes()[label]}-{split}-{i}" for i, label in enumerate(labels))
        return CloudSet(points=clouds, labels=labels, ids=ids, classes=self.classes())

    def _options(self) -> Any:
        return self.options
