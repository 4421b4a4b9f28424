"""DGCNN encoder: neighbour graphs in feature space at every stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.models.edge_conv import EdgeConv, PointLayer, neighbour_rows
from bench.models.encoder import BlockOutputs, BlockShape, Encoder, EncoderOutput
from bench.models.pooling import patch_max

WIDTHS = (64, 64, 128, 256)
"""Published widths of the four stages."""


class DGCNN(Encoder):
    """DGCNN for classification, without its head.

    Its tokens are the points themselves. Source: Wang et al., Dynamic Graph CNN for Learning on Point Clouds;
    docs/reference.md#crosspoint-dgcnn.
    """

    def __init__(self, neighbours: int = 15, embedding: int = 1024) -> None:
        """Build the layers with PyTorch's initialisation.

        Args:
            neighbours: Edges of each point, the one to itself included.
            embedding: Width of a point's last feature; the pooled one has twice that.
        """
        super().__init__()
        self.neighbours = neighbours
        self.stages = nn.ModuleList(
            EdgeConv(inputs, outputs) for inputs, outputs in zip((3, *WIDTHS), WIDTHS, strict=False)
        )
        self.fuse = PointLayer(sum(WIDTHS), embedding)
        self.feature_dims = {"transfer": 2 * embedding, "svm": 2 * embedding}
        described = f"max + mean over points ({2 * embedding})"
        self.feature_descriptions = {"transfer": described, "svm": described}

    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds ``[B, N, 3]`` into one token per point.

        Raises:
            UsageError: A cloud has fewer points than neighbours.
        """
        x, passed = points, []
        for stage in self.stages:
            x = stage(x, neighbour_rows(x, self.neighbours))
            passed.append(x)
        tokens = self.fuse(torch.cat(passed, dim=-1)).float()
        return EncoderOutput(tokens, points, {"max": patch_max(tokens), "mean": tokens.mean(1)})

    def block_shape(self) -> BlockShape:
        """See `Encoder.block_shape`.

        There is one level, the points' last features.
        """
        return BlockShape(depth=1, width=self.fuse.linear.out_features)

    def block_outputs(
        self, points: Tensor, blocks: Sequence[int], groups: int | None = None, group_size: int | None = None
    ) -> BlockOutputs:
        """See `Encoder.block_outputs`.

        Every point is its own centre; `groups` and `group_size` have no effect.
        """
        return BlockOutputs([self(points).tokens], points)

    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        """Return ``transfer`` and ``svm``, both ``[B, 2 * embedding]``.

        Both are [maximum, mean] over points.
        """
        pooled = torch.cat([output.globals["max"], output.globals["mean"]], dim=-1)
        return {"transfer": pooled, "svm": pooled}
