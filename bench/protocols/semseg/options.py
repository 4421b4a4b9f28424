"""Options of semantic segmentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bench.protocols.segmentation_options import (
    SegmentationOptions,
)
from bench.spec import MOST


class SemanticSegmentationOptions(SegmentationOptions):
    """Options of semantic segmentation.

    The test area is an option of the data set, ``test_area``.
    """

    validation_area: int | None = Field(None, ge=1, le=1_000)
    """Area that is validated on; null carves rooms from every training area."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Share of the rooms carved."""
    blocks_per_epoch: int | None = Field(None, ge=2, le=MOST)
    """Training blocks of an epoch; null: as many as hold all training points once."""
    votes: int = Field(1, ge=1, le=1_000)
    """Number of predictions for every window of a room, each with another random partition into blocks."""
    vote: Literal["probability", "label"] = "probability"
    """Quantity summed over predictions: probabilities, or one vote for the likeliest class."""
