"""PointNet encoder: layers shared by all points, then the maximum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.encoder import BlockOutputs, BlockShape, Encoder, EncoderOutput
from bench.models.pooling import patch_max


class PointLayers(nn.Module):
    """Linear layers with BatchNorm and ReLU on every row."""

    def __init__(self, *widths: int) -> None:
        """Build the layers; `widths` run from input to output."""
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``[..., first]`` into ``[..., last]``."""
        shape = x.shape[:-1]
        x = x.flatten(0, -2)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = F.relu(norm(linear(x)))
        return x.view(*shape, -1)


class InputTransform(nn.Module):
    """Predict a 3x3 matrix from a cloud and apply it.

    PointNet's T-Net; the identity before training.
    """

    def __init__(self) -> None:
        """Build the layers."""
        super().__init__()
        self.points = PointLayers(3, 64, 128, 1024)
        self.pooled = PointLayers(1024, 512, 256)
        self.matrix = nn.Linear(256, 9)
        nn.init.zeros_(self.matrix.weight)
        with torch.no_grad():
            self.matrix.bias.copy_(torch.eye(3).flatten())

    def forward(self, points: Tensor) -> Tensor:
        """Apply the predicted transform to clouds ``[B, N, 3]``."""
        matrix = self.matrix(self.pooled(patch_max(self.points(points))))
        with torch.autocast(points.device.type, enabled=False):  # half precision loses digits of coordinates
            return torch.bmm(points.float(), matrix.view(-1, 3, 3).float())


class PointNet(Encoder):
    """PointNet for classification, without its head.

    Its tokens are the points themselves. The transform of 64-dimensional features, which needs a penalty of its own, is
    left out.

    Source: Qi et al., PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation, figure 2.
    """

    def __init__(self, embedding: int = 1024, *, input_transform: bool = False) -> None:
        """Build the layers with PyTorch's initialisation.

        Args:
            embedding: Width of a point's last feature, and of the pooled one.
            input_transform: Put the 3x3 input transform in front.
        """
        super().__init__()
        self.transform = InputTransform() if input_transform else None
        self.layers = PointLayers(3, 64, 64, 64, 128, embedding)
        self.feature_dims = {"transfer": embedding, "svm": embedding}
        described = f"max over points ({embedding})"
        self.feature_descriptions = {"transfer": described, "svm": described}

    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds ``[B, N, 3]`` into one token per point."""
        turned = points if self.transform is None else self.transform(points)
        tokens = self.layers(turned).float()
        return EncoderOutput(tokens, points, {"max": patch_max(tokens)})

    def block_shape(self) -> BlockShape:
        """See `Encoder.block_shape`.

        There is one level, the points' last features.
        """
        return BlockShape(depth=1, width=self.feature_dims["transfer"])

    def block_outputs(
        self, points: Tensor, blocks: Sequence[int], groups: int | None = None, group_size: int | None = None
    ) -> BlockOutputs:
        """See `Encoder.block_outputs`.

        Every point is its own centre; `groups` and `group_size` have no effect.
        """
        return BlockOutputs([self(points).tokens], points)

    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        """Return ``transfer`` and ``svm``, the same ``[B, embedding]``."""
        return {"transfer": output.globals["max"], "svm": output.globals["max"]}
