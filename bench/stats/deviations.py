"""Deviations of runs from their presets, named beside their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_LIMIT = 3
"""Deviations that a heading names; the others are counted there and listed below it."""
_OF_PRETRAINING = (
    "recipe.",
    "first_stage.",
    "method.",
    "teacher",
    "text_teacher",
    "live_teacher",
    "captions",
    "pretrain_data.",
    "pretrain_fraction",
    "budget",
)
"""Fields that encoders without pretraining do not have."""


ALL = "defaults"
"""Field that stands for all of them where the defaults cannot be known, since a plugin is missing."""


@dataclass(frozen=True, order=True)
class Deviation:
    """A field of a spec that is not what preset, method, protocol and data set give by default.

    Attributes:
        field: Name of the field, e.g. ``recipe.epochs``.
        value: Its value.
        default: What it would be; empty where there is nothing to compare it with.
    """

    field: str
    value: str
    default: str = ""

    @property
    def short(self) -> str:
        """The field with its value, as ``--set`` takes it."""
        return f"{self.field}={self.value}"

    @property
    def words(self) -> str:
        """The same with the default: ``recipe.epochs=1 (default 10)``."""
        return f"{self.short} (default {self.default})" if self.default else self.short

    @property
    def of_all(self) -> bool:
        """Whether it stands for every field: the defaults are not known here, so nothing can be compared."""
        return self.field == ALL

    @property
    def of_pretraining(self) -> bool:
        """Whether only pretrained encoders can have it."""
        return self.field.startswith(_OF_PRETRAINING)


Deviations = tuple[Deviation, ...]


def shared(cells: Sequence[tuple[bool, Deviations]]) -> Deviations:
    """Deviations that every cell has that could have them.

    Args:
        cells: Of each cell whether it was pretrained, and its deviations.
    """
    found = dict.fromkeys(one for _, own in cells for one in own)
    return tuple(
        one for one in found if all(one in own for pretrained, own in cells if pretrained or not one.of_pretraining)
    )


def heading(deviations: Sequence[Deviation]) -> str:
    """Name a few deviations in one phrase; empty without any."""
    told = ", ".join(one.short for one in deviations[:_LIMIT])
    return told + (f" and {len(deviations) - _LIMIT} more" if len(deviations) > _LIMIT else "")
