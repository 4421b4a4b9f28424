"""Estimate a job's time from stored runs or operation counts."""

from __future__ import annotations

import json
import re
from functools import cached_property

from bench.paths import Workspace
from bench.plan.graph import Job, trains_encoder
from bench.spec import BackboneSpec, PretrainSpec, RunSpec

# Rough throughput in FLOP/s of a training step, for machines without history (two CPU cores; one recent GPU).
_ROUGH_RATE = {"cpu": 1.2e11, "cuda": 3e13}
_TEACHER_SECONDS = 45.0
_START_SECONDS = 5.0
_EVALUATE_SECONDS = 3.0
_PUBLISHED_EPOCHS = 300
_CUDA_BYTES = 1 << 30
_PROCESS_BYTES = 1 << 30
_EVALUATED = 256
"""Objects of a batch where no recipe says how many."""
_DECODER = 4
"""Blocks of a decoder."""
_KEPT_PER_BLOCK = 34
"""Numbers per token and channel that a block keeps for its backward pass."""
_KEPT_PER_PIXEL = 3000
"""Bytes per pixel that an image network in training, a ResNet-50, keeps for its backward pass."""


class Estimator:
    """Estimates seconds of jobs.

    Args:
        workspace: Results folder, whose earlier runs say how long jobs take.
        device: Device to estimate for instead of the jobs' own, ``cpu`` or ``cuda``.
    """

    def __init__(self, workspace: Workspace, device: str | None = None) -> None:
        self._workspace, self._device = workspace, device
        self.basis = "from a rough count of operations"

    @cached_property
    def _history(self) -> dict[str, float]:
        """Samples per second of earlier pretrainings, by method and backbone."""
        rates: dict[str, float] = {}
        for cost_file in sorted(self._workspace.results.glob("artifacts/encoder/*/*/cost.json")):
            try:
                cost = json.loads(cost_file.read_text())
                spec = PretrainSpec.model_validate_json(cost_file.with_name("spec.json").read_text())
                rates[_kind(spec)] = cost["pretrain_samples"] / max(cost["pretrain_seconds"], 1e-9)
            except (OSError, ValueError, KeyError):
                continue
        return rates

    def seconds(self, job: Job) -> float:
        """Return the estimated seconds of a job."""
        if job.kind == "teacher":
            return _TEACHER_SECONDS
        if job.encoder is None:
            return _START_SECONDS
        if job.kind == "evaluate":
            rate = self._rate(job.encoder)
            sizes = {place.manifest: place.objects for place in job.places}
            tuned = sum(_tuned_samples(run.spec, sizes.get(run.spec.data.manifest, 0)) for run in job.runs)
            return _START_SECONDS + _EVALUATE_SECONDS * len(job.runs) + tuned / rate
        spec = job.encoder
        objects = next((place.objects for place in job.places if spec.data and place.manifest == spec.data.manifest), 0)
        samples = spec.recipe.epochs * spec.fraction * objects * job.shares[-1] if spec.recipe else 0
        own = self._device in (None, spec.numerics.device)
        known = self._history.get(_kind(spec)) if own else None
        if known is not None:
            self.basis = "from runs measured in this results folder"
        return _START_SECONDS + samples / (known or self._rate(spec))

    def _rate(self, spec: PretrainSpec) -> float:
        """Return rough training samples per second."""
        return _ROUGH_RATE[self._device or spec.numerics.device] / training_flops(spec.backbone)


def training_flops(backbone: BackboneSpec) -> float:
    """Estimate the operations of one training sample.

    Forward and backward, with a shallow decoder.
    """
    first = backbone.tokenizer_width
    per_point = 3 * first + first * 2 * first + 2 * first * 4 * first + 4 * first * backbone.width
    tokenizer = backbone.groups * backbone.group_size * per_point
    transformer = 1.5 * backbone.depth * backbone.groups * 12 * backbone.width**2
    return 6.0 * (tokenizer + transformer)


def gpu_bytes(job: Job) -> int:
    """Estimate the memory of a GPU that a job takes, roughly and rather too much."""
    on_gpu = job.encoder is not None and job.encoder.numerics.device == "cuda"
    return _CUDA_BYTES + _network_bytes(job) + _data_bytes(job) if on_gpu else 0


def host_bytes(job: Job) -> int:
    """Estimate the main memory that a job takes, roughly and rather too much."""
    on_cpu = job.encoder is None or job.encoder.numerics.device == "cpu"
    return _PROCESS_BYTES + 2 * _data_bytes(job) + (_network_bytes(job) if on_cpu else _CUDA_BYTES)


def _network_bytes(job: Job) -> int:
    """Estimate weights with gradients and moments, and what a step keeps for its backward pass."""
    if job.encoder is None:
        return 0
    spec = job.encoder
    size, width = spec.backbone, spec.backbone.width
    trained = job.kind == "encoder" or any(trains_encoder(run.spec) for run in job.runs)
    batch = spec.recipe.batch_size if spec.recipe is not None else _EVALUATED
    weights = 4 * 12 * (size.depth + _DECODER) * width**2 * (4 if trained else 1)
    kept = 4 * batch * size.groups * (_KEPT_PER_BLOCK * width * (size.depth + _DECODER if trained else 1))
    patches = 4 * batch * size.groups * size.group_size * 4 * size.tokenizer_width * (2 if trained else 1)
    side = spec.options.get("image_size") if job.kind == "encoder" else None
    pictures = batch * side**2 * _KEPT_PER_PIXEL if isinstance(side, int) else 0
    return weights + kept + patches + pictures


def _data_bytes(job: Job) -> int:
    """Estimate the clouds of the largest data set."""
    if job.encoder is None:
        return 0
    return 4 * 3 * max((place.objects for place in job.places), default=0) * job.encoder.backbone.points


def _tuned_samples(run: RunSpec, objects: int) -> float:
    """Count training samples of fine-tuning; 0 for frozen encoders.

    Of all folds together.
    """
    options = run.protocol.options
    if not trains_encoder(run):
        return 0.0
    recipe = options.get("full_recipe") or options.get("recipe")
    epochs = recipe.get("epochs") if isinstance(recipe, dict) else options.get("published_epochs")
    folds, blocks = options.get("folds"), options.get("blocks_per_epoch")
    size = re.fullmatch(r"(\d+)w(\d+)s.*", run.setting)
    if size is not None and isinstance(folds, int):
        objects = folds * int(size[1]) * int(size[2])
    elif isinstance(blocks, int):
        objects = blocks
    return float(objects * (epochs if isinstance(epochs, int) else _PUBLISHED_EPOCHS))


def duration(seconds: float) -> str:
    """Format seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _kind(spec: PretrainSpec) -> str:
    return f"{spec.method} {spec.backbone.model_dump_json()} {spec.numerics.model_dump_json()}"
