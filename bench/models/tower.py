"""Tower of a teacher, to be trained as a part of another network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Tower(nn.Module):
    """Network from pictures or sentences to a teacher's features.

    It stays in evaluation mode while its weights are trained: BatchNorm keeps the teacher's statistics and nothing is
    dropped, so that unchanged weights give the teacher's own features.

    Args:
        network: Returns features ``[B, width]`` of what `inputs` returns.
        width: Width of a feature.
        inputs: Returns the network's input, without gradient: of pictures (uint8 ``[B, H, W, C]``) their pixels, of
            sentences their token ids (int64 ``[B, L]``).
        length: Euclidean length that every feature is brought to; None leaves them as they are.
    """

    def __init__(
        self, network: nn.Module, width: int, inputs: Callable[[Any], Tensor], length: float | None = None
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(True)
        self.width = width
        self.inputs = inputs
        self.length = length
        self.train()

    def train(self, mode: bool = True) -> Tower:
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return features, float32 ``[B, width]``."""
        features: Tensor = self.network(inputs).float()
        if self.length is None:
            return features
        return self.length * nn.functional.normalize(features, dim=-1)
