"""Options of zero-shot classification."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from bench.protocols.trained_options import FormOptions

RATIOS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Weights of the text projection that validation tries, the published ones among them."""


class ZeroshotOptions(FormOptions):
    """Options of zero-shot classification."""

    fair_only: ClassVar[tuple[str, ...]] = ("ratios", "validation_fraction", "normalise")
    published_only: ClassVar[tuple[str, ...]] = ("patches",)

    kind: Literal["chosen", "both", "image", "text"] = "chosen"
    """Projections that make the feature; ``chosen`` on validation (published form: both, where both are there)."""
    ratio: float | None = Field(None, gt=0)
    """Weight of the text projection beside the image projection; null: chosen on validation (fair), or the
    release's for the data set (published)."""
    ratios: tuple[float, ...] = Field(RATIOS, min_length=1)
    """Ratios that validation chooses from."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of every training class set aside for that choice."""
    normalise: bool = True
    """Centre each cloud and scale it into the unit sphere."""
    patches: Literal["own", "published"] = "own"
    """Points and patches of a cloud: the encoder's own, or the release's for the data set."""

    @field_validator("ratios")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < ratio < float("inf") for ratio in value) or len(set(value)) < len(value):
            raise ValueError("ratios must be positive, finite and different")
        return value
