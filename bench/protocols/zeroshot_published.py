"""Per-data-set choices of ReCon's zero-shot evaluation; they look tuned on the evaluated data.

Source: docs/reference.md#zero-shot.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.base import Dataset
from bench.protocols.zeroshot_arithmetic import FIXED_RATIO


@dataclass(frozen=True)
class PublishedCase:
    """Choices for one data set.

    Attributes:
        ratio: Weight of the text projection.
        points: Points of a cloud.
        groups: Patches of a cloud.
        group_size: Points of a patch.
        normalise: Whether clouds are brought to the unit sphere; else they stay as stored.
    """

    ratio: float
    points: int
    groups: int
    group_size: int
    normalise: bool


_SCANS = {
    "obj_bg": PublishedCase(0.1, 2048, 64, 64, False),
    "obj_only": PublishedCase(0.15, 2048, 32, 128, False),
    "pb_t50_rs": PublishedCase(0.05, 2048, 64, 64, False),
}
_MODELNET = {40: PublishedCase(0.25, 1024, 64, 32, True), 10: PublishedCase(0.2, 1024, 64, 32, True)}
OTHERS = PublishedCase(FIXED_RATIO, 1024, 64, 32, True)
"""For data sets that the paper did not evaluate: what it does by default."""


def published_case(dataset: Dataset | None) -> PublishedCase:
    """Return the release's choices for a data set."""
    if dataset is None:
        return OTHERS
    if dataset.name.startswith("modelnet"):
        return _MODELNET.get(len(dataset.classes()), OTHERS)
    if dataset.name.startswith("scanobjectnn"):
        return _SCANS.get(str(getattr(dataset.options, "variant", "")), _SCANS["pb_t50_rs"])
    return OTHERS
