"""MLP-3 probe: the three-layer head on frozen features, or the releases' version that trains the class token too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, Field, model_validator

from bench.protocols.base import Evaluation, Form, Protocol, Subject, Task
from bench.protocols.description import (
    EPOCH_CHOSEN,
    Description,
    on_frozen_features,
    published_probe,
    set_aside,
)
from bench.protocols.options import CANDIDATES, idle_on_features, recipe_words
from bench.protocols.trained_options import PROBE_CARD, PublishedTraining, check_form
from bench.recipes.downstream import fair_recipe, released_epochs
from bench.spec import Recipe


class Mlp(Protocol):
    """The papers' three-layer head on the transfer feature."""

    name: ClassVar[str] = "mlp"
    revision: ClassVar[int] = 2
    summary: ClassVar[str] = "three-layer head on frozen features"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")

    class Options(PublishedTraining):
        """Options of the MLP-3 probe."""

        fair_only: ClassVar[tuple[str, ...]] = ("normalise",)

        feature: str = "transfer"
        """Feature of the encoder the head sees; fixed by the protocol, never tuned per method."""
        normalise: bool = True
        """Centre each cloud and scale it into the unit sphere."""
        validation_fraction: float = Field(0.2, gt=0, lt=1)
        """Part of every training class set aside for choices."""
        recipe: Recipe | None = fair_recipe("mlp")
        """Recipe of the head; null takes the authors' by method and data set (published form)."""

        @model_validator(mode="after")
        def _fair_has_one_recipe(self) -> Mlp.Options:
            if self.form == "fair" and self.recipe is None:
                raise ValueError("the fair form trains every method by one stated recipe; recipe may not be null")
            return self

    @classmethod
    def settings(cls, options: BaseModel) -> tuple[str, ...]:
        """Return the one setting, ``all`` (training labels)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> Options:
        """Options of a preset: ``smoke`` only walks the path; published training is shortened for small presets."""
        if form == "published":
            return cls.Options(form="published", recipe=None, published_epochs=released_epochs("mlp", preset))
        return cls.Options(recipe=fair_recipe("mlp", preset))

    @classmethod
    def trains_encoder(cls, options: BaseModel) -> bool:
        """See `Protocol.trains_encoder`: in the published form its class token, with the encoder run in every step."""
        return cls.Options.model_validate(options.model_dump()).form == "published"

    @classmethod
    def calibrates(cls, options: BaseModel, form: Form) -> bool:
        """See `Protocol.calibrates`: in the fair form; no release does it."""
        return form == "fair"

    @classmethod
    def idle(cls, options: BaseModel) -> Mapping[str, str]:
        """See `Protocol.idle`."""
        return idle_on_features("recipe") if getattr(options, "form", "fair") == "fair" else {}

    @classmethod
    def describe(cls, options: BaseModel) -> Description:
        """Say it point by point."""
        own = cls.Options.model_validate(options.model_dump())
        if own.form == "published":
            return published_probe(own.recipe, own.validation_fraction)
        return on_frozen_features(own.normalise, set_aside(own.validation_fraction), EPOCH_CHOSEN)

    @classmethod
    def card(cls, options: BaseModel) -> str:
        """State what is done."""
        own = cls.Options.model_validate(options.model_dump())
        if own.form == "published" or own.recipe is None:
            return PROBE_CARD.format(head="the three-layer head", own=own)
        return (
            f"Frozen encoder in eval mode, feature '{own.feature}', one pass over farthest-point-sampled clouds"
            f"{' in the unit sphere' if own.normalise else ''}, no augmentation. Three-layer head (two hidden layers "
            "of 256, BatchNorm, ReLU, dropout 0.5) on features standardised on the training part, the same recipe for "
            f"every method: {recipe_words(own.recipe)}. {own.validation_fraction:.0%} of every training class is set "
            "aside for validation (stratified, fixed by the split seed, the same for every method) and chooses the "
            f"epoch, and the {CANDIDATES}. The test split is scored once; selection=last is the "
            "last epoch, with --legacy selection=test the epoch with the highest test accuracy. No voting. The papers "
            "train the class token too, in train mode and on augmented clouds, and choose on test: form published."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: BaseModel) -> Evaluation:
        """Judge a subject.

        Raises:
            UsageError: Unknown setting or feature, or options of the other form.
            DataError: Training classes are too small to carve a validation part.
            BenchError: The encoder's features are not finite, or training diverged.
            SetupError, Interrupted: Published form: the work folder cannot be used; training was asked to stop.
        """
        from bench.errors import unknown_name

        own = cls.Options.model_validate(options.model_dump())
        if setting not in cls.settings(own):
            raise unknown_name("setting of mlp", setting, cls.settings(own))
        check_form(cls.name, own, task)
        if own.form == "published":
            from bench.protocols.published_probe import judge_published

            return judge_published(cls.name, "mlp", subject, task, own, own.feature, own.validation_fraction)
        from bench.protocols.mlp.training import judge_mlp_probe

        return judge_mlp_probe(subject, task, own)
