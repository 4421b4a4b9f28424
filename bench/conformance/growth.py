"""Detect memory that grows from step to step.

Objects are counted, so that the allocator does not matter.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import psutil
import torch


@dataclass(frozen=True)
class Usage:
    """Objects and memory created since `watching` began.

    Attributes:
        tensors: Tensors that Python knows of.
        tensor_bytes: Bytes of their storages.
        graph: Nodes of autograd graphs kept alive by them.
        python: Bytes allocated by Python and NumPy.
        resident: Resident bytes of the process.
    """

    tensors: int
    tensor_bytes: int
    graph: int
    python: int
    resident: int


_PER_STEP = {"tensors": 0.5, "tensor_bytes": 16, "graph": 0.5, "python": 1024, "resident": 800_000}
"""Least growth per step that counts.

The first three are exact, Python allocates a little for itself, and resident memory moves with the allocator.
"""
_WORDS = {
    "tensors": "{:.1f} tensors",
    "tensor_bytes": "{:.0f} bytes of tensors",
    "graph": "{:.0f} nodes of an autograd graph",
    "python": "{:.0f} bytes of Python objects",
    "resident": "{:.0f} bytes of resident memory",
}


@contextmanager
def watching() -> Iterator[None]:
    """Count Python's allocations during the block.

    What is alive already is left out, so that each count is quick.
    """
    already = tracemalloc.is_tracing()
    gc.freeze()
    if not already:
        tracemalloc.start()
    try:
        yield
    finally:
        if not already:
            tracemalloc.stop()
        gc.unfreeze()


def usage() -> Usage:
    """Count what is alive, after collecting garbage."""
    gc.collect()
    alive = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    storages = {}
    for tensor in alive:
        if tensor.layout == torch.strided and tensor.device.type != "meta":
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return Usage(
        tensors=len(alive),
        tensor_bytes=sum(storages.values()),
        graph=_nodes(alive),
        python=tracemalloc.get_traced_memory()[0],
        resident=psutil.Process().memory_info().rss,
    )


def _nodes(tensors: list[torch.Tensor]) -> int:
    """Count the nodes of the autograd graphs behind tensors."""
    waiting: list[Any] = [tensor.grad_fn for tensor in tensors if tensor.grad_fn is not None]
    seen: set[Any] = set(waiting)
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is not None and node not in seen:
                seen.add(node)
                waiting.append(node)
    return len(seen)


def growing(before: Usage, middle: Usage, after: Usage, steps: int) -> str:
    """Name what grew in both of two equally long stretches.

    Empty if nothing did.

    One stretch alone may warm up a cache; both cannot.
    """
    found = []
    for field in fields(Usage):
        name = field.name
        first = (getattr(middle, name) - getattr(before, name)) / steps
        second = (getattr(after, name) - getattr(middle, name)) / steps
        if min(first, second) >= _PER_STEP[name]:
            found.append(_WORDS[name].format(second))
    return ", ".join(found)
