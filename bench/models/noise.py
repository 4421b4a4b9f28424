"""Random numbers of a training step, from its generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bench.upload import upload

_LARGE = 1 << 23
"""Numbers that a CPU draws in about 20 ms, longer than a GPU should be kept waiting."""


def uniform(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw from the uniform distribution on [0, 1).

    Up to eight million numbers are drawn on the CPU, so that every device sees the same ones. A GPU draws more than
    that by itself, seeded by the generator: the same in every run on a GPU, but others than a CPU's.

    Args:
        shape: Shape of the result.
        generator: A CPU generator; None draws from torch's global one.
        device: Where the result is wanted.

    Returns:
        float32 of that shape.
    """
    if device.type == "cpu" or math.prod(shape) <= _LARGE:
        return upload(torch.rand(shape, generator=generator), device)
    seed = int(torch.randint(1 << 62, (), generator=generator))
    return torch.rand(shape, generator=torch.Generator(device).manual_seed(seed), device=device)


def gumbel(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Draw from the standard Gumbel distribution.

    Arguments as for `uniform`. >>> import torch >>> draws = gumbel((4, 1000), torch.Generator().manual_seed(0),
    torch.device("cpu")) >>> bool(draws.isfinite().all()), round(float(draws.mean()), 1) (True, 0.6)
    """
    tiny = torch.finfo(torch.float32).tiny
    return uniform(shape, generator, device).clamp_min_(tiny).log_().neg_().log_().neg_()
