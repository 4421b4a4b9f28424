"""Recipes of the papers' downstream classification, by method and kind of data set (docs/reference.md#fine-tuning).

Recorded from the released configurations. A method whose paper has none takes Point-MAE's for fine-tuning, as the
papers' own "from scratch" rows do, and ACT's for probes, Point-MAE having none there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bench.spec import Recipe

if TYPE_CHECKING:
    from bench.data.base import Dataset

Kind = Literal["scanobjectnn", "modelnet"]

SCALE_TRANSLATE = ("scale_translate",)
ROTATE = ("rotate_y",)
VOTES, VOTE_REPEATS = 10, 299
"""A prediction is the mean over 10 random draws of points; the whole is repeated and the best repeat is reported."""

MANY = 8192
"""Points of the 8k variants."""

COMMON = Recipe(
    epochs=300,
    batch_size=32,
    lr=5e-4,
    weight_decay=0.05,
    warmup_epochs=10,
    clip_norm=10.0,
    reference_schedule=True,
)


@dataclass(frozen=True)
class Published:
    """Training of a classifier as released.

    Attributes:
        source: Whose recipe it is, on which kind of data.
        recipe: Its recipe; the schedule is the released loop's, 301 epochs for 300.
        drop_path: Largest rate of stochastic depth, rising linearly over the blocks.
        normalise: Whether the release centres clouds and scales them into the unit sphere.
        vote_augmentation: What each vote does to its draw of points.
    """

    source: str
    recipe: Recipe
    drop_path: float
    normalise: bool
    vote_augmentation: tuple[str, ...]


def data_kind(dataset: Dataset | None) -> Kind:
    """Return which of the papers' two data sets applies.

    ModelNet by name, ScanObjectNN for every other.
    """
    return "modelnet" if dataset is not None and dataset.name.startswith("modelnet") else "scanobjectnn"


def finetune_recipe(method: str, dataset: Dataset | None) -> Published:
    """Return the released recipe of fine-tuning (docs/reference.md#fine-tuning and docs/reference.md#two-tower).

    Args:
        method: Name of the method.
        dataset: What is fine-tuned on.
    """
    kind = data_kind(dataset)
    modelnet = kind == "modelnet"
    owner = method if method in ("act", "recon", "two-tower") else "point-mae"
    changes: dict[str, object] = {"augmentation": ROTATE if owner == "act" else SCALE_TRANSLATE}
    votes: tuple[str, ...] = SCALE_TRANSLATE
    if owner in ("recon", "two-tower"):
        changes = {
            "lr": 5e-5 if owner == "two-tower" else 1e-5 if modelnet else 2e-5,
            "head_lr_scale": 10.0,
            "augmentation": SCALE_TRANSLATE if modelnet else ROTATE,
        }
        votes = ("scale_axes",) if modelnet else ROTATE if _hardest(dataset) else ()
    return Published(
        source=f"{owner} on {kind}",
        recipe=COMMON.model_copy(update=changes),
        drop_path=0.2 if owner in ("recon", "two-tower") else 0.1,
        normalise=modelnet,
        vote_augmentation=votes,
    )


def probe_recipe(method: str, dataset: Dataset | None, points: int) -> Published:
    """Return the released recipe of probes (docs/reference.md#linear-and-mlp-probes).

    Args:
        method: Name of the method.
        dataset: What is judged on.
        points: Points the encoder sees; ReCon halves the rate for 8,192.
    """
    tuned = finetune_recipe("recon" if method == "recon" else "act", dataset)
    changes = {"lr": 5e-5 if points >= MANY else 1e-4, "head_lr_scale": 10.0} if method == "recon" else {"lr": 1e-3}
    owner = "recon" if method == "recon" else "act"
    return Published(
        source=f"{owner} on {data_kind(dataset)}",
        recipe=tuned.recipe.model_copy(update=changes),
        drop_path=tuned.drop_path,
        normalise=tuned.normalise,
        vote_augmentation=(),
    )


def shortened(recipe: Recipe, epochs: int | None) -> Recipe:
    """Bring a recipe to `epochs` epochs, its warm-up in proportion; None leaves it."""
    if epochs is None or epochs == recipe.epochs:
        return recipe
    warmup = round(recipe.warmup_epochs * epochs / recipe.epochs)
    return recipe.model_copy(update={"epochs": epochs, "warmup_epochs": warmup})


def _hardest(dataset: Dataset | None) -> bool:
    """Return whether a data set is PB_T50_RS, whose votes are rotated."""
    return dataset is not None and getattr(dataset.options, "variant", "") == "pb_t50_rs"
