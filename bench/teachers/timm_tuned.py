"""`timm` with its network as a trained part of a method's network.

Separate from `bench.teachers.timm_models`, whose code is part of the teacher's identity, because no feature depends on
this module.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

from bench.teachers.base import Space, no_tower
from bench.teachers.timm_models import TimmNetwork, TimmTeacher

if TYPE_CHECKING:
    from bench.models.tower import Tower


class TunableTimm(TimmTeacher):
    """Pooled features of a timm model, which a method may train."""

    towers: ClassVar[frozenset[Space]] = frozenset({"image"})

    def identity(self) -> str:
        """Return the identity of the frozen teacher."""
        frozen = TimmTeacher(self.cache, self.options)
        frozen.weights = self.weights
        return frozen.identity()

    def tower(self, space: Space, *, cropped: bool = False) -> Tower:
        """Return a copy of the model with its preprocessing."""
        from torch import nn

        from bench.models.tower import Tower

        if space != "image":
            raise no_tower(self.name, space)
        network = cast(TimmNetwork, self.network)
        parts = [copy.deepcopy(network.model)]
        if network.pre_logits is not None:
            weight, bias = network.pre_logits
            linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
            linear.weight, linear.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
            parts += [linear, nn.Tanh()]
        return Tower(nn.Sequential(*parts), self.image_dim, partial(network.transform, cropped=cropped))
