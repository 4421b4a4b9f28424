"""Evaluation job: judge an encoder by a protocol.

As in `bench.execution.pretrain`, classes arrive as arguments.
"""

from __future__ import annotations

import copy
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue

from bench.data.base import NO_OBJECTS, CloudSet, Dataset
from bench.data.contents import split_contents
from bench.data.rotations import REVISION as TURNED
from bench.data.rotations import turned
from bench.data.seen import UNKNOWN_TEXTS, class_names_seen
from bench.errors import BenchError
from bench.execution.task_data import task_data
from bench.methods.base import AnyMethod
from bench.methods.scratch import scratch_candidates
from bench.methods.weights import load_encoder
from bench.models.calibration import batch_norms, calibrate_batch_norm
from bench.models.cost import forward_flops
from bench.models.encoder import Encoder
from bench.progress import Progress
from bench.protocols.base import AlignedHead, Alignment, Candidate, CorruptedTest, Evaluation, HeldOut, Subject, Task
from bench.protocols.features import whole_clouds
from bench.seeds import derive
from bench.spec import DataSpec, PretrainSpec, ProtocolSpec, RunSpec, content_key
from bench.store.records import RunRecord, SeenNames
from bench.teachers.base import Teacher
from bench.training.aligned import load_heads

if TYPE_CHECKING:
    from bench.chosen import ChosenProtocol

CALIBRATION_CLOUDS = 512
LEAST_POINTS = 32
"""Points below which the points of a corrupted cloud are repeated, whatever the encoder; graphs need neighbours."""


@dataclass
class EncoderSource:
    """Origin of the weights of a run's encoder.

    Attributes:
        spec: The encoder's specification.
        method: Its class.
        architecture: For scratch, the class whose architecture it takes; else `method`.
        folder: Artefact of a pretrained encoder; None for scratch.
        fingerprint: Digest of the code that makes the encoder; part of the identity of cached features.
        teacher: Gives the teacher whose space its heads reach, made or found first; None where there is none.
    """

    spec: PretrainSpec
    method: type[AnyMethod]
    architecture: type[AnyMethod]
    folder: Path | None
    fingerprint: str
    teacher: Callable[[], Teacher | None] = lambda: None

    @property
    def key(self) -> str:
        """Key of the weights."""
        return f"{content_key(self.spec)}-{self.fingerprint[:16]}"

    def build(self) -> Encoder:
        """Build the encoder with its weights.

        `scratch` keeps PyTorch's initialisation.
        """
        if self.folder is not None:
            return load_encoder(self.folder, self.method, self.spec)
        options = self.architecture.parse(self.spec.options["architecture_options"])
        return self.architecture.build_encoder(self.spec.backbone, options)

    def read(self, name: str) -> JsonValue:
        """Read a JSON file of the encoder's folder.

        None if nothing was trained, or the version that trained did not write it.
        """
        if self.folder is None or not (self.folder / name).exists():
            return None
        value: JsonValue = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return value


