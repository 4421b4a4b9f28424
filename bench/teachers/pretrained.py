"""Base of teachers with pretrained weights: identity, files, batches."""

from __future__ import annotations

import importlib.metadata
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, JsonValue

from bench.errors import SetupError, UsageError
from bench.fingerprint import fingerprint
from bench.progress import Progress, silent
from bench.spec import content_key
from bench.teachers.base import Teacher
from bench.teachers.weights import Weights

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_BATCH = 64
TEXT_BATCH = 256
_SHARED_CODE = ("bench.teachers.preprocess", "bench.teachers.pretrained")


class PretrainedTeacher(Teacher):
    """Frozen network of a library, with pretrained weights.

    Subclasses find the weights, build the network from them and encode batches. Only `fetch` downloads anything.
    """

    packages: ClassVar[tuple[str, ...]]
    """Distributions whose versions enter the identity."""
    by_place: ClassVar[str]
    """The option that may hold a path, which keys refer to by digest."""

    @abstractmethod
    def find_weights(self) -> Weights:
        """Find the weights on disk.

        Raises:
            SetupError: They are not on disk; the message names the command or file that provides them.
        """

    @abstractmethod
    def build(self) -> Any:
        """Read the weights and return the network, on `device`.

        `embed_images` and `embed_texts` use it.
        """

    def embed_images(self, images: Tensor, cropped: bool) -> Tensor:
        """Return features ``[B, image_dim]`` of images.

        Images are uint8 ``[B, H, W, C]`` on `device`. If `cropped`, they are not cropped again.
        """
        raise UsageError(f"teacher '{self.name}' gives no features of images; use it with --text-teacher")

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Return features ``[B, text_dim]`` of sentences."""
        raise UsageError(f"teacher '{self.name}' gives no features of texts; name a teacher of texts: --text-teacher")

    @cached_property
    def weights(self) -> Weights:
        """The weights, searched for once."""
        return self.find_weights()

    @cached_property
    def network(self) -> Any:
        """The network, built at the first use."""
        return self.build()

    def run_on(self, device: str) -> None:
        """Run on ``cpu`` or ``cuda`` from now on."""
        if device != self.device:
            self.device = device
            self.__dict__.pop("network", None)

    def portable_options(self) -> BaseModel:
        """Return the options with a digest for each path."""
        given = str(getattr(self.options, self.by_place))
        if not given or not self.given_by_path():
            return self.options
        return self.options.model_copy(update={self.by_place: self.weights.reference})

    @abstractmethod
    def given_by_path(self) -> bool:
        """Return whether the user gave a path, not a name."""

    def identity(self) -> str:
        """Return the SHA-256 of everything that determines the features.

        Weights, other options, the code here and the versions of the libraries.
        """
        options: dict[str, JsonValue] = self.options.model_dump(mode="json")
        if self.given_by_path():
            options.pop(self.by_place)
        code = (*_SHARED_CODE, type(self).__module__)
        modules = fingerprint(code).modules
        return content_key(
            {
                "teacher": self.name,
                "options": options,
                "weights": self.weights.digest,
                "code": {name: modules[name] for name in code if name in modules},
                "versions": {name: importlib.metadata.version(name) for name in self.packages},
            }
        )

    def ready(self) -> bool:
        """Return whether the weights are on disk."""
        try:
            self.weights  # noqa: B018
        except SetupError:
            return False
        return True

    def prepare(self, progress: Progress = silent) -> None:
        """Check that the weights are on disk.

        They are read when they are needed.

        Raises:
            SetupError: They are not; the message names the command or file that provides them.
        """
        self.weights  # noqa: B018
        progress(1, 1)

    def weights_source(self) -> str:
        """Describe the source of the weights."""
        return self.weights.source

    def captions_seen(self) -> None:
        """Return None: the sentences of the training are unknown.

        The weights were trained elsewhere, on images or sentences from the web.
        """
        return

    def encode_images(self, images: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """See `Teacher.encode_images`; preprocesses as the library does."""
        return self._encode_pictures(images, False, progress)

    def encode_crops(self, crops: npt.NDArray[np.uint8], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """See `Teacher.encode_crops`; resizes and normalises the crops."""
        return self._encode_pictures(crops, True, progress)

    def encode_texts(self, texts: Sequence[str], progress: Progress = silent) -> npt.NDArray[np.float32]:
        """See `Teacher.encode_texts`; the library truncates long sentences."""
        return self._in_batches(len(texts), TEXT_BATCH, lambda a, b: self.embed_texts(texts[a:b]), progress)

    def _encode_pictures(
        self, images: npt.NDArray[np.uint8], cropped: bool, progress: Progress
    ) -> npt.NDArray[np.float32]:
        import torch

        if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
            raise UsageError(
                f"teacher '{self.name}' takes uint8 images [n, H, W, 1 or 3], not {images.dtype} {list(images.shape)}"
            )

        def embed(start: int, stop: int) -> Tensor:
            part = torch.from_numpy(np.array(images[start:stop])).to(self.device)
            return self.embed_images(part, cropped)

        return self._in_batches(len(images), IMAGE_BATCH, embed, progress)

    def _in_batches(
        self, n: int, size: int, embed: Callable[[int, int], Tensor], progress: Progress
    ) -> npt.NDArray[np.float32]:
        import torch

        parts = []
        with torch.inference_mode():
            for start in range(0, n, size):
                stop = min(start + size, n)
                parts.append(embed(start, stop).float().cpu().numpy())
                progress(stop, n)
        return np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)


def given_path(text: str) -> bool:
    """Return whether a name is or looks like a path."""
    return text.startswith(("/", "./", "../", "~", "sha256:")) or Path(text).exists()
