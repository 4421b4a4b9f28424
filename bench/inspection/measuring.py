"""Measure splits: shapes, coordinates, classes, copies, files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.base import CloudSet, Room, SplitName
from bench.data.duplicates import content_hashes, exact_groups
from bench.inspection.facts import Coordinates, Copy, DiskFacts, SplitFacts, Spread

BLOCK = 256
"""Clouds per batch, so that a memory-mapped set is never in memory as a whole."""
OUTLIER = 100
"""A point is an outlier from this multiple of its cloud's 90th percentile of distances from the middle."""
_CENTRED = 0.02
"""Largest distance from the origin, and of the radius from 1, at which a cloud counts as normalised."""
_ARRAYS = ("points", "labels", "normals", "parts", "views")


def split_facts(clouds: CloudSet, known: int | None, copies: int) -> SplitFacts:
    """Measure one split of labelled objects.

    Args:
        clouds: The split.
        known: Objects of the official release.
        copies: Objects that are exact copies of an earlier one.
    """
    arrays = {name: getattr(clouds, name) for name in _ARRAYS}
    there = {name: array for name, array in arrays.items() if array is not None}
    counts = np.bincount(clouds.labels[clouds.labels >= 0], minlength=len(clouds.classes))
    return SplitFacts(
        objects=len(clouds),
        known=known,
        arrays={name: f"{array.dtype} {list(array.shape)}" for name, array in there.items()},
        per_class={name: int(count) for name, count in zip(clouds.classes, counts, strict=False)},
        coordinates=_coordinates(clouds.points) if len(clouds) else None,
        not_finite=sum(_not_finite(array) for name, array in there.items() if name in ("points", "normals")),
        copies=copies,
        bytes=sum(int(np.prod(array.shape)) * array.dtype.itemsize for array in there.values()),
    )


def find_copies(loaded: Mapping[SplitName, CloudSet]) -> tuple[tuple[Copy, ...], dict[SplitName, int]]:
    """Find objects whose points are the same up to order.

    Args:
        loaded: The splits.

    Returns:
        Groups of copies, and how many objects of each split are copies of an earlier one of the same split.
    """
    repeated: dict[SplitName, int] = dict.fromkeys(loaded, 0)
    if not loaded:
        return (), repeated
    owners = [(split, row) for split, clouds in loaded.items() for row in range(len(clouds))]
    groups: list[Copy] = []
    for group in exact_groups(np.concatenate([content_hashes(clouds.points) for clouds in loaded.values()])):
        members = [owners[i] for i in group.tolist()]
        inside = Counter(split for split, _ in members)
        for split, count in inside.items():
            repeated[split] += count - 1
        names = tuple(f"{split}/{loaded[split].ids[row]}" for split, row in members)
        groups.append(Copy(objects=names, across=len(inside) > 1))
    return tuple(groups), repeated


