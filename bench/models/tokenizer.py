"""Patch embedding (mini-PointNet) and positional embedding."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.parts import Tokenizer
from bench.models.pooling import patch_max
from bench.spec import Frozen


class PatchTokenizer(Tokenizer):
    """Patch embedding by a two-stage mini-PointNet.

    The published 1x1 convolutions are linear layers over ``[patches * K, channels]``. The second stage sees every
    point's feature next to the patch maximum; since that layer is linear, the half that reads the maximum is
    evaluated once per patch and added, which is the same sum with K times less work for that half.

    Source: Point-MAE (arXiv 2203.06604); docs/reference.md#patch-embedding.
    """

    name = "pointnet"

    def __init__(self, width: int, tokenizer_width: int = 128, options: Frozen | None = None) -> None:
        """Build the layers.

        Args:
            width: Width C of a token.
            tokenizer_width: Width w of the first layer; the others are 2w and 4w wide (128: published).
            options: Unused; the tokenizer has no options.
        """
        super().__init__(width, tokenizer_width, options or self.Options())
        narrow, middle, wide = tokenizer_width, 2 * tokenizer_width, 4 * tokenizer_width
        self.local1 = nn.Linear(3, narrow)
        self.norm1 = nn.BatchNorm1d(narrow)
        self.local2 = nn.Linear(narrow, middle)
        self.mix = nn.Linear(2 * middle, wide)
        """Reads [patch maximum, point feature], in this order."""
        self.norm2 = nn.BatchNorm1d(wide)
        self.out = nn.Linear(wide, width)

    def forward(self, patches: Tensor) -> Tensor:
        """Embed patches.

        Args:
            patches: Centred points ``[B, P, K, 3]``. BatchNorm statistics run over B * P * K.

        Returns:
            Tokens ``[B, P, C]``, float32.
        """
        batch, count, size, _ = patches.shape
        x = F.relu(self.norm1(self.local1(patches.reshape(-1, 3))), inplace=True)
        local = self.local2(x)
        middle = local.shape[1]
        highest = patch_max(local.view(batch * count, size, middle))
        from_highest = F.linear(highest, self.mix.weight[:, :middle], self.mix.bias)
        from_local = F.linear(local, self.mix.weight[:, middle:])
        mixed = from_local.view(batch * count, size, -1).add_(from_highest[:, None])
        x = F.relu(self.norm2(mixed.view(batch * count * size, -1)), inplace=True)
        tokens = patch_max(self.out(x).view(batch * count, size, -1))
        return tokens.view(batch, count, -1).float()


class PositionMLP(nn.Sequential):
    """Embed centre coordinates ``[..., 3]`` into ``[..., C]``.

    Linear(3, 128), GELU, Linear(128, C). Source: docs/reference.md#position-embedding.
    """

    def __init__(self, width: int, hidden: int = 128) -> None:
        super().__init__(nn.Linear(3, hidden), nn.GELU(), nn.Linear(hidden, width))
