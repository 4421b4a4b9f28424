"""Teacher: frozen features of images and sentences."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from bench.data.base import Progress, silent
from bench.teachers.base import Teacher

VERSION = 1
"""Raise it whenever features change: it is part of the identity, and so of every key."""
SIDE = 8


class TeacherExample(Teacher):
    """Random projections of small images and of letter counts."""

    name = "teacher-example"
    summary = "random projections of images and sentences"

    def __init__(self, cache: Path, options: BaseModel | None = None) -> None:
        """Fix the widths; weights come in `prepare`."""
        super().__init__(cache, options)
        self.image_dim = 32
        self.text_dim = 32
        self._weights: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None

    def identity(self) -> str:
        """Return the digest of what determines the features; for a file of weights: digest its content."""
        return hashlib.sha256(f"{self.name} {VERSION} {self.options.model_dump_json()}".encode()).hexdigest()

    def ready(self) -> bool:
        """Tell whether the weights are in place."""
        return self._weights is not None

    def prepare(self, progress: Progress = silent) -> None:
        """Load or fit the weights once; raise SetupError with the command that provides them where they are missing."""
        if self._weights is None:
            rng = np.random.default_rng(0)
            images = rng.normal(size=(3 * SIDE * SIDE, self.image_dim)).astype(np.float32)
            self._weights = images, rng.normal(size=(256, self.text_dim)).astype(np.float32)

    def captions_seen(self) -> tuple[str, ...] | None:
        """Return the sentences it was fitted on: none. None would say that nobody knows."""
        return ()

    def encode_images(self, images: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Return features ``[n, image_dim]`` of images ``[n, H, W, C]``, C being 1 or 3."""
        rows, columns = (np.linspace(0, side - 1, SIDE).round().astype(int) for side in images.shape[1:3])
        small = images[:, rows][:, :, columns]
        coloured = np.broadcast_to(small, (*small.shape[:3], 3)).reshape(len(images), -1).astype(np.float32)
        return self._project(coloured, 0)

    def encode_texts(self, texts: Sequence[str], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Return features ``[n, text_dim]`` of sentences."""
        counts = np.zeros((len(texts), 256), np.float32)
        for row, text in enumerate(texts):
            for byte in text.encode():
                counts[row, byte] += 1
        return self._project(counts, 1)

    def _project(self, rows: npt.NDArray[np.float32], which: int) -> npt.NDArray[np.float32]:
        self.prepare()
        assert self._weights is not None
        # One row at a time: a feature must not depend on the others in its batch, not even by rounding.
        return np.stack([row @ self._weights[which] for row in rows])
