"""Initialisation rules of the published models (docs/reference.md#initialisation)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STD = 0.02


def truncated_normal_trunk(module: nn.Module) -> None:
    """Draw linear weights from N(0, 0.02), cut at +-2.

    Biases are 0, LayerNorm has weight 1 and bias 0, BatchNorm is unchanged.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=STD)
            _zero_bias(part)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def xavier_uniform_decoder(module: nn.Module) -> None:
    """Draw linear weights Xavier-uniform.

    Biases are 0, LayerNorm has weight 1 and bias 0.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            _zero_bias(part)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def released_projection(module: nn.Module) -> None:
    """Draw linear weights from N(mean 0.02, std 0.01).

    Biases are 0. ReCon's release uses these numbers.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, mean=0.02, std=0.01)
            _zero_bias(part)


def free_token(width: int) -> nn.Parameter:
    """Return a learned token ``[1, 1, C]`` from N(0, 0.02)."""
    token: Tensor = nn.init.trunc_normal_(torch.empty(1, 1, width), std=STD)
    return nn.Parameter(token)


def _zero_bias(layer: nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
