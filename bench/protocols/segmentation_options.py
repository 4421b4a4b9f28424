"""Options, recipes and card texts shared by both segmentations."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from bench.protocols.base import Form, ProtocolOptions
from bench.protocols.options import recipe_words
from bench.protocols.trained_options import PublishedTraining
from bench.recipes.row import shortened
from bench.spec import MOST_POINTS, WIDEST, FrozenDense, Recipe

PILOT_SHARE = 8
"""Of several candidates each is first trained for an eighth of the epochs; the best on validation starts afresh."""
SMALL_PRESETS = ("smoke", "nano")
"""Presets whose backbone is no published one: they keep its points and patches, and take narrow heads."""


class HeadSizes(ProtocolOptions):
    """Widths of the segmentation head; defaults are the published ones."""

    hidden: int | None = Field(None, ge=1, le=WIDEST)
    """First layer of the propagation to points; null: four times the encoder's width."""
    propagated: int = Field(1024, ge=1, le=WIDEST)
    category: int = Field(64, ge=1, le=WIDEST)
    mixed: int = Field(512, ge=1, le=WIDEST)
    narrow: int = Field(256, ge=1, le=WIDEST)


NARROW = HeadSizes(hidden=256, propagated=128, category=16, mixed=128, narrow=64)


class SegmentationOptions(PublishedTraining):
    """Options of part and semantic segmentation."""

    points: int | None = Field(None, ge=1, le=MOST_POINTS)
    """Points that are labelled at once; null: as many as the backbone sees."""
    groups: int | None = Field(None, ge=1, le=MOST_POINTS)
    """Patches among them; null: the backbone's number."""
    group_size: int | None = Field(None, ge=1, le=MOST_POINTS)
    """Points of a patch; null: the backbone's number."""
    frozen: FrozenDense = Field("no", exclude_if=lambda frozen: frozen == "no")
    """``linear``: one linear layer on the interpolated tokens of the frozen encoder; ``decoder``: the usual head on the
    frozen encoder; ``no``: everything is trained (fair form)."""
    head: HeadSizes = HeadSizes()
    dropout: float = Field(0.5, ge=0, lt=1)
    fair_only: ClassVar[tuple[str, ...]] = ("frozen",)

    reference: bool = False
    """Step twice with the same gradients, first unclipped, as the released loops do."""


def recipe_of(options: PublishedTraining, released: Recipe) -> Recipe:
    """Return the recipe: the one given, else the released one.

    The released one is shortened if the options say so.
    """
    return options.recipe or shortened(released, options.published_epochs)


def pilot_recipe(recipe: Recipe) -> Recipe:
    """Return a short recipe for comparing several candidates."""
    return shortened(recipe, -(-recipe.epochs // PILOT_SHARE))


def sizes(preset: str) -> dict[str, object]:
    """Return points, patches and head widths of a preset.

    Published for the published backbones, narrow for the small ones.
    """
    if preset in SMALL_PRESETS:
        return {"head": NARROW}
    return {"points": 2048, "groups": 128, "group_size": 32}


_KEPT = "the encoder stays in evaluation mode and is compared bit by bit afterwards"


def training_words(options: SegmentationOptions, fair: str, published: str) -> str:
    """Describe the training in sentences for the card."""
    form: Form = options.form
    if options.recipe is not None:
        words = recipe_words(options.recipe) + (", the same for every method" if form == "fair" else "")
    else:
        shorter = "" if options.published_epochs is None else f", shortened to {options.published_epochs} epochs"
        words = f"{published}{shorter}, on the released loops' schedule (two epochs at the warm-up rate)"
    steps = (
        "Every iteration steps twice with the same gradients, the second time clipped, as the releases do."
        if options.reference
        else "One optimiser step per iteration (the releases take two with the same gradients: reference=true)."
    )
    trained = {
        "no": f"Encoder and head (dropout {options.dropout:g}) are trained together",
        "linear": "One linear layer on the interpolated tokens of the frozen encoder is trained, without category or "
        f"summary of the cloud; {_KEPT}",
        "decoder": f"The head (dropout {options.dropout:g}) is trained on the frozen encoder; {_KEPT}",
    }
    return f"{trained[options.frozen]}: {words}; {fair}. {steps}"


PILOT_WORDS = (
    f"Where there are several candidates (scratch) each is first trained for an eighth (1/{PILOT_SHARE}) of the "
    "epochs and the best on validation starts afresh."
)
