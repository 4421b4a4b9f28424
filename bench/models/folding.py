"""FoldingNet decoder of patch features into points."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError

SEEDS = 4
"""Fine points per coarse one."""
_STEP = 0.05


class FoldingDecoder(nn.Module):
    """Predict coarse points per patch and fine points around each.

    The fine points are a folded 2x2 grid. The first fine layer reads [patch feature, grid point, coarse point]. It is
    linear, so it is applied to each of the three once and the results are added, instead of once per fine point.

    Source: Point-BERT's dVAE decoder; docs/reference.md#act-folding-decoder.
    """

    seeds: Tensor

    def __init__(self, width: int, group_size: int, folding_width: int = 512) -> None:
        """Build with PyTorch's initialisation.

        Args:
            width: Width of a patch feature.
            group_size: Points per patch K.
            folding_width: Width of the fine layers; the coarse ones are twice as wide (512: published).

        Raises:
            UsageError: K is not a multiple of four.
        """
        super().__init__()
        if group_size % SEEDS:
            raise UsageError(
                f"backbone.group_size {group_size} is not a multiple of {SEEDS}: act-dvae reconstructs every patch as "
                f"coarse points with {SEEDS} fine ones each; choose a multiple of {SEEDS}"
            )
        self.width = width
        coarse = group_size // SEEDS
        self.coarse = nn.Sequential(
            nn.Linear(width, 2 * folding_width),
            nn.ReLU(inplace=True),
            nn.Linear(2 * folding_width, 2 * folding_width),
            nn.ReLU(inplace=True),
            nn.Linear(2 * folding_width, 3 * coarse),
        )
        self.mix = nn.Linear(width + 5, folding_width)
        self.norm1 = nn.BatchNorm1d(folding_width)
        self.hidden = nn.Linear(folding_width, folding_width)
        self.norm2 = nn.BatchNorm1d(folding_width)
        self.out = nn.Linear(folding_width, 3)
        # The first coordinate varies fastest.
        grid = torch.tensor([[-_STEP, -_STEP], [_STEP, -_STEP], [-_STEP, _STEP], [_STEP, _STEP]])
        self.register_buffer("seeds", grid, persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Reconstruct patches.

        Args:
            features: ``[B, G, width]``.

        Returns:
            Points relative to the patch centre, coarse ``[B, G, K/4, 3]`` and fine ``[B, G, K, 3]``, where fine
            points 4i to 4i+3 surround coarse point i. BatchNorm statistics run over all B * G * K fine points.
        """
        batch, groups, _ = features.shape
        coarse = self.coarse(features).float().view(batch * groups, -1, 1, 3)
        of_feature, of_seed, of_coarse = torch.split(self.mix.weight, [self.width, 2, 3], dim=1)
        from_feature = F.linear(features, of_feature, self.mix.bias).view(batch * groups, 1, 1, -1)
        mixed = from_feature + F.linear(self.seeds, of_seed) + F.linear(coarse, of_coarse)
        x = F.relu(self.norm1(mixed.flatten(0, 2)), inplace=True)
        x = F.relu(self.norm2(self.hidden(x)), inplace=True)
        fine = coarse + self.out(x).float().view(batch * groups, -1, SEEDS, 3)
        return coarse.view(batch, groups, -1, 3), fine.view(batch, groups, -1, 3)
