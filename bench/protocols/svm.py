"""Linear support vector machines on frozen features."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from bench.protocols.base import Evaluation, Form, Protocol, Subject, Task
from bench.protocols.description import (
    CANDIDATE_CHOSEN,
    FARTHEST,
    NO_VOTES,
    NOT_AUGMENTED,
    SETTING_CHOSEN,
    SPLIT_SEED,
    UNIT_SPHERE,
    Description,
    on_frozen_features,
    split_stated,
    stated,
)
from bench.protocols.options import CANDIDATES, FrozenOptions
from bench.protocols.trained_options import FormOptions, check_form

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Inverse penalties C tried, on features scaled to squared norm 1."""


class SvmOptions(FrozenOptions, FormOptions):
    """Options of the SVM."""

    fair_only: ClassVar[tuple[str, ...]] = ("strengths", "normalise", "cv_folds")
    published_only: ClassVar[tuple[str, ...]] = ("published_c", "validation_fraction")

    feature: str = "svm"
    """Feature of the encoder the machine sees; fixed by the protocol, never tuned per method."""
    strengths: tuple[float, ...] = Field(STRENGTHS, min_length=1)
    """Inverse penalties that cross-validation chooses from (fair form)."""
    cv_folds: int = Field(5, ge=2, le=1_000)
    """Fair form: parts of the training split, each held out once to choose C."""
    published_c: float | None = Field(None, gt=0)
    """Published form: C on features as they are; null takes the authors' by method."""


class Svm(Protocol[SvmOptions]):
    """Linear SVM on the feature made for it."""

    name: ClassVar[str] = "svm"
    revision: ClassVar[int] = 3
    summary: ClassVar[str] = "linear SVM on frozen features"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")

    Options: ClassVar[type[SvmOptions]] = SvmOptions

    @classmethod
    def settings(cls, options: SvmOptions) -> tuple[str, ...]:
        """Return the one setting, ``all`` (training labels)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> SvmOptions:
        """Return the options of a preset; ``smoke`` tries two strengths."""
        if form == "published":
            return cls.Options(form="published")
        return cls.Options(strengths=(1.0, 100.0)) if preset == "smoke" else cls.Options()

    @classmethod
    def calibrates(cls, options: SvmOptions, form: Form) -> bool:
        """Return whether this is the fair form.

        No release recalibrates BatchNorm.
        """
        return form == "fair"

    @classmethod
    def keeps_clouds(cls, options: SvmOptions) -> str:
        """Return why clouds may be neither corrupted nor turned."""
        return ""

    @classmethod
    def describe(cls, options: SvmOptions) -> Description:
        """See `Protocol.describe`."""
        if options.form == "published":
            return Description(
                points=FARTHEST,
                normalisation=stated(
                    f"ModelNet, except for crosspoint: {UNIT_SPHERE}; else as stored",
                    scale="unit sphere",
                    only="modelnet",
                    not_for=["crosspoint"],
                ),
                augmentation=NOT_AUGMENTED,
                split=split_stated(
                    f"all of the training split; {options.validation_fraction:.0%} of every class only choose among "
                    f"several candidates, {SPLIT_SEED}",
                    drawn=True,
                    set_aside_for_candidates=options.validation_fraction,
                ),
                votes=NO_VOTES,
                selection=CANDIDATE_CHOSEN,
            )
        return on_frozen_features(
            options.normalise,
            split_stated(
                f"{options.cv_folds} parts of the training split, each held out once for choices, stratified, "
                f"{SPLIT_SEED}",
                drawn=True,
                parts=options.cv_folds,
            ),
            SETTING_CHOSEN,
        )

    @classmethod
    def card(cls, options: SvmOptions) -> str:
        """State what is done."""
        if options.form == "published":
            return _PUBLISHED.format(options=options)
        return (
            f"Frozen encoder in eval mode, feature '{options.feature}', one pass over farthest-point-sampled clouds"
            f"{' in the unit sphere' if options.normalise else ''}, no augmentation. Linear SVM, one "
            "class against the rest, squared hinge and quadratic penalty (scikit-learn's LinearSVC, solved by our own "
            "batched solver) on standardised features divided by the root of their "
            f"number; C chosen by {options.cv_folds}-fold cross-validation on the training split (stratified, fixed by "
            f"the split seed, the same for every method) from {len(options.strengths)} values, and with it the "
            f"{CANDIDATES}. The chosen C is refit on the whole training split, and the test split is scored once. "
            "With --legacy, selection=test is the C with the highest test accuracy. The papers fix C: form published."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: SvmOptions) -> Evaluation:
        """Judge a subject.

        Raises:
            UsageError: Unknown setting or feature, or options of the other form.
            DataError: No training class has two objects.
            BenchError: The encoder's features are not finite.
        """
        from bench.errors import unknown_name
        from bench.protocols.frozen_probe import carved, crossed, judge_probe
        from bench.protocols.probe_heads import HingeHead, PairwiseHead
        from bench.protocols.published_data import data_kind
        from bench.recipes.downstream import released_strength

        if setting not in cls.settings(options):
            raise unknown_name("setting of svm", setting, cls.settings(options))
        check_form(cls.name, options, task)
        if options.form == "fair":
            head = HingeHead(options.strengths)
            return judge_probe(subject, task, head, options.feature, options.normalise, crossed(task, options.cv_folds))
        # CrossPoint never normalises; the transformers' ModelNet loader does.
        crosspoint = subject.method == "crosspoint"
        normalise = data_kind(task.dataset) == "modelnet" and not crosspoint
        strength = options.published_c or released_strength(cls.name, subject.method)
        fixed = PairwiseHead((strength,)) if crosspoint else HingeHead((strength,), standardise=False)
        return judge_probe(subject, task, fixed, options.feature, normalise, carved(task, options.validation_fraction))


_PUBLISHED = (
    "As in the papers (docs/reference.md, Linear SVM), on the feature '{options.feature}' as it is, not standardised, "
    "of clouds sampled by "
    "farthest points, frozen encoder in eval mode. recon, and every method whose paper has none: LinearSVC's objective "
    "(one class against the rest, squared hinge), C = 0.075; crosspoint: libsvm, one class against one other, C = 0.1, "
    "clouds as stored. ModelNet clouds are brought to the unit sphere for all others. Fitted on all training objects; "
    "nothing is chosen, so that selection=test equals the headline; of several candidates the one that is best on "
    "{options.validation_fraction:.0%} of every training class, fitted on the rest, is the headline. No voting. "
    "Deviations from the papers: ReCon's loader shuffles the training set and drops its last partial batch of 128, and "
    "its SVM checkpoint could be chosen by this same test score; CrossPoint takes the first 1024 points, and its "
    "notebook another C, 0.01. None of this is imitated. LinearSVC is solved to its optimum by our own solver, not to "
    "liblinear's tolerance."
)
