"""Coordinates on their way in: no precision is lost, and what cannot be meant is named."""

from __future__ import annotations

import numpy as np
import pytest

from bench.data.coordinates import FAR, check_coordinates, float32_clouds, of_field, of_file, transposed
from bench.errors import DataError

OBJECT = np.random.default_rng(0).uniform(-2, 2, (200, 3))
NORTHING = np.array([410_533.0, 5_819_822.0, 34.0])


name = of_field("a.h5: field 'data'")


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_objects_of_a_map_keep_their_shape(scale: float) -> None:
    """At a northing of 5,819,822 m float32 has steps of half a metre: objects would become a few layers."""
    stored = (OBJECT + NORTHING) * scale
    stored = np.round(stored).astype(np.int64) if scale > 1 else stored
    read = float32_clouds(stored, of_file("a"))
    assert read.dtype == np.float32
    assert len(np.unique(read[:, 1])) > 190
    shift = read.astype(np.float64) - stored
    assert np.ptp(shift, axis=0).max() < 1e-6 * scale


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8", np.int16, np.uint8])
def test_what_lies_near_the_origin_is_only_cast(dtype: str) -> None:
    """Official data would change in their last bits, and with them stored results."""
    stored = np.abs(OBJECT * 20).astype(dtype).reshape(2, 100, 3)
    given = stored.copy()
    read = float32_clouds(stored, name)
    assert np.array_equal(read, stored.astype(np.float32))
    assert np.array_equal(stored, given)


def test_only_the_clouds_that_are_far_are_moved() -> None:
    both = np.stack([OBJECT, OBJECT + 5 * FAR]).astype(np.float32)
    given = both.copy()
    read = float32_clouds(both, name)
    assert np.array_equal(read[0], both[0])
    assert np.abs(read[1]).max() < 2.1
    assert np.array_equal(both, given), "the caller's array must stay"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "row 0 point 7 axis y is nan, expected a finite number"),
        (-np.inf, "point 7 axis y is -inf"),
        (3.4e38, "point 7 axis y is 3.4e+38, expected at most 1e+12"),
        (-2e12, "point 7 axis y is -2e+12"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_coordinate_that_cannot_be_meant_is_named(value: float, words: str, dtype: type) -> None:
    """One point at 3.4e38 makes every feature NaN, which was blamed on the weights."""
    clouds = OBJECT.astype(dtype)[None].copy()
    clouds[0, 7, 1] = value
    with pytest.raises(DataError) as error:
        check_coordinates(clouds, name)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("clouds", "words"),
    [
        (OBJECT * 1e30, "row 0 point 0 axis x is 5.47847e+29"),
        (OBJECT * 1e-30, "row 0: the points span only"),
        (np.ones((9, 3)), "row 0: all 9 points are identical"),
        ((OBJECT + NORTHING).astype(np.float32), "float32 keeps steps of 0.5 at 5,819,824"),
        ((OBJECT + 300).astype(np.float16), "float16 keeps steps of"),
    ],
)
def test_clouds_without_a_shape_are_named(clouds: np.ndarray, words: str) -> None:
    with pytest.raises(DataError) as error:
        check_coordinates(clouds[None], name)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("shape", "right"),
    [((3, 50), [50, 3]), ((4, 2048), [2048, 4]), ((6, 8), [8, 6]), ((9, 3, 64), [9, 64, 3])],
)
def test_exchanged_rows_and_columns_are_named(shape: tuple[int, ...], right: list[int]) -> None:
    assert transposed(shape) == f"; it looks transposed: store {right}, one point a row"


@pytest.mark.parametrize("shape", [(50, 3), (4, 3), (4, 6), (2048, 67), (12, 64, 9), (5,)])
def test_clouds_are_not_taken_for_exchanged(shape: tuple[int, ...]) -> None:
    assert not transposed(shape)