def _blocks(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    for start in range(0, len(array), BLOCK):
        yield np.asarray(array[start : start + BLOCK])


def _not_finite(array: npt.NDArray[Any]) -> int:
    return sum(int((~np.isfinite(block)).sum()) for block in _blocks(array))


def _coordinates(points: npt.NDArray[np.float32]) -> Coordinates:
    """Measure clouds ``[n, N, 3]``, leaving out non-finite values."""
    lows, highs = [], []
    measured: list[npt.NDArray[np.float64]] = []
    for block in _blocks(points):
        whole = np.where(np.isfinite(block), block, 0).astype(np.float64)
        lows.append(whole.min(axis=(0, 1)))
        highs.append(whole.max(axis=(0, 1)))
        centre = whole.mean(axis=1, keepdims=True)
        reach = np.linalg.norm(whole, axis=2).max(axis=1)
        radius = np.linalg.norm(whole - centre, axis=2).max(axis=1)
        hashes = np.ascontiguousarray(block, dtype=np.float32).view("V12")[..., 0]
        distinct = np.array([len(set(row.tolist())) for row in hashes], dtype=np.float64)
        measured.append(np.stack([np.linalg.norm(centre[:, 0], axis=1), reach, radius, distinct]))
    off_centre, reach, radius, distinct = np.concatenate(measured, axis=1)
    return Coordinates(
        low=_triple(np.min(lows, axis=0)),
        high=_triple(np.max(highs, axis=0)),
        off_centre=_spread(off_centre),
        reach=_spread(reach),
        radius=_spread(radius),
        distinct=_spread(distinct),
        verdict=_verdict(off_centre, reach, radius),
    )


def far_points(clouds: CloudSet) -> list[str]:
    """Name objects with a point far outside the others.

    `OUTLIER` times as far from the middle as nine in ten of its points.
    """
    found: list[str] = []
    start = 0
    for block in _blocks(clouds.points):
        whole = np.where(np.isfinite(block), block, 0).astype(np.float64)
        away = np.linalg.norm(whole - np.median(whole, axis=1, keepdims=True), axis=2)
        most = np.quantile(away, 0.9, axis=1)
        for row in np.flatnonzero(away.max(axis=1) > OUTLIER * most).tolist():
            times = f"{away[row].max() / most[row]:,.0f}" if most[row] else "infinitely many"
            found.append(f"{clouds.ids[start + row]}: point {away[row].argmax()} is {times} times")
        start += len(block)
    return found


def _verdict(
    off_centre: npt.NDArray[np.float64], reach: npt.NDArray[np.float64], radius: npt.NDArray[np.float64]
) -> str:
    centred = bool((off_centre <= _CENTRED).all())
    if centred and (np.abs(radius - 1) <= _CENTRED).all():
        return "centred on the mean, farthest point at radius 1 (unit sphere)"
    if (reach <= 1 + _CENTRED).all():
        return f"inside the unit sphere, {'centred on the mean, not filling it' if centred else 'not centred'}"
    return f"{'centred on the mean' if centred else 'not centred'}, of their own scale"


def _triple(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _spread(values: npt.NDArray[np.float64]) -> Spread:
    return Spread(least=float(values.min()), median=float(np.median(values)), most=float(values.max()))


def room_facts(
    rooms: Sequence[Room], classes: tuple[str, ...], test_area: int, known: Mapping[str, int]
) -> tuple[dict[str, SplitFacts], tuple[Copy, ...]]:
    """Measure rooms; the held-out area is the test split.

    Args:
        rooms: All rooms; each is looked at once.
        classes: Class names, index = label of a point.
        test_area: Area that is held out.
        known: Rooms per split of the official release.

    Returns:
        Facts per split, and groups of rooms with the same points.
    """
    counts: dict[SplitName, npt.NDArray[np.int64]] = {s: np.zeros(len(classes), np.int64) for s in ("train", "test")}
    areas: dict[SplitName, Counter[int]] = {"train": Counter(), "test": Counter()}
    totals: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    names: list[str] = []
    hashes: list[npt.NDArray[np.uint64]] = []
    sizes: dict[SplitName, list[int]] = {"train": [], "test": []}
    for room in rooms:
        split: SplitName = "test" if room.area == test_area else "train"
        counts[split] += np.bincount(room.labels, minlength=len(classes))[: len(classes)]
        areas[split][room.area] += 1
        broken[split] += int((~np.isfinite(room.points)).sum())
        totals[split] += room.points.nbytes + (room.colours.nbytes if room.colours is not None else 0)
        sizes[split].append(len(room.points))
        names.append(f"{split}/{room.name}")
        hashes.append(content_hashes(room.points[None]))
    groups = exact_groups(np.concatenate(hashes)) if hashes else []
    copies = tuple(_room_copy([names[i] for i in group.tolist()]) for group in groups)
    facts: dict[str, SplitFacts] = {
        split: SplitFacts(
            objects=len(sizes[split]),
            known=known.get(split),
            arrays={"points of a room": f"float32 [{_range(each)}, 3]"} if (each := sizes[split]) else {},
            per_class={name: int(count) for name, count in zip(classes, counts[split], strict=True)},
            not_finite=broken[split],
            bytes=totals[split],
            areas=dict(sorted(areas[split].items())),
            points=sum(sizes[split]),
        )
        for split in counts
    }
    return facts, copies


def _range(sizes: Sequence[int]) -> str:
    return str(sizes[0]) if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"


def _room_copy(names: list[str]) -> Copy:
    return Copy(objects=tuple(names), across=len({name.partition("/")[0] for name in names}) > 1)


def files_below(root: Path) -> list[str]:
    """Return relative paths of visible files below a folder, sorted.

    For a file, its own name.
    """
    return [root.name] if root.is_file() else sorted(_files_below(str(root), "", frozenset()))


def _files_below(folder: str, prefix: str, above: frozenset[str]) -> Iterator[str]:
    """Walk a folder, following links but no cycles."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _files_below(entry.path, f"{prefix}{entry.name}/", above | {real})
        else:
            yield f"{prefix}{entry.name}"


def disk_facts(root: Path) -> DiskFacts:
    """Count files and bytes by suffix (unreadable files: 0 bytes)."""
    by_suffix: dict[str, tuple[int, int]] = {}
    base = root.parent if root.is_file() else root
    for name in files_below(root):
        try:
            size = (base / name).stat().st_size
        except OSError:
            size = 0
        suffix = Path(name).suffix.lower() or "(no suffix)"
        count, held = by_suffix.get(suffix, (0, 0))
        by_suffix[suffix] = (count + 1, held + size)
    return DiskFacts(
        files=sum(count for count, _ in by_suffix.values()),
        bytes=sum(size for _, size in by_suffix.values()),
        by_suffix=dict(sorted(by_suffix.items(), key=lambda item: -item[1][1])),
    )
