"""Count the operations of an encoder's forward pass."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.models.encoder import Encoder


def forward_flops(encoder: Encoder, points: int, device: str = "cpu", columns: int = 3) -> int:
    """Return the floating-point operations per cloud.

    A multiplication and an addition count as two. Counted are matrix products, attention and convolutions, which
    `torch.utils.flop_counter` knows; sampling, neighbour search and everything element by element are not.

    Args:
        encoder: Moved to `device` and left in evaluation mode.
        points: Points of the cloud.
        device: Where to run it.
        columns: Numbers of a point.
    """
    cloud = torch.randn(1, points, columns, generator=torch.Generator().manual_seed(0))
    encoder.to(device).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder.features(encoder(cloud.to(device)))
    return int(counter.get_total_flops())
