"""`tiny-clip` with its networks as parts of a method's network.

Separate from `bench.teachers.tiny_clip`, whose code is part of a fitted teacher's identity, because no feature depends
on this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from bench.spec import TransformerShape
from bench.teachers.base import Space
from bench.teachers.tiny_clip import TinyClip

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.models.tower import Tower


class LendingTinyClip(TinyClip):
    """The embedded teacher, whose towers a method may use."""

    towers: ClassVar[frozenset[Space]] = frozenset({"image", "text"})

    def weights_source(self) -> str:
        """Describe the source of the weights."""
        return f"fitted here on data set '{self.source().name}', kept in {self.folder}"

    def transformer_shape(self) -> TransformerShape:
        """Return the architecture of the text tower's blocks."""
        from bench.teachers.transformers import shape_of_clip_size

        return shape_of_clip_size(self._size())

    def token_transformer(self) -> nn.Module:
        """Return the text tower's blocks and final norm, frozen.

        Raises `SetupError` if the teacher is not fitted.
        """
        from bench.teachers.transformers import from_open_clip_text

        return from_open_clip_text(self._network()[0])

    def tower(self, space: Space, *, cropped: bool = False) -> Tower:
        """Return a copy of a tower; crops are treated as pictures.

        Raises `SetupError` if the teacher is not fitted.
        """
        import torch

        from bench.models.tower import Tower
        from bench.teachers.clip_copies import image_network, text_network
        from bench.teachers.clip_model import on_white, to_pixels

        model, tokenizer = self._network()
        side = self._options.view_size

        def pixels(images: Tensor) -> Tensor:
            return to_pixels(on_white(images), side)

        def tokens(texts: Sequence[str]) -> Tensor:
            return torch.from_numpy(tokenizer.encode(texts))

        if space == "image":
            return Tower(image_network(model), self.image_dim, pixels, self._length)
        return Tower(text_network(model), self.text_dim, tokens, self._length)
