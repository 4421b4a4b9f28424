"""Digests of a split's content.

They show whether two results were measured on the same objects.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt

from bench.data.base import CloudSet

_ROWS = 512
"""Number of rows hashed at a time, so that large splits stay in their memory map."""


def split_contents(split: CloudSet) -> dict[str, str]:
    """Return SHA-256 digests of a split's content, by part.

    Parts are clouds, names, labels, part ids and class names.
    """
    found = {
        "clouds": _arrays(split.points),
        "objects": _texts(split.ids),
        "labels": _arrays(split.labels),
        "classes": _texts(split.classes),
    }
    return found if split.parts is None else {**found, "parts": _arrays(split.parts)}


def _arrays(values: npt.NDArray[np.generic]) -> str:
    digest = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    for start in range(0, len(values), _ROWS):
        digest.update(np.ascontiguousarray(values[start : start + _ROWS]).tobytes())
    return digest.hexdigest()


def _texts(values: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
