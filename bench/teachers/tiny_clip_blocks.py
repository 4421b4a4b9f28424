"""`tiny-clip` as a lender of its text tower's blocks.

Apart from `bench.teachers.tiny_clip`, whose code is part of a fitted teacher's identity: lending changes no feature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.spec import TransformerShape
from bench.teachers.tiny_clip import TinyClip

if TYPE_CHECKING:
    from torch import nn


class LendingTinyClip(TinyClip):
    """The embedded teacher, whose text tower a method may build upon."""

    def weights_source(self) -> str:
        """Say where the weights come from."""
        return f"fitted here on data set '{self.source().name}', kept in {self.folder}"

    def transformer_shape(self) -> TransformerShape:
        """Architecture of the text tower's blocks."""
        from bench.teachers.transformers import shape_of_clip_size

        return shape_of_clip_size(self._size())

    def token_transformer(self) -> nn.Module:
        """Return the text tower's blocks and final norm, frozen; a `SetupError` where the teacher is not fitted."""
        from bench.teachers.transformers import from_open_clip_text

        return from_open_clip_text(self._network()[0])
