"""How long a job will take: from what was measured here, else from a rough count of operations."""

from __future__ import annotations

import json
from functools import cached_property

from bench.paths import Workspace
from bench.plan.graph import Job
from bench.spec import BackboneSpec, PretrainSpec

# Rough throughput in FLOP/s of a training step, for machines without history (two CPU cores; one recent GPU).
_ROUGH_RATE = {"cpu": 1.2e11, "cuda": 3e13}
_TEACHER_SECONDS = 45.0
_START_SECONDS = 5.0
_EVALUATE_SECONDS = 3.0
_FALLBACK_OBJECTS = 4000


class Estimator:
    """Estimates seconds of jobs."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.basis = "from a rough count of operations"

    @cached_property
    def _history(self) -> dict[str, float]:
        """Samples per second of earlier pretrainings here, by method and backbone."""
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
        if job.kind == "evaluate" or job.encoder is None or job.encoder.recipe is None:
            return _START_SECONDS + _EVALUATE_SECONDS * len(job.runs)
        spec = job.encoder
        objects = spec.data.options.get("objects", _FALLBACK_OBJECTS) if spec.data else 0
        samples = job.encoder.recipe.epochs * (float(objects) if isinstance(objects, int | float) else 0.0)
        rate = self._history.get(_kind(spec))
        if rate is not None:
            self.basis = "from runs measured in this results folder"
        else:
            rate = _ROUGH_RATE[spec.numerics.device] / training_flops(spec.backbone)
        return _START_SECONDS + samples / rate


def training_flops(backbone: BackboneSpec) -> float:
    """Return a rough count of operations of one training sample (forward and backward, with a shallow decoder)."""
    first = backbone.tokenizer_width
    per_point = 3 * first + first * 2 * first + 2 * first * 4 * first + 4 * first * backbone.width
    tokenizer = backbone.groups * backbone.group_size * per_point
    transformer = 1.5 * backbone.depth * backbone.groups * 12 * backbone.width**2
    return 6.0 * (tokenizer + transformer)


def duration(seconds: float) -> str:
    """Write seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _kind(spec: PretrainSpec) -> str:
    return f"{spec.method} {spec.backbone.model_dump_json()} {spec.numerics.model_dump_json()}"
