"""Pretraining losses on objects that are not trained on, beside the same losses on some that are.

Training's own curves cannot be compared with them: they are means over an epoch in which the weights move, with
stochastic depth on and BatchNorm following the batch. So both sets are measured alike: after each epoch, in
evaluation mode, with draws (points, augmentation, masks) that are the same in every epoch, seed and method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from bench.seeds import torch_stream
from bench.spec import Numerics
from bench.training.contract import Objective
from bench.training.precision import autocast

HELD_OUT = "held_out"
"""Objects of the test split of the pretraining data."""
SEEN = "seen"
"""As many objects that are trained on."""


@dataclass(frozen=True)
class LossMeter:
    """Measures the losses of a network that is being trained, without touching its training.

    Attributes:
        objectives: By name of the set, the losses on it; their model is the one in training.
        sizes: Objects of each set.
        batch: Objects at a time: as in training, since contrast depends on it. What is left over is not measured.
        numerics: Device and precision, those of training.
        step: Gives the optimiser step that training is at, for schedules by step.
    """

    objectives: Mapping[str, Objective]
    sizes: Mapping[str, int]
    batch: int
    numerics: Numerics
    step: Callable[[], int]

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return the mean of every loss by ``SET_LOSS``; the model is in evaluation mode.

        A loss that is not finite is left out: measuring never ends a training.
        """
        found = {
            f"{name}_{loss}": value
            for name, objective in self.objectives.items()
            for loss, value in self._measure(objective, self.sizes[name]).items()
        }
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def _measure(self, objective: Objective, size: int) -> dict[str, float]:
        batch = min(self.batch, size)
        sums: dict[str, float] = {}
        steps = size // batch
        for number in range(steps):
            index = torch.arange(number * batch, (number + 1) * batch)
            draws = torch_stream(0, "augmentation", HELD_OUT, number)
            with autocast(self.numerics.device, self.numerics.precision):
                losses = objective.compute(objective.prepare(index, draws, self.step()))
            for loss, value in losses.items():
                sums[loss] = sums.get(loss, 0.0) + float(value) / steps
        return sums
