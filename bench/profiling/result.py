"""Result of a profile: figures, ratios and their targets."""

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
_CUDA_TARGETS = {"fast / exact + teacher": 5.0, "fast share of bf16 peak": 0.35}
_RELEASED_RATE = 0.045
"""Samples/s per GFLOP/s of fp32 peak of the released ReCon code at base size."""


class PathResult(Frozen):
    """Measurements of one path.

    Attributes:
        name: Name of the path.
        precision: Number type of the matrix products.
        compile: Whether the step was compiled.
        tokenize: Which patches the tokenizer saw; None for a method without that option.
        batch: Samples per step.
        seconds: Time of each measured step.
        stages: Seconds per stage of the median step; they add up to its time.
        samples_per_second: Throughput at the median step.
        flops_per_sample: Operations of matrix products and convolutions, backward included.
        flops_per_second: The same operations per second, at the median step.
        share_of_peak: `flops_per_second` over the measured matrix-product peak in the path's precision.
        peak_memory_bytes: Peak memory of the path's process, on CUDA of its tensors.
        warmup_seconds: Additional time of the first step, mostly compilation on a compiled path.
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
        """Return the hours of a training, with the warm-up."""
        return (self.warmup_seconds + samples / self.samples_per_second) / 3600


class Ratio(Frozen):
    """Ratio of two figures, with its target if one applies.

    Attributes:
        name: Numerator and denominator in words.
        value: The ratio.
        target: Least value to reach; None if none is set for this size.
    """

    name: str
    value: float
    target: float | None = None

    @property
    def verdict(self) -> str:
        """Return ``reached``, ``not reached`` or ``no target at this size``."""
        if self.target is None:
            return "no target at this size"
        return "reached" if self.value >= self.target else "not reached"


class Profile(Frozen):
    """Result of one profile.

    Attributes:
        method: Method.
        preset: Preset.
        backbone: Sizes.
        options: Options of the method on the fast path.
        recipe: Recipe on the fast path, with its batch.
        planned_samples: Objects times epochs of the preset's pretraining, which decide whether a warm-up pays.
        device: ``cpu`` or ``cuda``.
        machine: Processor and cores, or the GPU.
        threads: Threads of torch.
        versions: Versions of Python, torch and the harness.
        peak: Measured FLOP/s of a matrix product by precision, median over the rounds.
        paths: Measured paths, in the order of the table.
        fast: Name of the path that ends the preset's pretraining soonest, warm-up included.
        teacher_seconds_per_image: Time of the live image teacher; None if the method has none.
        teacher_views: Views of each object that the cache of features keeps.
        ratios: Ratios with their targets.
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
        """Return a path by name, or None if not measured."""
        return next((path for path in self.paths if path.name == name), None)

    def as_json(self) -> JsonValue:
        """Return everything, verdicts included, as JSON values."""
        plain: dict[str, JsonValue] = self.model_dump(mode="json")
        plain["ratios"] = [{**ratio.model_dump(mode="json"), "verdict": ratio.verdict} for ratio in self.ratios]
        return plain


def fastest(paths: tuple[PathResult, ...], planned_samples: int) -> PathResult:
    """Return the fast path that ends a training soonest.

    The warm-up counts.
    """
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
    """Return the ratios between paths, with their targets.

    Args:
        paths: All measured paths.
        fast: The path that represents the fast ones.
        peak: FLOP/s by precision.
        device: Targets differ between CPU and CUDA.
        sized: Whether targets are set for this size.
        released: Whether moreover the released code of this model was measured.
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
