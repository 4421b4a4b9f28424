"""Category branch and point propagation of a segmentation head.

Source: docs/reference.md#part-segmentation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.encoder import BlockOutputs
from bench.models.ops import interpolation_matrix


class CategoryBranch(nn.Module):
    """Embed an object's category: Linear without bias, BatchNorm, LeakyReLU 0.2."""

    def __init__(self, categories: int, width: int) -> None:
        super().__init__()
        self.categories = categories
        self.embed = nn.Linear(categories, width, bias=False)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, category: Tensor) -> Tensor:
        """Embed categories into ``[B, width]``.

        Categories are int64 ``[B]`` or one-hot ``[B, categories]``.
        """
        if category.ndim == 1:
            category = F.one_hot(category, self.categories)
        return F.leaky_relu(self.norm(self.embed(category.to(self.embed.weight.dtype))), 0.2)


class LinearPoints(nn.Module):
    """Label points by one linear layer on interpolated patch tokens.

    It knows no category and no cloud summary: what it finds was in the tokens.
    """

    def __init__(self, features: int, parts: int) -> None:
        super().__init__()
        self.out = nn.Linear(features, parts)

    def forward(self, points: Tensor, outputs: BlockOutputs, category: Tensor | None = None) -> Tensor:
        """Return log-probabilities ``[B, N, parts]``, float32; ignores `category`."""
        per_patch = self.out(torch.cat(outputs.levels, dim=-1))
        every = outputs.centres is points
        spread = per_patch if every else torch.bmm(interpolation_matrix(points, outputs.centres), per_patch)
        return F.log_softmax(spread.float(), dim=-1)


class Propagation(nn.Module):
    """Propagate patch features to points by interpolation.

    Interpolates from the nearest centres, then applies two layers. The first layer reads [coordinates, interpolated
    features]. Interpolation and that layer are both linear, so features pass through it once per patch and its output
    is interpolated: the same sum, and the layer's work falls from every point to every patch.
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
        """Return features of points ``[B, N, width]``.

        Args:
            points: ``[B, N, 3]``.
            centres: ``[B, G, 3]``; the tensor `points` itself if every point has a token, which it then keeps.
            features: ``[B, G, features]``. BatchNorm statistics run over B * N.

        Returns:
            ``[B, N, width]``.
        """
        batch, count, _ = points.shape
        per_patch = F.linear(features, self.first.weight[:, 3:])
        spread = per_patch if centres is points else torch.bmm(interpolation_matrix(points, centres), per_patch)
        x = F.linear(points, self.first.weight[:, :3], self.first.bias).add_(spread)
        x = F.relu(self.norm1(x.view(batch * count, -1)), inplace=True)
        x = F.relu(self.norm2(self.second(x)), inplace=True)
        return x.view(batch, count, -1)
