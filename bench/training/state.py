"""Mutable state of a training stage, packed into checkpoints."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bench.training.checkpoint import Checkpoint
from bench.training.contract import Curves, Selected


@dataclass
class State:
    """Progress of a stage, besides model and optimiser tensors.

    Attributes:
        step: Optimiser steps done.
        seconds: Wall time up to the last call of `account`, earlier sessions included.
        cpu_seconds: Processor time of the process, all threads, over the same span.
        step_flops: Floating-point operations of the first step; None where they were not counted.
        compile_seconds: Time of each session's first step when compiling.
        peak_memory: Peak memory in bytes over all sessions.
        curves: One row per finished epoch.
        sums: Running sum of each loss in the epoch under way, float64 scalars on the device.
        best: State that validation has selected so far.
    """

    step: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    step_flops: float | None = None
    compile_seconds: float = 0.0
    peak_memory: int = 0
    curves: Curves = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    best: Selected | None = None


def pack(state: State, model: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and JSON header of a checkpoint."""
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for index, values in optimiser.state_dict()["state"].items():
        tensors.update({f"optimiser/{index}/{key}": value for key, value in values.items()})
    tensors.update({f"sum/{name}": value for name, value in state.sums.items()})
    best: dict[str, Any] | None = None
    if state.best is not None:
        tensors.update({f"best/{name}": value for name, value in state.best.state.items()})
        best = {"epoch": state.best.epoch, "metrics": state.best.metrics}
    header = {
        "seconds": state.seconds,
        "cpu_seconds": state.cpu_seconds,
        "step_flops": state.step_flops,
        "compile_seconds": state.compile_seconds,
        "peak_memory": state.peak_memory,
        "curves": state.curves,
        "best": best,
    }
    return tensors, header


def unpack(found: Checkpoint, model: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device) -> State:
    """Restore model and optimiser in place and return the state.

    Inverse of `pack`.
    """
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}, "sum": {}, "best": {}}
    for name, tensor in found.tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = tensor
    model.load_state_dict(parts["model"])
    by_parameter: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimiser"].items():
        index, _, key = name.partition("/")
        by_parameter.setdefault(int(index), {})[key] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": by_parameter, "param_groups": groups})
    _lay_out_alike(optimiser)
    header = found.header
    best = header["best"]
    return State(
        step=found.step,
        seconds=header["seconds"],
        cpu_seconds=header.get("cpu_seconds", 0.0),
        step_flops=header.get("step_flops"),
        compile_seconds=header["compile_seconds"],
        peak_memory=header["peak_memory"],
        curves={name: [(x, y) for x, y in series] for name, series in header["curves"].items()},
        sums={name: tensor.to(device) for name, tensor in parts["sum"].items()},
        best=None if best is None else Selected(best["epoch"], best["metrics"], parts["best"]),
    )


def _lay_out_alike(optimiser: torch.optim.Optimizer) -> None:
    """Lay moments out in memory as their parameters are.

    A checkpoint holds them in the usual order; the fused optimiser pairs elements by their place in memory, which for
    convolutions with channels last is another.
    """
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                values[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)


def peak_memory_bytes(device: str) -> int:
    """Return the peak memory of this process in bytes.

    Resident memory on a CPU, torch's allocations on CUDA.
    """
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere but on macOS
