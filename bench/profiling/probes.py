"""Time protocol heads on cached synthetic features.

The heads are the few-shot grid, the linear probe and the SVM, with their search of C.

The protocols themselves are timed, on random features of the requested size that a trivial encoder returns; the time of
computing features is left out. Optionally scikit-learn fits the same heads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.data.base import CloudSet
from bench.environment import usable_cores
from bench.models.encoder import Encoder, EncoderOutput
from bench.models.memory import keep_freed_memory
from bench.profiling.plan import CLASSES, ProbeRequest
from bench.progress import Progress, silent
from bench.protocols.base import Candidate, Evaluation, HeldOut, Protocol, Subject, Task
from bench.protocols.features import frozen_features
from bench.protocols.fewshot import FewShot
from bench.protocols.linear import Linear
from bench.protocols.options import FrozenOptions
from bench.protocols.svm import Svm
from bench.protocols.threads import torch_threads
from bench.provenance import machine_kind
from bench.seeds import numpy_stream
from bench.spec import Numerics
from bench.store.scratch import temporary_folder

Head = TypeVar("Head", bound=FrozenOptions)
_LATENT = 8
"""Points of a synthetic cloud; their 24 coordinates determine its features."""
_OVERLAP = 1.6
"""Spread within a class, relative to the distance of classes: large enough that heads make errors."""


@dataclass(frozen=True)
class ProbeTime:
    """Time and accuracy of one protocol's heads.

    Attributes:
        name: Protocol and size.
        seconds: Time without computing the features.
        accuracy: Test accuracy on the synthetic set.
        oracle_seconds: Time of scikit-learn's fit at the chosen C alone, without the search; None if not asked.
        oracle_accuracy: Its accuracy.
    """

    name: str
    seconds: float
    accuracy: float
    oracle_seconds: float | None = None
    oracle_accuracy: float | None = None


@dataclass(frozen=True)
class ProbeProfile:
    """Result of timing the heads.

    Attributes:
        machine: The machine in words.
        threads: Threads used.
        request: The request.
        times: One per protocol.
    """

    machine: str
    threads: int
    request: ProbeRequest
    times: tuple[ProbeTime, ...]


class _Lookup(Encoder):
    """Encoder whose features are a random projection of 24 coordinates."""

    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        draws = (
            numpy_stream(seed, "data", "profile", "features").normal(size=(3 * _LATENT, width)) / (3 * _LATENT) ** 0.5
        )
        self.mix = torch.nn.Parameter(torch.from_numpy(draws.astype(np.float32)), requires_grad=False)
        self.feature_dims = {"transfer": width, "svm": width}
        self.feature_descriptions = {"transfer": "made up", "svm": "made up"}

    def forward(self, points: Tensor) -> EncoderOutput:
        """See `Encoder.forward`."""
        return EncoderOutput(points, points, {"cls": torch.tanh(points.flatten(1) @ self.mix)})

    def features(self, output: EncoderOutput) -> Mapping[str, Tensor]:
        """See `Encoder.features`."""
        return dict.fromkeys(self.feature_dims, output.globals["cls"])


def profile_probes(request: ProbeRequest, progress: Progress = silent) -> ProbeProfile:
    """Time the heads.

    Args:
        request: Sizes and seeds.
        progress: Called before every measurement.

    Raises:
        UsageError: A number is too small for few-shot folds or for the classes.
    """
    request.check()
    keep_freed_memory()  # as every job does
    threads = request.threads or usable_cores()
    with torch_threads(threads), temporary_folder() as folder:
        task = _task(request.objects, folder)
        times = []
        progress(0, 3, "few-shot grid")
        grid = FewShot.Options(head="linear")
        evaluations, seconds = _timed(
            FewShot, task, [_subject(request.width, s) for s in range(request.seeds)], FewShot.settings(grid), grid
        )
        accuracy = float(np.mean([_accuracy(found) for found in evaluations]))
        times.append(ProbeTime(f"few-shot grid, 4 settings x 10 folds x {request.seeds} seeds", seconds, accuracy))
        subject = _subject(request.width, 0)
        probes: dict[str, Callable[[], tuple[list[Evaluation], float]]] = {
            Linear.name: partial(_timed, Linear, task, [subject], ("all",), Linear.Options()),
            Svm.name: partial(_timed, Svm, task, [subject], ("all",), Svm.Options()),
        }
        for at, (name, judge) in enumerate(probes.items(), 1):
            progress(at, 3, name)
            (found,), seconds = judge()
            oracle = _oracle(name, task, subject, found) if request.oracle else (None, None)
            times.append(ProbeTime(f"{name}, search of C included", seconds, _accuracy(found), *oracle))
    return ProbeProfile(machine_kind("cpu"), threads, request, tuple(times))


def _task(objects: int, cache: Path) -> Task:
    """Return a synthetic task of overlapping classes."""
    centres = numpy_stream(0, "data", "profile", "classes").normal(size=(CLASSES, 3 * _LATENT))

    def split(name: str, count: int) -> CloudSet:
        rng = numpy_stream(0, "data", "profile", name)
        labels = (np.arange(count) % CLASSES).astype(np.int64)
        points = centres[labels] + _OVERLAP * rng.normal(size=(count, 3 * _LATENT))
        ids = tuple(f"{name}/{i}" for i in range(count))
        classes = tuple(f"class {i}" for i in range(CLASSES))
        return CloudSet(points.reshape(count, _LATENT, 3).astype(np.float32), labels, ids, classes)

    train, test = split("train", objects), HeldOut(split("test", max(objects // 5, 30 * CLASSES)))
    numerics = Numerics(precision="fp32", compile=False, device="cpu", op_backend="torch", torch=torch.__version__)
    return Task(train, test, f"made up {objects}", 0, 0, "cpu", numerics, cache / "cache", cache / "work", _LATENT)


def _subject(width: int, seed: int) -> Subject:
    return Subject("made up", "made up", {"": Candidate("", lambda: _Lookup(width, seed), f"made-up-{width}-{seed}")})


def _timed(
    protocol: type[Protocol[Head]], task: Task, subjects: list[Subject], settings: tuple[str, ...], options: Head
) -> tuple[list[Evaluation], float]:
    """Evaluate a protocol and return results and seconds.

    Features are computed before the clock starts.
    """
    for subject in subjects:
        frozen_features(subject.candidates[""], task, options.feature, normalise=options.normalise)
    start = time.perf_counter()
    found = [protocol.evaluate(subject, task, setting, options) for subject in subjects for setting in settings]
    return found, time.perf_counter() - start


def _accuracy(found: Evaluation) -> float:
    rows = [m.value for m in found.metrics if m.split == "test" and m.selection == "val" and m.headline]
    return float(rows[0])


def _oracle(name: str, task: Task, subject: Subject, found: Evaluation) -> tuple[float, float]:
    """Return seconds and accuracy of scikit-learn's head.

    It is fitted at the chosen C on the same features.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    feature = str(found.notes["feature"])
    features = frozen_features(subject.candidates[""], task, feature, normalise=True)
    train = np.asarray(features["train"], dtype=np.float64)
    mean, deviation = train.mean(0), train.std(0)
    strength, width = float(str(found.notes["strength"])), train.shape[1]
    if name == Linear.name:
        head = LogisticRegression(C=strength / width, max_iter=2000, tol=1e-6)
    else:
        head = LinearSVC(C=strength / width, intercept_scaling=width**0.5, dual=True, tol=1e-5, max_iter=20_000)
    start = time.perf_counter()
    head.fit((train - mean) / deviation, task.train.labels)
    predicted: npt.NDArray[np.int64] = head.predict((features["test"] - mean) / deviation)
    seconds = time.perf_counter() - start
    return seconds, float((predicted == task.test.reveal()).mean())
