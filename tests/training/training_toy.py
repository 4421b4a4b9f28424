"""A small objective for the tests: everything a method has (BatchNorm, dropout, drawn input), in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from bench.spec import Numerics, Precision, Recipe
from bench.training.contract import FitResult, Kept, Objective, TrainingPlace
from bench.training.loop import fit

OBJECTS = 37
RECIPE = Recipe(epochs=5, batch_size=8, lr=1e-2, warmup_epochs=1, clip_norm=1.0)
STEPS = 5 * (OBJECTS // 8)
Hook = Callable[[str, int], None]


def numerics(precision: Precision = "fp32", compile: bool = False) -> Numerics:
    return Numerics(precision=precision, compile=compile, device="cpu", op_backend="torch", torch="0.0")


def no_hook(moment: str, count: int) -> None:
    """Do nothing at a moment."""


class ToyObjective(Objective):
    """Regresses the mean of noisy inputs; tells a hook where it is."""

    def __init__(self, hook: Hook = no_hook) -> None:
        torch.manual_seed(7)
        self.model = nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1), nn.Flatten(0)
        )
        self.inputs = torch.randn(OBJECTS, 6)
        self.seen: list[list[int]] = []
        self._hook = hook
        self._counts: dict[str, int] = {}

    def tell(self, moment: str) -> None:
        self._counts[moment] = self._counts.get(moment, 0) + 1
        self._hook(moment, self._counts[moment])

    def prepare(self, index: Tensor, generator: torch.Generator, step: int) -> Any:
        self.tell("prepare")
        self.seen.append(index.tolist())
        rows = self.inputs[index]
        return rows + 0.1 * torch.randn(rows.shape, generator=generator), rows.mean(1)

    def compute(self, prepared: Any) -> dict[str, Tensor]:
        inputs, target = prepared
        regression = functional.mse_loss(self.model(inputs).float(), target)
        self.tell("compute")
        return {"regression": regression, "total": 2 * regression}

    def validate(self) -> dict[str, float]:
        self.tell("validate")
        with torch.no_grad():
            return {"accuracy": -float(functional.mse_loss(self.model(self.inputs), self.inputs.mean(1)))}


def train(
    objective: ToyObjective,
    folder: Path | None,
    precision: Precision = "fp32",
    kept: Kept | None = None,
    **place: Any,
) -> FitResult:
    """Train with a checkpoint after every step."""
    return fit(
        objective,
        OBJECTS,
        RECIPE,
        numerics(precision),
        3,
        stage="toy",
        place=TrainingPlace(folder=folder, checkpoint_seconds=0.0, **place),
        validate=objective.validate,
        kept=kept,
    )


def weights(objective: ToyObjective) -> dict[str, Any]:
    """Weights and buffers as they are now."""
    return {name: tensor.tolist() for name, tensor in objective.model.state_dict().items()}


def outcome(objective: ToyObjective, result: FitResult) -> dict[str, Any]:
    """Everything that must not depend on interruptions."""
    assert result.best is not None
    return {
        "weights": weights(objective),
        "curves": result.curves,
        "best_epoch": result.best.epoch,
        "best": {name: tensor.tolist() for name, tensor in result.best.state.items()},
        "samples": result.samples,
    }