@dataclass
class Judge:
    """Encoder and data set, loaded once for many settings.

    Attributes:
        source: The encoder.
        dataset: Data set tested on; also trained on unless `trained` is given.
        cache: Cache folder.
        progress: Told about long work.
        trained: Another data set that protocols train on.
    """

    source: EncoderSource
    dataset: Dataset
    cache: Path
    progress: Progress
    trained: Dataset | None = None
    _calibrated: dict[str, Encoder] = field(default_factory=dict)

    @cached_property
    def train(self) -> CloudSet:
        """Training split; empty for rooms."""
        return NO_OBJECTS if self.dataset.card.has_rooms else (self.trained or self.dataset).load("train")

    @cached_property
    def test(self) -> CloudSet:
        """Test split; protocols get it sealed."""
        return NO_OBJECTS if self.dataset.card.has_rooms else self.dataset.load("test")

    @cached_property
    def contents(self) -> dict[str, JsonValue]:
        """Digests of what pretraining read and of both splits.

        Of rooms there are none: `RunSpec.data` tells them apart.
        """
        splits = {} if self.dataset.card.has_rooms else {"training": self.train, "test": self.test}
        read = self.source.read("contents.json")
        found: dict[str, JsonValue] = {
            f"pretraining {k}": d for k, d in (read if isinstance(read, dict) else {}).items()
        }
        return found | {f"{n} {part}": d for n, split in splits.items() for part, d in split_contents(split).items()}

    def turned(self, run: RunSpec) -> tuple[RunSpec, CloudSet, CloudSet]:
        """Return a run and its splits, turned as it asks.

        The run's data manifests tell turned clouds from others, for caches.
        """
        rotation = run.protocol.rotation
        if rotation == "none":
            return run, self.train, self.test

        def data(spec: DataSpec | None) -> DataSpec | None:
            facts = None if spec is None else content_key({"of": spec.manifest, "turned": [rotation, TURNED]})
            return None if spec is None else spec.model_copy(update={"manifest": facts})

        told = run.model_copy(update={"data": data(run.data), "train_data": data(run.train_data)})
        return told, turned(self.train, "train", rotation), turned(self.test, "test", rotation)

    def corrupted(self, run: RunSpec) -> CorruptedTest | None:
        """Return the corrupted test clouds that a run asks for.

        Raises:
            BenchError: The corruptions are not those the run was planned with.
        """
        asked = run.protocol.corruptions
        if not asked:
            return None
        suite, conditions = self.dataset.corruptions()
        if suite != asked:
            raise BenchError(f"corruptions '{asked}' were planned, but they are '{suite}' now: run the command again")

        def clouds(condition: str) -> npt.NDArray[np.float32]:
            points = self.dataset.corrupted(condition, self.test.points)
            return turned(replace(self.test, points=points, normals=None), "test", run.protocol.rotation).points

        return CorruptedTest(suite, conditions, clouds)

    def subject(self, task: Task, *, calibrated: bool = False) -> Subject:
        """Build what a protocol judges.

        Args:
            task: The task.
            calibrated: Offer every encoder that has BatchNorm with the statistics of the training clouds, too.

        Returns:
            The encoder as trained, the two initialisations of scratch, or a teacher alone; behind them, where asked
            for, the same with calibrated BatchNorm.
        """
        source = self.source
        if not source.method.has_encoder:
            return Subject(source.spec.method, source.architecture.name, {}, source.spec.options)
        if source.folder is not None:
            name = "trained" if calibrated and batch_norms(source.build()) else ""
            candidates = {name: Candidate(name, source.build, source.key)}
        else:
            candidates = {
                name: Candidate(name, partial(copy.deepcopy, encoder), f"{source.key}-{name}")
                for name, encoder in self._initialisations.items()
            }
        if calibrated:
            candidates |= self._with_calibration(candidates, task)
        return Subject(method=source.spec.method, architecture=source.architecture.name, candidates=candidates)

    @cached_property
    def alignment(self) -> Alignment:
        """Return the heads into the teacher's space, and the teacher.

        Raises:
            BenchError: There is no teacher, or it is not the one the key names.
        """
        spec, teacher = self.source.spec, self.source.teacher()
        asked = spec.text_teacher or spec.teacher
        if teacher is None or asked is None:
            raise BenchError(f"{spec.method} has no teacher, so there is no space that it shares with texts")
        if teacher.identity() != asked.identity:
            raise BenchError(
                f"teacher '{asked.name}' is not the one this run was planned with: its weights have changed since; "
                "run the same command again"
            )
        teacher.run_on(spec.numerics.device)
        stored = load_heads(self.source.folder) if self.source.folder is not None else {}
        joint = spec.text_teacher is None and 0 < teacher.image_dim == teacher.text_dim
        heads = {
            space: AlignedHead(head.feature, head.weight, head.bias)
            for space, head in stored.items()
            if space == "text" or joint
        }
        return Alignment(heads, teacher)

    @cached_property
    def size(self) -> dict[str, float]:
        """Return parameters and forward operations; empty without an encoder."""
        spec = self.source.spec
        if not self.source.method.has_encoder:
            return {}
        encoder = self.source.build()
        flops = forward_flops(encoder, spec.backbone.points, spec.numerics.device)
        return {"parameters_encoder": float(encoder.parameter_count), "flops_forward": float(flops)}

    @cached_property
    def _initialisations(self) -> dict[str, Encoder]:
        return scratch_candidates(self.source.build, derive(self.source.spec.seed, "init"))

    def _with_calibration(self, candidates: dict[str, Candidate], task: Task) -> dict[str, Candidate]:
        """Return candidates with recalibrated BatchNorm, called ``NAME+bn``.

        Empty if there is no BatchNorm.
        """
        # Calibration sees unlabelled training clouds, so the weights depend on them.
        seen = task.origins["train"].manifest if "train" in task.origins else task.data_manifest
        found: dict[str, Candidate] = {}
        for name, candidate in candidates.items():
            name = f"{name}+bn"
            if name not in self._calibrated:
                encoder = candidate.build()
                if not batch_norms(encoder):
                    continue
                self._calibrated[name] = calibrate_batch_norm(encoder, self._calibration_clouds(task))
            key = f"{candidate.key}+bn-{seen[:16]}"
            found[name] = Candidate(name, partial(copy.deepcopy, self._calibrated[name]), key)
        return found

    def _calibration_clouds(self, task: Task) -> torch.Tensor:
        prepared = whole_clouds(task, "train", normalise=True)  # the same whatever part is labelled
        seed = derive(self.source.spec.seed, "init")
        picked = np.random.default_rng(seed).permutation(len(prepared))[:CALIBRATION_CLOUDS]
        return torch.from_numpy(prepared[np.sort(picked)])


