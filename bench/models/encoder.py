"""The encoder contract: what a method hands to a protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass
class EncoderOutput:
    """Features of a batch of clouds.

    Attributes:
        tokens: Patch tokens ``[B, G, C]`` after the final norm.
        centres: Patch centres ``[B, G, 3]``.
        globals: Named global features ``[B, C]`` (e.g. ``cls``, ``image``, ``text``), in a fixed order.
    """

    tokens: Tensor
    centres: Tensor
    globals: dict[str, Tensor]


class Encoder(nn.Module, ABC):
    """Points in, tokens and named global features out."""

    feature_dim: int
    """Width of `feature`."""
    feature_name: str
    """The transfer feature in words, e.g. ``cls+max (2C)``; printed with the parameter count."""

    @abstractmethod
    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds ``[B, N, 3]``."""

    @abstractmethod
    def feature(self, output: EncoderOutput) -> Tensor:
        """The method's own transfer feature ``[B, feature_dim]``."""
