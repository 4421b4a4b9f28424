"""Row of the table of recipes, and adaptations of recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal

from pydantic import JsonValue

from bench.spec import Recipe

SMOKE, NANO = ("smoke",), ("nano",)
AUTHORS = ("tiny", "small", "base")
"""Presets of the authors' sizes, which take the authors' recipes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A recipe, its use and the source of its figures.

    Attributes:
        units: Methods or protocols that use it.
        source: Where its figures can be read: a paper, a page of ``docs/``.
        recipe: Hyperparameters of the training; None where nothing is trained.
        stage: Part that is trained, if a unit trains several.
        form: Form of the protocol; ``pretraining`` for a method.
        presets: Presets that take it.
        method: Method whose release has it, for a published recipe of a protocol; empty: every method.
        others: Whether methods without a published recipe take it, too.
        data: Data set it belongs to; empty: every one.
        shortened: Epochs by preset, where one trains less than the release.
    """

    units: tuple[str, ...]
    source: str
    recipe: Recipe | None
    stage: str = ""
    form: Literal["pretraining", "fair", "published"]
    presets: tuple[str, ...] = AUTHORS
    method: str = ""
    others: bool = False
    data: str = ""
    shortened: Mapping[str, int] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, JsonValue]:
        """Return further figures by name: fields that subclasses add."""
        known = {one.name for one in fields(Row)}
        own = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in known}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}


def shortened(recipe: Recipe, epochs: int | None) -> Recipe:
    """Return a recipe of `epochs` epochs, warm-up scaled.

    None leaves the recipe unchanged.
    """
    if epochs is None or epochs == recipe.epochs:
        return recipe
    warmup = round(recipe.warmup_epochs * epochs / recipe.epochs)
    return recipe.model_copy(update={"epochs": epochs, "warmup_epochs": warmup})


def in_unit_sphere(recipe: Recipe) -> Recipe:
    """Return a recipe that normalises clouds to the unit sphere."""
    if "unit_sphere" in recipe.augmentation:
        return recipe
    return recipe.model_copy(update={"augmentation": ("unit_sphere", *recipe.augmentation)})


def published(recipe: Recipe) -> dict[str, Recipe]:
    """Return the authors' recipe for every preset of authors' sizes.

    Each scales the sampled points into the unit sphere first (docs/data-formats.md#shapenet-55).
    """
    return dict.fromkeys(AUTHORS, in_unit_sphere(recipe))
