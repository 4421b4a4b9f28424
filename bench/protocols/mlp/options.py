"""Options of the MLP-3 probe."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from bench.protocols.trained_options import PublishedTraining
from bench.recipes.downstream import fair_recipe
from bench.spec import Recipe


class MlpOptions(PublishedTraining):
    """Options of the MLP-3 probe."""

    fair_only: ClassVar[tuple[str, ...]] = ("normalise",)

    feature: str = "transfer"
    """Feature of the encoder the head sees; fixed by the protocol, never tuned per method."""
    normalise: bool = True
    """Centre each cloud and scale it into the unit sphere."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of every training class set aside for choices."""
    recipe: Recipe | None = fair_recipe("mlp")
    """Recipe of the head; null takes the authors' by method and data set (published form)."""

    @model_validator(mode="after")
    def _fair_has_one_recipe(self) -> MlpOptions:
        if self.form == "fair" and self.recipe is None:
            raise ValueError("the fair form trains every method by one stated recipe; recipe may not be null")
        return self
