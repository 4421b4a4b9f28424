"""A teacher that needs no weights: words and pictures have fixed random features in one space."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.base import Progress, silent
from bench.teachers.base import Teacher

WIDTH = 8


class ToyTeacher(Teacher):
    """Bag of words; pictures through a fixed random matrix. Counts what it is asked."""

    name = "toy"
    summary = "fixed random features"
    image_dim = WIDTH
    text_dim = WIDTH

    def __init__(self, cache: Path) -> None:
        super().__init__(cache)
        self.sentences = 0
        self.pictures = 0

    def identity(self) -> str:
        return hashlib.sha256(b"toy").hexdigest()

    def ready(self) -> bool:
        return True

    def prepare(self, progress: Progress = silent) -> None:
        return None

    def captions_seen(self) -> tuple[str, ...]:
        return ()

    def encode_images(self, images: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        self.pictures += len(images)
        small = images[:, ::8, ::8].reshape(len(images), -1).astype(np.float32) / 255
        lift = np.random.default_rng(5).normal(size=(small.shape[1], WIDTH))
        return (small @ lift).astype(np.float32)

    def encode_texts(self, texts: Sequence[str], progress: Progress = silent) -> npt.NDArray[np.float32]:
        self.sentences += len(texts)
        sums = [sum(map(word_feature, text.rstrip(".").split()), np.zeros(WIDTH)) for text in texts]
        return np.asarray(sums, np.float32)


def word_feature(word: str) -> npt.NDArray[np.float64]:
    """Fixed random feature of a word."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    return np.random.default_rng(seed).normal(size=WIDTH)
