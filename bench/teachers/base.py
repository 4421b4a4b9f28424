"""What a teacher hands to a method: features of images and of sentences, in one joint space or two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, JsonValue

from bench.data.base import Progress, silent


class Teacher(ABC):
    """A frozen teacher.

    A teacher is made (fitted, or read from disk) once by `prepare` and is immutable afterwards; `identity`
    goes into the key of every run that uses it. Importing the module must not import torch.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    image_dim: int
    text_dim: int

    class Options(BaseModel):
        """Options that change the weights or the preprocessing."""

        model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, cache: Path, options: BaseModel | None = None) -> None:
        self.cache = cache
        self.options = options if options is not None else self.Options()

    @abstractmethod
    def identity(self) -> str:
        """SHA-256 hex digest of what determines the features, known without fitting."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether `prepare` would find the weights in place; cheap."""

    @abstractmethod
    def prepare(self, progress: Progress = silent) -> None:
        """Fit or load the weights; a no-op when they are in the cache.

        Raises:
            SetupError: Weights are not on disk; the line says which command or file provides them.
        """

    def fit_report(self) -> dict[str, JsonValue]:
        """Figures of the fit, for ``bench teachers fit``; empty for a teacher whose weights are not made here."""
        return {}

    @abstractmethod
    def captions_seen(self) -> tuple[str, ...]:
        """Distinct sentences the teacher was fitted on (for the 'saw class names' column)."""

    @abstractmethod
    def encode_images(self, images: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Features ``[n, image_dim]`` of uint8 images ``[n, H, W, C]`` with C 1 or 3."""

    @abstractmethod
    def encode_texts(self, texts: Sequence[str], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Features ``[n, text_dim]`` of sentences."""
