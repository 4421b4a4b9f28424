"""DGCNN for part segmentation, as CrossPoint pretrains it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.contrast import projection_head
from bench.models.edge_conv import EdgeConv, EdgeMLP, PointLayer, neighbour_rows
from bench.models.pooling import patch_max

STAGE = 64
"""Published width of every stage."""
CATEGORY = 64
"""Published width of the embedded category."""


class EdgeInputTransform(nn.Module):
    """Predict a 3x3 input transform from a cloud's neighbour graph.

    It is the identity before training. Source: docs/reference.md#crosspoint-segmentation-network.
    """

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.edges = EdgeMLP(3, 64, 128)
        self.lift = PointLayer(128, 1024)
        self.pooled1 = PointLayer(1024, 512)
        self.pooled2 = PointLayer(512, 256)
        self.matrix = nn.Linear(256, 9)
        nn.init.zeros_(self.matrix.weight)
        with torch.no_grad():
            self.matrix.bias.copy_(torch.eye(3).flatten())

    def forward(self, points: Tensor, rows: Tensor) -> Tensor:
        """Return matrices ``[B, 3, 3]`` for ``points @ matrix``.

        `points` is ``[B, N, 3]``, joined by `rows` (`bench.models.edge_conv.neighbour_rows`).
        """
        lifted = patch_max(self.lift(self.edges(points, rows)))
        matrix: Tensor = self.matrix(self.pooled2(self.pooled1(lifted)))
        return matrix.view(-1, 3, 3)


class DGCNNSegmentation(nn.Module):
    """DGCNN that labels points.

    Input transform, three stages on neighbour graphs, a pooled feature, and a head. Source:
    docs/reference.md#crosspoint-segmentation-network.
    """

    def __init__(
        self,
        parts: int,
        categories: int = 16,
        *,
        neighbours: int = 40,
        embedding: int = 1024,
        projection: int = 256,
        dropout: float = 0.5,
    ) -> None:
        """Build the layers with PyTorch's initialisation.

        Args:
            parts: Number of part labels.
            categories: Number of object categories; the head reads one-hot vectors.
            neighbours: Edges of each point, the one to itself included (40 in fine-tuning, 15 in pretraining).
            embedding: Width of the pooled feature.
            projection: Width of the pretraining projection.
            dropout: Rate behind the head's first two layers.
        """
        super().__init__()
        self.neighbours = neighbours
        self.transform = EdgeInputTransform()
        self.stages = nn.ModuleList(
            (EdgeMLP(3, STAGE, STAGE), EdgeMLP(STAGE, STAGE, STAGE), EdgeConv(STAGE, STAGE)),
        )
        self.fuse = PointLayer(3 * STAGE, embedding)
        self.point_head = projection_head(embedding, embedding, projection)
        self.category = PointLayer(categories, CATEGORY)
        self.mix = PointLayer(embedding + CATEGORY + 3 * STAGE, 256)
        """Reads [pooled feature, category, stages], in this order."""
        self.narrow1 = PointLayer(256, 256)
        self.narrow2 = PointLayer(256, 128)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(128, parts, bias=False)

    def forward(self, points: Tensor, category: Tensor) -> Tensor:
        """Label points.

        Args:
            points: ``[B, N, 3]``.
            category: One-hot ``[B, categories]``.

        Returns:
            Logits ``[B, N, parts]``, float32; over all parts, not only those of the category.
        """
        local, pooled = self.trunk(points)
        known = torch.cat([pooled, self.category(category)], dim=-1)
        # Most of this layer's input is the same for all points of a cloud: that product is taken once per cloud.
        weight, count = self.mix.linear.weight, known.shape[1]
        per_cloud = F.linear(known, weight[:, :count])
        x = self.mix.activate(F.linear(local, weight[:, count:]) + per_cloud[:, None])
        x = self.dropout(self.narrow1(self.dropout(x)))
        logits: Tensor = self.out(self.narrow2(x))
        return logits.float()

    def trunk(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return stage outputs and pooled feature of clouds.

        Shapes ``[B, N, 192]`` and ``[B, embedding]``.

        Raises:
            UsageError: A cloud has fewer points than neighbours.
        """
        matrix = self.transform(points, neighbour_rows(points, self.neighbours))
        with torch.autocast(points.device.type, enabled=False):  # half precision loses digits of coordinates
            x = torch.bmm(points.float(), matrix.float())
        passed = []
        for stage in self.stages:
            x = stage(x, neighbour_rows(x, self.neighbours))
            passed.append(x)
        local = torch.cat(passed, dim=-1)
        return local, patch_max(self.fuse(local)).float()

    def project(self, points: Tensor) -> Tensor:
        """Return the projected pooled feature ``[B, projection]`` for pretraining."""
        out: Tensor = self.point_head(self.trunk(points)[1])
        return out
