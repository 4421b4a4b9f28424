"""Interface of a teacher: features of images and sentences."""

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

    from bench.models.tower import Tower

Space = Literal["image", "text"]


class Teacher(ABC):
    """Frozen network that supplies target features.

    `prepare` fits it or reads it from disk once; afterwards it is immutable. `identity` enters the key of every run
    that uses it. Importing the module must not import torch.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    image_dim: int
    """Width of image features; 0 for a teacher of texts alone."""
    text_dim: int
    """Width of text features; 0 for a teacher of images alone."""
    towers: ClassVar[frozenset[Space]] = frozenset()
    """What `tower` gives; by default nothing, and the teacher can only be frozen."""

    class Options(Frozen):
        """Options that change the weights or the preprocessing."""

    def __init__(self, cache: Path, options: BaseModel | None = None) -> None:
        self.cache = cache
        self.options = options if options is not None else self.Options()
        self.device = "cpu"

    def run_on(self, device: str) -> None:
        """Run on ``cpu`` or ``cuda`` from now on.

        By default a teacher ignores this and keeps its own device.
        """
        self.device = "cpu"

    def portable_options(self) -> BaseModel:
        """Return the options as they enter keys.

        A path given by the user is replaced by the digest of the file.
        """
        return self.options

    def weights_source(self) -> str:
        """Describe the source of the weights, for ``bench teachers show``."""
        return "made by this teacher"

    def fetch(self, progress: Progress = silent) -> None:
        """Download missing weights.

        Only `bench teachers fit` calls this; by default there is nothing to download.

        Raises:
            SetupError: The download fails; the message names the remedy.
        """
        progress(1, 1)

    @abstractmethod
    def identity(self) -> str:
        """Return the SHA-256 of everything that determines the features.

        Known without fitting.
        """

    @abstractmethod
    def ready(self) -> bool:
        """Return whether the weights are in place; cheap."""

    @abstractmethod
    def prepare(self, progress: Progress = silent) -> None:
        """Fit or load the weights, unless they are cached.

        Raises:
            SetupError: Weights are not on disk; the message names the command or file that provides them.
        """

    def fit_report(self) -> dict[str, JsonValue]:
        """Return figures of the fit, for ``bench teachers fit``.

        Empty for a teacher that is not fitted by bench.
        """
        return {}

    def transformer_shape(self) -> TransformerShape | None:
        """Return the architecture of the token transformer, or None.

        Some teachers provide a pretrained transformer on which a method builds its network. Known without reading
        weights, since it enters keys.
        """
        return None

    def token_transformer(self) -> nn.Module:
        """Return the pretrained token transformer, frozen.

        It is a `bench.models.token_transformer.TokenTransformer`.

        Raises:
            UsageError: This teacher has none.
            SetupError: Its weights are not available.
        """
        raise UsageError(
            f"teacher '{self.name}' has no token transformer to build upon; use one of tiny-clip, timm, open-clip, "
            "sentence-transformers"
        )

    def tower(self, space: Space, *, cropped: bool = False) -> Tower:
        """Return a copy of the image or text network, to be trained.

        Its weights start as the teacher's, which stay as they are; its features are those of the encoding methods.

        Args:
            space: Which one.
            cropped: Whether it is shown augmented crops, as `encode_crops` is.

        Raises:
            UsageError: This teacher has no such tower.
            SetupError: Its weights are not available.
        """
        raise no_tower(self.name, space)

    @abstractmethod
    def captions_seen(self) -> tuple[str, ...] | None:
        """Return the distinct sentences of the teacher's training.

        They decide the report's column on class names that pretraining saw. None if they are unknown, as for weights
        that others trained.
        """

    @abstractmethod
    def encode_images(self, images: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Return features ``[n, image_dim]`` of images.

        Images are uint8 ``[n, H, W, C]`` with C 1 or 3.
        """

    def encode_crops(self, crops: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Return features of augmented crops, shaped as in `encode_images`.

        The teacher's own preprocessing crops no further.
        """
        return self.encode_images(crops, progress)

    @property
    def crop_side(self) -> int | None:
        """Return the side of augmented crops in pixels.

        None for the size of the pictures.
        """
        return None

    @property
    def crop_style(self) -> Literal["plain", "recon"]:
        """Return the kind of augmented crops.

        ``plain`` flips and crops; ``recon`` is ReCon's whole pipeline, with colours and a grey square.
        """
        return "plain"

    @abstractmethod
    def encode_texts(self, texts: Sequence[str], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """Return features ``[n, text_dim]`` of sentences."""


def no_tower(name: str, space: Space) -> UsageError:
    """Return the error for a teacher that cannot be tuned."""
    known = "tiny-clip, open-clip or timm" if space == "image" else "tiny-clip or open-clip"
    return UsageError(
        f"teacher '{name}' cannot be tuned: it gives no {space} network to train; use {known}, or keep teachers frozen"
    )
