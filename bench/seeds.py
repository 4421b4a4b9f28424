"""Seeds as named streams: SHA-256 of (root seed, role, axes).

Two runs that share a root seed share a role's stream exactly, whatever else they do, so methods are
compared on the same splits, folds and probe draws (paired), and a resumed run draws what an
uninterrupted one would have drawn because every draw is derived from its position, not from history.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

Role = Literal["pretrain", "init", "order", "augmentation", "split", "fold", "probe", "data", "teacher", "search"]


def derive(root: int, role: Role, *axes: int | str) -> int:
    """Derive a 63-bit seed.

    Args:
        root: Root seed of the run.
        role: Purpose of the random numbers, e.g. ``"probe"``.
        axes: Position inside the role, e.g. ``(epoch, step)``.

    Returns:
        A non-negative integer below 2**63.
    """
    text = "\x1f".join([str(root), role, *(f"{type(a).__name__}:{a}" for a in axes)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_stream(root: int, role: Role, *axes: int | str) -> np.random.Generator:
    """Return a NumPy generator for a stream (see `derive`)."""
    return np.random.Generator(np.random.PCG64(derive(root, role, *axes)))


def torch_stream(root: int, role: Role, *axes: int | str, device: str = "cpu") -> torch.Generator:
    """Return a torch generator for a stream (see `derive`)."""
    import torch

    generator = torch.Generator(device=device)
    generator.manual_seed(derive(root, role, *axes))
    return generator


def seed_torch(seed: int) -> None:
    """Seed torch's global generators, of CPU and used GPU.

    ``torch.manual_seed`` queues a call with a formatted stack trace for every kind of accelerator that is not in use:
    a millisecond and a list that grows, at every step.
    """
    import torch

    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
