"""Digests of a split's content.

They show whether two encoders were pretrained, and two results measured, on the same objects.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt

from bench.data.containers import CloudSet
from bench.data.rows import MappedRows, release, underlying

_BLOCK_BYTES = 16_000_000
"""Bytes hashed at a time, so that large splits stay in their memory map."""


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


def pretraining_contents(
    split: CloudSet, *, pictures: bool = False, captions: bool = False, labels: bool = False
) -> dict[str, str]:
    """Return SHA-256 digests of what pretraining reads of a split, by part.

    All objects count, whatever part of them is trained on, so that seeds agree.

    Args:
        split: Training objects; with views where `pictures`, with captions where `captions`.
        pictures: Whether its pictures are read, by the method or by a teacher.
        captions: Whether its captions are read.
        labels: Whether labels are read, as targets or as class names in captions.
    """
    found = {"clouds": _arrays(split.points)}
    if pictures and split.views is not None:
        found["pictures"] = _arrays(split.views)
    if captions and split.captions is not None:
        found["captions"] = _texts(split.captions)
    if labels:
        found |= {"labels": _arrays(split.labels), "classes": _texts(split.classes)}
    return found


def _arrays(values: npt.NDArray[np.generic]) -> str:
    rows = underlying(values)
    digest = hashlib.sha256(f"{rows.dtype.str} {rows.shape}".encode())
    step = max(1, _BLOCK_BYTES * len(rows) // max(1, rows.nbytes))
    for start in range(0, len(rows), step):
        digest.update(np.ascontiguousarray(rows[start : start + step]).reshape(-1).view(np.uint8).data)
        release(rows.source if isinstance(rows, MappedRows) else rows)
    return digest.hexdigest()


def _texts(values: tuple[str, ...]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
