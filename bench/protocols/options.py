"""Options that protocols on frozen features share."""

from __future__ import annotations

from pydantic import Field, field_validator

from bench.protocols.base import ProtocolOptions

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0)
"""Inverse penalties C tried, on features scaled to squared norm 1 (`bench.protocols.logistic.Scaling`)."""


class FrozenOptions(ProtocolOptions):
    """What every head on frozen features shares."""

    feature: str = "transfer"
    """Feature of the encoder the head sees; fixed by the protocol, never tuned per method."""
    normalise: bool = True
    """Centre each cloud and scale it into the unit sphere."""
    strengths: tuple[float, ...] = Field(STRENGTHS, min_length=1)
    """Inverse penalties of the logistic regression that validation chooses from."""
    validation_fraction: float = Field(0.2, gt=0, lt=1)
    """Part of every training class set aside for choices."""

    @field_validator("strengths")
    @classmethod
    def _positive(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < strength < float("inf") for strength in value) or len(set(value)) < len(value):
            raise ValueError("strengths must be positive, finite and different")
        return value
