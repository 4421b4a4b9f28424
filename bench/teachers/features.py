"""Teacher features, computed once and stored as memory-mapped files.

One file per teacher, data, views and captions. A cache file is whole and has the digest it was written with, or counts
as absent (`bench.store.cached`); two processes that compute the same features at once both succeed, and the content of
the file is the same either way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bench.data.base import CloudSet
from bench.data.files import exclusive
from bench.errors import SetupError, UsageError
from bench.fingerprint import fingerprint
from bench.progress import Progress, silent
from bench.spec import content_key
from bench.store.cached import begin_array, open_array, publishing
from bench.teachers.base import Teacher

Features = npt.NDArray[np.float32]

AUGMENTATION = "bench.data.image_augment"
CROP_CHUNK = 256
"""Crops in memory at once."""
CHUNK = 4096
"""Images or sentences handed to the teacher at once; bounds memory, not the teacher's own batch."""
PROBED = 256
"""Objects whose pixels enter the key besides the manifest."""


def image_features(
    teacher: Teacher, cloudset: CloudSet, manifest: str, cache: Path, progress: Progress = silent, crops: int = 0
) -> Features:
    """Return features of every view, or of crops of views.

    Args:
        teacher: A teacher; it is prepared only if something has to be computed.
        cloudset: Objects with `views`.
        manifest: Digest of the data set the objects come from.
        cache: Folder for caches; the file goes to ``cache/features``.
        progress: Called with (images done, images in all) while features are computed; not on a hit.
        crops: Crops of each view (see `bench.data.image_augment`); 0 for the plain picture.

    Returns:
        float32 ``[n, V, teacher.image_dim]``, or with K crops ``[n, V * K, teacher.image_dim]``, all crops of a view
        beside each other; read-only, memory-mapped.

    Raises:
        UsageError: The set has no views, or the teacher knows no images.
        SetupError: The cache cannot be written.
    """
    pictures = Pictures(teacher, cloudset, crops)
    views = pictures.views
    facts: dict[str, JsonValue] = {
        "kind": "image",
        "teacher": teacher.identity(),
        "manifest": manifest,
        "ids": _digest_texts(cloudset.ids),
        "views_kind": cloudset.views_kind,
        "shape": list(views.shape),
        "pixels": _probe(views),
    }
    if crops:
        code = fingerprint([AUGMENTATION]).modules[AUGMENTATION]
        facts |= {"crops": crops, "style": teacher.crop_style, "side": pictures.side, "augmentation": code}

    def encode(start: int, stop: int, report: Progress) -> Features:
        return pictures.encode(np.arange(start, stop), report)

    file = cache / "features" / f"{teacher.name}-image-{content_key(facts | _where(teacher))[:32]}.npy"
    rows = len(views) * pictures.choices
    features = _once(file, rows, teacher.image_dim, teacher, encode, progress)
    return features.reshape(len(views), pictures.choices, teacher.image_dim)


