"""A small data set whose classes differ in shape, and small encoders that satisfy the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.data.base import CloudSet
from bench.models.encoder import Encoder, EncoderOutput
from bench.protocols.base import Candidate, HeldOut, Subject, Task
from bench.spec import Numerics

NUMERICS = Numerics(precision="fp32", compile=False, device="cpu", op_backend="torch", torch="2")
POINTS = 24


class MomentEncoder(Encoder):
    """Sees the spread of a cloud along the axes through a fixed random network."""

    def __init__(self, seed: int = 0, width: int = 12, broken: bool = False) -> None:
        super().__init__()
        self.broken = broken
        generator = torch.Generator().manual_seed(seed)
        self.lift = nn.Linear(6, width)
        with torch.no_grad():
            self.lift.weight.copy_(torch.randn(self.lift.weight.shape, generator=generator))
            self.lift.bias.zero_()
        self.feature_dims = {"transfer": 2 * width, "svm": width}
        self.feature_descriptions = {"transfer": "mean + max", "svm": "mean"}

    def forward(self, points: Tensor) -> EncoderOutput:
        tokens = torch.tanh(self.lift(torch.cat([points, points.square()], -1)))
        return EncoderOutput(tokens, points, {"cls": tokens.mean(1)})

    def features(self, output: EncoderOutput) -> Mapping[str, Tensor]:
        mean = output.globals["cls"] / (0.0 if self.broken else 1.0)
        return {"transfer": torch.cat([mean, output.tokens.amax(1)], -1), "svm": mean}


def cloud_set(per_class: int, seed: int, classes: int = 6, points: int = 32, noise: float = 0.25) -> CloudSet:
    """Ellipsoids; a class is a ratio of axes, blurred so that it cannot be told for certain."""
    rng = np.random.default_rng(seed)
    axes = np.random.default_rng(99).uniform(0.3, 1.0, (classes, 3))
    labels = np.repeat(np.arange(classes), per_class)
    labels = labels[rng.permutation(len(labels))].astype(np.int64)
    scale = axes[labels] * np.exp(noise * rng.normal(size=(len(labels), 3)))
    clouds = rng.normal(size=(len(labels), points, 3)) * scale[:, None]
    return CloudSet(
        points=clouds.astype(np.float32),
        labels=labels,
        ids=tuple(f"object-{seed}-{i}" for i in range(len(labels))),
        classes=tuple(f"class {i}" for i in range(classes)),
    )


MakeTask = Callable[..., Task]


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    def make(
        train: CloudSet | None = None,
        test: CloudSet | None = None,
        seed: int = 0,
        split_seed: int = 0,
        cache: str = "c",
    ) -> Task:
        return Task(
            train=train or cloud_set(25, 1),
            test=HeldOut(test or cloud_set(12, 2)),
            data_manifest="manifest",
            split_seed=split_seed,
            seed=seed,
            device="cpu",
            numerics=NUMERICS,
            cache=tmp_path / cache,
            workdir=tmp_path / "work",
            points=POINTS,
        )

    return make


def subject(*names: str, first_seed: int = 0) -> Subject:
    """A subject with one candidate per name (one unnamed by default)."""
    names = names or ("",)

    def candidate(name: str, seed: int) -> Candidate:
        return Candidate(name=name, build=lambda: MomentEncoder(seed), key=f"moment-{seed}")

    return Subject("toy", "toy", {n: candidate(n, first_seed + i) for i, n in enumerate(names)})


def values(metrics: list, **where: object) -> list[float]:  # type: ignore[type-arg]
    """Values of the rows whose fields equal `where`."""
    return [m.value for m in metrics if all(getattr(m, k) == v for k, v in where.items())]
