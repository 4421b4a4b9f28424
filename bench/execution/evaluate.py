"""Evaluation as a job computes it: candidates of an encoder, a protocol, and the record of the run.

As in `bench.execution.pretrain`, classes arrive as arguments.
"""

from __future__ import annotations

import copy
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue

from bench.data.base import CloudSet, Dataset
from bench.data.seen import class_names_seen
from bench.execution.pretrain import load_encoder
from bench.methods.base import Method
from bench.methods.scratch import scratch_candidates
from bench.models.encoder import Encoder
from bench.protocols.base import Candidate, Evaluation, HeldOut, Protocol, Subject, Task
from bench.protocols.features import reduced_clouds
from bench.seeds import derive
from bench.spec import PretrainSpec, RunSpec, content_key
from bench.store.records import RunRecord, SeenNames

CALIBRATION_CLOUDS = 512


@dataclass
class EncoderSource:
    """Where the weights of a run's encoder come from.

    Attributes:
        spec: The encoder's specification.
        method: Its class.
        architecture: For scratch, the class whose architecture it takes; else `method`.
        folder: Artefact of a pretrained encoder; None for scratch.
        fingerprint: Digest of the code that makes the encoder; part of the identity of cached features.
    """

    spec: PretrainSpec
    method: type[Method]
    architecture: type[Method]
    folder: Path | None
    fingerprint: str

    @property
    def key(self) -> str:
        """Identity of the weights."""
        return f"{content_key(self.spec)}-{self.fingerprint[:16]}"

    def read(self, name: str) -> JsonValue:
        """Read one of the JSON files of the artefact; None for scratch."""
        if self.folder is None:
            return None
        value: JsonValue = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return value


@dataclass
class Judge:
    """One encoder on one data set: loaded once, judged in many settings.

    Attributes:
        source: The encoder.
        dataset: What it is judged on.
        cache: Cache folder.
        progress: Receives (stage, done, total, note).
    """

    source: EncoderSource
    dataset: Dataset
    cache: Path
    progress: Callable[[str, float, float, str], None]

    @cached_property
    def train(self) -> CloudSet:
        """Training split."""
        return self.dataset.load("train")

    @cached_property
    def test(self) -> CloudSet:
        """Test split; handed on sealed."""
        return self.dataset.load("test")

    def subject(self, task: Task) -> Subject:
        """Build what a protocol judges: one candidate, or the four initialisations of scratch."""
        spec = self.source.spec
        if self.source.folder is not None:
            folder = self.source.folder
            build = lambda: load_encoder(folder, self.source.method, spec)  # noqa: E731
            candidates = {"": Candidate(name="", build=build, key=self.source.key)}
        else:
            # Calibration sees unlabelled training clouds of the evaluated set, so the weights depend on it.
            candidates = {
                name: Candidate(
                    name=name,
                    build=lambda name=name: copy.deepcopy(self._untrained[name]),  # type: ignore[misc]
                    key=f"{self.source.key}-{name}-{task.data_manifest[:16]}",
                )
                for name in self._untrained_names(task)
            }
        architecture = self.source.architecture.name
        return Subject(method=spec.method, architecture=architecture, candidates=candidates)

    def _untrained_names(self, task: Task) -> tuple[str, ...]:
        self._calibration = self._calibration_clouds(task)
        return tuple(self._untrained)

    @cached_property
    def _untrained(self) -> dict[str, Encoder]:
        options = self.source.architecture.Options.model_validate(self.source.spec.options["options"])

        def build() -> Encoder:
            return self.source.architecture.build_encoder(self.source.spec.backbone, options)

        return scratch_candidates(build, derive(self.source.spec.seed, "init"), self._calibration)

    def _calibration_clouds(self, task: Task) -> torch.Tensor:
        clouds = reduced_clouds(self.train.points, "train", task)
        order = np.random.default_rng(derive(self.source.spec.seed, "init", "calibration")).permutation(len(clouds))
        return torch.from_numpy(np.ascontiguousarray(clouds[np.sort(order[:CALIBRATION_CLOUDS])]))


def evaluate_run(run: RunSpec, judge: Judge, protocol: type[Protocol], workdir: Path) -> tuple[Evaluation, RunRecord]:
    """Judge an encoder in one setting.

    Args:
        run: The run.
        judge: The encoder on the run's data set.
        protocol: The protocol's class.
        workdir: Folder for unfinished state of this run.

    Returns:
        The evaluation, and the record without label, fingerprint and provenance, which the caller knows.
    """
    start = time.perf_counter()
    spec = run.encoder
    task = Task(
        train=judge.train,
        test=HeldOut(judge.test),
        data_manifest=run.data.manifest,
        split_seed=run.split_seed,
        seed=run.seed,
        device=spec.numerics.device,
        numerics=spec.numerics,
        cache=judge.cache,
        workdir=workdir,
        points=spec.backbone.points,
        progress=lambda stage, done, total: judge.progress(stage, done, total, ""),
    )
    options = protocol.Options.model_validate(run.protocol.options)
    evaluation = protocol.evaluate(judge.subject(task), task, run.setting, options)
    cost = judge.source.read("cost.json")
    costs = {str(k): float(v) for k, v in cost.items() if isinstance(v, int | float)} if isinstance(cost, dict) else {}
    costs["evaluate_seconds"] = time.perf_counter() - start
    costs["evaluate_peak_memory_bytes"] = float(_peak_memory())
    if "parameters_encoder" not in costs:
        candidate = next(iter(judge.subject(task).candidates.values()))
        costs["parameters_encoder"] = float(candidate.build().parameter_count)
    curves = dict(evaluation.curves)
    pretraining = judge.source.read("curves.json")
    if isinstance(pretraining, dict):
        for name, series in pretraining.items():
            if isinstance(series, list):
                curves[f"pretrain/{name}"] = [(float(s), float(v)) for s, v in series]  # type: ignore[misc, arg-type]
    record = RunRecord(
        key=content_key(run),
        fingerprint="",
        status="done",
        spec=run.model_dump(mode="json"),
        label={},
        metrics=evaluation.metrics,
        seen_names=_seen(judge),
        predictions=evaluation.predictions,
        curves=curves,
        cost=costs,
    )
    return evaluation, record


def _seen(judge: Judge) -> SeenNames:
    texts = judge.source.read("texts.json")
    classes = judge.dataset.classes()
    seen = class_names_seen(classes, [str(text) for text in texts]) if isinstance(texts, list) else ()
    return SeenNames(seen=tuple(seen), total=len(classes))


def _peak_memory() -> int:
    """Peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
