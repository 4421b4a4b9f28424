"""The encoder contract: what a method hands to a protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from bench.errors import unknown_name


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
    """Points in, tokens and named global features out.

    An encoder offers one or more named features of a whole cloud. ``transfer`` is the one the method's authors put
    a classification head on; ``svm`` the one for linear classifiers on frozen features.
    """

    feature_dims: dict[str, int]
    """Width of every feature by name; ``transfer`` and ``svm`` are always there."""
    feature_descriptions: dict[str, str]
    """Each feature in words, e.g. ``cls + max over patches (2C)``; printed with the parameter count."""

    @abstractmethod
    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds ``[B, N, 3]``."""

    @abstractmethod
    def features(self, output: EncoderOutput) -> Mapping[str, Tensor]:
        """Return every feature of a batch by name, each ``[B, feature_dims[name]]``."""

    def feature(self, output: EncoderOutput, name: str = "transfer") -> Tensor:
        """Return one feature ``[B, feature_dims[name]]``.

        Raises:
            UsageError: The encoder offers no feature of that name.
        """
        if name not in self.feature_dims:
            raise unknown_name("encoder feature", name, self.feature_dims)
        return self.features(output)[name]

    @property
    def parameter_count(self) -> int:
        """Number of parameters, frozen ones included."""
        return sum(parameter.numel() for parameter in self.parameters())