def evaluate_run(run: RunSpec, judge: Judge, chosen: ChosenProtocol, workdir: Path) -> RunRecord:
    """Judge an encoder in one setting.

    Args:
        run: The run.
        judge: The encoder on the run's data set.
        chosen: The protocol and its options.
        workdir: Folder for unfinished state of this run.

    Returns:
        The record, without what only the caller knows: label, fingerprint, and provenance of code and machine.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    spec, protocol, options = run.encoder, chosen.protocol, chosen.options
    data = task_data(*judge.turned(run))
    task = Task(
        train=data.train,
        test=HeldOut(data.test),
        data_manifest=data.manifest,
        split_seed=run.split_seed,
        seed=run.seed,
        device=spec.numerics.device,
        numerics=spec.numerics,
        cache=judge.cache,
        workdir=workdir,
        points=spec.backbone.points,
        form=run.protocol.form,
        legacy=run.protocol.legacy,
        dataset=judge.trained or judge.dataset,
        origins=data.origins,
        alignment=lambda: judge.alignment,
        corrupted=judge.corrupted(run),
        least_points=max(spec.backbone.groups, spec.backbone.group_size, LEAST_POINTS),
        progress=judge.progress,
    )
    subject = judge.subject(task, calibrated=protocol.calibrates(options, task.form))
    evaluation = protocol.evaluate(subject, task, run.setting, options)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    encoder = judge.source.build() if judge.source.method.has_encoder else None
    return RunRecord(
        key=content_key(run),
        fingerprint="",
        status="done",
        spec=run.model_dump(mode="json"),
        label={},
        metrics=evaluation.metrics,
        seen_names=_seen(judge, data.test.classes or judge.dataset.classes()),
        predictions=evaluation.predictions,
        curves={**evaluation.curves, **_pretraining_curves(judge.source)},
        cost={
            **_pretraining_cost(judge.source),
            **judge.size,
            "evaluate_seconds": seconds,
            "evaluate_cpu_seconds": cpu_seconds,
            "evaluate_peak_memory_bytes": float(_peak_memory()),
            **_trained(evaluation),
        },
        provenance={
            "feature": _feature(encoder, evaluation, str(run.protocol.options.get("feature", "transfer"))),
            "card": f"{protocol.card(options)}{_clouds_card(run.protocol, task.points)}",
            "metric": protocol.metric,
            "method_card": judge.source.method.card.model_dump(mode="json"),
            "split_digest": evaluation.split_digest,
            "contents": judge.contents,
            "notes": {**evaluation.notes, **data.notes},
            **({"frozen": task.frozen} if task.frozen else {}),
            **_origin(judge.source),
        },
    )


def _trained(evaluation: Evaluation) -> dict[str, float]:
    """Return the parameters that a protocol trained, where it counted them."""
    count = evaluation.notes.get("trained_parameters")
    return {"parameters_trained": float(count)} if isinstance(count, int) else {}


def _clouds_card(spec: ProtocolSpec, points: int) -> str:
    """Say how clouds are turned and corrupted; empty where they are not."""
    told = ""
    if spec.rotation != "none":
        told += (
            f" Clouds are turned {spec.rotation} (training/test; z: about the vertical axis, here y; SO3: uniformly), "
            "each once and the same way for every method."
        )
    if spec.corruptions:
        told += (
            f" The chosen head is also scored on corrupted test clouds ({spec.corruptions}), on which nothing is "
            f"fitted or chosen. Of a corrupted cloud with more than {points} points the encoder sees {points} farthest "
            "ones, outliers among them; one with fewer is seen whole."
        )
    return told


def _feature(encoder: Encoder | None, evaluation: Evaluation, asked: str) -> str:
    """Describe the feature that was judged."""
    noted = evaluation.notes.get("feature")
    described = encoder.feature_descriptions if encoder is not None else {}
    return described.get(noted, noted) if isinstance(noted, str) else described.get(asked, "")


def _origin(source: EncoderSource) -> dict[str, JsonValue]:
    """Return name and file of imported weights, for the record."""
    facts = source.read("provenance.json") if source.spec.imported is not None else None
    found = facts if isinstance(facts, dict) else {}
    return {"imported": {key: found[key] for key in ("name", "source") if key in found}} if found else {}


def _pretraining_cost(source: EncoderSource) -> dict[str, float]:
    cost = source.read("cost.json")
    found = cost.items() if isinstance(cost, dict) else ()
    return {name: float(value) for name, value in found if isinstance(value, int | float)}


def _pretraining_curves(source: EncoderSource) -> dict[str, list[tuple[float, float]]]:
    curves = source.read("curves.json")
    return {
        f"pretrain/{name}": [(step, value) for step, value in np.asarray(series, dtype=float).tolist()]
        for name, series in (curves.items() if isinstance(curves, dict) else ())
    }


def _seen(judge: Judge, classes: tuple[str, ...]) -> SeenNames | None:
    """Count class names among the texts of pretraining.

    None where nobody knows what was read, or what a teacher from elsewhere was trained on: names that certainly occur
    still count, but their absence from the known texts says nothing.
    """
    texts = judge.source.read("texts.json")
    if not judge.source.method.has_encoder:  # a teacher alone has seen the texts it was trained on
        seen_by = judge.alignment.teacher.captions_seen()
        texts = [UNKNOWN_TEXTS] if seen_by is None else list(seen_by)
    elif texts is None and judge.source.folder is not None:
        return None
    known = [str(text) for text in texts if text != UNKNOWN_TEXTS] if isinstance(texts, list) else []
    seen = class_names_seen(classes, known)
    if not seen and isinstance(texts, list) and UNKNOWN_TEXTS in texts:
        return None
    return SeenNames(seen=tuple(seen), total=len(classes))


def _peak_memory() -> int:
    """Return the peak resident memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
