"""Geometry of the embedded data: wrong areas, normals or z-buffers would give clouds and pictures that lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.shapes.mesh import Mesh, face_geometry, join, refine, rotation, sample_surface
from bench.data.shapes.primitives import (
    arc,
    box,
    curve,
    cylinder,
    dome,
    ellipsoid,
    extrude,
    lathe,
    plank,
    rod,
    shell,
    sweep,
    torus,
)
from bench.data.shapes.render import camera, rasterise, render
from bench.data.shapes.sketch import Sketch

CLOSED = {
    "box": box(1, 2, 3),
    "bevelled box": box(1, 2, 3, bevel=0.2),
    "cylinder": cylinder(0.5, 1.0),
    "cone": cylinder(0.5, 1.0, top=0.0),
    "ellipsoid": ellipsoid(1, 2, 0.5),
    "dome": dome(1, 0.5),
    "torus": torus(1, 0.2),
    "swept hook": sweep(arc(1, 0, 200), 0.1),
    "rod": rod([0, 0, 0], [1, 2, 3], 0.1),
    "plank": plank([0, 0, 0], [1, 2, 3], 0.1, 0.3),
    "prism": extrude([[0, 0], [1, 0], [1, 1], [0, 1]], 0.5),
    "vessel": shell([(0.5, 0), (0.8, 1)], 0.1),
}


def area(mesh: Mesh) -> float:
    return float(face_geometry(mesh)[0].sum())


def volume(mesh: Mesh) -> float:
    corners = mesh.vertices[mesh.faces]
    return float(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6)


@pytest.mark.parametrize("name", CLOSED)
def test_closed_parts_have_no_holes_and_one_winding(name: str) -> None:
    """Every edge is used once in each direction, else normals flip inside one part."""
    mesh = CLOSED[name]
    rounded = np.unique(np.round(mesh.vertices, 9), axis=0, return_inverse=True)[1].reshape(-1)
    faces = rounded[mesh.faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges = sorted(map(tuple, directed.tolist()))
    assert edges == sorted((b, a) for a, b in edges)


def test_sizes_agree_with_the_formulas() -> None:
    """Area-weighted sampling is only as good as the areas."""
    assert area(box(1, 2, 3)) == pytest.approx(22)
    assert abs(volume(box(1, 2, 3))) == pytest.approx(6)
    assert abs(volume(box(2, 2, 2, bevel=0.2))) < 8
    assert area(lathe([(1, 0), (1, 2)], 200)) == pytest.approx(2 * np.pi * (1 + 2), rel=1e-3)
    assert abs(volume(cylinder(1, 3, top=0.0, sides=200))) == pytest.approx(np.pi, rel=1e-2)
    assert abs(volume(torus(2, 0.5, sides=60, steps=200))) == pytest.approx(2 * np.pi**2 * 2 * 0.25, rel=1e-2)
    assert area(plank([0, 0, 0], [0, 0, 2], 1, 1)) == pytest.approx(10)


def test_finished_objects_have_outward_normals_even_when_mirrored() -> None:
    """A user who feeds normals to a network needs one orientation."""
    sketch = Sketch(np.random.default_rng(0), ("part",))
    sketch.add_mirrored("part", ellipsoid(0.5, 0.5, 0.5).move(x=2), box(0.5, 0.5, 0.5, bevel=0.1).move(x=4))
    sketch.add("part", torus(0.3, 0.1).stretch(y=-1).move(y=3))
    solid = sketch.finish()
    points, normals, _ = sample_surface(solid.mesh, 4000, np.random.default_rng(1))
    for x in (-4, -2, 2, 4):
        near = np.abs(points[:, 0] - x) < 0.6
        outward = points[near] - (x, 0, 0)
        assert (np.einsum("ij,ij->i", outward, normals[near]) > 0).all()


def test_sampling_is_uniform_over_the_area_and_on_the_surface() -> None:
    mesh = join(box(1, 1, 1), box(3, 3, 3).move(x=10))
    points, normals, face = sample_surface(mesh, 10_000, np.random.default_rng(0))
    assert np.mean(face >= 12) == pytest.approx(0.9, abs=0.002)
    half = np.where(face >= 12, 1.5, 0.5)
    local = points - np.where(face >= 12, 10, 0)[:, None] * (1, 0, 0)
    assert np.allclose(np.abs(local).max(axis=1), half)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)
    assert np.abs(local[face >= 12].mean(axis=0)).max() < 0.05
    order = np.corrcoef(np.arange(len(face)), face)[0, 1]
    assert abs(order) < 0.05, "the first points of a cloud must already cover the whole object"


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.floats(0.05, 2.0), st.integers(0, 100))
def test_refining_keeps_the_surface(longest: float, seed: int) -> None:
    """Deformation of unrefined long faces would leave them straight; refinement must not change the shape itself."""
    sides = np.random.default_rng(seed).uniform(0.2, 2, 3)
    mesh = box(*sides.tolist())
    part = np.arange(len(mesh.faces))
    fine, carried = refine(mesh, longest, part)
    edges = fine.vertices[fine.faces] - fine.vertices[np.roll(fine.faces, 1, axis=1)]
    assert area(fine) == pytest.approx(area(mesh))
    assert np.linalg.norm(edges, axis=2).max() <= max(longest, 0.6), "8 rounds suffice but for extreme wishes"
    for k in range(len(mesh.faces)):
        assert area(Mesh(fine.vertices, fine.faces[carried == k])) == pytest.approx(
            area(Mesh(mesh.vertices, mesh.faces[[k]]))
        )


def test_curves_meet_their_ends() -> None:
    """A handle that misses its mug would float in the air."""
    knots = [[0, 0, 0], [1, 2, 0], [3, 1, 1], [4, 0, 0]]
    path = curve(knots, 15)
    assert np.allclose(path[0], knots[0])
    assert np.allclose(path[-1], knots[-1], atol=1e-6)


def brute_force(screen: np.ndarray, near: np.ndarray, faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Z-buffer pixel by pixel with barycentric coordinates."""
    best, seen = np.full(size * size, -np.inf), np.full(size * size, -1)
    y, x = np.mgrid[:size, :size] + 0.5
    at = np.stack([x.ravel(), y.ravel()], -1)
    for k, (a, b, c) in enumerate(faces):
        matrix = np.stack([screen[b] - screen[a], screen[c] - screen[a]], -1)
        if abs(np.linalg.det(matrix)) < 1e-9:
            continue
        u, v = np.linalg.solve(matrix, (at - screen[a]).T)
        inside = (u >= 0) & (v >= 0) & (u + v <= 1)
        value = near[a] + u * (near[b] - near[a]) + v * (near[c] - near[a])
        wins = inside & (value > best)
        best[wins], seen[wins] = value[wins], k
    return best, seen


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_the_z_buffer_agrees_with_brute_force(seed: int) -> None:
    """The scans and the teacher's pictures both come from this buffer."""
    rng = np.random.default_rng(seed)
    screen, near = rng.uniform(-6, 26, (24, 2)), rng.uniform(0.1, 1, 24)
    faces = rng.permutation(24).reshape(8, 3)
    nearest, seen = rasterise(screen, near, faces, 20)
    expected, face = brute_force(screen, near, faces, 20)
    assert (seen == face).all()
    assert np.allclose(nearest[face >= 0], expected[face >= 0])


