"""``bench list recipes``: published and nano recipes with sources."""

from __future__ import annotations

from itertools import groupby

from pydantic import JsonValue

from bench.api.units import recipe_rows
from bench.cli.common import console
from bench.recipes.row import Row
from bench.spec import Recipe

_ALWAYS = {"epochs", "batch_size", "lr", "weight_decay", "warmup_epochs", "optimiser", "augmentation", "clip_norm"}


def print_recipes() -> None:
    """Print the table, one block per unit."""
    from rich.text import Text

    from bench.report.plain import TextTable

    screen = console()
    for units, rows in groupby(recipe_rows(), key=lambda row: row.units):
        screen.print(Text(", ".join(units), style="bold"))
        cells = [(f"  {_when(row)}", _words(row), Text(row.source, style="dim")) for row in rows]
        screen.print(TextTable(("", " ", "source"), cells, below=("source",)))
        screen.print()


def _when(row: Row) -> str:
    """Return form, method, data, stage and presets of a row."""
    owner = f"{row.method} and methods without one" if row.others else row.method
    presets = "all presets" if len(row.presets) == 5 else ", ".join(row.presets)
    form = "" if row.form == "pretraining" else row.form
    return "; ".join(filter(None, (form, row.stage, owner, row.data, presets)))


def _words(row: Row) -> str:
    """Return the hyperparameters of a row, in words."""
    words = [] if row.recipe is None else _recipe(row.recipe)
    words += [
        f"{name.replace('_', ' ')} {_value(value)}" for name, value in row.figures.items() if value not in (0, [])
    ]
    words += [f"{preset}: {_epochs(epochs)}" for preset, epochs in row.shortened.items()]
    return ", ".join(words)


def _recipe(recipe: Recipe) -> list[str]:
    names = {"adamw": "AdamW", "adam": "Adam"}
    words = [
        _epochs(recipe.epochs),
        f"batch {recipe.batch_size}",
        f"{names[recipe.optimiser]} at {recipe.lr:g}",
        f"weight decay {recipe.weight_decay:g}",
        f"warm-up {recipe.warmup_epochs}",
        "not clipped" if recipe.clip_norm is None else f"clip {recipe.clip_norm:g}",
        " + ".join(recipe.augmentation) or "no augmentation",
    ]
    changed = {n: v for n, v in recipe.model_dump(exclude_defaults=True).items() if n not in _ALWAYS}
    return words + [f"{name} {_value(value)}" for name, value in changed.items()]


def _epochs(count: int) -> str:
    return f"{count} {'epoch' if count == 1 else 'epochs'}"


def _value(value: JsonValue) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " + ".join(map(str, value)) if isinstance(value, list) else f"{value}"
