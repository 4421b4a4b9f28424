"""Pretraining losses on held-out objects and on training objects.

The loss curves of training cannot be compared with held-out losses: they are means over an epoch in which the weights
change, with stochastic depth and BatchNorm in training mode. So both sets are measured alike: after each epoch, in
evaluation mode, with random draws (points, augmentation, masks) that are the same in every epoch, seed and method.
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
    """Measure losses of a network in training without changing it.

    Attributes:
        objectives: Objective of each set, by the set's name; their model is the one in training.
        sizes: Objects of each set.
        batch: Batch size, that of training since contrastive losses depend on it. A last partial batch is dropped.
        numerics: Device and precision, those of training.
        step: Returns the current optimiser step, for schedules by step.
    """

    objectives: Mapping[str, Objective]
    sizes: Mapping[str, int]
    batch: int
    numerics: Numerics
    step: Callable[[], int]

    @torch.no_grad()
    def __call__(self) -> dict[str, float]:
        """Return the mean of every loss, named ``SET_LOSS``.

        The model has to be in evaluation mode.

        Leaves out losses that are not finite: measuring never ends a training.
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
