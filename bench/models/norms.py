"""Norm layers of the backbone."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from bench.models.parts import Norm
from bench.spec import Frozen


class LayerNorm(nn.LayerNorm, Norm):
    """LayerNorm: mean 0, variance 1, then scale and shift (published)."""

    name = "layer"

    def __init__(self, width: int, options: Frozen) -> None:
        super().__init__(width)


class RMSNorm(nn.RMSNorm, Norm):
    """RMSNorm: root mean square 1, then a scale.

    Source: Zhang and Sennrich, Root Mean Square Layer Normalization, NeurIPS 2019, equation 4.
    """

    name = "rms"

    class Options(Norm.Options):
        """Options of the norm layer."""

        eps: float = Field(1e-6, gt=0, lt=1)
        """Added to the mean square."""

    def __init__(self, width: int, options: Options) -> None:
        super().__init__(width, eps=options.eps)
