"""Findings of ``bench data check``, as JSON models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Spread(_Fact):
    """Least, middle and largest of a quantity over objects."""

    least: float
    median: float
    most: float


class Coordinates(_Fact):
    """Extent of the points of a split.

    Attributes:
        low: Least coordinate per axis.
        high: Largest coordinate per axis.
        off_centre: Distance of a cloud's mean from the origin.
        reach: Distance of a cloud's farthest point from the origin.
        radius: Distance of a cloud's farthest point from its mean.
        distinct: Different points of a cloud.
        verdict: Conclusion in words, e.g. that clouds are normalised.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    off_centre: Spread
    reach: Spread
    radius: Spread
    distinct: Spread
    verdict: str


class SplitFacts(_Fact):
    """Facts about one split.

    Attributes:
        objects: Objects, or rooms.
        known: As many has the official release; None where that is not known.
        arrays: Type and shape of each array, e.g. ``float32 [4000, 2048, 3]``.
        per_class: Objects of each class, or points where the set holds rooms.
        coordinates: None for rooms.
        not_finite: Values that are NaN or infinite.
        copies: Objects that are exact copies of an earlier one of this split.
        bytes: Size in memory.
        areas: Rooms per area, for sets of rooms.
        points: Points of all rooms together, for sets of rooms.
    """

    objects: int
    known: int | None
    arrays: dict[str, str]
    per_class: dict[str, int]
    coordinates: Coordinates | None = None
    not_finite: int = 0
    copies: int = 0
    bytes: int = 0
    areas: dict[int, int] = {}
    points: int = 0


class Copy(_Fact):
    """Objects with the same points in any order.

    Names come with their split, e.g. ``train/mug_3``.
    """

    objects: tuple[str, ...]
    across: bool
    """Whether the group holds both training and test objects."""


class Part(_Fact):
    """Presence of something besides points and labels.

    Attributes:
        name: Name, e.g. ``captions``.
        there: Whether it is.
        note: Details, or where to get it.
    """

    name: str
    there: bool
    note: str


class DiskFacts(_Fact):
    """Files below the root, by suffix: count and bytes."""

    files: int
    bytes: int
    by_suffix: dict[str, tuple[int, int]]


class CheckReport(_Fact):
    """All findings of ``bench data check``.

    Attributes:
        name: Name in tables.
        format: Name of the data set class.
        root: Folder or file; None for embedded sets.
        options: Options it was read with.
        manifest: Digest of everything the arrays depend on, as it enters keys; empty where it cannot be read.
        card: Metadata of the set.
        splits: By split.
        copies: Exact copies.
        parts: Contents besides points and labels.
        disk: None for embedded sets.
        problems: Problems, one line each.
        notes: Unusual but valid properties, one line each.
    """

    name: str
    format: str
    root: str | None
    options: dict[str, JsonValue]
    manifest: str
    card: dict[str, JsonValue]
    splits: dict[str, SplitFacts] = {}
    copies: tuple[Copy, ...] = ()
    parts: tuple[Part, ...] = ()
    disk: DiskFacts | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
