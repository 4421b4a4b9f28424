"""Student of ACT: encoder with class token, and feature decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.backbone import build_blocks, build_norm
from bench.models.grouping import Sampling
from bench.models.init import free_token, xavier_uniform_decoder
from bench.models.masked import heads_of_decoder
from bench.models.standard import StandardEncoder
from bench.models.tokenizer import PatchTokenizer, PositionMLP
from bench.spec import BackboneSpec


class ReducedTokenizer(PatchTokenizer):
    """Patch embedding of another width, projected to the transformer's (``reduce_dim``)."""

    def __init__(self, patch_width: int, width: int, tokenizer_width: int) -> None:
        super().__init__(patch_width, tokenizer_width)
        self.reduce = nn.Linear(patch_width, width)

    def forward(self, patches: Tensor) -> Tensor:
        """Embed patches ``[B, P, K, 3]`` as ``[B, P, width]``."""
        tokens: Tensor = self.reduce(super().forward(patches))
        return tokens.float()


class StudentEncoder(StandardEncoder):
    """Point-MAE's encoder with the class token in pretraining too.

    Source: ACT (arXiv 2212.08320); docs/reference.md#act-student.
    """

    def __init__(self, backbone: BackboneSpec, sampling: Sampling, patch_width: int | None = None) -> None:
        """Build the layers.

        Args:
            backbone: Sizes and parts.
            sampling: How patches are cut.
            patch_width: Width of the patch embedding where it is not the backbone's.

        Raises:
            UsageError: The patch embedding has another width and is not the published one.
        """
        super().__init__(backbone, sampling)
        if patch_width is not None and patch_width != backbone.width:
            if backbone.tokenizer != PatchTokenizer.name:
                raise UsageError(
                    f"act.patch_width = {patch_width} needs backbone.tokenizer = {PatchTokenizer.name}, not "
                    f"{backbone.tokenizer}: leave one of them out"
                )
            self.tokenizer = ReducedTokenizer(patch_width, backbone.width, backbone.tokenizer_width)

    def encode_visible(self, tokens: Tensor, centres: Tensor, tap: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Run visible patches through the blocks behind the class token.

        Args:
            tokens: ``[B, V, C]``.
            centres: ``[B, V, 3]``.
            tap: Block whose output is returned, too.

        Returns:
            Class token ``[B, C]`` and patch tokens ``[B, V, C]`` after the norm; patch tokens ``[B, V, C]`` of block
            `tap` without a norm (without `tap`: of the last block).
        """
        batch = len(tokens)
        x = torch.cat([self.cls_token.expand(batch, -1, -1), tokens], dim=1)
        position = torch.cat([self.cls_pos.expand(batch, -1, -1), self.position(centres)], dim=1)
        tapped = x
        for number, block in enumerate(self.blocks):
            x = block(x + position, centres)
            if tap is None or number == tap:
                tapped = x
        x = self.norm(x)
        return x[:, 0], x[:, 1:], tapped[:, 1:]


class FeatureDecoder(nn.Module):
    """Predict teacher features of hidden patches from visible tokens.

    The backbone's blocks run over visible tokens and mask tokens; a linear layer then gives the teacher's width. The
    optional second pass (``cls_loss``) puts the encoder's class token, with its own position, in front of patch tokens
    of a shallow block, so that the class token has to carry the information that those lack.

    Source: ACT (arXiv 2212.08320); docs/reference.md#act-decoder.
    """

    def __init__(
        self, backbone: BackboneSpec, depth: int, heads: int | None, target_width: int, *, cls_pass: bool = False
    ) -> None:
        """Build with the published initialisation (docs/reference.md#initialisation).

        Args:
            backbone: Sizes and parts of the encoder; the drop rate is spread over the decoder's own depth.
            depth: Number of blocks.
            heads: Attention heads; None for the encoder's.
            target_width: Width of the teacher's features.
            cls_pass: Give the class token a position here.

        Raises:
            UsageError: The width is not a multiple of the heads.
        """
        super().__init__()
        width = backbone.width
        self.position = PositionMLP(width)
        self.mask_token = free_token(width)
        self.cls_pos = free_token(width) if cls_pass else None
        self.blocks = build_blocks(backbone, depth=depth, heads=heads_of_decoder(backbone, heads))
        self.norm = build_norm(backbone)
        self.head = nn.Linear(width, target_width)
        xavier_uniform_decoder(self.blocks)

    def forward(
        self, visible: Tensor, visible_centres: Tensor, masked_centres: Tensor, cls: Tensor | None = None
    ) -> Tensor:
        """Predict features of hidden patches.

        Args:
            visible: Encoded visible patches ``[B, V, C]``.
            visible_centres: ``[B, V, 3]``.
            masked_centres: ``[B, M, 3]``.
            cls: Class token ``[B, C]`` to put in front, or None.

        Returns:
            ``[B, M, target_width]``.
        """
        batch, masked, _ = masked_centres.shape
        centres = torch.cat([visible_centres, masked_centres], dim=1)
        position = self.position(centres)
        x = torch.cat([visible, self.mask_token.expand(batch, masked, -1).to(visible.dtype)], dim=1)
        if cls is not None and self.cls_pos is not None:
            x = torch.cat([cls[:, None], x], dim=1)
            position = torch.cat([self.cls_pos.expand(batch, -1, -1).to(position.dtype), position], dim=1)
        for block in self.blocks:
            x = block(x + position, centres)
        features: Tensor = self.head(self.norm(x[:, -masked:]))
        return features


def shallow_block(asked: int | None, depth: int) -> int:
    """Return the block whose tokens the ``cls_loss`` pass reads.

    Args:
        asked: Number of the block; None for three quarters of the way up (9 of 12: published).
        depth: Blocks of the encoder.

    Raises:
        UsageError: The encoder has no such block.

    >>> shallow_block(None, 12), shallow_block(None, 4), shallow_block(None, 1)
    (9, 2, 0)
    """
    if asked is None:
        return max(0, min(3 * depth // 4, depth - 2))
    if not 0 <= asked < depth:
        raise UsageError(
            f"act.shallow_block {asked} does not exist in a backbone of depth {depth}; choose 0 to {depth - 1}"
        )
    return asked
