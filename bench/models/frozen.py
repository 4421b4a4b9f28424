"""Prove that a frozen network stays frozen while it gives features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.errors import BenchError

_DROPOUT = ("bernoulli", "dropout")
"""Parts of the names of torch's operators that drop numbers at random."""
_CLOSE = 1e-5
"""Difference between two passes on a GPU, relative to the largest value: sums over atomics round differently."""


class NotFrozenError(BenchError):
    """A frozen network changed or draws at random (exit 1)."""


def tensor_digests(network: nn.Module) -> dict[str, str]:
    """Return the SHA-256 of every parameter and buffer by name.

    Buffers that no checkpoint holds count too.
    """
    return {name: _digest(value) for name, value in (*network.named_parameters(), *network.named_buffers())}


def network_digest(digests: Mapping[str, str]) -> str:
    """Return one SHA-256 of `tensor_digests`."""
    return hashlib.sha256("\n".join(f"{name} {digests[name]}" for name in sorted(digests)).encode()).hexdigest()


def _digest(value: Tensor) -> str:
    if isinstance(value, nn.UninitializedParameter | nn.UninitializedBuffer):
        return "not made yet"
    found = hashlib.sha256(f"{value.dtype} {list(value.shape)}".encode())
    plain = value.detach().cpu().contiguous()
    if plain.numel():
        found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


@dataclass(frozen=True)
class Frozen:
    """Digests of a network before and after it gave features.

    Attributes:
        before: SHA-256 of all parameters and buffers before the first pass.
        after: The same after the last one; equal, or `FrozenWatch.check` raises.
        tensors: Number of parameters and buffers.
        encoded_twice: Clouds that were encoded twice, with bit-equal features.
    """

    before: str
    after: str
    tensors: int
    encoded_twice: int


class FrozenWatch:
    """Watches a network from the first pass to the last.

    Args:
        network: Put into evaluation mode; its parameters take no gradient.
        title: What to call it in messages.

    Raises:
        NotFrozenError: A part stays in training mode.
    """

    def __init__(self, network: nn.Module, title: str) -> None:
        self.network, self.title = network, title
        network.eval()
        network.requires_grad_(False)
        self._before = tensor_digests(network)
        self.compared = 0
        if found := self._training():
            raise self._error(f"{found} stays in training mode after eval(): its train() must reach every part")

    def twice(self, encode: Callable[[Tensor], Mapping[str, Tensor]], batch: Tensor) -> None:
        """Encode a batch twice and compare the features bit by bit.

        On a GPU sums may round differently; there the features may differ by 1e-5 of the largest value.

        Raises:
            NotFrozenError: They differ, or a dropout is on.
        """
        with torch.no_grad():
            with _Operators() as used:
                first = {name: value.detach().clone() for name, value in encode(batch).items()}
            second = encode(batch)
        if used.dropped:
            raise self._error(
                f"dropout is on in evaluation mode (operator {used.dropped[0]}): functional dropout needs "
                "training=self.training"
            )
        self.check()
        for name, value in first.items():
            other = second[name]
            if value.requires_grad:
                raise self._error(f"feature '{name}' carries a gradient")
            if not _same(value, other):
                apart = float((value.double() - other.double()).abs().nan_to_num().max())
                raise self._error(
                    f"feature '{name}' differs by up to {apart:.2g} between two passes over the same {len(batch)} "
                    "clouds: its forward pass draws at random or keeps a state"
                )
        self.compared += len(batch)

    def check(self) -> Frozen:
        """Compare the network with what it was; return the proof.

        Raises:
            NotFrozenError: A parameter or buffer changed, or a part was put into training mode.
        """
        after = tensor_digests(self.network)
        before = self._before
        moved = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        if moved:
            more = f" (and {len(moved) - 1} more)" if len(moved) > 1 else ""
            raise self._error(f"tensor '{moved[0]}'{more} changed while features were computed")
        if found := self._training():
            raise self._error(f"{found} was put into training mode while features were computed")
        wanting = [name for name, parameter in self.network.named_parameters() if parameter.requires_grad]
        if wanting:
            raise self._error(f"parameter '{wanting[0]}' was made to take a gradient while features were computed")
        return Frozen(network_digest(before), network_digest(after), len(after), self.compared)

    def _training(self) -> str:
        """Name the first part in training mode; empty if none is."""
        found = ((name, part) for name, part in self.network.named_modules() if part.training)
        return next((f"module '{name or 'itself'}' ({type(part).__name__})" for name, part in found), "")

    def _error(self, what: str) -> NotFrozenError:
        return NotFrozenError(f"{self.title} is not frozen: {what}")


def _same(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if not first.is_cuda:
        return _digest(first) == _digest(second)
    return torch.allclose(first, second, rtol=0, atol=_CLOSE * float(first.abs().max()), equal_nan=True)


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operators that drop numbers at random."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.dropped: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(part in str(func) for part in _DROPOUT) and _trains(func, args, kwargs or {}):
            self.dropped.append(str(func))
        return func(*args, **(kwargs or {}))


def _trains(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operator's ``train`` argument is true, or absent."""
    given = dict(zip((one.name for one in func._schema.arguments), args, strict=False)) | dict(kwargs)
    return bool(given.get("train", given.get("training", True)))
