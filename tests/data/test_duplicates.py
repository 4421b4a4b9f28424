"""Copies of shapes across data sets: planted ones must be found, however disguised, and others left alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.duplicates import (
    THRESHOLD,
    Match,
    content_hashes,
    descriptors,
    exact_groups,
    find_duplicates,
    turned,
    unit_sphere,
)

Cloud = npt.NDArray[np.float32]
POINTS = 512
OBJECTS = 10


def thing(number: int, sample: int = 0, points: int = POINTS) -> Cloud:
    """A sample of the surface of object `number`: four ellipsoids of its own sizes in places of its own."""
    design, draw = np.random.default_rng([3, number]), np.random.default_rng([number, sample])
    centres, sizes = design.uniform(-1, 1, (4, 3)), design.uniform(0.05, 0.6, (4, 3))
    piece = draw.integers(0, 4, points)
    on = draw.normal(size=(points, 3))
    on /= np.linalg.norm(on, axis=1, keepdims=True)
    return (centres[piece] + sizes[piece] * on).astype(np.float32)


@pytest.fixture(scope="module")
def things() -> Cloud:
    return np.stack([thing(number) for number in range(OBJECTS)])


def disguised(cloud: Cloud, seed: int, jitter: float = 0.0, turn: float = 0.0) -> Cloud:
    """The same points in another order, place and scale; jittered and turned where asked for."""
    rng = np.random.default_rng(seed)
    moved = turned(cloud, turn) + jitter * rng.normal(size=cloud.shape)
    return (rng.permutation(moved) * rng.uniform(0.2, 5) + rng.uniform(-3, 3, 3)).astype(np.float32)


def paired(matches: list[Match]) -> set[tuple[int, int]]:
    return {(match.a, match.b) for match in matches}


def test_copies_in_another_order_place_and_scale_are_exact(things: Cloud) -> None:
    """Leaks that a plain hash misses (shuffled, normalised again) would go unseen."""
    copies = np.stack([disguised(cloud, seed) for seed, cloud in enumerate(things)])
    matches = find_duplicates(things, copies)
    assert paired(matches) == {(i, i) for i in range(OBJECTS)}
    assert all(match.exact and match.ratio == 0 for match in matches)


def test_turned_and_jittered_copies_are_near_with_their_turn(things: Cloud) -> None:
    """An augmented copy of a training shape in the test set would count as a new shape."""
    turns = np.linspace(0.4, 5.9, OBJECTS)
    copies = np.stack([disguised(c, 7, jitter=0.01, turn=t) for c, t in zip(things, turns, strict=True)])
    matches = {match.b: match for match in find_duplicates(things, copies)}
    assert {(m.a, m.b) for m in matches.values()} == {(i, i) for i in range(OBJECTS)}
    for number, match in matches.items():
        assert not match.exact
        assert match.ratio < 1
        back = (match.turn + np.degrees(turns[number]) + 180) % 360 - 180
        assert abs(back) < 3, "the turn that undoes the planted one"


def test_another_sample_of_the_same_surface_is_near_and_other_shapes_are_not(things: Cloud) -> None:
    """Two data sets sample one mesh anew, so a test that needs equal points finds nothing; a lax one finds all."""
    again = np.stack([disguised(thing(n, sample=1), n, turn=1.0 + n) for n in range(OBJECTS)])
    others = np.stack([thing(n) for n in range(100, 100 + OBJECTS)])
    matches = find_duplicates(things, np.concatenate([again, others]))
    assert paired(matches) == {(i, i) for i in range(OBJECTS)}
    assert all(0.7 < match.ratio <= THRESHOLD for match in matches)


def test_within_one_set_each_pair_comes_once_and_nothing_matches_itself(things: Cloud) -> None:
    """Every object would be its own duplicate."""
    cloned = np.concatenate([things, disguised(things[4], 1)[None], disguised(things[4], 2)[None]])
    assert paired(find_duplicates(cloned, cloned, within=True)) == {(4, 10), (4, 11), (10, 11)}
    assert find_duplicates(things, things, within=True) == []


def test_threshold_decides_what_is_near(things: Cloud) -> None:
    """A user who asks for closer pairs would still get all."""
    copies = np.stack([disguised(cloud, 7, jitter=0.01) for cloud in things[:4]])
    ratios = [match.ratio for match in find_duplicates(things, copies)]
    assert len(ratios) == 4
    assert not find_duplicates(things, copies, threshold=0.5 * min(ratios))


def test_sets_with_other_numbers_of_points_can_be_compared(things: Cloud) -> None:
    """ShapeNet's 8,192 points against 2,048 is the common case."""
    dense = np.stack([thing(number, sample=2, points=3000) for number in range(4)])
    assert paired(find_duplicates(things, dense)) == {(i, i) for i in range(4)}


