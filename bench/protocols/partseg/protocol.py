"""Part segmentation: find the part that each point shows."""

from __future__ import annotations

from typing import ClassVar

from bench.protocols.base import Evaluation, Facts, Form, Protocol, Subject, Task
from bench.protocols.description import EPOCH_CHOSEN, NO_VOTES, Description, augmented, normalised, set_aside, stated
from bench.protocols.partseg.options import PartSegmentationOptions
from bench.protocols.segmentation_options import (
    PILOT_WORDS,
    sizes,
    training_words,
)
from bench.recipes.downstream import PARTS_AUGMENTATION, fair_recipe, released_epochs


class PartSegmentation(Protocol[PartSegmentationOptions]):
    """Encoder and segmentation head, fine-tuned; scored by part IoU.

    IoU is averaged over objects and over categories.
    """

    name: ClassVar[str] = "partseg"
    revision: ClassVar[int] = 2
    summary: ClassVar[str] = "part of each point, fine-tuned, by instance and class mIoU"
    metric: ClassVar[str] = "instance_miou"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")
    no_transfer: ClassVar[str] = "labels parts, which are not matched between data sets"

    Options: ClassVar[type[PartSegmentationOptions]] = PartSegmentationOptions

    @classmethod
    def settings(cls, options: PartSegmentationOptions) -> tuple[str, ...]:
        """Return the one setting, ``all`` (training labels)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> PartSegmentationOptions:
        """Return the options of a preset.

        Released sizes and epochs, but few objects and epochs for ``smoke`` and ``nano``.
        """
        limit = {"smoke": 4, "nano": 12}.get(preset)
        common = {**sizes(preset), "form": form, "objects_per_category": limit}
        if form == "published":
            return cls.parse({**common, "published_epochs": released_epochs("partseg", preset)})
        return cls.parse({**common, "recipe": fair_recipe("partseg", preset)})

    @classmethod
    def skip(cls, facts: Facts, options: PartSegmentationOptions) -> str | None:
        """Return a reason if the data set labels no parts."""
        return super().skip(facts, options) or (None if facts.parts else "the data set has no part labels")

    @classmethod
    def trains_encoder(cls, options: PartSegmentationOptions) -> bool:
        """Return True: the whole encoder is trained."""
        return True

    @classmethod
    def describe(cls, options: PartSegmentationOptions) -> Description:
        """See `Protocol.describe`."""
        count = "as many as the backbone sees" if options.points is None else str(options.points)
        return Description(
            points=stated(
                f"{count}; validation and test: farthest point sampling, the same in every epoch",
                number=options.points,
                sampling="farthest",
                training="drawn from farthest" if options.form == "fair" else "drawn with replacement",
            ),
            normalisation=normalised(options.normalise),
            augmentation=augmented(PARTS_AUGMENTATION if options.recipe is None else options.recipe.augmentation),
            split=set_aside(options.validation_fraction, "training category"),
            votes=NO_VOTES,
            selection=EPOCH_CHOSEN,
        )

    @classmethod
    def card(cls, options: PartSegmentationOptions) -> str:
        """State what is done."""
        points = "as many points as the backbone sees" if options.points is None else f"{options.points} points"
        fair = options.form == "fair"
        drawn = (
            "each step draws its points from a farthest-point sample of 1.2 times as many, or of all the data set holds"
            if fair
            else "each step draws its points with replacement from all that the data set holds of an object"
        )
        limit = (
            ""
            if options.objects_per_category is None
            else f" {options.objects_per_category} training objects per category."
        )
        return (
            f"Tokens of three depths of the encoder, their maximum and mean, its queries and the object's category are "
            f"propagated to {points}{' in the unit sphere' if options.normalise else ''}, each of which gets a part; "
            "the category is given, also at test time, and only its parts can be answered. Points without a part "
            f"(clutter) are seen but not judged.{limit} {options.validation_fraction:.0%} of every training category "
            "is set aside for validation (stratified, fixed by the split seed, the same for every method). "
            + training_words(
                options,
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
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: PartSegmentationOptions) -> Evaluation:
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

        if setting not in cls.settings(options):
            raise unknown_name("setting of partseg", setting, cls.settings(options))
        check_form(cls.name, options, task)
        if task.train.parts is None:
            raise UsageError("partseg: the data set has no part labels; choose one that labels parts, e.g. shapes-cad")
        return judge_parts(subject, task, options)
