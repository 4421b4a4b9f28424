"""Types that go into the training loop and come out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.progress import Progress, silent

Curves = dict[str, list[tuple[float, float]]]
Validate = Callable[[], dict[str, float]]


class Objective(ABC):
    """The loss of a training stage.

    Attributes:
        model: The network trained; its parameter names decide weight decay and rate.
        double_step: Step twice with the same gradients, first before they are clipped: a quirk of the released
            segmentation loops (docs/reference.md#part-segmentation).
    """

    model: nn.Module
    double_step: bool = False

    @abstractmethod
    def prepare(self, index: Tensor, generator: torch.Generator, step: int) -> Any:
        """Make the input of one step, eagerly and without gradient.

        Gathers objects, augments, groups points and draws masks.

        Args:
            index: int64 ``[B]`` objects of the step, on the CPU.
            generator: CPU generator of the step; the only source of chance allowed here.
            step: Optimiser steps taken before this one.
        """

    @abstractmethod
    def compute(self, prepared: Any) -> dict[str, Tensor]:
        """Return scalar losses by name; ``total`` is minimised.

        May be compiled.
        """

    def expect(self, index: Tensor) -> None:  # noqa: B027 (most objectives hold their data and need no warning)
        """Announce the objects (int64 ``[B]``) of the next step.

        An objective that reads its data from disk can read ahead.
        """


@dataclass(frozen=True)
class TrainingPlace:
    """Folders and progress callback of a training stage.

    Nothing here changes a result.

    Attributes:
        folder: Folder for the checkpoints of this stage alone; None: no checkpoints.
        compile_cache: Folder for compiled kernels, shared by all runs; None leaves torch's own.
        checkpoint_seconds: Time between checkpoints; longer where saving would take more than a twentieth of the time.
            0 saves after every step.
        progress: Told about optimiser steps.
    """

    folder: Path | None = None
    compile_cache: Path | None = None
    checkpoint_seconds: float = 20.0
    progress: Progress = silent


@dataclass(frozen=True)
class Kept:
    """Places along a training at which its state is handed out.

    Nothing here changes a number of the training.

    Attributes:
        shares: Shares of the optimiser steps (`bench.training.schedule.step_at`), ascending. The training ends at the
            last one; schedule and draws stay those of the whole.
        take: Called at each of the others with the share and the result so far, before a later checkpoint is written:
            a training that goes on from a checkpoint has handed out what lies before it. The model is in training
            mode, and must stay as it is.
    """

    shares: tuple[float, ...]
    take: Callable[[float, FitResult], None]


@dataclass(frozen=True)
class Selected:
    """Model state that validation selected.

    Attributes:
        epoch: Number of the selected epoch, counted from 1.
        metrics: Validation metrics after that epoch.
        state: State dict of the model after that epoch, on the CPU.
    """

    epoch: int
    metrics: dict[str, float]
    state: dict[str, Tensor]


@dataclass(frozen=True)
class FitResult:
    """Result of a finished training stage.

    Attributes:
        curves: Per epoch (counted from 1): mean of each loss, ``lr``, and ``val_*`` of each validation metric.
        seconds: Wall time, summed over resumes (work lost by a kill is not counted).
        cpu_seconds: Processor time of the process, user and system, all threads, summed over resumes.
        step_flops: Floating-point operations of the first step, backward included; None where it was compiled.
        samples: Training samples seen.
        peak_memory_bytes: Peak of the process, or on CUDA of torch's allocations.
        resumed_from: Step this session continued from, or None.
        compile_seconds: Time of the first step of each session when compiling.
        best: State that validation selected; None without validation. The model itself is left in its last state.
        step: Optimiser steps done.
        steps: Optimiser steps of the whole training.
        steps_per_epoch: Optimiser steps of an epoch.
    """

    curves: Curves
    seconds: float
    cpu_seconds: float
    step_flops: float | None
    samples: int
    peak_memory_bytes: int
    resumed_from: int | None
    compile_seconds: float
    best: Selected | None = None
    step: int = 0
    steps: int = 0
    steps_per_epoch: int = 1
