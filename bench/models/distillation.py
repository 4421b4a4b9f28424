"""Distances between a student's tokens and a frozen teacher's."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.ranks import gathered

DistillationLoss = Literal["cosine", "l2", "smooth_l1", "nt_xent", "barlow"]

_SELF = -1e4
"""Logit of a token with itself, finite so that no row can become NaN."""


def distillation(
    student: Tensor, teacher: Tensor, kind: DistillationLoss, *, temperature: float = 0.07, redundancy: float = 5e-3
) -> Tensor:
    """Return the distance between matching tokens, in float32.

    Args:
        student: ``[B, M, D]``.
        teacher: ``[B, M, D]``; receives no gradient.
        kind: ``cosine`` (mean of 1 - cosine: published), ``l2`` (mean squared difference), ``smooth_l1`` (beta 1,
            mean over elements), ``nt_xent`` (`normalised_temperature_contrast`) or ``barlow`` (`redundancy_reduction`),
            the last two over the B * M pairs of the batch.
        temperature: Temperature of ``nt_xent``.
        redundancy: Weight of the off-diagonal terms of ``barlow``.

    Returns:
        Scalar.

    Source: docs/reference.md#act-student.

    >>> import torch
    >>> float(distillation(torch.ones(1, 2, 3), -torch.ones(1, 2, 3), "cosine"))
    2.0
    """
    with torch.autocast(student.device.type, enabled=False):
        student, teacher = student.float(), teacher.detach().float()
        if kind == "cosine":
            return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()
        if kind == "l2":
            return F.mse_loss(student, teacher)
        if kind == "smooth_l1":
            return F.smooth_l1_loss(student, teacher)
        student, teacher = gathered(student.flatten(0, 1)), gathered(teacher.flatten(0, 1))
        if kind == "nt_xent":
            return normalised_temperature_contrast(student, teacher, temperature)
        return redundancy_reduction(student, teacher, redundancy)


def normalised_temperature_contrast(a: Tensor, b: Tensor, temperature: float = 0.07) -> Tensor:
    """Return the NT-Xent loss between matching rows.

    Every row has to find its partner, by cosine, among all other rows of both sides.

    Args:
        a: ``[N, D]``.
        b: ``[N, D]``, row i belonging to row i of `a`.
        temperature: Divides the cosines.

    Returns:
        Scalar, the mean over 2N rows.

    Source: SimCLR, equation 1.
    """
    both = F.normalize(torch.cat([a, b]), dim=-1)
    logits = (both @ both.T / temperature).fill_diagonal_(_SELF)
    rows = torch.arange(len(both), device=both.device)
    return F.cross_entropy(logits, rows.roll(len(a)))


def redundancy_reduction(a: Tensor, b: Tensor, weight: float = 5e-3) -> Tensor:
    """Return the Barlow Twins loss.

    The cross-correlation of the two sides' features should be the identity.

    Args:
        a: ``[N, D]``.
        b: ``[N, D]``, row i belonging to row i of `a`.
        weight: Weight of the off-diagonal terms.

    Returns:
        Scalar, summed over the D x D entries.

    Source: Barlow Twins, equation 1; every feature is standardised over the rows first.
    """
    correlation = _standardised(a).T @ _standardised(b) / len(a)
    on = correlation.diagonal()
    off = correlation.square().sum() - on.square().sum()
    return (on - 1).square().sum() + weight * off


def _standardised(x: Tensor) -> Tensor:
    variance, mean = torch.var_mean(x, dim=0, correction=0)
    return (x - mean) * (variance + 1e-5).rsqrt()
