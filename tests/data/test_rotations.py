"""What a user would lose: rotations that favour some directions, or differ between methods."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.containers import CloudSet
from bench.data.rotations import turned
from bench.spec import Rotation

N = 4000


@pytest.fixture(scope="module")
def axes() -> CloudSet:
    """Objects that are the three axes: turned, they are the rows of the rotation."""
    points = np.repeat(np.eye(3, dtype=np.float32)[None], N, axis=0)
    return CloudSet(points, np.zeros(N, np.int64), tuple(map(str, range(N))), ("a",), normals=points.copy())


@pytest.mark.parametrize(
    ("rotation", "split", "vertical"),
    [
        ("z/z", "train", True),
        ("z/z", "test", True),
        ("z/SO3", "train", True),
        ("z/SO3", "test", False),
        ("SO3/SO3", "train", False),
        ("SO3/SO3", "test", False),
    ],
)
def test_rotations_are_uniform(axes: CloudSet, rotation: Rotation, split: str, vertical: bool) -> None:
    found = turned(axes, split, rotation)  # type: ignore[arg-type]
    turn = found.points.astype(np.float64)
    assert np.allclose(turn @ turn.swapaxes(1, 2), np.eye(3), atol=1e-5)
    assert np.allclose(np.linalg.det(turn), 1, atol=1e-5)
    assert found.normals is not None
    assert np.array_equal(found.normals, found.points)
    if vertical:
        assert np.allclose(turn[:, 1], [0, 1, 0], atol=1e-6)  # y is up and stays
        angle = np.arctan2(turn[:, 0, 2], turn[:, 0, 0])
        assert abs(np.exp(1j * angle).mean()) < 0.05
        assert abs(np.exp(2j * angle).mean()) < 0.05
    else:
        assert np.square(turn).mean(0) == pytest.approx(np.full((3, 3), 1 / 3), abs=0.02)  # three Euler angles: 1/4
        assert np.abs(turn.mean(0)).max() < 0.04


def test_rotations_are_fixed_and_splits_differ(axes: CloudSet) -> None:
    first, again = (turned(axes, "test", "SO3/SO3").points for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, turned(axes, "train", "SO3/SO3").points)
    assert np.array_equal(first, turned(axes, "test", "z/SO3").points)  # one test set for both
    assert turned(axes, "test", "none") is axes