class Pictures:
    """Pictures of each object for a teacher: views or crops.

    Args:
        teacher: A teacher of images.
        cloudset: Objects with `views`.
        crops: Crops of each view; 0 for the plain picture.

    Attributes:
        views: uint8 ``[n, V, H, W, C]``.
        choices: Pictures of each object.
        side: Side of a crop in pixels.

    Raises:
        UsageError: The set has no views, or the teacher knows no images.
    """

    def __init__(self, teacher: Teacher, cloudset: CloudSet, crops: int) -> None:
        if cloudset.views is None:
            raise UsageError(f"teacher '{teacher.name}' needs images and this data set has no views: render some first")
        if not teacher.image_dim:
            raise UsageError(f"teacher '{teacher.name}' gives no features of images: choose another with --teacher")
        self.teacher = teacher
        self.views = cloudset.views
        self.ids = cloudset.ids
        self.crops = crops
        self.choices = self.views.shape[1] * max(crops, 1)
        self.side = teacher.crop_side or min(self.views.shape[2:4])

    def encode(self, rows: npt.NDArray[np.int64], progress: Progress = silent) -> Features:
        """Return features of pictures, numbered over all objects.

        The number is object * choices + view * crops + crop.
        """
        if not self.crops:
            return self.teacher.encode_images(self.pictures(rows), progress)
        parts = []
        for start in range(0, len(rows), CROP_CHUNK):
            parts.append(self.teacher.encode_crops(self.pictures(rows[start : start + CROP_CHUNK])))
            progress(min(start + CROP_CHUNK, len(rows)), len(rows))
        return np.concatenate(parts)

    def pictures(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return pictures or crops ``[m, H, W, C]``, numbered as in `encode`."""
        import torch

        from bench.data.image_augment import augment, draw_crop

        objects, choice = np.divmod(rows, self.choices)
        if not self.crops:
            return self.views[objects, choice]
        view, crop = np.divmod(choice, self.crops)
        style = self.teacher.crop_style
        draws = [draw_crop(self.ids[o], int(v), int(c), style) for o, v, c in zip(objects, view, crop, strict=True)]
        pictures = torch.from_numpy(np.ascontiguousarray(self.views[objects, view]))
        crops: npt.NDArray[np.uint8] = augment(pictures, draws, self.side).numpy()
        return crops


def text_features(teacher: Teacher, captions: Sequence[str], cache: Path, progress: Progress = silent) -> Features:
    """Return features of captions; equal captions are encoded once.

    Args:
        teacher: A teacher; it is prepared only if something has to be computed.
        captions: One sentence per object.
        cache: Folder for caches; the file goes to ``cache/features``.
        progress: Called with (distinct sentences done, in all) while features are computed; not on a hit.

    Returns:
        float32 ``[n, teacher.text_dim]``.

    Raises:
        UsageError: The teacher encodes no texts.
        SetupError: The cache cannot be written.
    """
    distinct, index = distinct_sentences([captions])
    features = sentence_features(teacher, distinct, cache, progress)
    return np.ascontiguousarray(features[index[0]], dtype=np.float32)


def distinct_sentences(rows: Sequence[Sequence[str]]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the distinct sentences, and the index of each.

    Sentences are sorted; the index of ``[n][T]`` sentences is int64 ``[n, T]``.
    """
    distinct = sorted({sentence for row in rows for sentence in row})
    place = {sentence: i for i, sentence in enumerate(distinct)}
    index = np.array([[place[sentence] for sentence in row] for row in rows], dtype=np.int64)
    return distinct, index


def sentence_features(teacher: Teacher, distinct: Sequence[str], cache: Path, progress: Progress = silent) -> Features:
    """Return features of distinct sentences, from the cache.

    float32 ``[S, teacher.text_dim]``, read-only, memory-mapped.

    Raises:
        UsageError: The teacher knows no texts.
        SetupError: The cache cannot be written.
    """
    if not teacher.text_dim:
        raise UsageError(f"teacher '{teacher.name}' gives no features of texts: name another with --text-teacher")
    facts: dict[str, JsonValue] = {
        "kind": "text",
        "teacher": teacher.identity(),
        "captions": _digest_texts(distinct),
    }

    def encode(start: int, stop: int, report: Progress) -> Features:
        return teacher.encode_texts(distinct[start:stop], report)

    file = cache / "features" / f"{teacher.name}-text-{content_key(facts | _where(teacher))[:32]}.npy"
    return _once(file, len(distinct), teacher.text_dim, teacher, encode, progress)


def encode_once(
    teacher: Teacher,
    kind: str,
    facts: dict[str, JsonValue],
    rows: int,
    width: int,
    encode: Callable[[int, int, Progress], Features],
    cache: Path,
    progress: Progress = silent,
) -> Features:
    """Return features from the cache, computing them once.

    For inputs other than views and sentences.

    Args:
        teacher: It is prepared only if something has to be computed.
        kind: Part of the file's name.
        facts: Everything that determines the features, including the teacher's identity.
        rows: Number of features.
        width: Width of a feature.
        encode: Called with (first row, last row + 1, progress); returns their features.
        cache: Folder for caches; the file goes to ``cache/features``.
        progress: Called with (rows done, rows in all) while features are computed; not on a hit.

    Returns:
        float32 ``[rows, width]``, read-only, memory-mapped.

    Raises:
        SetupError: The cache cannot be written.
    """
    file = cache / "features" / f"{teacher.name}-{kind}-{content_key(facts | _where(teacher))[:32]}.npy"
    return _once(file, rows, width, teacher, encode, progress)


def _where(teacher: Teacher) -> dict[str, JsonValue]:
    """Return the device as part of the key, unless CPU.

    A GPU rounds differently, so its features have their own file.
    """
    return {} if teacher.device == "cpu" else {"device": teacher.device}


def _digest_texts(texts: Sequence[str]) -> str:
    """Return the SHA-256 of a list of strings.

    Lengths are included, so that different lists never agree.
    """
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode()
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()


def _probe(views: npt.NDArray[np.uint8]) -> str:
    """Return the SHA-256 of some objects' pixels, evenly spaced.

    The manifest covers the data set's files, but not views rendered from them (depth images of a set without pictures);
    a change of the renderer shows in any few objects.
    """
    chosen = np.unique(np.linspace(0, max(len(views) - 1, 0), min(PROBED, len(views))).astype(np.int64))
    return hashlib.sha256(np.ascontiguousarray(views[chosen]).tobytes()).hexdigest()


def _once(
    file: Path,
    n: int,
    width: int,
    teacher: Teacher,
    encode: Callable[[int, int, Progress], Features],
    progress: Progress,
) -> Features:
    """Return the features ``[n, width]`` of `file`.

    Computes and publishes them if the file is absent.
    """
    found = open_array(file, np.float32, (n, width))
    if found is not None:
        return found
    with exclusive(file.parent.parent / "locks" / f"{file.stem}.lock"):  # another process may have finished meanwhile
        if open_array(file, np.float32, (n, width)) is None:
            _write(file, n, width, teacher, encode, progress)
    stored = open_array(file, np.float32, (n, width))
    if stored is None:
        raise SetupError(f"teacher features just written to {file} cannot be read back: check that disk")
    return stored


def _write(
    file: Path,
    n: int,
    width: int,
    teacher: Teacher,
    encode: Callable[[int, int, Progress], Features],
    progress: Progress,
) -> None:
    """Compute the features ``[n, width]`` and publish the file."""
    teacher.prepare()
    with publishing(file) as sink:
        begin_array(sink, "<f4", (n, width))
        for start in range(0, n, CHUNK):
            stop = min(start + CHUNK, n)
            block = np.ascontiguousarray(encode(start, stop, _within(progress, start, stop, n)), dtype="<f4")
            _check(teacher, block, (stop - start, width))
            sink.write(block.tobytes())
            progress(stop, n)


def _within(progress: Progress, start: int, stop: int, n: int) -> Progress:
    """Return a callback that reports a chunk's overall progress.

    The end of a chunk is reported after it is written.
    """

    def report(done: int, _: int, what: str = "", note: str = "") -> None:
        if start + done < stop:
            progress(start + done, n, what, note)

    return report


def _check(teacher: Teacher, block: Features, shape: tuple[int, int]) -> None:
    """Refuse features of wrong shape or with non-finite values."""
    if block.shape != shape:
        raise SetupError(f"teacher '{teacher.name}' gave features of shape {block.shape}, expected {shape}")
    if not np.isfinite(block).all():
        raise SetupError(f"teacher '{teacher.name}' gave features that are not finite: its weights are damaged")
