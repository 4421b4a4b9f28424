"""Pretraining recipes, by method and preset.

The specification of a run holds the resolved recipe, so this module is not part of its code fingerprint.
"""

from __future__ import annotations

from bench.recipes.row import AUTHORS, NANO, SMOKE, Row, in_unit_sphere
from bench.spec import Recipe

_PATH = "a path check: one epoch, its numbers mean nothing"
_NANO = "docs/nano.md#what-was-fixed"

_CROSSPOINT_VIEWS = (
    "unit_sphere",
    "scale_half_to_double",
    "rotate_y",
    "translate_by_extent",
    "jitter",
    "drop_to_first",
)
"""Both views, in this order (docs/reference.md#crosspoint-augmentation)."""


def _row(units: tuple[str, ...], presets: tuple[str, ...], source: str, recipe: Recipe) -> Row:
    sphered = in_unit_sphere(recipe) if presets == AUTHORS else recipe
    return Row(units=units, source=source, recipe=sphered, form="pretraining", presets=presets)


_GUIDED = ("recon", "multitask", "two-tower")
_MASKED = ("point-mae", "act")

_GUIDED_RELEASE = Recipe(epochs=300, batch_size=128, lr=5e-4, warmup_epochs=10, augmentation=("rotate_y",))
_MASKED_RELEASE = Recipe(epochs=300, batch_size=128, lr=1e-3, warmup_epochs=10, augmentation=("scale_translate",))

PRETRAINING: tuple[Row, ...] = (
    _row(("recon",), AUTHORS, "docs/reference.md#recon-pretraining", _GUIDED_RELEASE),
    _row(("multitask",), AUTHORS, "ReCon's (no release): docs/reference.md#vanilla-multi-task", _GUIDED_RELEASE),
    _row(("two-tower",), AUTHORS, "docs/reference.md#two-tower", _GUIDED_RELEASE),
    _row(
        _GUIDED,
        NANO,
        "rate, batch, augmentation: docs/nano.md#the-search; length: " + _NANO,
        Recipe(epochs=10, batch_size=64, lr=2e-3, warmup_epochs=2, augmentation=("rotate_y",), clip_norm=10.0),
    ),
    _row(
        _GUIDED,
        SMOKE,
        _PATH,
        Recipe(epochs=1, batch_size=16, lr=1e-3, warmup_epochs=0, augmentation=("rotate_y",)),
    ),
    _row(("point-mae",), AUTHORS, "docs/reference.md#point-mae-pretraining", _MASKED_RELEASE),
    _row(("act",), AUTHORS, "docs/reference.md#act-student", _MASKED_RELEASE),
    _row(
        _MASKED,
        NANO,
        "rate, batch, augmentation: docs/nano.md#the-search; length: " + _NANO,
        Recipe(epochs=10, batch_size=64, lr=2e-3, warmup_epochs=2, augmentation=("scale_translate",), clip_norm=10.0),
    ),
    _row(
        _MASKED,
        SMOKE,
        _PATH,
        Recipe(epochs=1, batch_size=16, lr=1e-3, warmup_epochs=0, augmentation=("scale_translate",)),
    ),
    _row(
        ("act-dvae",),
        AUTHORS,
        "docs/reference.md#act-autoencoder",
        Recipe(epochs=300, batch_size=64, lr=5e-4, weight_decay=5e-4, warmup_epochs=10),
    ),
    _row(
        ("act-dvae",),
        NANO,
        f"ours, not searched; weight decay as released (docs/reference.md#act-autoencoder), sizes: {_NANO}",
        Recipe(epochs=7, batch_size=64, lr=1e-2, weight_decay=5e-4, warmup_epochs=1, clip_norm=10.0),
    ),
    _row(("act-dvae",), SMOKE, _PATH, Recipe(epochs=1, batch_size=16, lr=1e-3, weight_decay=5e-4, warmup_epochs=0)),
    _row(
        ("crosspoint",),
        AUTHORS,
        "docs/reference.md#crosspoint-training",
        Recipe(
            epochs=100,
            batch_size=20,
            lr=1e-3,
            weight_decay=1e-6,
            warmup_epochs=0,
            min_lr=0.0,
            optimiser="adam",
            augmentation=_CROSSPOINT_VIEWS,
        ),
    ),
    _row(
        ("crosspoint",),
        NANO,
        f"ours, not searched; rate as released (docs/reference.md#crosspoint-training), length: {_NANO}",
        Recipe(epochs=10, batch_size=64, lr=1e-3, warmup_epochs=1, augmentation=_CROSSPOINT_VIEWS, clip_norm=10.0),
    ),
    _row(
        ("crosspoint",),
        SMOKE,
        _PATH,
        Recipe(epochs=1, batch_size=16, lr=1e-3, warmup_epochs=0, augmentation=_CROSSPOINT_VIEWS),
    ),
)
"""Rows of all methods that are trained; what a release's figures are compared with is in docs/reference.md."""


def pretraining_recipes(method: str) -> dict[str, Recipe]:
    """Return a method's recipes by preset."""
    rows = [row for row in PRETRAINING if method in row.units]
    return {preset: row.recipe for row in rows for preset in row.presets if row.recipe is not None}
