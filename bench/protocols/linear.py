"""Linear probe on frozen features, or trained as released.

The published form trains a linear layer as the releases do.
"""

from __future__ import annotations

from typing import ClassVar

from bench.protocols.base import Evaluation, Form, Protocol, Subject, Task
from bench.protocols.description import SETTING_CHOSEN, Description, on_frozen_features, published_probe, set_aside
from bench.protocols.options import CANDIDATES, FrozenOptions
from bench.protocols.trained_options import PROBE_CARD, PublishedTraining, check_form, shortened_words
from bench.recipes.downstream import released_epochs


class LinearOptions(FrozenOptions, PublishedTraining):
    """Options of the linear probe."""

    fair_only: ClassVar[tuple[str, ...]] = ("strengths", "normalise")
    published_only: ClassVar[tuple[str, ...]] = ("recipe", "published_epochs")


class Linear(Protocol[LinearOptions]):
    """A linear classifier on the transfer feature."""

    name: ClassVar[str] = "linear"
    revision: ClassVar[int] = 2
    summary: ClassVar[str] = "logistic regression on frozen features"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")

    Options: ClassVar[type[LinearOptions]] = LinearOptions

    @classmethod
    def settings(cls, options: LinearOptions) -> tuple[str, ...]:
        """Return the one setting, ``all`` (training labels)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> LinearOptions:
        """Return the options of a preset.

        ``smoke`` tries two strengths; published training is shortened for small presets.
        """
        if form == "published":
            return cls.Options(form="published", published_epochs=released_epochs("linear", preset))
        return cls.Options(strengths=(1.0, 100.0)) if preset == "smoke" else cls.Options()

    @classmethod
    def trains_encoder(cls, options: LinearOptions) -> bool:
        """Return whether the class token is trained (published form).

        The encoder then runs in every step.
        """
        return options.form == "published"

    @classmethod
    def calibrates(cls, options: LinearOptions, form: Form) -> bool:
        """Return whether this is the fair form.

        No release recalibrates BatchNorm.
        """
        return form == "fair"

    @classmethod
    def keeps_clouds(cls, options: LinearOptions) -> str:
        """Return why clouds may be neither corrupted nor turned."""
        return ""

    @classmethod
    def describe(cls, options: LinearOptions) -> Description:
        """See `Protocol.describe`."""
        if options.form == "published":
            return published_probe(options.recipe, options.validation_fraction)
        return on_frozen_features(options.normalise, set_aside(options.validation_fraction), SETTING_CHOSEN)

    @classmethod
    def card(cls, options: LinearOptions) -> str:
        """State what is done."""
        if options.form == "published":
            return PROBE_CARD.format(head="one linear layer", options=options) + shortened_words(options)
        return (
            f"Frozen encoder in eval mode, feature '{options.feature}', one pass over farthest-point-sampled clouds"
            f"{' in the unit sphere' if options.normalise else ''}, no augmentation. "
            f"{options.validation_fraction:.0%} of every training class is set aside for validation (stratified, fixed "
            "by the split seed, the same for every method). Multinomial logistic regression on standardised features "
            "divided by the root of their number (scikit-learn's C is this C over the width); "
            f"C chosen on validation from {len(options.strengths)} values, and with it the {CANDIDATES}. "
            "The chosen C is then refit on train and validation together, and the test split is scored once. "
            "No voting. accuracy = share of test objects right; mean_class_accuracy = its mean over classes. With "
            "--legacy, selection=test is the C with the highest test accuracy. The papers train head and class token "
            "by epochs instead and choose on test: form published."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: LinearOptions) -> Evaluation:
        """Judge a subject.

        Raises:
            UsageError: Unknown setting or feature, or options of the other form.
            DataError: Training classes are too small to carve a validation part.
            BenchError: The encoder's features are not finite, or training diverged.
            SetupError, Interrupted: Published form: the work folder cannot be used; training was asked to stop.
        """
        from bench.errors import unknown_name

        if setting not in cls.settings(options):
            raise unknown_name("setting of linear", setting, cls.settings(options))
        check_form(cls.name, options, task)
        if options.form == "published":
            from bench.protocols.published_probe import judge_published

            return judge_published(
                cls.name, "linear", subject, task, options, options.feature, options.validation_fraction
            )
        from bench.protocols.frozen_probe import carved, judge_probe
        from bench.protocols.probe_heads import LogisticHead

        head = LogisticHead(options.strengths)
        return judge_probe(
            subject, task, head, options.feature, options.normalise, carved(task, options.validation_fraction)
        )
