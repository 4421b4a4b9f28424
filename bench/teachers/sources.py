"""Teacher features for pretraining steps, or inputs of tuned teachers.

Each class is a `bench.training.pretraining.FeatureSource`. The choices of an object are its views times crops, or its
prompts; a step draws one, which is looked up or computed here. The same draw gives the same feature either way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.teachers.base import Teacher
from bench.teachers.features import Features, Pictures


class CachedImages:
    """Image features in a memory-mapped file.

    Args:
        features: float32 ``[n, choices, D]``.
    """

    def __init__(self, features: Features) -> None:
        self._features = features
        self.choices: int | None = features.shape[1]
        self.width = features.shape[2]

    def __len__(self) -> int:
        return len(self._features)

    def pick(self, index: Tensor, choice: Tensor | None) -> Tensor:
        """Return features ``[B, D]`` of objects ``[B]`` at choices ``[B]``."""
        assert choice is not None
        rows = self._features[_numpy(index), _numpy(choice)]
        return torch.from_numpy(np.ascontiguousarray(rows)).to(index.device)


class CachedTexts:
    """Features of distinct sentences, and the sentences of each object.

    Args:
        features: float32 ``[S, D]``, or int64 token ids ``[S, L]``.
        index: int64 ``[n, choices]``.
    """

    def __init__(self, features: Features | npt.NDArray[np.int64], index: npt.NDArray[np.int64]) -> None:
        self._features = features
        self._index = index
        self.choices: int | None = index.shape[1]
        self.width = features.shape[1]

    def __len__(self) -> int:
        return len(self._index)

    def pick(self, index: Tensor, choice: Tensor | None) -> Tensor:
        """Return features ``[B, D]`` of objects ``[B]`` at choices ``[B]``."""
        assert choice is not None
        rows = self._features[self._index[_numpy(index), _numpy(choice)]]
        return torch.from_numpy(np.ascontiguousarray(rows)).to(index.device)


class LiveImages:
    """Image features computed when a step draws them.

    Args:
        pictures: Views or crops of each object.
    """

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self.choices: int | None = pictures.choices
        self.width = pictures.teacher.image_dim

    def __len__(self) -> int:
        return len(self._pictures.views)

    def pick(self, index: Tensor, choice: Tensor | None) -> Tensor:
        """Return features ``[B, D]`` of objects ``[B]`` at choices ``[B]``."""
        assert choice is not None
        features = self._pictures.encode(_numpy(index) * self._pictures.choices + _numpy(choice))
        return torch.from_numpy(features).to(index.device)


class DrawnPictures:
    """Pictures or crops themselves, for a tuned image teacher.

    Args:
        pictures: Views or crops of each object.
    """

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self.choices: int | None = pictures.choices
        self.width = pictures.views.shape[-1]

    def __len__(self) -> int:
        return len(self._pictures.views)

    def pick(self, index: Tensor, choice: Tensor | None) -> Tensor:
        """Return uint8 ``[B, H, W, C]`` of objects ``[B]`` at choices ``[B]``."""
        assert choice is not None
        pictures = self._pictures.pictures(_numpy(index) * self._pictures.choices + _numpy(choice))
        return torch.from_numpy(np.ascontiguousarray(pictures)).to(index.device)


class LiveTexts:
    """Text features computed when a step draws them.

    Args:
        teacher: A teacher of texts.
        sentences: ``[n][T]``.
        drawn: Whether a step draws one of the T sentences; otherwise T is 1.
    """

    def __init__(self, teacher: Teacher, sentences: Sequence[Sequence[str]], drawn: bool) -> None:
        self._teacher = teacher
        self._sentences = sentences
        self.choices: int | None = len(sentences[0]) if drawn else None
        self.width = teacher.text_dim

    def __len__(self) -> int:
        return len(self._sentences)

    def pick(self, index: Tensor, choice: Tensor | None) -> Tensor:
        """Return features ``[B, D]`` of objects ``[B]`` at choices ``[B]``.

        Without choices an object has one sentence.
        """
        drawn = np.zeros(len(index), dtype=np.int64) if choice is None else _numpy(choice)
        sentences = [self._sentences[i][t] for i, t in zip(_numpy(index), drawn, strict=True)]
        return torch.from_numpy(self._teacher.encode_texts(sentences)).to(index.device)


def _numpy(index: Tensor) -> npt.NDArray[np.int64]:
    found: npt.NDArray[np.int64] = index.cpu().numpy()
    return found
