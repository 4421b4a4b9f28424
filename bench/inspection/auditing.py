"""Find objects of equal or similar shape in two sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from bench.data.base import CloudSet
from bench.data.duplicates import Match, find_duplicates
from bench.data.h5set import SPLITS
from bench.data.splits import object_groups
from bench.errors import UsageError
from bench.inspection.opening import Opened
from bench.progress import Progress

SplitChoice = Literal["train", "test", "all"]


class Pair(BaseModel):
    """Two objects of equal or nearly equal shape.

    `ratio`, `chamfer` and `turn` are as in `Match`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["exact", "near"]
    ratio: float
    chamfer: float
    turn: float
    a: str
    a_split: str
    a_class: str
    b: str
    b_split: str
    b_class: str
    same_name: bool
    """Whether both names mean one object: they are equal, or differ only in the view (``mug#1``, ``mug#2``)."""


class AuditReport(BaseModel):
    """Result of an audit.

    Attributes:
        a: First set.
        b: Second set; the same within one set.
        within: Whether one set was compared with itself.
        a_split: Split of the first set that was looked at.
        b_split: Split of the second.
        a_manifest: Digest of the first set.
        b_manifest: Digest of the second.
        threshold: Largest ratio of a near pair.
        neighbours: Most partners that an object was compared with.
        a_objects: Objects of the first set looked at.
        b_objects: Objects of the second.
        affected: Objects of the second set with a partner in the first; within one set, test objects with a partner
            in train.
        of: Objects that `affected` is a share of.
        pairs: Exact ones first, then by ratio.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: str
    b: str
    within: bool
    a_split: SplitChoice
    b_split: SplitChoice
    a_manifest: str
    b_manifest: str
    threshold: float
    neighbours: int
    a_objects: int
    b_objects: int
    affected: int
    of: int
    pairs: tuple[Pair, ...]

    @property
    def exact(self) -> int:
        """Number of exact pairs."""
        return sum(pair.kind == "exact" for pair in self.pairs)

    def summary(self) -> str:
        """Return the findings in one line."""
        near = len(self.pairs) - self.exact
        share = 100 * self.affected / self.of if self.of else 0.0
        across = sum(pair.a_split != pair.b_split for pair in self.pairs)
        here = f" ({across:,} of them across the split)" if self.within and self.pairs else ""
        partner = f"in {self.a} {self.a_split}" if not self.within else "in train"
        whose = f"{self.b} {self.b_split}" if not self.within else "test"
        return (
            f"{self.exact:,} exact and {near:,} near pairs{here}; {self.affected:,} of {self.of:,} {whose} objects "
            f"({share:.1f} %) have a partner {partner}"
        )


@dataclass(frozen=True)
class Side:
    """Objects of one data set that are compared.

    Attributes:
        points: float32 ``[n, N, 3]``.
        names: Name of each object.
        splits: Split of each.
        classes: Class of each.
    """

    points: npt.NDArray[np.float32]
    names: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """A report, with the positions needed to draw its pairs."""

    report: AuditReport
    a: Side
    b: Side
    matches: tuple[Match, ...]


def audit(
    a: Opened,
    b: Opened | None,
    *,
    threshold: float,
    neighbours: int,
    a_split: SplitChoice = "train",
    b_split: SplitChoice = "test",
    progress: Progress,
) -> Audit:
    """Compare the shapes of two sets, or within one set.

    Args:
        a: The set that was learnt from.
        b: The set that is tested on; None, or a set with the same content: `a` is compared with itself, all of it.
        threshold: Largest ratio of a near pair (`bench.data.duplicates`).
        neighbours: Most partners that an object is compared with.
        a_split: Split of `a`.
        b_split: Split of `b`.
        progress: Called with steps done and in all.

    Raises:
        UsageError: A set of rooms, or a threshold or number that is not positive.
        DataError: A file is broken.
    """
    if not threshold > 0:
        raise UsageError(f"--threshold {threshold:g}: expected a number above 0; 1 means: as near as two samples are")
    if neighbours < 1:
        raise UsageError(f"--neighbours {neighbours}: expected at least 1")
    for opened in (a, b) if b is not None else (a,):
        if opened.dataset.card.has_rooms:
            raise UsageError(f"'{opened.label}' holds rooms; an audit compares objects")
    manifests = [opened.dataset.manifest() for opened in (a, b if b is not None else a)]
    within = manifests[0] == manifests[1]
    if within:
        a_split = b_split = "all"
    side_a = _side(a, a_split)
    side_b = side_a if within or b is None else _side(b, b_split)
    found = find_duplicates(
        side_a.points, side_b.points, threshold=threshold, neighbours=neighbours, within=within, progress=progress
    )
    pairs = _pairs(found, side_a, side_b)
    affected, of = _affected(found, side_a, side_b, within)
    report = AuditReport(
        a=a.label,
        b=a.label if b is None else b.label,
        within=within,
        a_split=a_split,
        b_split=b_split,
        a_manifest=manifests[0],
        b_manifest=manifests[1],
        threshold=threshold,
        neighbours=neighbours,
        a_objects=len(side_a.names),
        b_objects=len(side_b.names),
        affected=affected,
        of=of,
        pairs=pairs,
    )
    return Audit(report, side_a, side_b, tuple(found))


def _side(opened: Opened, split: SplitChoice) -> Side:
    splits = SPLITS if split == "all" else (split,)
    sets: list[CloudSet] = [opened.dataset.load(one) for one in splits]
    points = sets[0].points if len(sets) == 1 else np.concatenate([clouds.points for clouds in sets])
    return Side(
        points=points,
        names=tuple(name for clouds in sets for name in clouds.ids),
        splits=tuple(one for one, clouds in zip(splits, sets, strict=True) for _ in range(len(clouds))),
        classes=tuple(clouds.classes[label] for clouds in sets for label in clouds.labels),
    )


def _pairs(found: Sequence[Match], a: Side, b: Side) -> tuple[Pair, ...]:
    groups_a, groups_b = object_groups(a.names), object_groups(b.names)
    return tuple(
        Pair(
            kind="exact" if match.exact else "near",
            ratio=round(match.ratio, 4),
            chamfer=round(match.chamfer, 6),
            turn=round(match.turn, 1),
            a=a.names[match.a],
            a_split=a.splits[match.a],
            a_class=a.classes[match.a],
            b=b.names[match.b],
            b_split=b.splits[match.b],
            b_class=b.classes[match.b],
            same_name=groups_a[match.a] == groups_b[match.b],
        )
        for match in found
    )


def _affected(found: Sequence[Match], a: Side, b: Side, within: bool) -> tuple[int, int]:
    if not within:
        return len({match.b for match in found}), len(b.names)
    touched: set[int] = set()
    for match in found:
        if a.splits[match.a] != b.splits[match.b]:
            touched.add(match.a if a.splits[match.a] == "test" else match.b)
    return len(touched), a.splits.count("test")
