"""What a segmentation network consists of: tokens of several blocks, the category branch, propagation to points.

Source: sections 7.6 and 7.7 of the method specification.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.encoder import BlockOutputs, BlockShape, Encoder
from bench.models.grouping import Patches, cut_patches
from bench.models.ops import interpolation_matrix
from bench.models.standard import StandardEncoder
from bench.models.two_stream import TwoStreamEncoder


def block_shape(encoder: Encoder) -> BlockShape:
    """Return the shape of what `block_outputs` gives.

    Raises:
        UsageError: The encoder hands out no tokens of its blocks.
    """
    if isinstance(encoder, StandardEncoder) and not _has_own(encoder):
        return BlockShape(encoder.backbone.depth, encoder.backbone.width)
    if isinstance(encoder, TwoStreamEncoder) and not _has_own(encoder):
        width = encoder.backbone.width
        return BlockShape(encoder.backbone.depth, width, queries=width)
    return encoder.block_shape()


def block_outputs(
    encoder: Encoder, points: Tensor, blocks: Sequence[int], groups: int | None = None, group_size: int | None = None
) -> BlockOutputs:
    """Run an encoder and keep the patch tokens of some blocks (see `Encoder.block_outputs`).

    Point-MAE's and ACT's class token takes no part; ReCon's queries read the patches as in fine-tuning.

    Raises:
        UsageError: The encoder hands out no tokens of its blocks, or the clouds have too few points.
    """
    if isinstance(encoder, StandardEncoder) and not _has_own(encoder):
        return _standard(encoder, _cut(encoder, points, groups, group_size), blocks)
    if isinstance(encoder, TwoStreamEncoder) and not _has_own(encoder):
        return _two_stream(encoder, _cut(encoder, points, groups, group_size), blocks)
    return encoder.block_outputs(points, blocks, groups, group_size)


def _has_own(encoder: Encoder) -> bool:
    return type(encoder).block_outputs is not Encoder.block_outputs


def _cut(
    encoder: StandardEncoder | TwoStreamEncoder, points: Tensor, groups: int | None, group_size: int | None
) -> Patches:
    backbone = encoder.backbone
    return cut_patches(points, groups or backbone.groups, group_size or backbone.group_size, encoder.sampling)


def _standard(encoder: StandardEncoder, patches: Patches, blocks: Sequence[int]) -> BlockOutputs:
    tokens, position = encoder.tokenizer(patches.points), encoder.position(patches.centres)
    levels: list[Tensor] = []
    # Blocks behind the last one asked for would be run for nothing.
    for number, block in enumerate(encoder.blocks[: blocks[-1] + 1]):
        tokens = block(tokens + position)
        if number in blocks:
            levels.append(encoder.norm(tokens))
    return BlockOutputs(levels, patches.centres)


def _two_stream(encoder: TwoStreamEncoder, patches: Patches, blocks: Sequence[int]) -> BlockOutputs:
    tokens, position = encoder.tokenizer(patches.points), encoder.position(patches.centres)
    query_position = torch.cat([encoder.cls_pos, encoder.image_pos, encoder.text_pos], dim=1)
    free = torch.cat([encoder.cls_token, encoder.image_token, encoder.text_token], dim=1)
    queries = free.expand(len(tokens), -1, -1)
    levels: list[Tensor] = []
    for number, block in enumerate(encoder.blocks):
        queries, tokens = block(queries + query_position, tokens + position, False)
        if number in blocks:
            levels.append(encoder.norm(tokens))
    return BlockOutputs(levels, patches.centres, queries.amax(1))


class CategoryBranch(nn.Module):
    """Embed an object's category: Linear without bias, BatchNorm, LeakyReLU 0.2."""

    def __init__(self, categories: int, width: int) -> None:
        super().__init__()
        self.categories = categories
        self.embed = nn.Linear(categories, width, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, category: Tensor) -> Tensor:
        """Embed categories, int64 ``[B]`` or one-hot ``[B, categories]``, into ``[B, width]``."""
        if category.ndim == 1:
            category = F.one_hot(category, self.categories)
        return F.leaky_relu(self.norm(self.embed(category.to(self.embed.weight.dtype))), 0.2)


class Propagation(nn.Module):
    """Carry patch features to the points: interpolate from the nearest centres, then two layers.

    The first layer reads [coordinates, interpolated features]. Interpolation and that layer are both linear, so
    features pass through it once per patch and its output is interpolated: the same sum, and the layer's work falls
    from every point to every patch.
    """

    def __init__(self, features: int, hidden: int, width: int) -> None:
        """Build the layers.

        Args:
            features: Width of a patch's features.
            hidden: Width of the first layer.
            width: Width of the second layer.
        """
        super().__init__()
        self.first = nn.Linear(3 + features, hidden)
        self.norm1 = nn.BatchNorm1d(hidden)
        self.second = nn.Linear(hidden, width)
        self.norm2 = nn.BatchNorm1d(width)

    def forward(self, points: Tensor, centres: Tensor, features: Tensor) -> Tensor:
        """Carry features to points.

        Args:
            points: ``[B, N, 3]``.
            centres: ``[B, G, 3]``.
            features: ``[B, G, features]``. BatchNorm statistics run over B * N.

        Returns:
            ``[B, N, width]``.
        """
        batch, count, _ = points.shape
        per_patch = F.linear(features, self.first.weight[:, 3:])
        from_patches = torch.bmm(interpolation_matrix(points, centres), per_patch)
        x = F.linear(points, self.first.weight[:, :3], self.first.bias).add_(from_patches)
        x = F.relu(self.norm1(x.view(batch * count, -1)), inplace=True)
        x = F.relu(self.norm2(self.second(x)), inplace=True)
        return x.view(batch, count, -1)
