"""Interfaces of the backbone's parts: block, norm layer and tokenizer.

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
    """Norm layer over the last dimension.

    It is built as ``Norm(width, options)``, with the width C of a token and an instance of its `Options`.
    """

    name: ClassVar[str]

    class Options(Frozen):
        """Options of the norm layer; they enter the key."""


@dataclass(frozen=True)
class BlockSite:
    """Place of a block in a network, with its sizes.

    Attributes:
        width: Width C of a token.
        heads: Attention heads; they divide the width. A block without attention ignores them.
        number: Number of the block in its stack, counted from 0.
        drop: Rate of stochastic depth (`bench.models.blocks.StochasticDepth`).
        norm: Function from a width to a norm layer of the kind that ``backbone.norm`` names.
        residual: Value to which a sub-layer's output is added; a block with other residual connections ignores it.
    """

    width: int
    heads: int
    number: int = 0
    drop: float = 0.0
    norm: Callable[[int], nn.Module] = nn.LayerNorm
    residual: Residual = "prenorm"


class Block(nn.Module, ABC):
    """Block of the backbone: maps tokens to equally many tokens.

    Encoders and decoders of every method are stacks of blocks. Linear layers get the initialisation of the method's
    release (`bench.models.init`); all other parameters keep the values of the block's constructor.
    """

    name: ClassVar[str]
    has_heads: ClassVar[bool] = False
    """Whether the block uses `BlockSite.heads`; without it ``decoder_heads`` of a method is refused."""

    class Options(Frozen):
        """Options of the block; they enter the key."""

    def __init__(self, site: BlockSite, options: Frozen) -> None:
        """Build the layers.

        Args:
            site: Width, drop rate and norm layer of the block.
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
    """Embedding of each patch into one token."""

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
        """Embed patches ``[B, P, K, 3]`` into tokens ``[B, P, C]``.

        Patches are centred; tokens are float32.
        """
