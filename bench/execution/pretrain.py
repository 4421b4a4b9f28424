"""Pretraining job: data, teacher features, training, stored encoder.

The classes arrive as arguments: this module is fingerprinted with everything it imports, and must not depend on
the list of all plugins.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel
from safetensors.torch import save_file

from bench.data.base import CloudSet, Dataset
from bench.data.splits import nested_subset, object_groups
from bench.errors import BenchError
from bench.execution.held_out import measured_data
from bench.execution.pretrain_data import Gathering
from bench.methods.base import AnyMethod, Given, PretrainModel
from bench.methods.weights import load_encoder, save_rest
from bench.models.ranks import Ranks
from bench.models.tower import Tower
from bench.progress import Progress, named
from bench.seeds import derive, seed_torch
from bench.spec import PretrainSpec
from bench.teachers.base import Space, Teacher
from bench.training.aligned import save_heads
from bench.training.contract import FitResult, Kept
from bench.training.loop import TrainingPlace
from bench.training.pretraining import PretrainData, feature_width, pretrain


@dataclass(frozen=True)
class Along:
    """Encoders that are kept before a pretraining ends.

    Attributes:
        shares: Shares of the optimiser steps, ascending; the training ends at the last one.
        folder: Yields an empty folder for the encoder of one of the others, and stores it.
    """

    shares: tuple[float, ...]
    folder: Callable[[float], AbstractContextManager[Path]]


@dataclass(frozen=True)
class PretrainJob:
    """Inputs of a pretraining job besides its spec.

    Attributes:
        spec: The encoder's specification.
        method: The method's class.
        dataset: Pretraining data.
        teacher: Teacher, prepared; None where no term needs one.
        text_teacher: Teacher of texts where it is another one, prepared.
        cache: Cache folder.
        workdir: Folder for checkpoints.
        progress: Receives progress.
        first_stage: Folder and class of the method's first stage, whose specification is ``spec.first_stage``.
        checkpoint_seconds: Time between checkpoints.
        join: Connects with the other ranks of ``spec.ranks``, once this one has its data; None without others.
        along: Encoders to keep before the end; None for the last one alone.
    """

    spec: PretrainSpec
    method: type[AnyMethod]
    dataset: Dataset
    teacher: Teacher | None
    cache: Path
    workdir: Path
    progress: Progress
    first_stage: tuple[Path, type[AnyMethod]] | None = None
    text_teacher: Teacher | None = None
    checkpoint_seconds: float = 20.0
    join: Callable[[], Ranks] | None = None
    along: Along | None = None

    @cached_property
    def options(self) -> BaseModel:
        """The method's options."""
        return self.method.parse(self.spec.options)

    @property
    def uses(self) -> frozenset[str]:
        """Inputs of pretraining besides points."""
        return self.method.uses(self.options)


def run_pretraining(job: PretrainJob, destination: Path | None) -> None:
    """Pretrain an encoder and write its folder.

    Writes ``encoder.safetensors``, ``aligned.safetensors`` (heads into teachers' spaces, where there are any),
    ``pretraining.safetensors`` (the rest of the network, such as its decoder, without tuned teachers), ``curves.json``,
    ``cost.json``, ``kept.json`` (step and epoch), ``contents.json`` (digests of what was read of the data set) and
    ``texts.json`` (every sentence that reached the encoder through captions, teacher or supervision, with
    `UNKNOWN_TEXTS` for those of a teacher from elsewhere).

    Args:
        job: The pretraining with its inputs.
        destination: An existing empty folder for the encoder of the last step; None on every rank but the first,
            which writes alone.

    Raises:
        BenchError: Bad data, a diverging loss, or an interruption (a checkpoint is kept).
    """
    spec = job.spec
    if spec.recipe is None:
        raise ValueError("an encoder without a recipe is not pretrained")
    costs: dict[str, float] = {}
    clouds = _timed(costs, "data_seconds", lambda: job.dataset.load("train"))
    _check_teachers(job)
    gathering = Gathering(spec, job.uses, job.teacher, job.text_teacher, job.cache, job.progress, _kept(spec, clouds))
    data = _timed(costs, "teacher_feature_seconds", lambda: gathering.gather(clouds))
    texts, contents = gathering.texts, gathering.contents
    costs |= gathering.costs
    measured = measured_data(job.dataset, data, gathering) if spec.held_out else {}
    ranks = None if job.join is None else job.join()
    seed_torch(derive(spec.seed, "init"))
    given = _given(job, data, gathering.towers)
    model = job.method.build(spec.backbone, job.options, given)
    fitted = _fit_seconds(job)
    if fitted is not None:
        costs["teacher_fit_seconds"] = fitted  # paid once by all runs that share the teacher
    if job.first_stage is not None:
        before = job.first_stage[0]
        costs |= {f"first_stage_{name}": value for name, value in _read_json(before / "cost.json").items()}
        texts |= set(_read_json(before / "texts.json"))
        if (before / "contents.json").exists():  # not of an imported one
            contents |= {f"first stage {part}": d for part, d in _read_json(before / "contents.json").items()}

    def write(share: float, result: FitResult, folder: Path) -> None:
        _write_encoder(model, given, result, costs, folder)
        _write_json(folder / "contents.json", contents)
        _write_json(folder / "texts.json", sorted(texts))
        _write_json(folder / "spec.json", spec.after(share).model_dump(mode="json"))

    def take(share: float, result: FitResult) -> None:
        assert job.along is not None
        with job.along.folder(share) as folder:
            write(share, result, folder)

    result = pretrain(
        model,
        data,
        spec,
        _place(job),
        point_views=job.method.point_views,
        measured=measured,
        lr_factors=model.lr_factors(),
        ranks=ranks,
        kept=None if job.along is None else Kept(job.along.shares, take),
    )
    if destination is not None:
        write(1.0 if job.along is None else job.along.shares[-1], result, destination)


