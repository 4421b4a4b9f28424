"""Resolve a profile: which paths to measure, with which training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from bench.chosen import ChosenMethod
from bench.environment import usable_cores
from bench.errors import UsageError, unknown_name
from bench.plan.backbones import read_backbone, refuse_unused
from bench.plan.overrides import Overrides
from bench.plan.presets import Preset, preset
from bench.plan.request import parse_assignments, validated
from bench.profiling.result import COMPILED, EXACT, FAST, TEACHER, PathName
from bench.registry import DATASETS, METHODS
from bench.spec import BackboneSpec, Frozen, Numerics, PretrainSpec, Recipe, TransformerShape

_CPU_EXACT_BATCH, _CPU_FAST_BATCH = 16, 64
_LIVE = ("vit_base_patch16_224", 768)
_QUICK_LIVE = ("vit_tiny_patch16_224", 192)
_LENT = TransformerShape(width=768, depth=12, heads=12, mlp_width=3072)
_QUICK_LENT = TransformerShape(width=64, depth=2, heads=2, mlp_width=128)


class ProfileRequest(Frozen):
    """Request of ``bench profile``.

    Attributes:
        method: A method that is pretrained.
        preset: Sizes and recipe.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch: Samples per step; None: 16 exact and 64 fast on a CPU, the recipe's on CUDA.
        fast_batch: Samples per step of the fast paths; None: as `batch`.
        threads: Threads of torch; None: every core this process may use.
        repeats: Measured steps of each path.
        compile: Whether to measure a compiled path too.
        quick: Check only that it runs: tiny teacher, one repeat, nothing compiled; its figures mean nothing.
        overrides: Assignments of ``--set`` to ``backbone``, ``recipe`` and ``method``.
        plugins: Plugin files.
    """

    method: str
    preset: str
    device: str = "auto"
    batch: int | None = None
    fast_batch: int | None = None
    threads: int | None = None
    repeats: int = 5
    compile: bool = True
    quick: bool = False
    overrides: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()


CLASSES = 40
"""Classes of the synthetic set on which heads are timed, as many as in ModelNet40."""


@dataclass(frozen=True)
class ProbeRequest:
    """Request of ``bench profile --probes``.

    Attributes:
        objects: Training objects of the linear probe and the SVM.
        width: Width of the features.
        seeds: Encoders of the few-shot grid.
        threads: Threads; None for every core.
        oracle: Whether to time scikit-learn on the chosen heads, too.
    """

    objects: int = 12_000
    width: int = 1536
    seeds: int = 3
    threads: int | None = None
    oracle: bool = False

    def check(self) -> None:
        """Refuse numbers that are out of range.

        Raises:
            UsageError: A number is too small for few-shot folds or for the classes.
        """
        if self.objects < 50 * CLASSES or self.width < 2 or self.seeds < 1:
            raise UsageError(
                f"--probes with {self.objects} objects, width {self.width}, {self.seeds} seeds: expected at least "
                f"{50 * CLASSES} objects, width 2 and 1 seed"
            )
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads {self.threads}: expected at least 1")


class ProfilePlan:
    """Profile request with every default resolved."""

    def __init__(self, request: ProfileRequest) -> None:
        METHODS.own(request.method)
        self.preset: Preset = preset(request.preset)
        parse_assignments(request.overrides)
        if request.device not in ("auto", "cpu", "cuda"):
            raise unknown_name("device", request.device, ("auto", "cpu", "cuda"))
        for name, value in (("--batch", request.batch), ("--fast-batch", request.fast_batch)):
            if value is not None and value < 2:
                raise UsageError(f"{name} {value}: expected at least 2 samples per step")
        if request.repeats < 1:
            raise UsageError(f"--repeats {request.repeats}: expected at least 1")
        if request.threads is not None and request.threads < 1:
            raise UsageError(f"--threads {request.threads}: expected at least 1")
        # These imports load torch, which takes seconds, so the request is checked first.
        from bench.models.ops.backend import resolve_backend
        from bench.training.precision import has_compiler, resolve_device, resolve_numerics

        self.request = request
        self.method = METHODS.load(request.method)
        recipe = self.method.recipe(request.preset)
        if recipe is None:
            raise UsageError(f"method '{request.method}' trains nothing in pretraining, so it has no step to profile")
        self.repeats = 1 if request.quick else request.repeats
        self.threads = request.threads or usable_cores()
        self.device = resolve_device(request.device)
        self.live, self.image_width = _QUICK_LIVE if request.quick else _LIVE
        self.lent = _QUICK_LENT if request.quick else _LENT
        self._read_overrides(recipe)
        self.uses = self.method.uses(self.options("visible"))
        if "towers" in self.uses:
            raise UsageError(
                f"{request.method}.teachers = tuned: the profile times frozen teachers alone; leave it out"
            )
        backend = resolve_backend(self.device)
        self.exact = resolve_numerics(self.device, "fp32", False, backend)
        self.fast = resolve_numerics(self.device, "auto", False, backend)
        self.compiles = request.compile and not request.quick and has_compiler(self.device)
        shapes = DATASETS.load("shapes").Options.model_validate(self.preset.data.get("shapes", {}))
        self.planned_samples = int(shapes.objects) * self.recipe.epochs  # type: ignore[attr-defined]

    def _read_overrides(self, recipe: Recipe) -> None:
        assignments = parse_assignments(self.request.overrides)
        name = self.request.method
        overrides = Overrides(assignments, frozenset({"backbone", "recipe", "method", name}))
        self.backbone: BackboneSpec = read_backbone(overrides.merge(self.preset.backbone.model_dump(), "backbone"))
        self.recipe: Recipe = validated(Recipe, overrides.merge(recipe.model_dump(), "recipe"), "recipe")
        shipped = self.method.defaults(self.request.preset).model_dump(mode="json")
        chosen = validated(self.method.Options, overrides.merge(shipped, "method", name), name)
        refuse_unused(ChosenMethod(name, self.method, chosen), self.backbone)
        if any(path in (f"{name}.tokenize", "method.tokenize") for path in assignments):
            raise UsageError(
                "--set method.tokenize: the profile sets it itself, 'all' for exact and 'visible' for fast"
            )
        if self.request.batch is None and "recipe.batch_size" in assignments:
            raise UsageError("--set recipe.batch_size: say --batch N (and --fast-batch N) instead")
        overrides.check_all_taken()
        self._chosen: BaseModel = chosen

    def options(self, tokenize: str) -> BaseModel:
        """Return the method's options for ``tokenize`` all or visible.

        Unchanged for a method without that option.
        """
        chosen = self._chosen
        if "tokenize" in type(chosen).model_fields:
            chosen = chosen.model_copy(update={"tokenize": tokenize})
        return self.method.complete(chosen, self.lent if "transformer" in self.method.uses(chosen) else None)

    def batch(self, name: str) -> int:
        """Return the samples per step of a path."""
        request = self.request
        fast = name in (FAST, COMPILED)
        if fast and request.fast_batch is not None:
            return request.fast_batch
        if request.batch is not None:
            return request.batch
        if self.device == "cuda":
            return self.recipe.batch_size
        return min(self.recipe.batch_size, _CPU_FAST_BATCH if fast else _CPU_EXACT_BATCH)

    def paths(self) -> list[dict[str, Any]]:
        """Return the specification of each process, in order of turns."""
        names: list[PathName] = [EXACT, *([TEACHER] if "images" in self.uses else []), FAST]
        names += [COMPILED] if self.compiles else []
        return [self._path(name) for name in names]

    def _path(self, name: PathName) -> dict[str, Any]:
        exact = name in (EXACT, TEACHER)
        numerics: Numerics = self.exact if exact else self.fast
        spec = PretrainSpec(
            method=self.request.method,
            options=self.options("all" if exact else "visible").model_dump(mode="json"),
            backbone=self.backbone,
            recipe=self.recipe.model_copy(update={"batch_size": self.batch(name)}),
            data=None,
            numerics=numerics.model_copy(update={"compile": name == COMPILED}),
            seed=0,
        )
        return {
            "name": name,
            "spec": spec.model_dump(mode="json"),
            "preset": self.request.preset,
            "image_width": self.image_width,
            "live_model": self.live if name == TEACHER else None,
            "transformer": self.lent.model_dump(mode="json"),
            "threads": self.threads,
            "plugins": self.request.plugins,
            "peak_size": 256 if self.request.quick else (8192 if self.device == "cuda" else 2048),
        }
