"""Masked decoder: predicts hidden patches from visible tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.backbone import build_blocks, build_norm
from bench.models.init import free_token, xavier_uniform_decoder
from bench.models.masked import heads_of_decoder
from bench.models.tokenizer import PositionMLP
from bench.spec import BackboneSpec


class MaskedDecoder(nn.Module):
    """Predict the points of hidden patches from visible tokens.

    The backbone's blocks run over visible tokens and mask tokens; a linear layer then gives K points per hidden patch.
    Source: Point-MAE (arXiv 2203.06604); docs/reference.md#masked-decoder.
    """

    def __init__(self, backbone: BackboneSpec, depth: int, heads: int | None = None) -> None:
        """Build with the published initialisation (docs/reference.md#initialisation).

        Args:
            backbone: Sizes and parts of the encoder; the drop rate is spread over the decoder's own depth.
            depth: Number of blocks.
            heads: Attention heads; None for the encoder's.

        Raises:
            UsageError: The width is not a multiple of the heads.
        """
        super().__init__()
        width = backbone.width
        self.position = PositionMLP(width)
        self.mask_token = free_token(width)
        self.blocks = build_blocks(backbone, depth=depth, heads=heads_of_decoder(backbone, heads))
        self.norm = build_norm(backbone)
        self.points = nn.Linear(width, 3 * backbone.group_size)
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
        centres = torch.cat([visible_centres, masked_centres], dim=1)
        position = self.position(centres)
        x = torch.cat([visible, self.mask_token.expand(batch, masked, -1).to(visible.dtype)], dim=1)
        for block in self.blocks:
            x = block(x + position, centres)
        predicted: Tensor = self.points(self.norm(x[:, -masked:]))
        return predicted.reshape(batch * masked, -1, 3)
