"""Options of few-shot classification."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from bench.protocols.options import FrozenOptions
from bench.protocols.trained_options import PublishedTraining
from bench.recipes.downstream import fair_recipe
from bench.spec import Recipe

SETTINGS = ("5w10s", "5w20s", "10w10s", "10w20s")


class FewShotOptions(FrozenOptions, PublishedTraining):
    """Options of few-shot classification."""

    fair_only: ClassVar[tuple[str, ...]] = ("strengths", "normalise", "full_recipe", "mlp_recipe")
    published_only: ClassVar[tuple[str, ...]] = ("recipe", "published_epochs", "episodes")

    head: Literal["linear", "mlp", "svm", "full"] = "full"
    """``linear`` logistic regression, ``svm`` or ``mlp`` MLP-3 on frozen features; ``full`` fine-tunes everything.
    In the published form ``linear`` and ``mlp`` train the class token too."""
    episodes: Literal["folds", "crosspoint"] = "folds"
    """Published form: ``crosspoint`` draws supports and queries from the training split, as CrossPoint does."""
    ways_shots: tuple[str, ...] = Field(SETTINGS, min_length=1)
    """Settings offered."""
    folds: int = Field(10, ge=1, le=1_000)
    queries: int = Field(20, ge=1, le=1_000)
    """Queries per class, from the test split; classes with fewer give all they have."""
    full_recipe: Recipe = fair_recipe("fewshot", stage="full")
    mlp_recipe: Recipe = fair_recipe("fewshot", stage="mlp")
    """On cached features, so that there is nothing to augment."""

    @model_validator(mode="after")
    def _forms_have_their_heads(self) -> FewShotOptions:
        if (self.episodes == "crosspoint") != (self.form == "published" and self.head == "svm"):
            raise ValueError("head=svm with episodes=crosspoint is CrossPoint's published form: give both or none")
        return self
