"""Shipped recipes, and recipes for a part of the data."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import UsageError
from bench.recipes.row import in_unit_sphere
from bench.registry import DATASETS, METHODS
from bench.spec import Budget, Recipe
from bench.stats.naming import percent
from bench.training.schedule import epochs_run, step_at

SMALLEST = 2
"""Objects a pretraining needs: a batch of one has no contrast and no batch statistics."""


def shipped_recipe(method: str, preset: str, dataset: str) -> Recipe:
    """Return a method's recipe for a preset and data set.

    Clouds that are not stored in the unit sphere are brought there in every step: protocols judge encoders there, and
    the releases train them there (docs/data-formats.md#shapenet-55).

    Raises:
        UsageError: The method has no recipe for the preset.
    """
    recipe = METHODS.load(method).recipe(preset)
    if recipe is None:
        raise UsageError(f"method '{method}' has no recipe for preset '{preset}', so it cannot be pretrained")
    return recipe if DATASETS.load(dataset).card.in_unit_sphere else in_unit_sphere(recipe)


@dataclass(frozen=True)
class Part:
    """A part of the pretraining data, and its recipe.

    Attributes:
        objects: Its objects.
        recipe: The recipe, its epochs changed where the budget is steps.
        note: Resulting numbers of objects, epochs and steps, in one line.
    """

    objects: int
    recipe: Recipe
    note: str


def part_of(name: str, recipe: Recipe, objects: int, fraction: float, budget: Budget) -> Part:
    """Select a part of the data and adjust the recipe.

    With equal steps the epochs are those whose number of optimiser steps comes closest to that of all the data (whole
    epochs, at least one); the warm-up keeps its share of the epochs. Where a part is smaller than a batch, a batch is
    the whole part, as the training loop has it.

    Args:
        name: Method and data set, for the note.
        recipe: Recipe for all the data.
        objects: Objects of all the data.
        fraction: Part to train on.
        budget: ``steps`` for equal optimiser steps, ``epochs`` for the recipe's own epochs.

    Raises:
        UsageError: Fewer than two objects would be left.
    """
    kept = max(round(fraction * objects), 1)
    if kept < SMALLEST:
        raise UsageError(
            f"--pretrain-fraction {fraction:g}: {kept} of {objects} objects of {name} would be left; "
            f"at least {SMALLEST} are needed"
        )
    whole_epochs = epochs_run(recipe)
    whole = whole_epochs * _steps(objects, recipe.batch_size)
    steps = _steps(kept, recipe.batch_size)
    extra = whole_epochs - recipe.epochs
    epochs = recipe.epochs
    if budget == "steps":
        epochs = max(round(whole / steps) - extra, 1)
        warmup = round(recipe.warmup_epochs * epochs / recipe.epochs)
        recipe = recipe.model_copy(update={"epochs": epochs, "warmup_epochs": warmup})
    note = (
        f"{name}, {percent(fraction)}: {kept} of {objects} objects, {epochs + extra} epochs of {steps} steps: "
        f"{(epochs + extra) * steps} steps, all of it {whole}"
    )
    if kept < recipe.batch_size <= objects:
        note += f"; batches of {kept} instead of {recipe.batch_size}"
    return Part(kept, recipe, note)


def kept_along(name: str, recipe: Recipe, objects: int, shares: tuple[float, ...]) -> str:
    """Say at which steps and epochs encoders are kept.

    Args:
        name: Method.
        recipe: Its recipe.
        objects: Objects that it is trained on.
        shares: Shares of its optimiser steps.

    Raises:
        UsageError: Two shares are one step, or one is none.
    """
    each = _steps(objects, recipe.batch_size)
    steps = epochs_run(recipe) * each
    found: dict[int, float] = {}
    for share in shares:
        step = step_at(share, steps)
        other = found.setdefault(step, share) if step < steps or share == 1 else 1.0
        if other != share or round(share * steps) == 0:
            what = f"the same step as {other:g}" if other != share else "less than one step"
            raise UsageError(f"--evaluate-at {share:g}: of the {steps} steps of {name} that is {what}; leave it out")
    told = ", ".join(f"{percent(share)}: step {step}, epoch {step / each:.3g}" for step, share in found.items())
    return f"{name} is judged after {told} (of {steps} steps in {epochs_run(recipe)} epoch(s))"


def _steps(objects: int, batch: int) -> int:
    return objects // min(batch, objects)
