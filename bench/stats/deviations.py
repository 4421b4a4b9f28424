"""Deviations of runs from their presets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_LIMIT = 3
"""Most deviations that a heading names; it counts the others, which are listed below it."""
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
    "evaluate_at",
    "budget",
    "ranks.",
)
"""Fields that encoders without pretraining do not have."""


ALL = "defaults"
"""Placeholder for all fields if defaults are unknown because a plugin is missing."""


@dataclass(frozen=True, order=True)
class Deviation:
    """A field of a spec that differs from its default.

    Attributes:
        field: Name of the field, e.g. ``recipe.epochs``.
        value: Its value.
        default: Its default; empty if there is none.
    """

    field: str
    value: str
    default: str = ""

    @property
    def short(self) -> str:
        """``FIELD=VALUE``, as ``--set`` takes it."""
        return f"{self.field}={self.value}"

    @property
    def words(self) -> str:
        """``FIELD=VALUE (default X)``."""
        return f"{self.short} (default {self.default})" if self.default else self.short

    @property
    def of_all(self) -> bool:
        """Whether this stands for all fields: defaults are unknown."""
        return self.field == ALL

    @property
    def of_pretraining(self) -> bool:
        """Whether only pretrained encoders have this field."""
        return self.field.startswith(_OF_PRETRAINING)


Deviations = tuple[Deviation, ...]


def shared(cells: Sequence[tuple[bool, Deviations]]) -> Deviations:
    """Return deviations that all cells share.

    Cells that cannot have a deviation do not count.

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