def test_clouds_without_shape_do_no_harm() -> None:
    """One broken object would end the whole audit."""
    odd = np.zeros((3, 40, 3), dtype=np.float32)
    odd[1] = np.tile(np.random.default_rng(0).normal(size=(4, 3)), (10, 1))
    odd[2, :, 1] = np.linspace(0, 1, 40)
    assert paired(find_duplicates(odd, odd)) == {(0, 0), (1, 1), (2, 2)}
    assert find_duplicates(odd[:0], odd) == []
    single = np.ones((2, 1, 3), dtype=np.float32)
    assert len(find_duplicates(single, single, within=True)) == 1


@settings(derandomize=True, max_examples=25, deadline=None)
@given(number=st.integers(0, 10_000), turn=st.floats(0, 6.3), scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_descriptors_ignore_order_turn_scale_and_place(number: int, turn: float, scale: float, shift: float) -> None:
    """A candidate that was turned or scaled would never be compared."""
    cloud = thing(number, points=200)
    rng = np.random.default_rng(number)
    other = rng.permutation(turned(cloud, turn)) * np.float32(scale) + np.float32(shift)
    both = descriptors(np.stack([cloud, other.astype(np.float32)]))
    assert np.linalg.norm(both[0] - both[1]) < 5e-3


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), row=st.integers(0, 29), axis=st.integers(0, 2))
def test_content_hash_sees_points_not_their_order(seed: int, row: int, axis: int) -> None:
    """Shuffled copies would be missed, or different clouds taken for copies."""
    rng = np.random.default_rng(seed)
    cloud = rng.normal(size=(30, 3)).astype(np.float32)
    changed = cloud.copy()
    changed[row, axis] = np.nextafter(changed[row, axis], np.float32(9))
    swapped = cloud.copy()
    swapped[row] = np.roll(cloud[row], 1)
    hashes = content_hashes(np.stack([cloud, rng.permutation(cloud), changed, swapped]))
    assert [group.tolist() for group in exact_groups(hashes)] == [[0, 1]]


def test_content_hash_takes_both_zeros_for_one_and_counts_repeats() -> None:
    """-0.0 equals 0.0 for everyone but a hash of bytes; a repeated point is another cloud."""
    clouds = np.array([[[0.0, 1, 2], [3, 4, 5], [3, 4, 5]], [[3, 4, 5], [-0.0, 1, 2], [3, 4, 5]]], dtype=np.float32)
    assert [g.tolist() for g in exact_groups(content_hashes(clouds))] == [[0, 1]]
    fewer = clouds.copy()
    fewer[1] = [[3, 4, 5], [0, 1, 2], [0, 1, 2]]
    assert exact_groups(content_hashes(fewer)) == []


def test_unit_sphere_does_not_depend_on_order(things: Cloud) -> None:
    """Two orders of one cloud would differ by rounding and no longer be exact copies."""
    shuffled = things[0][np.random.default_rng(0).permutation(POINTS)] * 1000
    assert np.abs(np.sort(unit_sphere(things[0]), axis=0) - np.sort(unit_sphere(shuffled), axis=0)).max() < 1e-5
