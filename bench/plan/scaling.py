"""Scaling with data: parts of the pretraining data and of the labels, and what equal optimiser steps mean."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import UsageError
from bench.spec import Budget, Recipe
from bench.stats.naming import percent
from bench.training.schedule import epochs_run

SMALLEST = 2
"""Objects a pretraining needs: a batch of one has no contrast and no batch statistics."""


def parse_fractions(text: str) -> tuple[float, ...]:
    """Parse ``--pretrain-fraction`` and ``--label-fraction``: ``0.1,0.25,1`` or ``10%,25%,100%``.

    Raises:
        ValueError: Not a list of numbers.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(float(part[:-1]) / 100 if part.endswith("%") else float(part))
        except ValueError:
            found = []
            break
    if not found:
        raise ValueError("expected a list of fractions such as 0.1,0.25,1 or 10%,25%,100%")
    return tuple(found)


def check_fractions(fractions: tuple[float, ...]) -> tuple[float, ...]:
    """Return fractions in ascending order.

    Raises:
        ValueError: One is not above 0 and up to 1, or occurs twice.
    """
    if not fractions or any(not 0 < fraction <= 1 for fraction in fractions):
        raise ValueError("fractions must be above 0 and up to 1, e.g. 0.1,0.25,1")
    if len(set(fractions)) < len(fractions):
        raise ValueError("fractions must be distinct")
    return tuple(sorted(fractions))


@dataclass(frozen=True)
class Part:
    """A part of the pretraining data and the recipe it is trained with.

    Attributes:
        objects: Its objects.
        recipe: The recipe, its epochs changed where the budget is steps.
        note: What that comes to, in one line.
    """

    objects: int
    recipe: Recipe
    note: str


def part_of(name: str, recipe: Recipe, objects: int, fraction: float, budget: Budget) -> Part:
    """Cut the data and bring the recipe to the budget.

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


def _steps(objects: int, batch: int) -> int:
    return objects // min(batch, objects)