def test_camera_axes_are_a_rotation_with_up_up() -> None:
    for azimuth, elevation in ((0, 0), (35, 20), (200, 45)):
        turn = camera(azimuth, elevation)
        assert np.allclose(turn @ turn.T, np.eye(3))
        assert np.linalg.det(turn) == pytest.approx(1), "a mirrored picture shows another object"
        assert turn[1, 1] > 0.7
        eye = turn[2]
        assert eye[1] == pytest.approx(np.sin(np.deg2rad(elevation)))
        assert np.arctan2(eye[0], eye[2]) == pytest.approx(np.deg2rad((azimuth + 180) % 360 - 180))


def test_pictures_show_the_object_upright_and_nearest_first() -> None:
    mesh = join(box(1, 1, 1), box(0.4, 0.4, 0.4).move(y=0.7), box(0.3, 0.3, 0.3).move(z=1.2))
    part = np.repeat([0, 1, 2], 12)
    shaded = render(mesh, part, [(0, 0)], 64, "shaded", np.array([1.0, 0.5, 0.2]))[0, :, :, 0]
    depth = render(mesh, part, [(0, 0)], 64, "depth", np.ones(3))[0, :, :, 0]
    rows = np.flatnonzero((shaded < 255).any(axis=1))
    top, bottom = rows[0], rows[-1]
    width = (shaded < 255).sum(axis=1)
    assert width[top + 1] < width[bottom - 1], "the small box stands on top"
    assert (depth[shaded == 255] == 0).all()
    brightest = np.argwhere(depth == depth.max()).mean(axis=0)
    assert top < 20, "the small box is in the upper half"
    assert 40 > brightest[0] > 20, "the box in front is nearest, and in front of the large one"
    assert abs(brightest[1] - 31.5) < 2
    assert shaded[tuple(np.rint(brightest).astype(int))] < 100, "and its own, dark, tone is what one sees there"


def test_rotations_are_right_handed() -> None:
    assert np.allclose(rotation("z", 90) @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(rotation("x", 90) @ [0, 1, 0], [0, 0, 1])
    assert np.allclose(rotation("y", 90) @ [0, 0, 1], [1, 0, 0])
