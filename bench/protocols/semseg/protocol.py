"""Semantic segmentation of rooms in an area held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from bench.protocols.base import Evaluation, Facts, Form, Protocol, Subject, Task
from bench.protocols.description import EPOCH_CHOSEN, SPLIT_SEED, Description, augmented, split_stated, stated
from bench.protocols.segmentation_options import (
    PILOT_WORDS,
    sizes,
    training_words,
)
from bench.protocols.semseg.options import SemanticSegmentationOptions
from bench.recipes.downstream import PARTS_AUGMENTATION, fair_recipe, released_epochs


class SemanticSegmentation(Protocol[SemanticSegmentationOptions]):
    """Encoder and segmentation head, fine-tuned on blocks of rooms.

    Scored on whole rooms of the held-out area.
    """

    name: ClassVar[str] = "semseg"
    revision: ClassVar[int] = 2
    summary: ClassVar[str] = "class of each point of whole rooms, one area held out"
    metric: ClassVar[str] = "miou"
    forms: ClassVar[tuple[Form, ...]] = ("fair", "published")
    no_transfer: ClassVar[str] = "labels rooms, which are not matched between data sets"

    Options: ClassVar[type[SemanticSegmentationOptions]] = SemanticSegmentationOptions

    @classmethod
    def settings(cls, options: SemanticSegmentationOptions) -> tuple[str, ...]:
        """Return the one setting, ``all`` (training rooms)."""
        return ("all",)

    @classmethod
    def defaults(cls, preset: str, form: Form = "fair") -> SemanticSegmentationOptions:
        """Return the options of a preset.

        Released sizes and epochs, but few blocks and epochs for ``smoke`` and ``nano``.
        """
        blocks = {"smoke": 32, "nano": 480}.get(preset)
        common = {**sizes(preset), "form": form, "blocks_per_epoch": blocks}
        if form == "published":
            return cls.parse(
                {**common, "published_epochs": released_epochs("semseg", preset), "votes": 3, "vote": "label"}
            )
        return cls.parse({**common, "recipe": fair_recipe("semseg", preset)})

    @classmethod
    def skip(cls, facts: Facts, options: SemanticSegmentationOptions) -> str | None:
        """Return a reason if the data set has no rooms."""
        return None if facts.rooms else "the data set has no rooms"

    @classmethod
    def trains_encoder(cls, options: SemanticSegmentationOptions) -> bool:
        """Return True: the whole encoder is trained."""
        return True

    @classmethod
    def idle(cls, options: SemanticSegmentationOptions) -> Mapping[str, str]:
        """See `Protocol.idle`."""
        carved = getattr(options, "validation_area", None) is None
        found = {"head.category": "in rooms, which have no category"}
        return found if carved else {**found, "validation_fraction": "beside validation_area, a whole area"}

    @classmethod
    def describe(cls, options: SemanticSegmentationOptions) -> Description:
        """See `Protocol.describe`."""
        count = "as many as the backbone sees" if options.points is None else str(options.points)
        share, area = options.validation_fraction, options.validation_area
        part = f"{share:.0%} of every other area's rooms" if area is None else f"area {area}"
        return Description(
            points=stated(
                f"blocks of 1 m x 1 m, {count} points each, coordinates only", number=options.points, block_metres=1.0
            ),
            normalisation=stated("x and y minus the middle of the block, z as stored", scale="block"),
            augmentation=augmented(PARTS_AUGMENTATION if options.recipe is None else options.recipe.augmentation),
            split=split_stated(
                f"one area for test, {part} for validation, {SPLIT_SEED}",
                drawn=True,
                set_aside=share if area is None else None,
                validation_area=area,
            ),
            votes=stated(
                f"{options.votes} over sliding windows of a room, adding {options.vote}",
                votes=options.votes,
                adding=options.vote,
            ),
            selection=EPOCH_CHOSEN,
        )

    @classmethod
    def card(cls, options: SemanticSegmentationOptions) -> str:
        """State what is done."""
        points = "as many points as the backbone sees" if options.points is None else f"{options.points} points"
        validation = (
            f"{options.validation_fraction:.0%} of every other area's rooms are"
            if options.validation_area is None
            else f"Area {options.validation_area} is"
        )
        epoch = (
            "as many as hold all points once"
            if options.blocks_per_epoch is None
            else f"{options.blocks_per_epoch} blocks"
        )
        adding = "probabilities" if options.vote == "probability" else "votes for the likeliest class"
        return (
            "Rooms of one area (Area 5 unless the data set's test_area says otherwise) are held out; "
            f"{validation} set aside for validation, fixed by the split seed and the same for every method. A training "
            f"block is a column of 1 m x 1 m about a random point of a room drawn in proportion to its points, with "
            f"{points} of it; an epoch has {epoch}. Only coordinates are seen, x and y minus the middle, z up as "
            "stored. Tokens of three depths of the encoder, their maximum and mean and its queries are propagated to "
            "the points; loss: negative log-likelihood with class weights (largest frequency / frequency)^(1/3). "
            + training_words(
                options,
                "scale U(0.8, 1.25) and shift U(-0.1, 0.1)",
                "ACT's recipe (AdamW, 60 epochs of batches of 32, learning rate 2e-4)",
            )
            + f" {PILOT_WORDS} Each epoch is validated on one block of every 1 m tile of the validation rooms (block "
            "mIoU); the best is scored once on whole test rooms, the last epoch beside it: a window of 1 m slides by "
            f"0.5 m, its points are dealt into blocks, {options.votes} time(s), and {adding} add up over all answers "
            "of a point. miou = mean over the classes that occur or are predicted, over the points of all test rooms; "
            "macc = mean over classes of the share found; oa = share of points right. Not done as published: the "
            "release chooses the epoch on random blocks of the test area "
            f"({'--legacy adds that column' if options.form == 'fair' else 'here: selection=test'}, by the tiles' "
            "block mIoU)."
        )

    @classmethod
    def evaluate(cls, subject: Subject, task: Task, setting: str, options: SemanticSegmentationOptions) -> Evaluation:
        """Judge a subject.

        Raises:
            UsageError: Unknown setting, no rooms, or the encoder hands out no tokens of its blocks.
            DataError: There are no rooms in or outside the test area, or none to validate on.
            BenchError: Training diverged.
            Interrupted: Asked to stop; the state is saved.
        """
        from bench.errors import UsageError, unknown_name
        from bench.protocols.semseg.judging import judge_rooms
        from bench.protocols.trained_options import check_form

        if setting not in cls.settings(options):
            raise unknown_name("setting of semseg", setting, cls.settings(options))
        check_form(cls.name, options, task)
        if task.dataset is None:
            raise UsageError("semseg: the data set has no rooms; choose one that has, e.g. shapes-rooms")
        return judge_rooms(subject, task, task.dataset, options)