def _write_encoder(
    model: PretrainModel, given: Given, result: FitResult, costs: Mapping[str, float], folder: Path
) -> None:
    """Write weights, curves and costs of an encoder as it is now."""
    encoder = model.encoder()
    tensors = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()}
    save_file(tensors, folder / "encoder.safetensors")
    save_heads(model.aligned_heads(), folder)
    save_rest(model, given, folder)
    own = {
        **costs,
        "pretrain_seconds": result.seconds,
        "pretrain_cpu_seconds": result.cpu_seconds,
        "compile_seconds": result.compile_seconds,
        "pretrain_samples": float(result.samples),
        "pretrain_peak_memory_bytes": float(result.peak_memory_bytes),
        "parameters_pretraining": float(sum(p.numel() for p in model.parameters())),
        "parameters_encoder": float(encoder.parameter_count),
    }
    if result.step_flops is not None:
        own["pretrain_step_flops"] = result.step_flops
    _write_json(folder / "curves.json", result.curves)
    _write_json(folder / "cost.json", own)
    place = {
        "step": result.step,
        "steps": result.steps,
        "epoch": result.step / result.steps_per_epoch,
        "epochs": result.steps // result.steps_per_epoch,
    }
    _write_json(folder / "kept.json", place)


def _place(job: PretrainJob) -> TrainingPlace:
    return TrainingPlace(
        folder=job.workdir,
        compile_cache=job.cache / "inductor",
        checkpoint_seconds=job.checkpoint_seconds,
        progress=named(job.progress, "pretrain"),
    )


def _kept(spec: PretrainSpec, clouds: CloudSet) -> npt.NDArray[np.int64] | None:
    """Return positions of the objects trained on; None for all."""
    if spec.fraction == 1:
        return None
    return nested_subset(clouds.labels, spec.fraction, spec.seed, "pretrain", object_groups(clouds.ids))


def _given(job: PretrainJob, data: PretrainData, towers: Mapping[Space, Tower]) -> Given:
    """Return what the method's network is built from."""
    first_stage = transformer = None
    if job.first_stage is not None and job.spec.first_stage is not None:
        folder, method = job.first_stage
        first_stage = load_encoder(folder, method, job.spec.first_stage)
    if job.teacher is not None and "transformer" in job.uses:
        transformer = job.teacher.token_transformer()
    image, text = towers.get("image"), towers.get("text")
    return Given(
        image=feature_width(data.image_features) if image is None else image.width,
        text=feature_width(data.text_features) if text is None else text.width,
        pixels=feature_width(data.images) if "pixels" in job.uses else None,
        transformer=transformer,
        first_stage=first_stage,
        image_tower=image,
        text_tower=text,
    )


def _fit_seconds(job: PretrainJob) -> float | None:
    """Return seconds spent fitting teachers here; None if none."""
    teachers = {teacher.identity(): teacher for teacher in (job.teacher, job.text_teacher) if teacher is not None}
    fits = [teacher.fit_report().get("fit") for teacher in teachers.values()]
    seconds = [fit.get("seconds") for fit in fits if isinstance(fit, dict)]
    known = [float(value) for value in seconds if isinstance(value, int | float)]
    return sum(known) if known else None


def _check_teachers(job: PretrainJob) -> None:
    """Refuse teachers other than those that the key names.

    Raises:
        BenchError: Weights were replaced between planning and training.
    """
    for spec, teacher in ((job.spec.teacher, job.teacher), (job.spec.text_teacher, job.text_teacher)):
        if spec is not None and teacher is not None and teacher.identity() != spec.identity:
            raise BenchError(
                f"teacher '{spec.name}' is not the one this run was planned with: its weights have changed since; "
                "run the same command again"
            )


def _timed(costs: dict[str, float], name: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    try:
        return work()
    finally:
        costs[name] = time.perf_counter() - start


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, sort_keys=True), encoding="utf-8")
