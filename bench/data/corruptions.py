"""Corrupt clouds as ModelNet-C does: seven types, five levels.

Definitions and constants: Ren, Pan and Liu, Benchmarking and Analyzing Point Cloud Classification under Corruptions,
arXiv 2202.03377, and the released generator (docs/reference.md#corrupted-test-sets). The numbers of points that a type
adds or removes are stated there for clouds of 1,024 points; they are scaled for clouds of another size.

A set that is corrupted here is never ModelNet-C: that name belongs to the released files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.data.normalise import normalise_unit_sphere, sphere_of
from bench.seeds import numpy_stream

Clouds = npt.NDArray[np.float32]

SUITE = "pointcloud-c/1"
"""Name and revision of these corruptions, which enters the key of a run."""
POINTS = 1024
"""Points of a cloud that are corrupted: the first ones."""
LEVELS = 5
CLEAN = "clean-0"
"""Condition of a released set that is not corrupted; means over conditions leave it out."""
MOST_CLUSTERS = 7
SEED = 0


class Condition(NamedTuple):
    """One corruption at one level.

    Attributes:
        kind: Type, e.g. ``jitter``.
        level: Level from 1 (mild) to 5; the released files count from 0.
    """

    kind: str
    level: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.level}"

    @classmethod
    def of(cls, name: str) -> Condition:
        """Read a name such as ``jitter-3``."""
        kind, _, level = name.rpartition("-")
        return cls(kind, int(level))


def corrupt(clouds: Clouds, condition: Condition) -> Clouds:
    """Corrupt the first `POINTS` points of every cloud.

    A cloud is centred on its mean and brought to radius 1, corrupted there, and brought back to where it was, so that
    one level means the same on every data set. The draws are fixed: each call returns the same clouds.

    Args:
        clouds: float32 ``[n, N, 3]``.
        condition: Type and level.

    Returns:
        float32 ``[n, N', 3]``; N' depends on N and the condition alone.
    """
    taken = np.asarray(clouds[:, :POINTS], dtype=np.float32)
    centre, radius = sphere_of(taken)
    inside = (taken - centre) / radius
    draws = numpy_stream(SEED, "data", SUITE, condition.kind, condition.level)
    made = _MADE[condition.kind](inside, _AMOUNTS[condition.kind][condition.level - 1], draws)
    found: Clouds = (made * radius + centre).astype(np.float32)
    return found


def _scale(clouds: Clouds, most: float, draws: np.random.Generator) -> Clouds:
    return normalise_unit_sphere(clouds * draws.uniform(1 / most, most, (len(clouds), 1, 3)).astype(np.float32))


def _jitter(clouds: Clouds, deviation: float, draws: np.random.Generator) -> Clouds:
    return clouds + deviation * draws.standard_normal(clouds.shape, dtype=np.float32)


def _rotate(clouds: Clouds, largest: float, draws: np.random.Generator) -> Clouds:
    """Turn by three Euler angles up to `largest` radians, ``p' = p Rz Ry Rx``."""
    x, y, z = draws.uniform(-largest, largest, (3, len(clouds)))
    turned = clouds @ (_about(2, z) @ _about(1, y) @ _about(0, x)).astype(np.float32)
    return np.asarray(turned, np.float32)


def _about(axis: int, angles: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return matrices ``[n, 3, 3]`` of right-handed turns about an axis, for column vectors."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    turn = np.zeros((len(angles), 3, 3))
    turn[:, axis, axis] = 1
    turn[:, first, first] = turn[:, second, second] = np.cos(angles)
    turn[:, second, first] = np.sin(angles)
    turn[:, first, second] = -np.sin(angles)
    return turn


def _drop_global(clouds: Clouds, share: float, draws: np.random.Generator) -> Clouds:
    n, points = clouds.shape[:2]
    kept = max(1, int(points * (1 - share)))
    return _rows(clouds, draws.random((n, points)).argsort(1)[:, :kept])


def _drop_local(clouds: Clouds, points: float, draws: np.random.Generator) -> Clouds:
    """Remove the nearest points of random points, cluster by cluster."""
    removed = _scaled(points, clouds)
    kept = np.empty((len(clouds), clouds.shape[1] - removed, 3), np.float32)
    for row, cloud in enumerate(clouds):
        for size in _clusters(removed, draws):
            centre = cloud[draws.integers(len(cloud))]
            distance = np.square(cloud - centre).sum(1)
            cloud = cloud[np.sort(np.argpartition(distance, size)[size:])] if size else cloud
        kept[row] = cloud
    return kept


def _add_global(clouds: Clouds, points: float, draws: np.random.Generator) -> Clouds:
    """Add points that are uniform in the unit ball."""
    shape = (len(clouds), _scaled(points, clouds), 3)
    direction = draws.standard_normal(shape)
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    added = direction * draws.random((*shape[:2], 1)) ** (1 / 3)
    return np.concatenate([clouds, added.astype(np.float32)], axis=1)


def _add_local(clouds: Clouds, points: float, draws: np.random.Generator) -> Clouds:
    """Add normal clusters around points of the cloud; what leaves the ball is drawn into it."""
    total = _scaled(points, clouds)
    added = np.empty((len(clouds), total, 3))
    for row, cloud in enumerate(clouds):
        sizes = _clusters(total, draws)
        centres = cloud[draws.permutation(len(cloud))[: len(sizes)]]
        deviations = draws.uniform(0.075, 0.125, len(sizes))
        spread = draws.standard_normal((total, 3)) * np.repeat(deviations, sizes)[:, None]
        added[row] = np.repeat(centres, sizes, axis=0) + spread
    square = np.square(added).sum(2, keepdims=True)
    added = np.where(square > 1, added / square, added)  # as released: divided by the squared distance
    return np.concatenate([clouds, added.astype(np.float32)], axis=1)


def _clusters(total: int, draws: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the sizes of one to seven clusters of `total` points together."""
    count = int(draws.integers(1, MOST_CLUSTERS + 1))
    return draws.multinomial(total, np.full(count, 1 / count))


def _scaled(points: float, clouds: Clouds) -> int:
    """Return a number of points that is stated for 1,024, for these clouds; some always stay."""
    here = int(clouds.shape[1])
    return min(round(points * here / POINTS), here - 1)


def _rows(clouds: Clouds, index: npt.NDArray[np.int64]) -> Clouds:
    return np.take_along_axis(clouds, index[:, :, None], axis=1)


_MADE: Mapping[str, Callable[[Clouds, float, np.random.Generator], Clouds]] = {
    "scale": _scale,
    "jitter": _jitter,
    "rotate": _rotate,
    "dropout_global": _drop_global,
    "dropout_local": _drop_local,
    "add_global": _add_global,
    "add_local": _add_local,
}
_AMOUNTS: Mapping[str, tuple[float, ...]] = {
    "scale": (1.6, 1.7, 1.8, 1.9, 2.0),
    "jitter": (0.01, 0.02, 0.03, 0.04, 0.05),
    "rotate": tuple((level + 1) * np.pi / 30 for level in range(LEVELS)),
    "dropout_global": (0.25, 0.375, 0.5, 0.625, 0.75),
    "dropout_local": (100, 200, 300, 400, 500),
    "add_global": (10, 20, 30, 40, 50),
    "add_local": (100, 200, 300, 400, 500),
}
CONDITIONS = tuple(Condition(kind, level) for kind in _MADE for level in range(1, LEVELS + 1))
"""All conditions, in the order of the paper's tables."""
