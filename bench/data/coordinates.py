"""Check coordinates from files and cast them without losing precision.

They have to be finite, in a sane range and in the right axis order. Every reader passes its values to `float32_clouds`
(or, if it casts them itself, to `check_coordinates`), so that one module decides which coordinates are valid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import DataError

LARGEST = 1e12
"""Largest absolute coordinate: no unit of length makes an object or a map larger, and squares still fit float32."""
SMALLEST = 1e-12
"""Smallest extent of a cloud: below it squares of distances leave the range of float32."""
FAR = 64
"""A cloud farther from the origin than this many times its extent is moved to the origin before it is cast."""
COARSE = 0.01
"""Largest step between two numbers of the stored type, as a part of the cloud's extent."""
COLUMNS = 7
"""An array with more columns than this and fewer rows than columns is taken to be transposed."""

Name = Callable[[int, int | None], str]
"""Function from the rows of a cloud and of a point to their name in an error message."""


def of_file(where: str) -> Name:
    """Name points of a file's only cloud: ``<where> row 3``.

    Args:
        where: File and array, e.g. ``cup.npy: points``.
    """
    return lambda cloud, point: where if point is None else f"{where} row {point}"


def of_field(where: str, start: int = 0) -> Name:
    """Name clouds and points of a field.

    For example ``<where> row 7 point 4``.

    Args:
        where: File and field, e.g. ``train.h5: field 'data'``.
        start: Row at which the block begins.
    """
    return lambda cloud, point: f"{where} row {start + cloud}" + ("" if point is None else f" point {point}")


def float32_clouds(values: npt.NDArray[Any], name: Name) -> npt.NDArray[np.float32]:
    """Check clouds and cast them to float32.

    Clouds far from the origin are first moved there, in double precision. float32 keeps 24 bits: at a northing of
    5,819,822 m its steps are half a metre. So a cloud that lies farther from the origin than `FAR` times its extent is
    shifted by the centre of its bounding box. Any other is cast as it is.

    Args:
        values: Numbers ``[n, N, 3]``, or one cloud ``[N, 3]``, N at least 1.
        name: Names a cloud or point in errors.

    Returns:
        float32 of the same shape, contiguous.

    Raises:
        DataError: As `check_coordinates`.
    """
    clouds = values if values.ndim == 3 else values[None]
    low, high = check_coordinates(clouds, name)
    with np.errstate(under="ignore"):
        cast: npt.NDArray[np.float32] = np.ascontiguousarray(clouds, dtype=np.float32)
    far = np.flatnonzero(_reach(low, high) > FAR * _extent(low, high))
    if len(far):
        cast = cast.copy() if cast is values or cast.base is not None else cast
        centre = (low[far] + high[far]) / 2
        cast[far] = clouds[far].astype(np.float64) - centre[:, None]
    return cast if values.ndim == 3 else cast[0]


def check_coordinates(values: npt.NDArray[Any], name: Name) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Check that clouds are finite, extended and precise enough.

    Args:
        values: Numbers ``[n, N, 3]``, N at least 1.
        name: Names a cloud or point in errors.

    Returns:
        Least and largest coordinates of each cloud, float64 ``[n, 3]``.

    Raises:
        DataError: A coordinate that is not finite or beyond `LARGEST`, points that all coincide or span less than
            `SMALLEST`, or a stored type too coarse for the extent.
    """
    by_axis = np.ascontiguousarray(values.transpose(0, 2, 1))  # NumPy is ten times as fast along the last axis
    low, high = (edge.astype(np.float64) for edge in (by_axis.min(axis=-1), by_axis.max(axis=-1)))
    with np.errstate(invalid="ignore", over="ignore"):
        reach, extent = _reach(low, high), _extent(low, high)
        wrong = np.flatnonzero(~(reach <= LARGEST))  # also true of NaN
    if len(wrong):
        cloud = int(wrong[0])
        point, axis = (int(i) for i in np.argwhere(~(np.abs(values[cloud].astype(np.float64)) <= LARGEST))[0])
        raise DataError(f"{name(cloud, point)} axis {'xyz'[axis]} is {_fault(float(values[cloud, point, axis]))}")
    flat = np.flatnonzero(extent < SMALLEST)
    if len(flat):
        cloud = int(flat[0])
        same = f"all {values.shape[1]} points are identical"
        tiny = f"the points span only {extent[cloud]:.3g}, expected at least {SMALLEST:g}"
        raise DataError(
            f"{name(cloud, None)}: {tiny if extent[cloud] else same}; expected a cloud with some extent; "
            "remove or repair that object"
        )
    if values.dtype.kind == "f":
        step = np.spacing(reach.astype(values.dtype)).astype(np.float64)
        coarse = np.flatnonzero(step > COARSE * extent)
        if len(coarse):
            cloud = int(coarse[0])
            raise DataError(
                f"{name(cloud, None)}: {values.dtype} keeps steps of {step[cloud]:.2g} at {reach[cloud]:,.0f}, but the "
                f"cloud spans only {extent[cloud]:.3g}; store float64, or subtract an offset before storing"
            )
    return low, high


def _fault(value: float) -> str:
    if not np.isfinite(value):
        return f"{value}, expected a finite number; remove or repair that object"
    return f"{value:g}, expected at most {LARGEST:g}; remove or repair that object, or store another unit"


def _reach(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the largest absolute coordinate of each cloud."""
    reach: npt.NDArray[np.float64] = np.maximum(np.abs(low), np.abs(high)).max(axis=-1)
    return reach


def _extent(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the longest side of each cloud's bounding box."""
    extent: npt.NDArray[np.float64] = (high - low).max(axis=-1)
    return extent


def transposed(shape: tuple[int, ...]) -> str:
    """Return a hint if an array looks transposed, else "".

    A cloud has many points and few columns: an array with more than `COLUMNS` columns and fewer rows is taken to be
    ``[3, N]``, ``[4, N]`` and so on.

    Args:
        shape: Shape of one cloud ``[N, C]``, or of several ``[n, N, C]``.
    """
    if len(shape) < 2 or shape[-1] <= COLUMNS or shape[-2] >= shape[-1]:
        return ""
    right = [*shape[:-2], shape[-1], shape[-2]]
    return f"; it looks transposed: store {right}, one point a row"
