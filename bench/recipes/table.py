"""All recipes, those of methods first."""

from __future__ import annotations

from bench.recipes.downstream import DOWNSTREAM
from bench.recipes.pretraining import PRETRAINING
from bench.recipes.row import Row

RECIPES: tuple[Row, ...] = (*PRETRAINING, *DOWNSTREAM)
