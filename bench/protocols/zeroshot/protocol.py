"""Zero-shot classification: name the class whose sentences lie nearest.

Clouds and sentences are compared in a space that both share.
"""

from __future__ import annotations

from typing import ClassVar

from bench.protocols.base import Evaluation, Facts, Form, Protocol, Subject, Task
from bench.protocols.description import (
    FARTHEST,
    NO_VOTES,
    NOT_AUGMENTED,
    SETTING_CHOSEN,
    UNIT_SPHERE,
    Description,
    on_frozen_features,
    set_aside,
    split_stated,
    stated,
)
from bench.protocols.trained_options import check_form
from bench.protocols.zeroshot.options import ZeroshotOptions


class Zeroshot(Protocol[ZeroshotOptions]):
    """Classification by class names, without any training label."""

    name: ClassVar[str] = "zeroshot"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "classification by class names; render-classify runs beside it"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")
    judges_teachers: ClassVar[bool] = True
    opponent: ClassVar[str] = "render-classify"
    labels: ClassVar[bool] = False
    no_transfer: ClassVar[str] = "trains on no labels, so that there is no other set to train on"

    Options: ClassVar[type[ZeroshotOptions]] = ZeroshotOptions

    @classmethod
    def settings(cls, options: ZeroshotOptions) -> tuple[str, ...]:
        """Return the one setting, ``all`` (classes)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> ZeroshotOptions:
        """Return the options of a preset.

        Published patch sizes are used with the authors' network sizes only.
        """
        if form == "fair":
            return cls.Options()
        return cls.Options(form="published", patches="own" if preset in ("smoke", "nano") else "published")

    @classmethod
    def skip(cls, facts: Facts, options: ZeroshotOptions) -> str | None:
        """Return a reason if texts and encoder share no space."""
        return super().skip(facts, options) or no_text(facts)

    @classmethod
    def describe(cls, options: ZeroshotOptions) -> Description:
        """See `Protocol.describe`."""
        if options.form == "fair":
            return on_frozen_features(options.normalise, set_aside(options.validation_fraction), SETTING_CHOSEN)
        return Description(
            points=FARTHEST
            if options.patches == "own"
            else stated(
                "1024, on ScanObjectNN 2048, farthest point sampling",
                sampling="farthest",
                number=1024,
                scanobjectnn=2048,
            ),
            normalisation=stated(
                f"ScanObjectNN: as stored; other data sets: {UNIT_SPHERE}",
                scale="unit sphere",
                except_for="scanobjectnn",
            ),
            augmentation=NOT_AUGMENTED,
            split=split_stated("training and test split of the data set; nothing is set aside", drawn=False),
            votes=NO_VOTES,
            selection=stated("nothing is chosen; test is scored once", chosen=[]),
        )

    @classmethod
    def card(cls, options: ZeroshotOptions) -> str:
        """State what is done."""
        if options.form == "fair":
            return _FAIR.format(options=options) + _COMMON
        ratio = _RATIOS if options.ratio is None else f"the ratio is {options.ratio:g} (release: per data set)"
        return _PUBLISHED.format(kind=_KINDS[options.kind], ratio=ratio, patches=_PATCHES[options.patches]) + _COMMON

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: ZeroshotOptions) -> Evaluation:
        """Judge an encoder with heads, or a teacher alone.

        Raises:
            UsageError: Unknown setting, or a projection that is asked for is not there.
            DataError: Training classes are too small to carve a validation part.
            BenchError: There are no heads or no teacher, or features are not finite.
        """
        from bench.errors import unknown_name
        from bench.protocols.zeroshot.judging import judge

        if setting not in cls.settings(options):
            raise unknown_name("setting of zeroshot", setting, cls.settings(options))
        check_form("zeroshot", options, task)
        return judge(subject, task, options)


def no_text(facts: Facts) -> str | None:
    """Return why encoder and texts share no space, or None."""
    return None if facts.aligned else f"no text-aligned output: {facts.unaligned or 'it shares no space with texts'}"


_FAIR = (
    "Frozen encoder in eval mode, one pass over farthest-point-sampled clouds, no augmentation, no voting. Its image "
    "and text features go through the projections of pretraining into the teacher's space; the feature is the text "
    "projection, the image projection, or ratio x text + image, none normalised. {options.validation_fraction:.0%} of "
    "every training class (stratified, fixed by the split seed, the same for every method) chooses kind "
    "({options.kind}) and ratio from {options.ratios}: the labels of these objects are used for that choice only, so "
    "the number is zero-shot but for one of a handful of settings. ReCon's untuned ratio of 0.25 is reported beside "
    "it, as a row that is no headline. The test split is scored once. Class names are read with spaces for "
    "underscores. With --legacy, selection=test is the kind and ratio with the highest test accuracy. "
)
_PUBLISHED = (
    "As released (docs/reference.md, Zero-shot): the feature is {kind}, none normalised; {ratio}. "
    "Points and patches: {patches}. "
    "ScanObjectNN's clouds stay as stored, all others are brought to the unit sphere. Class names are raw, underscores "
    "kept. Nothing is chosen. The headline is the test split; accuracy_train_and_test is what the release prints and "
    "the paper stars: training and test objects together. selection=test is the kind and ratio with the highest test "
    "accuracy, which is how the ratios of the release look chosen. Deviations: points come from deterministic farthest "
    "point sampling, the release draws them, so its score varies; no training batch is dropped; class names are the "
    "data set's, the release misspells ScanObjectNN's toilet. "
)
_KINDS = {
    "chosen": "ratio x text projection + image projection (the only projection where there is one)",
    "both": "ratio x text projection + image projection",
    "image": "the image projection",
    "text": "the text projection",
}
_RATIOS = (
    "the ratio is given per data set (ModelNet40 0.25, ModelNet10 0.2, OBJ_BG 0.1, OBJ_ONLY 0.15, PB 0.05, others 0.25)"
)
_PATCHES = {
    "own": "the encoder's own (release: 1024 in 64 x 32 on ModelNet, 2048 in 64 x 64 on ScanObjectNN, 32 x 128 on "
    "OBJ_ONLY)",
    "published": "1024 in 64 x 32 on ModelNet and what the paper did not evaluate, 2048 in 64 x 64 on ScanObjectNN, "
    "2048 in 32 x 128 on OBJ_ONLY",
}
_COMMON = (
    "A class is the sum of the teacher's features of 60 sentences (20 openings x 3 endings around its name), not "
    "normalised before the sum; an object gets the class of the highest cosine. A teacher alone (render-classify) is "
    "shown depth views of the same points, and the cosines of its views are averaged. accuracy = share of test objects "
    "right; accuracy_top_5 = share whose class is among the five highest; mean_class_accuracy = mean over classes."
)
