"""Depth pictures: sets without images get pictures that show the object, upright and nearest surface first."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from bench.data.base import CloudSet
from bench.data.depth import VIEWS_KIND, depth_views, view_rotations, with_views


def sphere(count: int, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), dtype=np.float32)


def test_viewpoints_are_rotations_and_upright() -> None:
    rotations = view_rotations(6)
    assert np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=1e-6)
    assert np.allclose(np.linalg.det(rotations), 1, atol=1e-6), "a mirrored picture shows another object"
    assert (rotations[:, 1, 1] > 0.9).all(), "up in space is up in the picture"
    assert len({tuple(np.round(r[2], 3)) for r in rotations}) == 6


@pytest.mark.parametrize(("count", "size"), [(1024, 64), (2048, 64), (8192, 128)])
def test_a_sphere_is_a_closed_disc_that_is_brightest_in_the_middle(count: int, size: int) -> None:
    """Holes would show the far side and the teacher would see speckle instead of a surface."""
    picture = depth_views(sphere(count)[None], 1, size)[0, 0, :, :, 0].astype(int)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(x, y) / (size / 2)
    inner = picture[radius < 0.85]
    assert np.mean(inner > 155) > 0.93
    assert (picture[radius > 1.02] == 0).all()
    middle, rim = np.median(picture[radius < 0.2]), np.median(picture[(radius > 0.75) & (radius < 0.85)])
    assert middle > rim + 20


def test_the_nearer_point_hides_the_farther_one() -> None:
    toward = view_rotations(1)[0][2]
    cloud = np.stack([0.5 * toward, -0.5 * toward, [0, 1, 0], [0, -1, 0]]).astype(np.float32)
    for order in ([0, 1, 2, 3], [1, 0, 2, 3]):
        assert depth_views(cloud[None, order], 1, 33)[0, 0, 16, 16, 0] == 64 + 191 * 3 // 4


def test_up_is_up() -> None:
    """A ball on a thin stick: wide above, narrow below, from every side."""
    stick = np.linspace([0, -1, 0], [0, 0.5, 0], 300)
    cloud = np.concatenate([sphere(300) * 0.4 + [0, 0.6, 0], stick]).astype(np.float32)
    for picture in depth_views(cloud[None], 4, 64)[0, :, :, :, 0]:
        width = (picture > 0).sum(axis=1)
        lit = np.flatnonzero(width)
        assert width[lit[: len(lit) // 3]].mean() > 3 * width[lit[-len(lit) // 3 :]].mean()


def test_pictures_do_not_depend_on_the_batch_or_on_place_and_scale() -> None:
    """Features are cached per object: a picture that changed with its neighbours would not be reproducible."""
    clouds = np.stack([sphere(256, seed) * [1, 0.5, 0.2] for seed in range(130)]).astype(np.float32)
    seen: list[tuple[int, int]] = []
    together = depth_views(clouds, 2, 32, lambda done, total: seen.append((done, total)))
    assert together.shape == (130, 2, 32, 32, 1)
    assert together.dtype == np.uint8
    assert np.array_equal(together[129], depth_views(clouds[129:], 2, 32)[0])
    assert seen[-1] == (130, 130)
    moved = depth_views((clouds[:1] * 8 + 4).astype(np.float32), 2, 32)[0]
    assert np.mean(moved != together[0]) < 0.02


def test_only_sets_without_images_get_pictures_and_they_are_marked() -> None:
    plain = CloudSet(sphere(64)[None], np.zeros(1, np.int64), ("a",), ("c",))
    drawn = with_views(plain, 3, 16)
    assert drawn.views is not None
    assert drawn.views.shape == (1, 3, 16, 16, 1)
    assert drawn.views_kind == VIEWS_KIND == "depth-of-points"
    shaded = CloudSet(
        plain.points, plain.labels, ("a",), ("c",), views=np.ones((1, 1, 8, 8, 3), np.uint8), views_kind="shaded"
    )
    assert with_views(shaded) is shaded


def test_sparse_clouds_and_single_spots_do_not_fail() -> None:
    assert depth_views(np.zeros((2, 1, 3), np.float32), 1, 16).max() > 0
    assert depth_views(np.zeros((0, 5, 3), np.float32), 2, 16).shape == (0, 2, 16, 16, 1)


def test_importing_the_data_room_does_not_import_torch() -> None:
    """Start-up of `bench list` would take seconds."""
    names = "normalise splits depth digest files h5io h5set local modelnet_h5 scanobjectnn_h5 seen"
    code = f"import sys\nfor n in '{names}'.split(): __import__('bench.data.' + n)\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
