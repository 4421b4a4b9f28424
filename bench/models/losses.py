"""Losses of pretraining methods as functions."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.ops import chamfer_l1, chamfer_l2
from bench.models.ranks import gathered

ReconstructionLoss = Literal["cdl1", "cdl2"]
CrossModalLoss = Literal["smooth_l1", "cosine", "infonce"]

_NEVER = -1e4
"""Logit of a pair that is not a negative: finite, so that a row without negatives has gradient 0 and not NaN."""


def masked_reconstruction(predicted: Tensor, target: Tensor, kind: ReconstructionLoss = "cdl2") -> Tensor:
    """Return the Chamfer distance of predicted and true patches.

    In float32.

    Args:
        predicted: ``[P, K, 3]``.
        target: ``[P, K, 3]``.
        kind: ``cdl2`` (published) or ``cdl1``.

    Returns:
        Scalar.

    Source: docs/reference.md#chamfer-distance.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        return (chamfer_l2 if kind == "cdl2" else chamfer_l1)(predicted.float(), target.float())


def cross_modal(
    student: Tensor, teacher: Tensor, kind: CrossModalLoss = "smooth_l1", temperature: float = 0.07
) -> Tensor:
    """Return the distance of student and teacher features.

    In float32. ``infonce`` is our choice where the release has no code: cross-entropy of each student among all teacher
    features of the batch, by cosine over the temperature, in this one direction since teachers are usually frozen.
    Objects with equal teacher features (the same caption twice in a batch) count as each other's negatives.

    Args:
        student: ``[B, D]``.
        teacher: ``[B, D]``; gets a gradient where the teacher is tuned.
        kind: ``smooth_l1`` (beta 1, mean over all elements, neither side normalised: published), ``cosine``
            (mean of 1 - cosine) or ``infonce``.
        temperature: Divides the cosines of ``infonce``.

    Returns:
        Scalar.

    Source: docs/reference.md#recon-losses.

    >>> import torch
    >>> float(cross_modal(torch.ones(2, 3), torch.zeros(2, 3)))
    0.5
    """
    student, teacher = student.float(), teacher.float()
    if kind == "cosine":
        return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()
    if kind == "infonce":
        with torch.autocast(student.device.type, enabled=False):
            student, teacher = gathered(student), gathered(teacher)
            similarity = F.normalize(student, dim=-1) @ F.normalize(teacher, dim=-1).T
            return F.cross_entropy(similarity / temperature, torch.arange(len(student), device=student.device))
    return F.smooth_l1_loss(student, teacher)


def self_contrast(embedding: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Return ReCon's self-contrast loss (`smc`), in float32.

    Supervised contrast of a batch by category, one view per object. Per row the positive logit is the mean cosine
    similarity to all samples of the same label, itself included; the negatives are the similarities to all others;
    cross-entropy at the positive.

    Args:
        embedding: ``[B, D]``.
        labels: int64 ``[B]``.
        temperature: Divides all logits.

    Returns:
        Scalar.

    Source: docs/reference.md#recon-losses.
    """
    with torch.autocast(embedding.device.type, enabled=False):
        labels = gathered(labels)
        unit = F.normalize(gathered(embedding.float()), dim=-1)
        similarity = unit @ unit.T
        same = labels[:, None] == labels[None, :]
        positive = (similarity * same).sum(1) / same.sum(1) / temperature
        negative = (similarity / temperature).masked_fill(same, _NEVER)
        # Cross-entropy at the positive, written so that a small loss keeps its digits.
        return F.softplus(torch.logsumexp(negative, dim=1) - positive).mean()
