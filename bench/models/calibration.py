"""Recompute an encoder's BatchNorm statistics on given clouds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.encoder import Encoder


def batch_norms(encoder: Encoder) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the layers that keep running statistics."""
    layers = [part for part in encoder.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    return [layer for layer in layers if layer.track_running_stats]


@torch.no_grad()
def calibrate_batch_norm(encoder: Encoder, clouds: Tensor, batch_size: int = 128) -> Encoder:
    """Set BatchNorm's running statistics to averages over given clouds.

    Everything else runs in evaluation mode.

    Args:
        encoder: Changed in place, left in evaluation mode.
        clouds: ``[n, N, 3]``, on the device to use.
        batch_size: Clouds at a time.

    Returns:
        The encoder.
    """
    encoder.eval()
    layers = batch_norms(encoder)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average over batches
        layer.train()
    encoder.to(clouds.device)
    for start in range(0, len(clouds), batch_size):
        encoder(clouds[start : start + batch_size])
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return encoder.eval()
