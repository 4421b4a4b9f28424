"""Measure a method's pretraining step, exact and fast, by stage.

Every path runs in its own process and takes one step per round, so that other load on the machine affects all alike.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from bench.plan.presets import preset
from bench.profiling.plan import ProfilePlan, ProfileRequest
from bench.profiling.processes import path_processes
from bench.profiling.result import COMPILED, FAST, TEACHER, PathResult, Profile, fastest, ratios
from bench.progress import Progress, silent
from bench.provenance import machine_kind, versions
from bench.spec import Precision, PretrainSpec

_SIZED = "base"
_WARM_STEPS = 2


def profile(request: ProfileRequest, progress: Progress = silent) -> Profile:
    """Measure a method's pretraining step.

    Args:
        request: Method, sizes and device; the method's plugins are registered.
        progress: Told after every step.

    Raises:
        UsageError: A name or value is wrong, or the method has nothing to pretrain.
        SetupError: A device is asked for that is not there.
        BenchError: A path's process failed.
    """
    plan = ProfilePlan(request)
    measured = _measure(plan, progress)
    return _conclude(plan, measured)


@dataclass
class _Measured:
    """Readings of one path."""

    first: float = 0.0
    steps: list[dict[str, Any]] = field(default_factory=list)
    flops: float = 0.0
    memory: int = 0

    def median(self) -> dict[str, Any]:
        """Return the step with the (lower) median time."""
        return sorted(self.steps, key=lambda step: float(step["seconds"]))[(len(self.steps) - 1) // 2]


def _measure(plan: ProfilePlan, progress: Progress) -> tuple[dict[str, _Measured], list[dict[Precision, float]]]:
    """Warm up every path, then measure steps in turns."""
    peaks: list[dict[Precision, float]] = []
    with path_processes(plan) as children:
        found = {child.name: _Measured() for child in children}
        total = len(children) * (1 + plan.repeats)
        done = 0

        def advance(what: str) -> None:
            nonlocal done
            done += 1
            progress(done, total, what)

        for child in children:
            progress(done, total, f"compiling, first step of {child.name}" if child.name == COMPILED else child.name)
            warm = [float(child.ask("step")["seconds"]) for _ in range(_WARM_STEPS)]
            found[child.name].first = warm[0]
            if child.name != COMPILED:  # compiled operations cannot be counted; they equal those of the fast path
                found[child.name].flops = float(child.ask("flops")["flops"])
            advance(f"warmed up {child.name}")
        for number in range(plan.repeats):
            peaks.append(children[0].ask("peak"))  # type: ignore[arg-type]
            for child in children:
                found[child.name].steps.append(child.ask("step"))
                advance(f"round {number + 1} of {plan.repeats}")
        for child in children:
            found[child.name].memory = int(child.ask("memory")["bytes"])
    if COMPILED in found:
        found[COMPILED].flops = found[FAST].flops
    return found, peaks


def _conclude(plan: ProfilePlan, measured: tuple[dict[str, _Measured], list[dict[Precision, float]]]) -> Profile:
    found, rounds = measured
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    peak: dict[Precision, float] = {p: statistics.median(rates[p] for rates in rounds) for p in precisions}
    paths = tuple(_path_result(path, found[path["name"]], peak) for path in plan.paths())
    fast = fastest(paths, plan.planned_samples)
    base = preset(_SIZED)
    sized = plan.preset.name == base.name and plan.backbone == base.backbone
    teacher = next((path for path in paths if path.name == TEACHER), None)
    known = versions()
    return Profile(
        method=plan.request.method,
        preset=plan.preset.name,
        backbone=plan.backbone,
        options=plan.options("visible").model_dump(mode="json"),
        recipe=plan.recipe.model_copy(update={"batch_size": fast.batch}),
        planned_samples=plan.planned_samples,
        device=plan.device,
        machine=machine_kind(plan.device),
        threads=plan.threads,
        versions={name: known[name] for name in ("python", "torch", "bench")},
        peak=peak,
        paths=paths,
        fast=fast.name,
        teacher_seconds_per_image=None if teacher is None else teacher.stages["teacher"] / teacher.batch,
        teacher_views=max(1, plan.recipe.teacher_crops),
        ratios=ratios(
            paths, fast, peak, device=plan.device, sized=sized, released=sized and plan.request.method == "recon"
        ),
    )


def _path_result(path: dict[str, Any], measured: _Measured, peak: dict[Precision, float]) -> PathResult:
    spec = PretrainSpec.model_validate(path["spec"])
    assert spec.recipe is not None
    median = measured.median()
    seconds = float(median["seconds"])
    batch = spec.recipe.batch_size
    tokenize = spec.options.get("tokenize")
    rate = measured.flops * batch / seconds
    return PathResult(
        name=path["name"],
        precision=spec.numerics.precision,
        compile=spec.numerics.compile,
        tokenize=None if tokenize is None else str(tokenize),
        batch=batch,
        seconds=tuple(float(step["seconds"]) for step in measured.steps),
        stages=median["stages"],
        samples_per_second=batch / seconds,
        flops_per_sample=measured.flops,
        flops_per_second=rate,
        share_of_peak=rate / peak[spec.numerics.precision],
        peak_memory_bytes=measured.memory,
        warmup_seconds=max(0.0, measured.first - seconds),
    )
