"""Keep freed memory in the process between training steps."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 30


def keep_freed_memory() -> bool:
    """Make the C library keep large freed memory blocks.

    A training step on a CPU frees and reallocates the same large activations; by default each of them is returned
    and faulted in again page by page, which was measured at a quarter of a nano pretraining step. Call once at the
    start of a training process; the process then keeps its peak memory until it ends.

    Returns:
        Whether it took effect (only with glibc on Linux).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE) and mallopt(_M_TRIM_THRESHOLD, 2 * _LARGE - 1))
