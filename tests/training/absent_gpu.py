"""A GPU that is not there: what a program does with it can be watched on any machine.

Tensors on it are torch's fake ones: they have shapes and a device, but no numbers, so whatever needs a number fails as
it would make a process wait for a GPU. Tensors on the CPU stay real.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


class AbsentGpu(TorchDispatchMode):
    """Takes whatever is created on, moved to, or computed on a GPU.

    Attributes:
        waits: What made the process wait for the GPU, and where: copies from ordinary memory and back to the CPU, and
            operations on tensors of both, which copy by themselves.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = torch.device(device)
        self.waits: list[str] = []
        self._fake = FakeTensorMode()
        self._pinned: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, there or here."""
        kwargs = dict(kwargs or {})
        name = str(func._schema.name).removeprefix("aten::")
        if name == "is_pinned":
            return any(args[0] is one for one in self._pinned)
        if name == "_pin_memory":
            self._pinned.append(args[0].clone())
            return self._pinned[-1]
        asked = kwargs.get("device")
        there = asked is not None and torch.device(asked).type != "cpu"
        if there:
            kwargs["device"] = self.device
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        here = [one for one in tensors if not isinstance(one, FakeTensor)]
        if not there and len(here) == len(tensors):
            return func(*args, **kwargs)
        if name == "_to_copy" and there and here:
            if not (kwargs.get("non_blocking") and any(args[0] is one for one in self._pinned)):
                self._note(f"copies {tuple(args[0].shape)} to the GPU from ordinary memory")
        elif name == "_to_copy" and asked is not None and not there:
            self._note(f"copies {tuple(args[0].shape)} to the CPU")
        elif len(here) < len(tensors) and any(one.ndim for one in here):
            self._note(f"{name} of tensors on the GPU and the CPU")
        args, kwargs = tree_map_only(Tensor, self._there, (args, kwargs))
        with self._fake:
            return func(*args, **kwargs)

    def _there(self, value: Tensor) -> Tensor:
        return value if isinstance(value, FakeTensor) else self._fake.from_tensor(value)

    def _note(self, what: str) -> None:
        lines = [frame for frame in traceback.extract_stack() if "/bench/" in frame.filename]
        where = f"{lines[-1].filename.rpartition('/bench/')[2]}:{lines[-1].lineno}" if lines else "the test"
        self.waits.append(f"{what} ({where})")


@contextmanager
def absent_gpu(monkeypatch: pytest.MonkeyPatch, *, backward: bool = False) -> Iterator[AbsentGpu]:
    """Give this process a GPU that is not there.

    Args:
        monkeypatch: Keeps torch from looking for a driver.
        backward: Whether gradients are wanted: torch's engine runs them without a driver for the device ``meta`` only,
            which then stands for the GPU, and has no mixed precision.
    """
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr("torch.amp.autocast_mode.torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    if backward:
        monkeypatch.setattr(torch, "autocast", no_autocast)
    torch._C._ensureCUDADeviceGuardSet()
    with AbsentGpu("meta" if backward else "cuda") as gpu:
        yield gpu


no_autocast: Callable[..., Any] = lambda *_, **__: nullcontext()  # noqa: E731
