"""Find exact and near-duplicate shapes in data sets.

The same object in two sets, or twice in one. Two clouds drawn from one surface never coincide, so "how close is too
close" needs a unit. It is the *sampling distance* of the two clouds: the mean distance from a point to the nearest of
another sample of the same surface, estimated by splitting each cloud in half. The ratio of the Chamfer distance to it
is about 1 for two samples of one surface regardless of its thickness and the number of points, below 1 for jittered
copies and 0 for exact ones.

Few pairs are compared. Descriptors that are invariant to rotation about the vertical axis give every object its nearest
candidates (KD-tree); angular spectra give likely rotations (correlation by FFT); a few hundred points decide whether a
pair is aligned with all points.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from bench.progress import Progress, part, silent

Points = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

THRESHOLD = 1.25
"""Largest ratio of near-duplicates: a quarter above that of two samples of the same surface."""
NEIGHBOURS = 8
"""Number of candidates that each object is compared with."""
REACH = 0.12
"""Largest distance between descriptors of candidates; two samples of one surface are 0.02 to 0.06 apart."""
SAME = 1e-4
"""Distance in the unit sphere below which points are the same up to rounding."""
POINTS = 2048
"""Most points that are compared; larger clouds are thinned evenly, except for the test of exactness."""
PROBES = 128
"""Points of each cloud in the first, coarse comparison."""

_LEVELS, _RINGS, _SECTORS, _WAVES, _QUANTILES = 6, 3, 64, 5, 16
_TURNS = 3
_LOOSE, _SLACK = 1.2, 0.015
"""Factor and distance by which the coarse comparison may overestimate the distance of an aligned pair."""
_STEPS = 6
_STRETCH = 0.05
_BLOCK = 256
_KEPT = 4096


@dataclass(frozen=True)
class Match:
    """Pair of objects with the same or nearly same shape.

    Attributes:
        a: Position in the first set.
        b: Position in the second set.
        exact: Whether the points agree up to order, centring and scale.
        ratio: Chamfer distance divided by the sampling distance (see the module).
        chamfer: Mean of both one-way mean nearest-neighbour distances after alignment; the unit-sphere radius is 1.
        turn: Rotation of b onto a about y, in degrees in [0, 360).
    """

    a: int
    b: int
    exact: bool
    ratio: float
    chamfer: float
    turn: float


def content_hashes(points: npt.NDArray[np.floating]) -> npt.NDArray[np.uint64]:
    """Hash clouds independently of the order of points.

    Points are hashed one by one and the hashes added up, twice with different mixing: 128 bits.

    Args:
        points: float ``[n, N, 3]``; compared as float32.

    Returns:
        uint64 ``[n, 2]``.
    """
    hashes = np.empty((len(points), 2), dtype=np.uint64)
    for start in range(0, len(points), _BLOCK):
        block = np.ascontiguousarray(points[start : start + _BLOCK], dtype=np.float32) + np.float32(0)  # -0 becomes 0
        words = block.view(np.uint32).astype(np.uint64)
        for column, seed in enumerate((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F)):
            mixed = np.full(words.shape[:2], seed, dtype=np.uint64)
            for axis in range(3):
                mixed = _mix(mixed ^ words[..., axis])
            hashes[start : start + len(block), column] = mixed.sum(axis=1, dtype=np.uint64)
    return hashes


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread every bit over all others (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def exact_groups(hashes: npt.NDArray[np.uint64]) -> list[npt.NDArray[np.int64]]:
    """Group rows with the same hash.

    Args:
        hashes: uint64 ``[n, 2]`` of `content_hashes`.

    Returns:
        Ascending positions of each group of two or more, ordered by their first.
    """
    _, inverse = np.unique(hashes, axis=0, return_inverse=True)
    order = np.argsort(inverse.reshape(-1), kind="stable").astype(np.int64)
    ends = np.flatnonzero(np.diff(inverse.reshape(-1)[order])) + 1
    return sorted((group for group in np.split(order, ends) if len(group) > 1), key=lambda group: int(group[0]))


def unit_sphere(points: npt.NDArray[np.floating]) -> Points:
    """Centre clouds ``[..., N, 3]`` and scale to radius 1.

    The centre is the mean; the result does not depend on the order of points.
    """
    exactly = np.asarray(points, dtype=np.float64)
    centred = exactly - exactly.mean(axis=-2, keepdims=True)
    radius = np.sqrt(np.square(centred).sum(axis=-1, keepdims=True).max(axis=-2, keepdims=True))
    return np.asarray(centred / np.where(radius > 0, radius, 1), dtype=np.float32)


def thinned(points: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.floating]:
    """Keep at most `count` points ``[..., N, 3]``.

    They are evenly spread over the stored order.
    """
    total = points.shape[-2]
    return points if total <= count else points[..., np.linspace(0, total - 1, count).astype(np.int64), :]


def descriptors(points: npt.NDArray[np.floating], progress: Progress = silent) -> Points:
    """Return invariant descriptors of clouds.

    Order, position, scale and rotation about y do not change them. Quantiles of height, of distance from the vertical
    axis and of distance from the centre, and the magnitudes of the first angular waves at six heights. All are means
    over points, so jitter and another sample change them little; Euclidean distances between descriptors are in units
    of the unit-sphere radius.

    Args:
        points: float ``[n, N, 3]``, y up; may be memory-mapped.
        progress: Called with clouds done and clouds in all.

    Returns:
        float32 ``[n, 3 * 16 + 6 * 5]``.
    """
    found = np.empty((len(points), 3 * _QUANTILES + _LEVELS * _WAVES), dtype=np.float32)
    at = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    for start in range(0, len(points), _BLOCK):
        block = unit_sphere(thinned(points[start : start + _BLOCK], POINTS))
        x, y, z = (block[..., axis] for axis in range(3))
        axial = np.hypot(x, z)
        ordered = np.sort(np.stack([y, axial, np.hypot(axial, y)]), axis=-1)
        rows = np.round(at * (block.shape[1] - 1)).astype(np.int64)
        quantiles = ordered[..., rows].transpose(1, 0, 2).reshape(len(block), -1) / np.sqrt(_QUANTILES)
        at_level = _level_weights(y)
        wave = np.ones_like(axial, dtype=np.complex64) * axial
        turn = np.where(axial > 0, (x + 1j * z) / np.where(axial > 0, axial, 1), 1).astype(np.complex64)
        waves = []
        for _ in range(_WAVES):
            waves.append(np.abs(np.einsum("bhn,bn->bh", at_level, wave)) / block.shape[1])
            wave = wave * turn
        found[start : start + len(block)] = np.concatenate([quantiles, *waves], axis=1)
        progress(start + len(block), len(points))
    return found


def _level_weights(height: Points) -> Points:
    """Return weights of points for height levels, ``[..., levels, N]``.

    Hat functions of heights ``[..., N]``.
    """
    centres = np.linspace(-1, 1, _LEVELS, dtype=np.float32)
    apart = np.abs(height[..., None, :] - centres[:, None]) / (centres[1] - centres[0])
    return np.asarray(np.clip(1 - apart, 0, None), dtype=np.float32)


class _Shape:
    """Cloud with precomputed tree, spectrum and sampling distance."""

    def __init__(self, points: npt.NDArray[np.floating]) -> None:
        self.whole = unit_sphere(points)
        self.extent = self.whole.std(axis=0)
        self.points = np.asarray(thinned(self.whole, POINTS))
        self.tree = cKDTree(self.points)
        self.probes = np.asarray(thinned(self.points, PROBES))
        self.sampling = _sampling_distance(self.points)
        self.spectrum = _spectrum(self.points)


def _sampling_distance(points: Points) -> float:
    """Return the sampling distance of a cloud (see the module)."""
    mixed = points[np.random.Generator(np.random.PCG64(0)).permutation(len(points))]
    nearest = _between_halves(mixed)
    if (nearest < SAME).any():  # points drawn with replacement lie in both halves and would count as a dense surface
        distinct = np.unique(points, axis=0)
        mixed = distinct[np.random.Generator(np.random.PCG64(0)).permutation(len(distinct))]
        nearest = _between_halves(mixed)
    # Doubling the number of points on a surface divides their distance by the square root of two.
    return max(float(nearest.mean()) / math.sqrt(2), SAME)


def _between_halves(points: Points) -> Floats:
    half = len(points) // 2
    return _nearest(cKDTree(points[:half]), points[half:][: 2 * PROBES]) if half else np.full(1, SAME)


def _nearest(tree: cKDTree, points: Points) -> Floats:
    """Return the distance of each point to a tree."""
    return np.asarray(tree.query(points)[0], dtype=np.float64)


def _spectrum(points: Points) -> npt.NDArray[np.complex128]:
    """Return the Fourier transform of mass over the angle.

    Shape ``[levels, rings, sectors / 2 + 1]``; the angle is about y.
    """
    axial = np.hypot(points[:, 0], points[:, 2])
    angle = np.arctan2(points[:, 2], points[:, 0]) % (2 * np.pi)
    level = np.minimum(((points[:, 1] + 1) / 2 * _LEVELS).astype(np.int64), _LEVELS - 1)
    ring = np.minimum((axial * _RINGS).astype(np.int64), _RINGS - 1)
    sector = np.minimum((angle / (2 * np.pi) * _SECTORS).astype(np.int64), _SECTORS - 1)
    cell = (level * _RINGS + ring) * _SECTORS + sector
    # Points on the axis do not depend on the rotation, so points are weighted by their distance from it.
    grid = np.bincount(cell, weights=axial, minlength=_LEVELS * _RINGS * _SECTORS)
    return np.fft.rfft(grid.reshape(_LEVELS, _RINGS, _SECTORS), axis=-1)


def _turns(a: _Shape, b: _Shape) -> Iterator[float]:
    """Yield likely rotations of b onto a.

    First none, then the angles with the largest correlation, interpolated between sectors.
    """
    yield 0.0
    agreement = np.fft.irfft((a.spectrum * np.conj(b.spectrum)).sum(axis=(0, 1)), _SECTORS)
    before, after = np.roll(agreement, 1), np.roll(agreement, -1)
    peaks = np.flatnonzero((agreement >= before) & (agreement > after))
    for sector in peaks[np.argsort(-agreement[peaks], kind="stable")][:_TURNS]:
        bend = before[sector] - 2 * agreement[sector] + after[sector]
        between = (before[sector] - after[sector]) / (2 * bend)
        yield float(2 * np.pi * (sector + between) / _SECTORS)


@dataclass(frozen=True)
class _Move:
    """Rotation about y, then a scale, then a shift.

    The angle is in radians, from x towards z.
    """

    turn: float
    scale: float = 1.0
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def of(self, points: Points) -> Points:
        """Apply the move to points ``[N, 3]``."""
        return self.scale * turned(points, self.turn) + np.asarray(self.shift, dtype=np.float32)

    def undone(self, points: Points) -> Points:
        """Apply the inverse of the move to points ``[N, 3]``."""
        return turned((points - np.asarray(self.shift, dtype=np.float32)) / np.float32(self.scale), -self.turn)


def turned(points: Points, turn: float) -> Points:
    """Rotate a cloud ``[N, 3]`` about y.

    The angle is in radians, from x towards z.
    """
    cos, sin = np.cos(turn), np.sin(turn)
    x, y, z = points.T
    moved = np.empty((len(points), 3), dtype=np.float32)
    moved[:, 0], moved[:, 1], moved[:, 2] = cos * x - sin * z, y, sin * x + cos * z
    return moved


def _one_way(a: _Shape, b: _Shape, move: _Move, probes: bool, back: bool) -> float:
    """Return the mean distance from moved b to a.

    With `back` from a to moved b; with `probes` from a few points only.
    """
    if back:
        return float(_nearest(b.tree, move.undone(a.probes if probes else a.points)).mean() * move.scale)
    return float(_nearest(a.tree, move.of(b.probes if probes else b.points)).mean())


def _chamfer(a: _Shape, b: _Shape, move: _Move, probes: bool, limit: float = math.inf) -> float:
    """Return the Chamfer distance of a and moved b.

    Infinite once it is sure to exceed `limit`.
    """
    there = _one_way(a, b, move, probes, back=False)
    return (there + _one_way(a, b, move, probes, back=True)) / 2 if there / 2 <= limit else math.inf


def _coarse_match(a: _Shape, b: _Shape, limit: float) -> tuple[float, float]:
    """Return the best coarse distance and its rotation.

    Over all likely rotations, with a few points; infinite above `limit`. The distance from b to a is computed for all
    rotations at once, and the way back only for those that may be best.
    """
    turns = list(_turns(a, b))
    moved = np.concatenate([turned(b.probes, turn) for turn in turns])
    there = _nearest(a.tree, moved).reshape(len(turns), -1).mean(axis=1)
    best = (math.inf, 0.0)
    for place in np.argsort(there, kind="stable"):
        if there[place] / 2 > min(limit, best[0]):
            break
        back = _one_way(a, b, _Move(turns[place]), probes=True, back=True)
        best = min(best, ((float(there[place]) + back) / 2, turns[place]))
    return best


def _refined(a: _Shape, b: _Shape, move: _Move) -> _Move:
    """Refine a move by iterated closest points, both ways.

    Means and radii of two samples differ by more than the thickness of a thin object, so position and scale are
    adjusted together with the rotation.
    """
    before: tuple[Any, Any] = (None, None)
    for _ in range(_STEPS):
        near = a.tree.query(move.of(b.probes))[1], b.tree.query(move.undone(a.probes))[1]
        if all(np.array_equal(now, then) for now, then in zip(near, before, strict=True)):
            break  # converged: the same partners give the same move
        move = _fit(np.concatenate([b.probes, b.points[near[1]]]), np.concatenate([a.points[near[0]], a.probes]))
        before = near
    return move


def _fit(b: Points, a: Points) -> _Move:
    """Return the least-squares move of b onto partners a."""
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    from_a, from_b = a - mean_a, b - mean_b
    flat_a, flat_b = from_a[:, 0] + 1j * from_a[:, 2], from_b[:, 0] + 1j * from_b[:, 2]
    across = complex((np.conj(flat_b) * flat_a).sum())
    turn = float(np.angle(across))
    size = float(np.square(from_b).sum())
    scale = (abs(across) + float((from_a[:, 1] * from_b[:, 1]).sum())) / size if size > 0 else 1.0
    scale = min(max(scale, 1 - _STRETCH), 1 + _STRETCH)
    x, y, z = mean_a - scale * turned(mean_b[None], turn)[0]
    return _Move(turn, scale, (float(x), float(y), float(z)))


def _is_exact(a: _Shape, b: _Shape) -> bool:
    if len(a.whole) != len(b.whole) or (np.abs(a.extent - b.extent) > SAME).any():
        return False
    both = _nearest(cKDTree(a.whole), b.whole), _nearest(cKDTree(b.whole), a.whole)
    return all(bool((apart < SAME).all()) for apart in both)


def compare(a: _Shape, b: _Shape, threshold: float) -> tuple[bool, float, float, float] | None:
    """Compare two shapes.

    Returns exact, ratio, Chamfer distance and rotation, or None if the ratio exceeds the threshold.
    """
    if _is_exact(a, b):
        return True, 0.0, 0.0, 0.0
    unit = (a.sampling + b.sampling) / 2
    limit = _LOOSE * threshold * unit
    first, turn = _coarse_match(a, b, limit + _SLACK)
    if first > limit + _SLACK:
        return None
    settled = _refined(a, b, _Move(turn))
    if first > limit and _chamfer(a, b, settled, probes=True, limit=limit) > limit:
        return None
    best, move = _chamfer(a, b, settled, probes=False, limit=threshold * unit), settled
    unsettled = _chamfer(a, b, _Move(turn), probes=False, limit=min(best, threshold * unit))
    if unsettled <= best:
        best, move = unsettled, _Move(turn)
    ratio = best / unit
    return (False, ratio, best, float(np.degrees(move.turn) % 360)) if ratio <= threshold else None


def find_duplicates(
    a: npt.NDArray[np.floating],
    b: npt.NDArray[np.floating],
    *,
    threshold: float = THRESHOLD,
    neighbours: int = NEIGHBOURS,
    within: bool = False,
    progress: Progress = silent,
) -> list[Match]:
    """Find the objects of `b` that are duplicates in `a`.

    Args:
        a: float ``[n, N, 3]``, y up; may be memory-mapped.
        b: float ``[m, M, 3]``, y up.
        threshold: Largest ratio of a pair (see `Match`).
        neighbours: Candidates of each object of `b`.
        within: Whether `a` and `b` are the same set: an object is then not its own match, and each pair occurs once
            (``a < b``).
        progress: Called with steps done and steps in all.

    Returns:
        Matches, exact ones first, then by ratio.
    """
    if not len(a) or not len(b):
        return []
    total = len(a) + 2 * len(b)
    of_a = descriptors(a, part(progress, 0, total))
    of_b = of_a if within else descriptors(b, part(progress, len(a), total))
    count = min(neighbours + within, len(a))
    _, near = cKDTree(of_a).query(of_b, k=count, distance_upper_bound=REACH)
    near = np.asarray(near).reshape(len(b), count)
    shape_a = lru_cache(maxsize=_KEPT)(lambda i: _Shape(a[i]))
    shape_b = shape_a if within else lru_cache(maxsize=1)(lambda i: _Shape(b[i]))
    matches: list[Match] = []
    looked: set[tuple[int, int]] = set()
    for j in range(len(b)):
        for i in (int(i) for i in near[j] if i < len(a)):
            pair = (min(i, j), max(i, j)) if within else (i, j)
            if (within and i == j) or pair in looked:
                continue
            looked.add(pair)
            found = compare(shape_a(pair[0]), shape_b(pair[1]), threshold)
            if found is not None:
                matches.append(Match(pair[0], pair[1], *found))
        progress(total - len(b) + j + 1, total)
    return sorted(matches, key=lambda match: (not match.exact, match.ratio, match.a, match.b))
