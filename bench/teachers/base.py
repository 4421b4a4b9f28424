"""The contract of a teacher: features of images and sentences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, JsonValue

from bench.errors import UsageError
from bench.progress import Progress, silent
from bench.spec import Frozen, TransformerShape

if TYPE_CHECKING:
    from torch import nn


class Teacher(ABC):
    """A frozen teacher.

    A teacher is made (fitted, or read from disk) once by `prepare` and is immutable afterwards; `identity`
    goes into the key of every run that uses it. Importing the module must not import torch.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    image_dim: int
    """Width of image features; 0 for a teacher of texts alone."""
    text_dim: int
    """Width of text features; 0 for a teacher of images alone."""

    class Options(Frozen):
        """Options that change the weights or the preprocessing."""

    def __init__(self, cache: Path, options: BaseModel | None = None) -> None:
        self.cache = cache
        self.options = options if options is not None else self.Options()
        self.device = "cpu"

    def run_on(self, device: str) -> None:
        """Run on ``cpu`` or ``cuda`` from now on; here it stays on the one it knows."""
        self.device = "cpu"

    def portable_options(self) -> BaseModel:
        """Return the options as they enter keys: with a file's digest where the user gave its path."""
        return self.options

    def weights_source(self) -> str:
        """Say where the weights come from, for ``bench teachers show``."""
        return "made by this teacher"

    def fetch(self, progress: Progress = silent) -> None:
        """Get what may be had from the network, which happens on request only; nothing by default.

        Raises:
            SetupError: It cannot be had; the line says what to do.
        """
        progress(1, 1)

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

    def transformer_shape(self) -> TransformerShape | None:
        """Architecture of the token transformer this teacher can lend to a method; None if it has none.

        Known without reading weights, since it enters keys.
        """
        return None

    def token_transformer(self) -> nn.Module:
        """Return the pretrained token transformer: a `bench.models.token_transformer.TokenTransformer`, frozen.

        Raises:
            UsageError: This teacher has none.
            SetupError: Its weights cannot be had here.
        """
        raise UsageError(
            f"teacher '{self.name}' has no token transformer to build upon; use one of tiny-clip, timm, open-clip, "
            "sentence-transformers"
        )

    @abstractmethod
    def captions_seen(self) -> tuple[str, ...] | None:
        """Distinct sentences the teacher was fitted on (for the 'saw class names' column).

        None where nobody here can know: it was trained elsewhere, on images or sentences that are not at hand.
        """

    @abstractmethod
    def encode_images(self, images: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Features ``[n, image_dim]`` of uint8 images ``[n, H, W, C]`` with C 1 or 3."""

    def encode_crops(self, crops: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Features of augmented crops: as `encode_images`, but the teacher's own preprocessing crops no further."""
        return self.encode_images(crops, progress)

    @property
    def crop_side(self) -> int | None:
        """Side of augmented crops in pixels; None: as large as the pictures are."""
        return None

    @property
    def crop_style(self) -> Literal["plain", "recon"]:
        """Whether augmented crops are flips and crops, or ReCon's whole pipeline with colours and a grey square."""
        return "plain"

    @abstractmethod
    def encode_texts(self, texts: Sequence[str], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Features ``[n, text_dim]`` of sentences."""
