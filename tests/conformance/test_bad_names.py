"""Plugins that name what does not exist. If these pass the check, ``bench run`` is where their author learns of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field, JsonValue

from bench.conformance.suites import method_suite, protocol_suite
from bench.data.transforms import TRANSFORMS
from bench.errors import UsageError
from bench.methods.point_mae import PointMAE
from bench.methods.recon import ReCon
from bench.plugins import load_plugin_file
from bench.protocols.base import Evaluation, Form, Subject, Task
from bench.protocols.knn import Knn
from bench.spec import AUGMENTATIONS, Recipe
from tests.conformance.broken_methods import TINY

SOUND = PointMAE.recipes["nano"]


def changed(**fields: Any) -> dict[str, Recipe]:
    return {"nano": SOUND, "base": SOUND.model_copy(update=fields)}


class Augmented(PointMAE):
    """Has a recipe with an augmentation that nobody wrote, in a preset that is not checked by training."""

    recipes: ClassVar = changed(augmentation=("rotate_y", "rotate_z"))


class Hasty(PointMAE):
    """Has a recipe that learns nothing."""

    recipes: ClassVar = changed(lr=float("inf"))


class Misspelt(PointMAE):
    """Has a recipe for a preset that is none."""

    recipes: ClassVar = {"nano": SOUND, "bass": SOUND}


class Orphan(PointMAE):
    """Builds upon a stage that is not there."""

    first_stage = "act-dvea"


class Borrowed(PointMAE):
    """Has ReCon's encoder and is compared with an untrained Point-MAE."""

    name = "borrowed"

    build = ReCon.build
    build_encoder = ReCon.build_encoder
    Options = ReCon.Options
    defaults = ReCon.defaults

    @classmethod
    def architecture(cls, options: BaseModel) -> tuple[str, dict[str, JsonValue]]:
        return "point-mae", {}


class Elsewhere(PointMAE):
    """Is compared with a network that is not there."""

    @classmethod
    def architecture(cls, options: BaseModel) -> tuple[str, dict[str, JsonValue]]:
        return "point-mea", {}


class Reader(PointMAE):
    """Reads, in one preset, what no data has."""

    @classmethod
    def defaults(cls, preset: str) -> BaseModel:
        return cls.Options(mask_ratio=0.5) if preset == "small" else cls.Options()

    @classmethod
    def uses(cls, options: BaseModel) -> frozenset[str]:
        return frozenset({"smells"} if getattr(options, "mask_ratio", 0) == 0.5 else ())


class Loose(PointMAE):
    """Takes infinity for a number."""

    class Options(PointMAE.Options, allow_inf_nan=True):
        """Options."""

        strength: float = 1.0


@pytest.mark.parametrize(
    ("method", "check", "words"),
    [
        (Augmented, "recipes", "preset base: recipe.augmentation = ('rotate_y', 'rotate_z'): unknown augmentation"),
        (Hasty, "recipes", "preset base: recipe.lr = inf: expected a finite number"),
        (Misspelt, "recipes", "unknown preset 'bass': did you mean base"),
        (Orphan, "metadata", "first_stage names 'act-dvea'"),
        (Borrowed, "architecture", "whose network differs in"),
        (Elsewhere, "architecture", "names 'point-mea', which is no registered method"),
        (Reader, "metadata", "uses() returns smells"),
        (Loose, "options", "forbid unknown fields, NaN and infinities"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_method_that_names_what_is_not_there_fails(method: type[PointMAE], check: str, words: str) -> None:
    outcome = method_suite(method, size=TINY, device="cpu").outcome(check)
    assert outcome.status == "fail", outcome
    assert words in outcome.remark


class FailsPublished(Knn):
    """Is sound in the form that is tried first."""

    forms: ClassVar = ("fair", "published")

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> Any:
        if form == "published" and preset == "tiny":
            return cls.Options.model_construct(**{**dict(Knn.defaults(preset)), "ks": ()})
        return super().defaults(preset)


class OneSetting(Knn):
    """Cannot judge its second setting."""

    @classmethod
    def settings(cls, options: BaseModel) -> tuple[str, ...]:
        return "one", "two"

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: BaseModel) -> Evaluation:
        if setting == "two":
            raise KeyError(setting)
        return Knn.evaluate(subject, task, Knn.settings(options)[0], options)


class Renamed(Knn):
    """Promises another headline than it gives."""

    metric = "iou"


class Opposed(Knn):
    """Has an opponent with an encoder."""

    opponent = "recon"


class BadRecipe(Knn):
    """Ships a recipe with an augmentation that nobody wrote."""

    class Options(Knn.Options):
        """Options."""

        recipe: Recipe = Field(default_factory=lambda: Recipe().model_copy(update={"augmentation": ("flip",)}))


@pytest.mark.parametrize(
    ("protocol", "check", "words"),
    [
        (FailsPublished, "options", "defaults of preset tiny, form published"),
        (OneSetting, "forms and settings", "two"),
        (Renamed, "evaluates", "metric says 'iou'"),
        (Opposed, "metadata", "opponent names 'recon'"),
        (BadRecipe, "options", "unknown augmentation 'flip'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_protocol_that_only_its_first_form_and_setting_can_run_fails(
    protocol: type[Knn], check: str, words: str
) -> None:
    outcome = protocol_suite(protocol).outcome(check)
    assert outcome.status == "fail", outcome
    assert words in outcome.remark


def test_the_names_of_augmentations_are_those_that_exist() -> None:
    """A recipe could name one that is not there, or not name one that is."""
    assert list(AUGMENTATIONS) == list(TRANSFORMS)


def test_a_file_whose_recipe_names_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    """Pydantic's four lines, with an address, would hide what to mend."""
    file = tmp_path / "mine.py"
    file.write_text("from bench.spec import Recipe\nRECIPE = Recipe(augmentation=('rotate_z',))\n")
    with pytest.raises(UsageError, match=r"fails to import: Recipe\.augmentation: unknown augmentation 'rotate_z'.*$"):
        load_plugin_file(file)
