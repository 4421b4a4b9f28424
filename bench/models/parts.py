"""Contracts of the backbone's parts: block, norm layer and tokenizer.

A plugin file adds a part as it adds a method (docs/add-a-block.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from bench.spec import Frozen

Residual = Literal["normalised", "prenorm"]
"""What a sub-layer's output is added to: the normalised input (ReCon's encoder) or the input itself (ordinary)."""


class Norm(nn.Module):
    """A norm layer over the last dimension.

    It is built as ``Norm(width, options)``, with the width C of a token and an instance of its own `Options`.
    """

    name: ClassVar[str]

    class Options(Frozen):
        """Options of the norm layer; they enter the key."""


@dataclass(frozen=True)
class BlockSite:
    """The place of a block in a network.

    Attributes:
        width: Width C of a token.
        heads: Attention heads; the width is a multiple of them. A block without attention leaves them alone.
        number: Number of the block in its stack, counted from 0.
        drop: Rate of stochastic depth (`bench.models.blocks.StochasticDepth`).
        norm: Makes a norm layer of a width; the one that ``backbone.norm`` names.
        residual: What sub-layers add to; a block with residual connections of another kind leaves it alone.
    """

    width: int
    heads: int
    number: int = 0
    drop: float = 0.0
    norm: Callable[[int], nn.Module] = nn.LayerNorm
    residual: Residual = "prenorm"


class Block(nn.Module, ABC):
    """One block of the backbone: a sequence of tokens in, as many tokens of the same width out.

    Encoders and decoders of every method are stacks of it. Linear layers are drawn as the method's release draws them
    (`bench.models.init`); all other parameters keep what the block's constructor gave them.
    """

    name: ClassVar[str]
    has_heads: ClassVar[bool] = False
    """Whether the block uses `BlockSite.heads`; without it ``decoder_heads`` of a method is refused."""

    class Options(Frozen):
        """Options of the block; they enter the key."""

    def __init__(self, site: BlockSite, options: Frozen) -> None:
        """Build the layers.

        Args:
            site: Its place: width, drop rate, norm layer.
            options: An instance of the class's own `Options`.
        """
        super().__init__()

    @abstractmethod
    def forward(self, x: Tensor, centres: Tensor) -> Tensor:
        """Transform tokens.

        Args:
            x: ``[B, T, C]``, positions added. The last G tokens are patches, in any order; the T - G in front of them
                (0 to 3) are free tokens, such as the class token.
            centres: Patch centres ``[B, G, 3]``.

        Returns:
            ``[B, T, C]``.
        """


class Tokenizer(nn.Module, ABC):
    """Embedding of each patch of points into one token."""

    name: ClassVar[str]

    class Options(Frozen):
        """Options of the tokenizer; they enter the key."""

    def __init__(self, width: int, tokenizer_width: int, options: Frozen) -> None:
        """Build the layers.

        Args:
            width: Width C of a token.
            tokenizer_width: ``backbone.tokenizer_width``, the width of the first layer.
            options: An instance of the class's own `Options`.
        """
        super().__init__()

    @abstractmethod
    def forward(self, patches: Tensor) -> Tensor:
        """Embed patches ``[B, P, K, 3]``, centred, into tokens ``[B, P, C]``, float32."""
