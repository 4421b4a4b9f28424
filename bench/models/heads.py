"""Classification and projection heads."""

from __future__ import annotations

from typing import Literal

from torch import nn

HeadKind = Literal["linear", "mlp", "standardised"]


def classification_head(kind: HeadKind, features: int, classes: int, dropout: float = 0.5) -> nn.Sequential:
    """Build a classification head with PyTorch's default initialisation.

    Args:
        kind: ``linear`` is one layer; ``standardised`` the same behind a BatchNorm without weights; ``mlp`` the
            published three-layer head (Linear 256, BatchNorm, ReLU, Dropout, twice, then Linear).
        features: Width of the input.
        classes: Number of logits.
        dropout: Rate inside ``mlp``.

    Source: docs/reference.md#point-mae-classifier.
    """
    if kind == "linear":
        return nn.Sequential(nn.Linear(features, classes))
    if kind == "standardised":
        # Features of untrained networks vary little from object to object: eps must be small against their variance.
        return nn.Sequential(nn.BatchNorm1d(features, eps=1e-10, affine=False), nn.Linear(features, classes))
    hidden = 256
    return nn.Sequential(
        nn.Linear(features, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, classes),
    )


def contrast_head(width: int, hidden: int = 128) -> nn.Sequential:
    """Build ReCon's self-contrast projection.

    Linear, BatchNorm, ReLU, Linear, BatchNorm (docs/reference.md#recon-losses).
    """
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.BatchNorm1d(hidden),
    )
