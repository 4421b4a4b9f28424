"""Part and semantic segmentation on any encoder with patch tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.encoder import BlockOutputs, Encoder
from bench.models.pooling import patch_max
from bench.models.segmentation_parts import CategoryBranch, LinearPoints, Propagation
from bench.spec import FrozenDense as Frozen

LEVELS = 3
"""Default number of depths from which tokens are taken."""


@dataclass(frozen=True)
class HeadWidths:
    """Widths of a segmentation head; published by default.

    Attributes:
        hidden: First layer of the propagation; None for four times the encoder's width.
        propagated: Output of the propagation per point.
        category: Embedding of the category.
        mixed: First layer after the concatenation.
        narrow: Second layer after it.
    """

    hidden: int | None = None
    propagated: int = 1024
    category: int = 64
    mixed: int = 512
    narrow: int = 256


def evenly_spaced_blocks(depth: int, levels: int = LEVELS) -> tuple[int, ...]:
    """Return the last block of each of `levels` equal parts.

    Counted from 0; fewer in an encoder with fewer blocks. >>> evenly_spaced_blocks(12), evenly_spaced_blocks(4),
    evenly_spaced_blocks(2) ((3, 7, 11), (1, 2, 3), (0, 1))
    """
    return tuple(sorted({-(-depth * part // levels) - 1 for part in range(1, levels + 1)}))


class SegmentationHead(nn.Module):
    """Label points from patch tokens and a cloud summary.

    Patch tokens come from several depths. The first layer behind the propagation reads [propagated feature, maximum
    over patches, mean over patches, queries, category]. All but the first are the same for every point of a cloud, so
    their share is computed once per cloud.

    Source: docs/reference.md#part-segmentation.
    """

    def __init__(
        self, width: int, levels: int, queries: int, parts: int, categories: int, dropout: float, widths: HeadWidths
    ) -> None:
        """Build the layers with PyTorch's default initialisation.

        Args:
            width: Width C of the encoder's tokens.
            levels: Number of depths.
            queries: Width of `BlockOutputs.queries`; 0 where there are none.
            parts: Number of labels.
            categories: Number of object categories; 0 for no category branch.
            dropout: Rate behind the first layer.
            widths: Widths inside the head.
        """
        super().__init__()
        features = levels * width
        self.category = CategoryBranch(categories, widths.category) if categories else None
        self.propagation = Propagation(features, widths.hidden or 4 * width, widths.propagated)
        cloud = 2 * features + queries + (widths.category if categories else 0)
        self.mix = nn.Linear(widths.propagated + cloud, widths.mixed)
        self.norm1 = nn.BatchNorm1d(widths.mixed)
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(widths.mixed, widths.narrow)
        self.norm2 = nn.BatchNorm1d(widths.narrow)
        self.out = nn.Linear(widths.narrow, parts)

    def forward(self, points: Tensor, outputs: BlockOutputs, category: Tensor | None = None) -> Tensor:
        """Return log-probabilities ``[B, N, parts]``, float32.

        Args:
            points: ``[B, N, 3]``.
            outputs: The encoder's outputs for these points.
            category: int64 ``[B]`` or one-hot ``[B, categories]``; None without category branch.

        Raises:
            UsageError: A category is given without a branch for it, or the other way round.
        """
        if (category is None) != (self.category is None):
            raise UsageError(
                "this segmentation head was built without categories but got some"
                if self.category is None
                else f"this segmentation head needs each object's category (of {self.category.categories})"
            )
        batch, count, _ = points.shape
        features = torch.cat(outputs.levels, dim=-1)
        cloud = [patch_max(features), features.mean(1)]
        if outputs.queries is not None:
            cloud.append(outputs.queries)
        if self.category is not None and category is not None:
            cloud.append(self.category(category))
        propagated = self.propagation(points, outputs.centres, features)
        own = propagated.shape[-1]
        per_cloud = F.linear(torch.cat(cloud, dim=-1), self.mix.weight[:, own:], self.mix.bias)
        x = F.linear(propagated, self.mix.weight[:, :own]).add_(per_cloud[:, None])
        x = self.dropout(F.relu(self.norm1(x.view(batch * count, -1)), inplace=True))
        x = F.relu(self.norm2(self.narrow(x)), inplace=True)
        return F.log_softmax(self.out(x).float(), dim=-1).view(batch, count, -1)


class PartSegmenter(nn.Module):
    """Encoder with a segmentation head for objects or scenes.

    It labels parts of objects or, without categories, classes of a scene. The head starts from PyTorch's
    initialisation, as Point-MAE's and ReCon's; for ACT's, which draws the whole network anew before it loads the
    encoder, call `bench.models.init.truncated_normal_trunk` on ``head``.

    Source: docs/reference.md#part-segmentation and docs/reference.md#semantic-segmentation.
    """

    def __init__(
        self,
        encoder: Encoder,
        parts: int,
        categories: int,
        dropout: float = 0.5,
        *,
        fetch_blocks: Sequence[int] | None = None,
        groups: int | None = None,
        group_size: int | None = None,
        widths: HeadWidths | None = None,
        frozen: Frozen = "no",
    ) -> None:
        """Put a fresh head on an encoder.

        Args:
            encoder: Shared with the caller, not copied.
            parts: Number of labels over all categories.
            categories: Number of object categories; 0 builds no category branch.
            dropout: Rate inside the head.
            fetch_blocks: Blocks whose tokens are used, counted from 0; None for the ends of three equal parts of the
                encoder, published as 3, 7 and 11.
            groups: Patches per cloud; None for the encoder's own number (published: 128).
            group_size: Points per patch; None for the encoder's own number.
            widths: Widths inside the head; None for the published ones.
            frozen: ``linear``: the encoder stays as it is and the head is one linear layer on interpolated tokens;
                ``decoder``: the encoder stays as it is under the usual head; ``no``: everything is trained.

        Raises:
            UsageError: The encoder does not return tokens of its blocks, or has no such blocks.
        """
        super().__init__()
        shape = encoder.block_shape()
        chosen = evenly_spaced_blocks(shape.depth) if fetch_blocks is None else fetch_blocks
        self.fetch_blocks = tuple(sorted(set(chosen)))
        if not self.fetch_blocks or self.fetch_blocks[0] < 0 or self.fetch_blocks[-1] >= shape.depth:
            raise UsageError(
                f"fetch_blocks {list(chosen)} do not fit an encoder of {shape.depth} blocks: "
                f"name one or more of 0 to {shape.depth - 1}"
            )
        self.encoder = encoder
        self.groups, self.group_size = groups, group_size
        levels = len(self.fetch_blocks)
        self.head: SegmentationHead | LinearPoints = (
            LinearPoints(levels * shape.width, parts)
            if frozen == "linear"
            else SegmentationHead(
                shape.width, levels, shape.queries, parts, categories, dropout, widths or HeadWidths()
            )
        )
        self.evaluates = frozen != "no"
        if self.evaluates:
            encoder.requires_grad_(False)
            self.train(self.training)

    def train(self, mode: bool = True) -> PartSegmenter:
        """Switch the mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.evaluates:
            self.encoder.eval()
        return self

    def forward(self, points: Tensor, category: Tensor | None = None) -> Tensor:
        """Label every point.

        Args:
            points: ``[B, N, 3]``; in training B is at least 2 with a category branch, whose BatchNorm needs that.
            category: int64 ``[B]`` or one-hot ``[B, categories]``; None without category branch.

        Returns:
            Log-probabilities ``[B, N, parts]``, float32.
        """
        outputs = self.encoder.block_outputs(points, self.fetch_blocks, self.groups, self.group_size)
        labels: Tensor = self.head(points, outputs, category)
        return labels
