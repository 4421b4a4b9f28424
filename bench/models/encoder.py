"""Interface of an encoder, which every protocol evaluates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from bench.errors import UsageError, unknown_name


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


@dataclass(frozen=True)
class BlockShape:
    """Shape of what `Encoder.block_outputs` returns.

    A segmentation head is built from it before any cloud is encoded.

    Attributes:
        depth: Number of blocks.
        width: Width C of a patch token.
        queries: Width of `BlockOutputs.queries`; 0 where there are none.
    """

    depth: int
    width: int
    queries: int = 0


@dataclass
class BlockOutputs:
    """Patch tokens of several depths, for segmentation networks.

    Attributes:
        levels: Patch tokens ``[B, G, C]`` after each block asked for, through the final norm, shallow first.
        centres: Patch centres ``[B, G, 3]``.
        queries: Element-wise maximum ``[B, C]`` over the global queries after the last block, not normalised; None
            for an encoder without a global stream.
    """

    levels: list[Tensor]
    centres: Tensor
    queries: Tensor | None = None


class Encoder(nn.Module, ABC):
    """Encoder of clouds into patch tokens and named global features.

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
        """Return every feature of a batch, ``[B, feature_dims[name]]`` each."""

    def feature(self, output: EncoderOutput, name: str = "transfer") -> Tensor:
        """Return one feature ``[B, feature_dims[name]]``.

        Raises:
            UsageError: The encoder offers no feature of that name.
        """
        if name not in self.feature_dims:
            raise unknown_name("encoder feature", name, self.feature_dims)
        return self.features(output)[name]

    def block_shape(self) -> BlockShape:
        """Return the shape of `block_outputs`.

        Raises:
            UsageError: This encoder does not return tokens of its blocks.
        """
        raise self._no_blocks()

    def block_outputs(
        self, points: Tensor, blocks: Sequence[int], groups: int | None = None, group_size: int | None = None
    ) -> BlockOutputs:
        """Encode clouds for part or semantic segmentation.

        Optional for an encoder.

        Args:
            points: ``[B, N, 3]``.
            blocks: Blocks whose outputs are wanted, counted from 0, ascending.
            groups: Patches per cloud; None for the encoder's own number.
            group_size: Points per patch; None for the encoder's own number.

        Raises:
            UsageError: This encoder does not return tokens of its blocks.
        """
        raise self._no_blocks()

    def _no_blocks(self) -> UsageError:
        return UsageError(
            f"{type(self).__name__} does not return patch tokens of its inner blocks, which segmentation needs: "
            "give the class block_shape() and block_outputs(), or choose an encoder that has them"
        )

    @property
    def parameter_count(self) -> int:
        """Return the number of parameters, frozen ones included."""
        return sum(parameter.numel() for parameter in self.parameters())
