"""What a method is pretrained with before the user changes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.paths import Workspace
from bench.plan.recipes import shipped_recipe
from bench.plan.request import RunRequest
from bench.plan.resolve import resolve

TRAINED = ("recon", "point-mae", "act", "act-dvae", "multitask", "two-tower", "crosspoint")


def augmentation(name: str, preset: str, dataset: str) -> tuple[str, ...]:
    return shipped_recipe(name, preset, dataset).augmentation


@pytest.mark.parametrize("name", TRAINED)
def test_encoders_are_trained_where_they_are_judged(name: str) -> None:
    """Clouds of files may lie anywhere at any size; judged in the unit sphere, such an encoder would see new data."""
    for preset in ("smoke", "nano", "tiny", "base"):
        for dataset in ("shapenet55", "modelnet-h5", "clouds"):
            assert augmentation(name, preset, dataset)[0] == "unit_sphere"
    assert augmentation(name, "tiny", "shapes")[0] == "unit_sphere", "the releases normalise what a step draws"
    if name != "crosspoint":
        assert "unit_sphere" not in augmentation(name, "nano", "shapes"), "the embedded sets are there already"


def test_the_user_has_the_last_word(tmp_path: Path, toy_modelnet: Path) -> None:
    """A study of normalisation could not switch it off."""
    request = RunRequest(
        methods=("point-mae",),
        protocols=("linear",),
        datasets=("shapes-scan",),
        pretrain_data=f"modelnet-h5:{toy_modelnet}",
        preset="smoke",
    )

    def shown(request: RunRequest) -> tuple[str, ...]:
        recipes = [run.encoder.recipe for run in resolve(request, Workspace.at(tmp_path)).runs]
        (found,) = {recipe.augmentation for recipe in recipes if recipe is not None}
        return found

    assert shown(request) == ("unit_sphere", "scale_translate")
    other = request.model_copy(update={"overrides": {"recipe.augmentation": ("rotate_y",)}})
    assert shown(other) == ("rotate_y",)
