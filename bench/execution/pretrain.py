"""Pretraining as a job computes it: data, teacher features, training, and the encoder's folder.

The classes arrive as arguments: this module is fingerprinted with everything it imports, and must not depend on
the list of all plugins.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from bench.data.base import CloudSet, Dataset
from bench.data.depth import with_views
from bench.methods.base import Given, Method
from bench.models.encoder import Encoder
from bench.seeds import derive
from bench.spec import PretrainSpec
from bench.teachers.base import Teacher
from bench.teachers.captions import class_name_captions
from bench.teachers.features import image_features, text_features
from bench.training.loop import TrainingPlace
from bench.training.pretraining import PretrainData, pretrain
from bench.training.progress import ProgressEvent

DEPTH_VIEWS = 4
DEPTH_SIZE = 64

StageProgress = Callable[[str, float, float, str], None]
"""Called with (stage, done, total, note)."""


@dataclass(frozen=True)
class PretrainJob:
    """What pretraining needs besides its specification.

    Attributes:
        spec: The encoder's specification.
        method: The method's class.
        dataset: Pretraining data.
        teacher: Teacher, prepared; None where no term needs one.
        cache: Cache folder.
        workdir: Folder for checkpoints.
        progress: Receives progress.
        first_stage: Folder and class of the method's first stage, whose specification is ``spec.first_stage``.
        checkpoint_seconds: Time between checkpoints.
    """

    spec: PretrainSpec
    method: type[Method]
    dataset: Dataset
    teacher: Teacher | None
    cache: Path
    workdir: Path
    progress: StageProgress
    first_stage: tuple[Path, type[Method]] | None = None
    checkpoint_seconds: float = 20.0


def run_pretraining(job: PretrainJob, destination: Path) -> None:
    """Pretrain an encoder and write its folder.

    Writes ``encoder.safetensors``, ``curves.json``, ``cost.json`` and ``texts.json`` (every sentence that reached
    the encoder through captions, teacher or supervision).

    Args:
        job: What to do.
        destination: An existing empty folder.

    Raises:
        BenchError: Bad data, a diverging loss, or an interruption (a checkpoint is kept).
    """
    spec = job.spec
    if spec.recipe is None:
        raise ValueError("an encoder without a recipe is not pretrained")
    costs: dict[str, float] = {}
    clouds = _timed(costs, "data_seconds", lambda: job.dataset.load("train"))
    data, texts = _timed(costs, "teacher_feature_seconds", lambda: _pretrain_data(job, clouds))
    torch.manual_seed(derive(spec.seed, "init"))
    options = job.method.Options.model_validate(spec.options)
    model = job.method.build(spec.backbone, options, _given(job, data))

    def on_progress(event: ProgressEvent) -> None:
        note = ", ".join(f"{name} {value:.4f}" for name, value in event.losses.items())
        if event.samples_per_second is not None:
            note += f", {event.samples_per_second:.0f} samples/s"
        job.progress("pretrain", event.done, event.total, note)

    place = TrainingPlace(
        folder=job.workdir,
        compile_cache=job.cache / "inductor",
        checkpoint_seconds=job.checkpoint_seconds,
        on_progress=on_progress,
    )
    result = pretrain(model, data, spec, place, point_views=job.method.point_views)
    encoder = model.encoder()
    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    save_file(tensors, destination / "encoder.safetensors")
    fit = job.teacher.fit_report().get("fit") if job.teacher is not None else None
    seconds = fit.get("seconds") if isinstance(fit, dict) else None
    if isinstance(seconds, int | float):
        costs["teacher_fit_seconds"] = float(seconds)  # paid once by all runs that share the teacher
    costs |= {
        "pretrain_seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "pretrain_samples": float(result.samples),
        "pretrain_peak_memory_bytes": float(result.peak_memory_bytes),
        "parameters_pretraining": float(sum(p.numel() for p in model.parameters())),
        "parameters_encoder": float(encoder.parameter_count),
    }
    if job.first_stage is not None:
        before = json.loads((job.first_stage[0] / "cost.json").read_text(encoding="utf-8"))
        costs |= {f"first_stage_{name}": value for name, value in before.items()}
        texts |= set(json.loads((job.first_stage[0] / "texts.json").read_text(encoding="utf-8")))
    _write_json(destination / "curves.json", result.curves)
    _write_json(destination / "cost.json", costs)
    _write_json(destination / "texts.json", sorted(texts))
    _write_json(destination / "spec.json", spec.model_dump(mode="json"))


def load_encoder(folder: Path, method: type[Method], spec: PretrainSpec) -> Encoder:
    """Rebuild an encoder from its folder, on the CPU."""
    encoder = method.build_encoder(spec.backbone, method.Options.model_validate(spec.options))
    encoder.load_state_dict(load_file(folder / "encoder.safetensors"))
    return encoder


def _given(job: PretrainJob, data: PretrainData) -> Given:
    """What the method's network is built around."""
    first_stage = transformer = None
    if job.first_stage is not None and job.spec.first_stage is not None:
        folder, method = job.first_stage
        first_stage = load_encoder(folder, method, job.spec.first_stage)
    if job.teacher is not None and "transformer" in _uses(job):
        transformer = job.teacher.token_transformer()
    return Given(
        image=None if data.image_features is None else data.image_features.shape[-1],
        text=None if data.text_features is None else data.text_features.shape[-1],
        pixels=None if data.images is None else data.images.shape[-1],
        transformer=transformer,
        first_stage=first_stage,
    )


def _uses(job: PretrainJob) -> frozenset[str]:
    return job.method.uses(job.method.Options.model_validate(job.spec.options))


def _pretrain_data(job: PretrainJob, clouds: CloudSet) -> tuple[PretrainData, set[str]]:
    """Gather tensors, and every text that reaches the encoder through them."""
    spec = job.spec
    texts: set[str] = set()
    uses = _uses(job)
    images = captions = None
    if spec.images == "depth-of-points":
        clouds = with_views(clouds, DEPTH_VIEWS, DEPTH_SIZE, _stage(job, "depth views"))
    if job.teacher is not None and spec.data is not None:
        texts |= set(job.teacher.captions_seen())
        if "images" in uses and spec.images != "none":
            images = image_features(job.teacher, clouds, spec.data.manifest, job.cache, _stage(job, "teacher images"))
        if spec.captions != "none":
            sentences = clouds.captions if spec.captions == "dataset" else class_name_captions(clouds, spec.seed)
            if sentences is None:
                raise ValueError(f"data set {spec.data.name} promises captions and has none")
            texts |= set(sentences)
            captions = text_features(job.teacher, sentences, job.cache, _stage(job, "teacher captions"))
    supervised = "labels" in uses
    if supervised:
        texts |= set(clouds.classes)
    data = PretrainData(
        points=torch.from_numpy(_owned(clouds.points)),
        image_features=None if images is None else torch.from_numpy(_owned(images)),
        text_features=None if captions is None else torch.from_numpy(_owned(captions)),
        labels=torch.from_numpy(_owned(clouds.labels)) if supervised else None,
        images=torch.from_numpy(_owned(clouds.views)) if "pixels" in uses and clouds.views is not None else None,
    )
    return data, texts


def _stage(job: PretrainJob, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: job.progress(stage, done, total, "")


def _owned(array: Any) -> Any:
    """Copy a memory map into writable memory: training reads it thousands of times."""
    return array.copy()


def _timed(costs: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    try:
        return work()
    finally:
        costs[name] = time.perf_counter() - start


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
