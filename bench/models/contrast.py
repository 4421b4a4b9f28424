"""NT-Xent loss of paired samples, and its projection head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.ranks import gathered


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the NT-Xent loss of paired samples, in float32.

    Both sets are normalised and stacked to 2B rows. Each row's logits are its cosine similarities to the 2B - 1 other
    rows, divided by the temperature; the loss is the cross-entropy at its partner, averaged over rows, and therefore
    symmetric in its arguments. On several ranks the rows are those of all of them.

    Args:
        first: ``[B, D]``, row i belongs to row i of `second`.
        second: ``[B, D]``.
        temperature: Divides all logits.

    Returns:
        Scalar.

    Source: Chen et al., A Simple Framework for Contrastive Learning; docs/reference.md#crosspoint-losses.

    >>> import torch
    >>> round(float(nt_xent(torch.eye(2), torch.eye(2), temperature=1.0)), 4)  # log(e + 2) - 1
    0.5514
    """
    with torch.autocast(first.device.type, enabled=False):
        rows = F.normalize(torch.cat([gathered(first.float()), gathered(second.float())]), dim=-1)
        count = len(rows)
        number = torch.arange(count, device=rows.device)
        logits = (rows @ rows.T / temperature).masked_fill(number[:, None] == number, float("-inf"))
        return F.cross_entropy(logits, (number + count // 2) % count)


def projection_head(features: int, hidden: int, out: int, *, bias: bool = True) -> nn.Sequential:
    """Build CrossPoint's projection head (docs/reference.md#crosspoint-losses).

    Linear, BatchNorm, ReLU, Linear.

    Args:
        features: Width of the input.
        hidden: Width between the layers.
        out: Width of the embedding.
        bias: Whether the linear layers have one (points: yes, images: no).
    """
    return nn.Sequential(
        nn.Linear(features, hidden, bias=bias),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, out, bias=bias),
    )
