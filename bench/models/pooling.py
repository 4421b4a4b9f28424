"""Maximum over the points of a patch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def patch_max(x: Tensor) -> Tensor:
    """Return the maximum over axis 1 of ``[P, K, C]``.

    Tied points share the gradient evenly. Same values and gradients as ``x.amax(1)``. PyTorch's eager backward pass of
    that counts ties in 64-bit integers, which costs more than the layers around it; a compiler fuses it, so compiled
    code takes the plain form.
    """
    if torch.compiler.is_compiling() or not x.requires_grad:
        return x.amax(1)
    return _PatchMax.apply(x)  # type: ignore[no-any-return]


class _PatchMax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        highest = x.amax(1)
        ctx.save_for_backward(x, highest)
        return highest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x, highest = ctx.saved_tensors
        # Zero and one in the input's own type; at most K ones are added, which it represents exactly.
        at_highest = torch.eq(x, highest[:, None], out=torch.empty_like(x))
        share = gradients[0] / at_highest.sum(1)
        return at_highest.mul_(share[:, None])
