"""`open-clip` with its networks as trained parts of a method's network.

Separate from `bench.teachers.open_clip_models`, whose code is part of the teacher's identity, because no feature
depends on this module.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from bench.teachers.base import Space
from bench.teachers.open_clip_models import ClipNetwork, OpenClipTeacher

if TYPE_CHECKING:
    from bench.models.tower import Tower


class TunableOpenClip(OpenClipTeacher):
    """CLIP's projected features; a method may train both towers."""

    towers: ClassVar[frozenset[Space]] = frozenset({"image", "text"})

    def identity(self) -> str:
        """Return the identity of the frozen teacher."""
        frozen = OpenClipTeacher(self.cache, self.options)
        frozen.weights = self.weights
        return frozen.identity()

    def tower(self, space: Space, *, cropped: bool = False) -> Tower:
        """Return a copy of a tower with its preprocessing or tokenizer."""
        from bench.models.tower import Tower
        from bench.teachers.clip_copies import image_network, text_network

        network = cast(ClipNetwork, self.network)
        if space == "image":
            return Tower(image_network(network.model), self.image_dim, partial(network.transform, cropped=cropped))
        return Tower(text_network(network.model), self.text_dim, lambda texts: network.tokenize(list(texts)))
