"""Options of part segmentation."""

from __future__ import annotations

from pydantic import Field

from bench.protocols.segmentation_options import (
    SegmentationOptions,
)
from bench.spec import MOST


class PartSegmentationOptions(SegmentationOptions):
    """Options of part segmentation."""

    normalise: bool = True
    """Centre each cloud and scale it into the unit sphere."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of every training category set aside for choices."""
    objects_per_category: int | None = Field(None, ge=2, le=MOST)
    """Training objects used of each category, the validation part included; null: all."""
