"""MLP-3 probe on frozen features, or trained as released.

The releases train the class token too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from bench.protocols.base import Evaluation, Form, Protocol, Subject, Task
from bench.protocols.description import (
    EPOCH_CHOSEN,
    Description,
    on_frozen_features,
    published_probe,
    set_aside,
)
from bench.protocols.mlp.options import MlpOptions
from bench.protocols.options import CANDIDATES, idle_on_features, recipe_words
from bench.protocols.trained_options import PROBE_CARD, check_form, shortened_words
from bench.recipes.downstream import fair_recipe, released_epochs


class Mlp(Protocol[MlpOptions]):
    """Three-layer head of the papers on the transfer feature."""

    name: ClassVar[str] = "mlp"
    revision: ClassVar[int] = 2
    summary: ClassVar[str] = "three-layer head on frozen features"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")

    Options: ClassVar[type[MlpOptions]] = MlpOptions

    @classmethod
    def settings(cls, options: MlpOptions) -> tuple[str, ...]:
        """Return the one setting, ``all`` (training labels)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> MlpOptions:
        """Return the options of a preset.

        ``smoke`` only tests that everything runs; published training is shortened for small presets.
        """
        if form == "published":
            return cls.Options(form="published", recipe=None, published_epochs=released_epochs("mlp", preset))
        return cls.Options(recipe=fair_recipe("mlp", preset))

    @classmethod
    def trains_encoder(cls, options: MlpOptions) -> bool:
        """Return whether the class token is trained (published form).

        The encoder then runs in every step.
        """
        return options.form == "published"

    @classmethod
    def calibrates(cls, options: MlpOptions, form: Form) -> bool:
        """Return whether this is the fair form.

        No release recalibrates BatchNorm.
        """
        return form == "fair"

    @classmethod
    def idle(cls, options: MlpOptions) -> Mapping[str, str]:
        """See `Protocol.idle`."""
        return idle_on_features("recipe") if getattr(options, "form", "fair") == "fair" else {}

    @classmethod
    def keeps_clouds(cls, options: MlpOptions) -> str:
        """Return why clouds may be neither corrupted nor turned."""
        return ""

    @classmethod
    def describe(cls, options: MlpOptions) -> Description:
        """See `Protocol.describe`."""
        if options.form == "published":
            return published_probe(options.recipe, options.validation_fraction)
        return on_frozen_features(options.normalise, set_aside(options.validation_fraction), EPOCH_CHOSEN)

    @classmethod
    def card(cls, options: MlpOptions) -> str:
        """State what is done."""
        if options.form == "published" or options.recipe is None:
            return PROBE_CARD.format(head="the three-layer head", options=options) + shortened_words(options)
        return (
            f"Frozen encoder in eval mode, feature '{options.feature}', one pass over farthest-point-sampled clouds"
            f"{' in the unit sphere' if options.normalise else ''}, no augmentation. Three-layer head (two hidden "
            "layers of 256, BatchNorm, ReLU, dropout 0.5) on features standardised on the training part, the same "
            f"recipe for every method: {recipe_words(options.recipe)}. {options.validation_fraction:.0%} of every "
            "training class is set aside for validation (stratified, fixed by the split seed, the same for every "
            f"method) and chooses the epoch, and the {CANDIDATES}. The test split is scored once; selection=last is "
            "the last epoch, with --legacy selection=test the epoch with the highest test accuracy. No voting. The "
            "papers train the class token too, in train mode and on augmented clouds, and choose on test: form "
            "published."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: MlpOptions) -> Evaluation:
        """Judge a subject.

        Raises:
            UsageError: Unknown setting or feature, or options of the other form.
            DataError: Training classes are too small to carve a validation part.
            BenchError: The encoder's features are not finite, or training diverged.
            SetupError, Interrupted: Published form: the work folder cannot be used; training was asked to stop.
        """
        from bench.errors import unknown_name

        if setting not in cls.settings(options):
            raise unknown_name("setting of mlp", setting, cls.settings(options))
        check_form(cls.name, options, task)
        if options.form == "published":
            from bench.protocols.published_probe import judge_published

            return judge_published(
                cls.name, "mlp", subject, task, options, options.feature, options.validation_fraction
            )
        from bench.protocols.mlp.training import judge_mlp_probe

        return judge_mlp_probe(subject, task, options)
