"""What a user would lose: corruptions that are weaker or stronger than the published ones."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.corruptions import CONDITIONS, LEVELS, Condition, corrupt
from bench.data.normalise import normalise_unit_sphere
from bench.stats.robustness import DGCNN


@pytest.fixture(scope="module")
def clouds() -> np.ndarray:
    draws = np.random.default_rng(0)
    return normalise_unit_sphere(draws.normal(size=(40, 1024, 3)).astype(np.float32))


def test_there_are_seven_types_at_five_levels() -> None:
    assert len(CONDITIONS) == 35
    assert list(dict.fromkeys(c.kind for c in CONDITIONS)) == list(DGCNN.kinds)
    assert Condition.of(str(CONDITIONS[-1])) == CONDITIONS[-1] == Condition("add_local", 5)


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("scale", (1024,) * 5),
        ("jitter", (1024,) * 5),
        ("rotate", (1024,) * 5),
        ("dropout_global", (768, 640, 512, 384, 256)),
        ("dropout_local", (924, 824, 724, 624, 524)),
        ("add_global", (1034, 1044, 1054, 1064, 1074)),
        ("add_local", (1124, 1224, 1324, 1424, 1524)),
    ],
)
def test_clouds_have_as_many_points_as_the_released_files(
    clouds: np.ndarray, kind: str, points: tuple[int, ...]
) -> None:
    made = [corrupt(clouds, Condition(kind, level)) for level in range(1, LEVELS + 1)]
    assert tuple(one.shape[1] for one in made) == points
    assert all(one.dtype == np.float32 and np.isfinite(one).all() for one in made)


@pytest.mark.parametrize("condition", CONDITIONS, ids=str)
def test_draws_are_fixed_and_differ_between_objects(clouds: np.ndarray, condition: Condition) -> None:
    same = np.repeat(clouds[:1], 2, axis=0)
    first, again = corrupt(same, condition), corrupt(same, condition)
    assert np.array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_amounts_are_the_published_ones(clouds: np.ndarray) -> None:
    jittered = corrupt(clouds, Condition("jitter", 3)) - clouds
    assert jittered.std() == pytest.approx(0.03, rel=0.02)
    for level in (1, 5):
        turned = corrupt(clouds, Condition("rotate", level))
        turn = np.linalg.lstsq(clouds[7], turned[7], rcond=None)[0]
        assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-4)
        assert np.linalg.det(turn) == pytest.approx(1, abs=1e-4)
        # Euler angles up to theta each: no axis turns by more than the three together.
        angle = np.degrees(np.arccos((np.trace(turn) - 1) / 2))
        assert 0 < angle <= 3 * 6 * level
    scaled = corrupt(clouds, Condition("scale", 5))
    assert np.allclose(scaled.mean(1), 0, atol=1e-5)
    assert np.allclose(np.linalg.norm(scaled, axis=2).max(1), 1, atol=1e-5)
    stretch = [np.linalg.lstsq(a, b, rcond=None)[0].diagonal() for a, b in zip(clouds, scaled, strict=True)]
    ratio = max(one.max() / one.min() for one in stretch)
    assert 1.5 < ratio <= 4.01


def test_dropped_points_leave_holes_and_the_others_in_place(clouds: np.ndarray) -> None:
    for kind in ("dropout_global", "dropout_local"):
        for before, after in zip(clouds[:5], corrupt(clouds, Condition(kind, 5))[:5], strict=True):
            nearest = np.linalg.norm(after[:, None] - before[None], axis=2).min(1)
            assert nearest.max() < 1e-5, kind
    # A hole: the point farthest from all that is left lies deeper in it than random gaps do.
    cloud, kept = clouds[0], corrupt(clouds, Condition("dropout_local", 5))[0]
    gap = np.linalg.norm(cloud[:, None] - kept[None], axis=2).min(1).max()
    spread = np.linalg.norm(cloud[:, None] - cloud[::2][None], axis=2).min(1)
    assert gap > np.median(spread) * 2


def test_added_points_lie_in_the_unit_ball_and_follow_the_cloud(clouds: np.ndarray) -> None:
    outliers = corrupt(clouds, Condition("add_global", 5))[:, 1024:]
    radius = np.linalg.norm(outliers, axis=2)
    assert radius.max() <= 1 + 1e-5
    assert (radius**3).mean() == pytest.approx(0.5, abs=0.02)  # uniform in the ball
    near = corrupt(clouds, Condition("add_local", 5))[:, 1024:]
    assert np.linalg.norm(near, axis=2).max() <= 1 + 1e-5


def test_a_level_means_the_same_wherever_a_cloud_lies(clouds: np.ndarray) -> None:
    moved = clouds * 250 + np.float32([10, -3, 700])
    for kind in ("jitter", "add_local", "scale", "dropout_local"):
        condition = Condition(kind, 4)
        back = (corrupt(moved, condition) - np.float32([10, -3, 700])) / 250
        assert np.allclose(back, corrupt(clouds, condition), atol=2e-3), kind


@pytest.mark.parametrize("points", [8, 100, 2048])
def test_counts_scale_with_small_clouds_and_some_points_stay(points: int) -> None:
    few = np.random.default_rng(1).normal(size=(3, points, 3)).astype(np.float32)
    for condition in CONDITIONS:
        made = corrupt(few, condition)
        assert 1 <= made.shape[1] <= 1.5 * min(points, 1024), condition
