"""Evaluation job: judge an encoder by a protocol.

As in `bench.execution.pretrain`, classes arrive as arguments.
"""

from __future__ import annotations

import copy
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, JsonValue

from bench.data.base import NO_OBJECTS, CloudSet, Dataset
from bench.data.contents import split_contents
from bench.data.rotations import REVISION as TURNED
from bench.data.rotations import turned
from bench.data.seen import UNKNOWN_TEXTS, class_names_seen
from bench.encoders.base import AnyEncoder, FrozenEncoder, described_features, named_features
from bench.encoders.features import read as read_features
from bench.errors import BenchError, DataError, unknown_name
from bench.execution.task_data import task_data
from bench.methods.base import AnyMethod
from bench.methods.scratch import scratch_candidates
from bench.methods.weights import load_encoder
from bench.models.calibration import batch_norms, calibrate_batch_norm
from bench.models.cost import forward_flops
from bench.models.encoder import Encoder
from bench.progress import Progress
from bench.protocols.base import AlignedHead, Alignment, Candidate, CorruptedTest, Evaluation, HeldOut, Subject, Task
from bench.protocols.features import POINTS, whole_clouds
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
        file: File of an encoder that the user brings.
    """

    spec: PretrainSpec
    method: type[AnyMethod]
    architecture: type[AnyMethod]
    folder: Path | None
    fingerprint: str
    teacher: Callable[[], Teacher | None] = lambda: None
    file: Path | None = None

    @cached_property
    def options(self) -> BaseModel:
        """Options of the method; of scratch, those of its architecture."""
        stored = self.spec.options
        return self.architecture.parse(stored["architecture_options"] if self.untrained else stored)

    @property
    def untrained(self) -> bool:
        """Whether it is scratch."""
        return self.spec.method == "scratch"

    @property
    def brought(self) -> type[AnyEncoder] | None:
        """Class of an encoder that the user brings, or whose untrained network this is."""
        return self.architecture if issubclass(self.architecture, FrozenEncoder) else None

    @property
    def has_network(self) -> bool:
        """Whether there is a network to run."""
        return self.method.has_encoder and (self.brought is None or self.brought.has_network)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Columns that the encoder is given of a cloud, by name."""
        return POINTS if self.brought is None else self.brought.inputs

    @property
    def points(self) -> int:
        """Points of a cloud that the encoder sees."""
        own = getattr(self.options, "points", None) if self.brought is not None else None
        return self.spec.backbone.points if own is None else int(own)

    @property
    def described(self) -> Mapping[str, str]:
        """Features in words, by name."""
        if not self.method.has_encoder:
            return {}
        if self.brought is not None and not self.untrained:
            return described_features(self.brought.features(self.options, self.file), self.spec.method)[1]
        return self.build().feature_descriptions

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
        if self.brought is not None and not self.untrained:
            return self.brought.wrapped(self.options, self.file)
        return self.architecture.build_encoder(self.spec.backbone, self.options)

    def verify(self, cache: Path) -> None:
        """Check that an encoder the user brings is the one its runs were planned with.

        Raises:
            DataError: Its file or its weights have changed since.
        """
        if self.brought is None or self.untrained:
            return
        if self.brought.identity(self.options, self.file, cache) != self.spec.imported:
            raise DataError(
                f"encoder '{self.spec.method}' is not the one this run was planned with: its file changed since, or "
                "network() draws weights instead of loading them"
            )

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
        if not source.has_network:
            candidates = {"": Candidate("", source.build, source.key, stored=partial(self._read, task))}
            return Subject(source.spec.method, source.architecture.name, candidates)
        if source.untrained:
            candidates = {
                name: Candidate(name, partial(copy.deepcopy, encoder), f"{source.key}-{name}", source.inputs)
                for name, encoder in self._initialisations.items()
            }
        else:
            name = "trained" if calibrated and batch_norms(source.build()) else ""
            candidates = {name: Candidate(name, source.build, source.key, source.inputs)}
        if calibrated:
            candidates |= self._with_calibration(candidates, task)
        return Subject(method=source.spec.method, architecture=source.architecture.name, candidates=candidates)

    def _read(self, task: Task, feature: str) -> dict[str, npt.NDArray[np.float32]]:
        """Read a feature of a task's objects from the file of features.

        Raises:
            UsageError: There is no such feature.
            DataError: The file does not fit the data set.
        """
        file = self.source.file
        assert file is not None
        found = read_features(file)
        found.check({"train": self.train.ids, "test": self.test.ids}, f"data set '{self.dataset.name}'")
        names = named_features(found.declared, str(file))
        if feature not in names:
            raise unknown_name("feature", feature, names)
        own = names[feature]
        return {"train": found.of(own, "train", task.train.ids), "test": found.of(own, "test", task.test.ids)}

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
        joint = spec.text_teacher is None and 0 < teacher.image_dim == teacher.text_dim
        heads = {space: head for space, head in self._heads().items() if space == "text" or joint}
        return Alignment(heads, teacher)

    def _heads(self) -> dict[str, AlignedHead]:
        """Return heads into a teacher's space: of a brought encoder, features that lie there already."""
        source = self.source
        if source.brought is not None and not source.untrained:
            declared = source.brought.features(source.options, source.file)
            return {
                space: AlignedHead(
                    name, np.eye(declared[name].width, dtype=np.float32), np.zeros(declared[name].width, np.float32)
                )
                for space, name in source.brought.spaces(source.options).items()
            }
        stored = load_heads(source.folder) if source.folder is not None else {}
        return {space: AlignedHead(head.feature, head.weight, head.bias) for space, head in stored.items()}

    @cached_property
    def size(self) -> dict[str, float]:
        """Return parameters and forward operations; empty without an encoder."""
        spec = self.source.spec
        if not self.source.has_network:
            return {}
        encoder = self.source.build()
        flops = forward_flops(encoder, self.source.points, spec.numerics.device, 3 * len(self.source.inputs))
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
            found[name] = Candidate(name, partial(copy.deepcopy, self._calibrated[name]), key, candidate.inputs)
        return found

    def _calibration_clouds(self, task: Task) -> torch.Tensor:
        # The same whatever part is labelled.
        prepared = whole_clouds(task, "train", normalise=True, inputs=self.source.inputs)
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
        points=judge.source.points,
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
    evaluation.check()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
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
            "feature": _feature(judge.source, evaluation, str(run.protocol.options.get("feature", "transfer"))),
            "card": f"{protocol.card(options)}{_clouds_card(run.protocol, task.points)}",
            "metric": protocol.metric,
            "method_card": judge.source.method.card.model_dump(mode="json"),
            "split_digest": evaluation.split_digest,
            "contents": judge.contents,
            "notes": {**evaluation.notes, **data.notes},
            **({"frozen": task.frozen} if task.frozen else {}),
            **({"kept": kept} if (kept := judge.source.read("kept.json")) else {}),
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


def _feature(source: EncoderSource, evaluation: Evaluation, asked: str) -> str:
    """Describe the feature that was judged."""
    noted, described = evaluation.notes.get("feature"), source.described
    return described.get(noted, noted) if isinstance(noted, str) else described.get(asked, "")


def _origin(source: EncoderSource) -> dict[str, JsonValue]:
    """Return name and file of imported weights or a brought encoder, for the record."""
    if source.brought is not None and not source.untrained:
        told: dict[str, JsonValue] = {
            "name": source.spec.method,
            "identity": source.spec.imported,
            "described": source.brought.describe(source.options, source.file),
            "file": str(source.file) if source.file is not None else None,
        }
        return {"encoder": told}
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
    elif judge.source.brought is not None and not judge.source.untrained:
        seen_names = judge.source.brought.class_names_seen
        texts = [UNKNOWN_TEXTS] if seen_names is None else list(seen_names)
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
