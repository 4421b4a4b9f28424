"""Teacher features, computed once per (teacher, data, views, captions) and kept as memory-mapped files.

A cache file is written under a temporary name and renamed, so it is whole or absent; two processes that
compute the same features at once both succeed, and the content of the file is the same either way.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.data.base import CloudSet, Progress, silent
from bench.errors import SetupError, UsageError
from bench.spec import content_key
from bench.teachers.base import Teacher

Features = npt.NDArray[np.float32]

CHUNK = 4096
"""Images or sentences handed to the teacher at once; bounds memory, not the teacher's own batch."""
ABANDONED_SECONDS = 3600.0
"""A temporary file untouched for this long belongs to a killed writer."""
PROBED = 256
"""Objects whose pixels enter the key besides the manifest."""


def image_features(
    teacher: Teacher, cloudset: CloudSet, manifest: str, cache: Path, progress: Progress = silent
) -> Features:
    """Features of every view of every object.

    Args:
        teacher: A teacher; it is prepared only if something has to be computed.
        cloudset: Objects with `views`.
        manifest: Digest of the data set the objects come from.
        cache: Folder for caches; the file goes to ``cache/features``.
        progress: Called with (images done, images in all) while features are computed; not on a hit.

    Returns:
        float32 ``[n, V, teacher.image_dim]``, read-only, memory-mapped.

    Raises:
        UsageError: The set has no views.
        SetupError: The cache cannot be written.
    """
    views = cloudset.views
    if views is None:
        raise UsageError(f"teacher '{teacher.name}' needs images and this data set has no views: render some first")
    key = content_key(
        {
            "kind": "image",
            "teacher": teacher.identity(),
            "manifest": manifest,
            "ids": _digest_texts(cloudset.ids),
            "views_kind": cloudset.views_kind,
            "shape": list(views.shape),
            "pixels": _probe(views),
        }
    )
    n, per_object = views.shape[:2]
    flat = views.reshape(n * per_object, *views.shape[2:])

    def encode(start: int, stop: int) -> Features:
        return teacher.encode_images(flat[start:stop])

    file = cache / "features" / f"{teacher.name}-image-{key[:32]}.npy"
    features = _once(file, len(flat), teacher.image_dim, teacher, encode, progress)
    return features.reshape(n, per_object, teacher.image_dim)


def text_features(teacher: Teacher, captions: Sequence[str], cache: Path, progress: Progress = silent) -> Features:
    """Features of every caption; equal captions are encoded once.

    Args:
        teacher: A teacher; it is prepared only if something has to be computed.
        captions: One sentence per object.
        cache: Folder for caches; the file goes to ``cache/features``.
        progress: Called with (distinct sentences done, in all) while features are computed; not on a hit.

    Returns:
        float32 ``[n, teacher.text_dim]``.

    Raises:
        SetupError: The cache cannot be written.
    """
    distinct = sorted(set(captions))
    key = content_key({"kind": "text", "teacher": teacher.identity(), "captions": _digest_texts(distinct)})

    def encode(start: int, stop: int) -> Features:
        return teacher.encode_texts(distinct[start:stop])

    file = cache / "features" / f"{teacher.name}-text-{key[:32]}.npy"
    features = _once(file, len(distinct), teacher.text_dim, teacher, encode, progress)
    place = {caption: i for i, caption in enumerate(distinct)}
    index = np.fromiter((place[caption] for caption in captions), dtype=np.int64, count=len(captions))
    return np.ascontiguousarray(features[index], dtype=np.float32)


def _digest_texts(texts: Sequence[str]) -> str:
    """SHA-256 of a list of strings, unambiguous about where each ends."""
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def _probe(views: npt.NDArray[np.uint8]) -> str:
    """SHA-256 of the pixels of evenly spaced objects.

    The manifest stands for the data set's own content; views rendered afterwards (depth images of a set
    without pictures) are not in it, and a change of the renderer shows in any handful of objects.
    """
    chosen = np.unique(np.linspace(0, max(len(views) - 1, 0), min(PROBED, len(views))).astype(np.int64))
    return hashlib.sha256(np.ascontiguousarray(views[chosen]).tobytes()).hexdigest()


def _once(
    file: Path, n: int, width: int, teacher: Teacher, encode: Callable[[int, int], Features], progress: Progress
) -> Features:
    """Return the ``[n, width]`` features in `file`, computing and publishing them if they are not there."""
    found = _read(file, (n, width))
    if found is not None:
        return found
    teacher.prepare()
    temporary = file.with_name(f".{file.stem}-{uuid.uuid4().hex}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(file.parent)
        with temporary.open("wb") as sink:
            np.lib.format.write_array_header_1_0(sink, {"descr": "<f4", "fortran_order": False, "shape": (n, width)})
            for start in range(0, n, CHUNK):
                stop = min(start + CHUNK, n)
                block = np.ascontiguousarray(encode(start, stop), dtype="<f4")
                _check(teacher, block, (stop - start, width))
                sink.write(block.tobytes())
                progress(stop, n)
            sink.flush()
            os.fsync(sink.fileno())
        temporary.replace(file)
    except OSError as error:
        raise SetupError(
            f"cannot write teacher features to {file}: {error.strerror or error}; "
            "free space there, or choose a results folder you can write to"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    stored = _read(file, (n, width))
    if stored is None:
        raise SetupError(f"teacher features just written to {file} cannot be read back: check that disk")
    return stored


def _remove_abandoned(folder: Path) -> None:
    """Delete what killed writers left; one that still writes touches its file far more often than this."""
    for part in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                part.unlink()


def _check(teacher: Teacher, block: Features, shape: tuple[int, int]) -> None:
    """Refuse to cache what would spoil every later run."""
    if block.shape != shape:
        raise SetupError(f"teacher '{teacher.name}' gave features of shape {block.shape}, expected {shape}")
    if not np.isfinite(block).all():
        raise SetupError(f"teacher '{teacher.name}' gave features that are not finite: its weights are damaged")


def _read(file: Path, shape: tuple[int, int]) -> Features | None:
    """Map `file`, or None where it is absent, cut short or of another shape (it is then computed again)."""
    try:
        stored: npt.NDArray[np.generic] = np.load(file, mmap_mode="r" if shape[0] else None, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if stored.shape != shape or stored.dtype != np.float32:
        return None
    return stored  # type: ignore[return-value]
