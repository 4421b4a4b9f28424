"""Part segmentation: which part of its object each point belongs to."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, Field

from bench.protocols.base import Evaluation, Facts, Form, Protocol, Subject, Task
from bench.protocols.description import EPOCH_CHOSEN, NO_VOTES, Description, augmented, normalised, set_aside, stated
from bench.protocols.segmentation_options import (
    PILOT_WORDS,
    SegmentationOptions,
    sizes,
    training_words,
)
from bench.recipes.downstream import PARTS_AUGMENTATION, fair_recipe, released_epochs
from bench.spec import MOST


class PartSegmentation(Protocol):
    """Encoder and segmentation head, fine-tuned; judged by the IoU of parts over objects and categories."""

    name: ClassVar[str] = "partseg"
    revision: ClassVar[int] = 2
    summary: ClassVar[str] = "part of each point, fine-tuned, by instance and class mIoU"
    metric: ClassVar[str] = "instance_miou"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")
    no_transfer: ClassVar[str] = "labels parts, which are not matched between data sets"

    class Options(SegmentationOptions):
        """Options of part segmentation."""

        normalise: bool = True
        """Centre each cloud and scale it into the unit sphere."""
        validation_fraction: float = Field(0.2, gt=0, lt=1)
        """Part of every training category set aside for choices."""
        objects_per_category: int | None = Field(None, ge=2, le=MOST)
        """Training objects used of each category, the validation part included; null: all."""

    @classmethod
    def settings(cls, options: BaseModel) -> tuple[str, ...]:
        """Return the one setting, ``all`` (training labels)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> Options:
        """Options of a preset: released sizes and epochs, but few objects and epochs for ``smoke`` and ``nano``."""
        limit = {"smoke": 4, "nano": 12}.get(preset)
        common = {**sizes(preset), "form": form, "objects_per_category": limit}
        if form == "published":
            return cls.Options.model_validate({**common, "published_epochs": released_epochs("partseg", preset)})
        return cls.Options.model_validate({**common, "recipe": fair_recipe("partseg", preset)})

    @classmethod
    def skip(cls, facts: Facts, options: BaseModel) -> str | None:
        """Say so where the data set labels no parts."""
        return super().skip(facts, options) or (None if facts.parts else "the data set has no part labels")

    @classmethod
    def trains_encoder(cls, options: BaseModel) -> bool:
        """See `Protocol.trains_encoder`: all of it."""
        return True

    @classmethod
    def describe(cls, options: BaseModel) -> Description:
        """See `Protocol.describe`."""
        own = cls.Options.model_validate(options.model_dump())
        count = "as many as the backbone sees" if own.points is None else str(own.points)
        return Description(
            points=stated(
                f"{count}; validation and test: farthest point sampling, the same in every epoch",
                number=own.points,
                sampling="farthest",
                training="drawn from farthest" if own.form == "fair" else "drawn with replacement",
            ),
            normalisation=normalised(own.normalise),
            augmentation=augmented(PARTS_AUGMENTATION if own.recipe is None else own.recipe.augmentation),
            split=set_aside(own.validation_fraction, "training category"),
            votes=NO_VOTES,
            selection=EPOCH_CHOSEN,
        )

    @classmethod
    def card(cls, options: BaseModel) -> str:
        """State what is done."""
        own = cls.Options.model_validate(options.model_dump())
        points = "as many points as the backbone sees" if own.points is None else f"{own.points} points"
        fair = own.form == "fair"
        drawn = (
            "each step draws its points from a farthest-point sample of 1.2 times as many, or of all the data set holds"
            if fair
            else "each step draws its points with replacement from all that the data set holds of an object"
        )
        limit = (
            "" if own.objects_per_category is None else f" {own.objects_per_category} training objects per category."
        )
        return (
            f"Tokens of three depths of the encoder, their maximum and mean, its queries and the object's category are "
            f"propagated to {points}{' in the unit sphere' if own.normalise else ''}, each of which gets a part; the "
            "category is given, also at test time, and only its parts can be answered. Points without a part (clutter)"
            f" are seen but not judged.{limit} {own.validation_fraction:.0%} of every training category is set aside "
            "for validation (stratified, fixed by the split seed, the same for every method). "
            + training_words(
                own,
                f"scale U(0.8, 1.25) and shift U(-0.1, 0.1), {drawn}",
                "the authors' recipe (Point-MAE, ACT: AdamW, 300 epochs of batches of 16, learning rate 2e-4; ReCon: "
                "1e-4, times 10 in the head's linear layers; other methods Point-MAE's, scratch that of its "
                "architecture)",
            )
            + f" {PILOT_WORDS} Validation and test points are the same in every epoch (farthest point sampling from "
            "the first; the releases draw new ones with replacement). The epoch with the highest instance mIoU on "
            "validation is scored once on the test split, the last epoch beside it. instance_miou = mean over objects "
            "of the mean IoU of their category's parts, 1 for a part neither there nor predicted; class_miou = mean "
            "over categories; point_accuracy = share of points right. Not done as published: the releases train on "
            "train and validation together, choose the epoch by instance mIoU on test "
            f"({'--legacy adds that column' if fair else 'here: selection=test'}), and may print the best class mIoU "
            "of another epoch beside it; CrossPoint's own network, DGCNN with a head of its own, loss and optimiser, "
            "is not used: its encoder gets the same head."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: BaseModel) -> Evaluation:
        """Judge a subject.

        Raises:
            UsageError: Unknown setting, no part labels, or the encoder hands out no tokens of its blocks.
            DataError: No category has two training objects.
            BenchError: Training diverged.
            Interrupted: Asked to stop; the state is saved.
        """
        from bench.errors import UsageError, unknown_name
        from bench.protocols.partseg.judging import judge_parts
        from bench.protocols.trained_options import check_form

        own = cls.Options.model_validate(options.model_dump())
        if setting not in cls.settings(own):
            raise unknown_name("setting of partseg", setting, cls.settings(own))
        check_form(cls.name, own, task)
        if task.train.parts is None:
            raise UsageError("partseg: the data set has no part labels; choose one that labels parts, e.g. shapes-cad")
        return judge_parts(subject, task, own)
