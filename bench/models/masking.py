"""Masks that hide int(ratio * G) patches of each cloud."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from bench.errors import UsageError
from bench.upload import upload

MaskKind = Literal["rand", "block"]


class MaskIndex(NamedTuple):
    """Numbers of visible and masked patches, in ascending order.

    Their shapes do not depend on the drawn mask.

    Attributes:
        visible: int64 ``[B, V]``.
        masked: int64 ``[B, M]``.
    """

    visible: Tensor
    masked: Tensor


def masked_count(groups: int, ratio: float) -> int:
    """Return the number of hidden patches.

    Raises:
        UsageError: Nothing would be hidden, or nothing be left visible.
    """
    count = int(ratio * groups)
    if not 0 < count < groups:
        raise UsageError(
            f"mask_ratio {ratio} hides {count} of {groups} patches; at least one must be hidden and one left visible"
        )
    return count


def draw_mask(centres: Tensor, ratio: float, kind: MaskKind, generator: torch.Generator | None = None) -> Tensor:
    """Draw masks with a fixed number of hidden patches.

    Args:
        centres: Patch centres ``[B, G, 3]``.
        ratio: Share of hidden patches.
        kind: ``rand`` hides patches independently, ``block`` the ones closest to a random centre.
        generator: CPU generator; None draws from torch's global one.

    Returns:
        bool ``[B, G]`` on the device of `centres`, True = hidden.

    Source: docs/reference.md#masking.
    """
    batch, groups, _ = centres.shape
    count = masked_count(groups, ratio)
    if kind == "block":
        start = torch.randint(groups, (batch,), generator=generator)
        return block_mask(centres, upload(start, centres.device), count)
    hidden = torch.rand(batch, groups, generator=generator).argsort(1)[:, :count]
    return upload(torch.zeros(batch, groups, dtype=torch.bool).scatter_(1, hidden, True), centres.device)


def block_mask(centres: Tensor, start: Tensor, count: int) -> Tensor:
    """Return masks that hide the `count` patches around a centre.

    They are the ones closest to centre number `start`, itself included.

    Args:
        centres: ``[B, G, 3]``.
        start: int64 ``[B]``.
        count: Hidden patches per sample.

    Returns:
        bool ``[B, G]``, True = hidden.
    """
    seed = centres[torch.arange(len(centres), device=centres.device), start]
    distance = (centres.float() - seed.float()[:, None]).square().sum(-1)
    hidden = distance.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros(centres.shape[:2], dtype=torch.bool, device=centres.device).scatter_(1, hidden, True)


def mask_index(mask: Tensor, count: int | None = None) -> MaskIndex:
    """Return the numbers of visible and masked patches.

    Every row must hide equally many patches.

    Args:
        mask: bool ``[B, G]``, True = hidden.
        count: Hidden patches of every row, as in a drawn mask; None counts and compares them, and waits for a GPU to
            do so.

    Raises:
        UsageError: Rows hide different numbers of patches.
    """
    if count is None:
        hidden = mask.sum(1)
        count = int(hidden[0])
        if not bool((hidden == count).all()):
            raise UsageError(
                "masks hide different numbers of patches in different samples; every row needs the same number"
            )
    # A stable sort of the flags keeps ascending patch order on both sides.
    order = mask.to(torch.uint8).argsort(dim=1, stable=True)
    visible = mask.shape[1] - count
    return MaskIndex(order[:, :visible], order[:, visible:])
