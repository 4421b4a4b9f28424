"""`tiny-clip` with the blocks of its text tower for methods.

Separate from `bench.teachers.tiny_clip`, whose code is part of a fitted teacher's identity, because no feature depends
on this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.spec import TransformerShape
from bench.teachers.tiny_clip import TinyClip

if TYPE_CHECKING:
    from torch import nn


class LendingTinyClip(TinyClip):
    """The embedded teacher, whose text tower a method may use."""

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
