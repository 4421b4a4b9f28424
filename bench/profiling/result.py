"""Result of a profile: figures, ratios and targets of each path."""

from __future__ import annotations

from typing import Literal

from pydantic import JsonValue

from bench.spec import BackboneSpec, Frozen, Options, Precision, Recipe

PathName = Literal["exact", "exact + teacher", "fast", "fast compiled"]
EXACT: PathName = "exact"
TEACHER: PathName = "exact + teacher"
FAST: PathName = "fast"
COMPILED: PathName = "fast compiled"

_CPU_TARGETS = {"fast / exact": 4.0, "fast / exact + teacher": 12.0, "fast share of bf16 peak": 0.35}
_CUDA_TARGETS = {"fast / exact + teacher": 5.0}
_RELEASED_RATE = 0.045
"""Samples/s per GFLOP/s of fp32 peak of the released ReCon code at base size."""


class PathResult(Frozen):
    """One path.

    Attributes:
        name: Which.
        precision: Numbers of the matrix products.
        compile: Whether the step was compiled.
        tokenize: Which patches the tokenizer saw; None for a method without that option.
        batch: Samples per step.
        seconds: Of each measured step.
        stages: Seconds per stage of the step whose time is the median; they add up to it.
        samples_per_second: At the median step.
        flops_per_sample: Of matrix products and convolutions, backward included.
        flops_per_second: Of the same, at the median step.
        share_of_peak: Of the measured matmul peak in the path's precision.
        peak_memory_bytes: Of the path's process, or on CUDA of its tensors.
        warmup_seconds: What the first step took longer than a later one; compilation, where the path is compiled.
    """

    name: PathName
    precision: Precision
    compile: bool
    tokenize: str | None
    batch: int
    seconds: tuple[float, ...]
    stages: dict[str, float]
    samples_per_second: float
    flops_per_sample: float
    flops_per_second: float
    share_of_peak: float
    peak_memory_bytes: int
    warmup_seconds: float

    def hours(self, samples: int) -> float:
        """Return the hours a training of so many samples takes, the warm-up included."""
        return (self.warmup_seconds + samples / self.samples_per_second) / 3600


class Ratio(Frozen):
    """A figure that has a target where the size is one that targets are stated for.

    Attributes:
        name: What is divided by what.
        value: The figure.
        target: What it should at least be; None where none is stated.
    """

    name: str
    value: float
    target: float | None = None

    @property
    def verdict(self) -> str:
        """``reached``, ``not reached`` or ``no target at this size``."""
        if self.target is None:
            return "no target at this size"
        return "reached" if self.value >= self.target else "not reached"


class Profile(Frozen):
    """Everything one call measured.

    Attributes:
        method: Method.
        preset: Preset.
        backbone: Sizes.
        options: Options of the method on the fast path.
        recipe: Recipe on the fast path, with its batch.
        planned_samples: Objects times epochs of the preset's own pretraining, over which a warm-up is weighed.
        device: ``cpu`` or ``cuda``.
        machine: Processor and cores, or the GPU.
        threads: Threads of torch.
        versions: Of Python, torch and the harness.
        peak: Measured FLOP/s of a matrix product by precision, median over the rounds.
        paths: In the order of the table.
        fast: Name of the path that ends the preset's own pretraining soonest, warm-up included.
        teacher_seconds_per_image: Of the live teacher; None where the method has no image teacher.
        teacher_views: Views of each object a cache of this recipe keeps.
        ratios: With their targets.
    """

    method: str
    preset: str
    backbone: BackboneSpec
    options: Options
    recipe: Recipe
    planned_samples: int
    device: Literal["cpu", "cuda"]
    machine: str
    threads: int
    versions: dict[str, str]
    peak: dict[Precision, float]
    paths: tuple[PathResult, ...]
    fast: PathName
    teacher_seconds_per_image: float | None
    teacher_views: int
    ratios: tuple[Ratio, ...]

    def path(self, name: str) -> PathResult | None:
        """Return a path by name; None where it was not measured."""
        return next((path for path in self.paths if path.name == name), None)

    def as_json(self) -> JsonValue:
        """Return everything as plain data, verdicts included."""
        plain: dict[str, JsonValue] = self.model_dump(mode="json")
        plain["ratios"] = [{**ratio.model_dump(mode="json"), "verdict": ratio.verdict} for ratio in self.ratios]
        return plain


def fastest(paths: tuple[PathResult, ...], planned_samples: int) -> PathResult:
    """Return the fast path that ends a training of so many samples soonest, its warm-up included."""
    candidates = [path for path in paths if path.name in (FAST, COMPILED)]
    return min(candidates, key=lambda path: path.hours(planned_samples))


def ratios(
    paths: tuple[PathResult, ...],
    fast: PathResult,
    peak: dict[Precision, float],
    *,
    device: str,
    sized: bool,
    released: bool,
) -> tuple[Ratio, ...]:
    """Compare paths.

    Args:
        paths: All of them.
        fast: The one that counts as fast.
        peak: FLOP/s by precision.
        device: Targets differ between CPU and CUDA.
        sized: Whether this is the size that targets are stated for.
        released: Whether it is besides the model whose released code was measured.
    """
    targets = (_CUDA_TARGETS if device == "cuda" else _CPU_TARGETS) if sized else {}
    by_name = {path.name: path for path in paths}
    exact = by_name[EXACT]
    found = [("fast / exact", fast.samples_per_second / exact.samples_per_second)]
    if TEACHER in by_name:
        found.append(("fast / exact + teacher", fast.samples_per_second / by_name[TEACHER].samples_per_second))
    found.append((f"fast share of {fast.precision} peak", fast.share_of_peak))
    listed = [Ratio(name=name, value=value, target=targets.get(name)) for name, value in found]
    rate = exact.samples_per_second / (peak["fp32"] / 1e9)
    target = _RELEASED_RATE if released and device == "cpu" else None
    listed.insert(-1, Ratio(name="exact samples/s per GFLOP/s of fp32 peak", value=rate, target=target))
    return tuple(listed)
