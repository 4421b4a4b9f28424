"""Zero-shot classification: which class's sentences lie nearest to a cloud in a space shared with texts."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, Field, field_validator

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
from bench.protocols.trained_options import FormOptions, check_form

RATIOS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Weights of the text projection that validation tries, the published ones among them."""


class Zeroshot(Protocol):
    """Classification by class names, without a label to train on."""

    name: ClassVar[str] = "zeroshot"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "classification by class names in a space shared with texts"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")
    judges_teachers: ClassVar[bool] = True
    opponent: ClassVar[str] = "render-classify"
    labels: ClassVar[bool] = False
    no_transfer: ClassVar[str] = "trains on no labels, so that there is no other set to train on"

    class Options(FormOptions):
        """Options of zero-shot classification."""

        fair_only: ClassVar[tuple[str, ...]] = ("ratios", "validation_fraction", "normalise")
        published_only: ClassVar[tuple[str, ...]] = ("patches",)

        kind: Literal["chosen", "both", "image", "text"] = "chosen"
        """Projections that make the feature; ``chosen`` on validation (published form: both, where both are there)."""
        ratio: float | None = Field(None, gt=0)
        """Weight of the text projection beside the image projection; null: chosen on validation (fair), or the
        release's for the data set (published)."""
        ratios: tuple[float, ...] = Field(RATIOS, min_length=1)
        """Ratios that validation chooses from."""
        validation_fraction: float = Field(0.2, gt=0, lt=1)
        """Part of every training class set aside for that choice."""
        normalise: bool = True
        """Centre each cloud and scale it into the unit sphere."""
        patches: Literal["own", "published"] = "own"
        """Points and patches of a cloud: the encoder's own, or the release's for the data set."""

        @field_validator("ratios")
        @classmethod
        def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
            if any(not 0 < ratio < float("inf") for ratio in value) or len(set(value)) < len(value):
                raise ValueError("ratios must be positive, finite and different")
            return value

    @classmethod
    def settings(cls, options: BaseModel) -> tuple[str, ...]:
        """Return the one setting, ``all`` (classes)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> Options:
        """Options of a preset: published patches belong to the authors' sizes of networks."""
        if form == "fair":
            return cls.Options()
        return cls.Options(form="published", patches="own" if preset in ("smoke", "nano") else "published")

    @classmethod
    def skip(cls, facts: Facts, options: BaseModel) -> str | None:
        """Return the reason why an encoder has no way to texts."""
        return super().skip(facts, options) or no_text(facts)

    @classmethod
    def describe(cls, options: BaseModel) -> Description:
        """See `Protocol.describe`."""
        own = cls.Options.model_validate(options.model_dump())
        if own.form == "fair":
            return on_frozen_features(own.normalise, set_aside(own.validation_fraction), SETTING_CHOSEN)
        return Description(
            points=FARTHEST
            if own.patches == "own"
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
    def card(cls, options: BaseModel) -> str:
        """State what is done."""
        own = cls.Options.model_validate(options.model_dump())
        if own.form == "fair":
            return _FAIR.format(own=own) + _COMMON
        ratio = _RATIOS if own.ratio is None else f"the ratio is {own.ratio:g} (release: per data set)"
        return _PUBLISHED.format(kind=_KINDS[own.kind], ratio=ratio, patches=_PATCHES[own.patches]) + _COMMON

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: BaseModel) -> Evaluation:
        """Judge an encoder with heads, or a teacher alone.

        Raises:
            UsageError: Unknown setting, or a projection that is asked for is not there.
            DataError: Training classes are too small to carve a validation part.
            BenchError: There are no heads or no teacher, or features are not finite.
        """
        from bench.errors import unknown_name
        from bench.protocols.zeroshot.judging import judge

        own = cls.Options.model_validate(options.model_dump())
        if setting not in cls.settings(own):
            raise unknown_name("setting of zeroshot", setting, cls.settings(own))
        check_form("zeroshot", own, task)
        return judge(subject, task, own)


def no_text(facts: Facts) -> str | None:
    """Return why an encoder cannot be compared with texts; None where it can."""
    return None if facts.aligned else f"no text-aligned output: {facts.unaligned or 'it shares no space with texts'}"


_FAIR = (
    "Frozen encoder in eval mode, one pass over farthest-point-sampled clouds, no augmentation, no voting. Its image "
    "and text features go through the projections of pretraining into the teacher's space; the feature is the text "
    "projection, the image projection, or ratio x text + image, none normalised. {own.validation_fraction:.0%} of "
    "every training class (stratified, fixed by the split seed, the same for every method) chooses kind ({own.kind}) "
    "and ratio from {own.ratios}: the labels of these objects are used for that choice only, so the number is "
    "zero-shot but for one of a handful of settings. ReCon's untuned ratio of 0.25 is reported beside it, as a row "
    "that is no headline. The test split is scored once. Class names are read with spaces for underscores. With "
    "--legacy, selection=test is the kind and ratio with the highest test accuracy. "
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
