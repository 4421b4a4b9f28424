"""The recipe a method is pretrained with before the user changes it."""

from __future__ import annotations

from bench.errors import UsageError
from bench.recipes.row import in_unit_sphere
from bench.registry import DATASETS, METHODS
from bench.spec import Recipe


def shipped_recipe(method: str, preset: str, dataset: str) -> Recipe:
    """Return a method's recipe of a preset for a data set.

    Clouds that are not stored in the unit sphere are brought there in every step: protocols judge encoders there, and
    the releases train them there (docs/data-formats.md#shapenet-55).

    Raises:
        UsageError: The method has no recipe for the preset.
    """
    recipe = METHODS.load(method).recipe(preset)
    if recipe is None:
        raise UsageError(f"method '{method}' has no recipe for preset '{preset}', so it cannot be pretrained")
    return recipe if DATASETS.load(dataset).card.in_unit_sphere else in_unit_sphere(recipe)
