"""Masked decoder: predicts hidden patches from visible tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.blocks import Block, depth_rates
from bench.models.init import free_token, xavier_uniform_decoder
from bench.models.tokenizer import PositionMLP


class MaskedDecoder(nn.Module):
    """Standard blocks over visible tokens and mask tokens, then one linear layer to K points per hidden patch.

    Source: Point-MAE (arXiv 2203.06604); docs/reference.md#masked-decoder.
    """

    def __init__(self, width: int, depth: int, heads: int, group_size: int, drop_path: float = 0.0) -> None:
        """Build with the published initialisation (docs/reference.md#initialisation).

        Args:
            width: Token width C.
            depth: Number of blocks.
            heads: Attention heads.
            group_size: Points per patch K.
            drop_path: Largest drop rate; spread over the decoder's own depth.
        """
        super().__init__()
        self.position = PositionMLP(width)
        self.mask_token = free_token(width)
        self.blocks = nn.ModuleList(Block(width, heads, rate) for rate in depth_rates(drop_path, depth))
        self.norm = nn.LayerNorm(width)
        self.points = nn.Linear(width, 3 * group_size)
        xavier_uniform_decoder(self.blocks)

    def forward(self, visible: Tensor, visible_centres: Tensor, masked_centres: Tensor) -> Tensor:
        """Predict hidden patches.

        Args:
            visible: Encoded visible patches ``[B, V, C]`` after the encoder's norm.
            visible_centres: ``[B, V, 3]``.
            masked_centres: ``[B, M, 3]``.

        Returns:
            Centred points ``[B * M, K, 3]``.
        """
        batch, masked, _ = masked_centres.shape
        position = self.position(torch.cat([visible_centres, masked_centres], dim=1))
        x = torch.cat([visible, self.mask_token.expand(batch, masked, -1).to(visible.dtype)], dim=1)
        for block in self.blocks:
            x = block(x + position)
        predicted: Tensor = self.points(self.norm(x[:, -masked:]))
        return predicted.reshape(batch * masked, -1, 3)
