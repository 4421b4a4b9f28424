"""Frozen features of prepared clouds, computed once and cached.

Clouds are normalised and reduced by farthest point sampling once per (data set, split, number of points). An encoder
is run once over them, in eval mode and float32, and all the features it offers are stored, so that every head,
setting and seed of a probe reads the same files. A file is whole and has the digest it was written with, or counts
as absent (`bench.store.cached`); of two processes that compute the same one both succeed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor

from bench.data.coordinates import Name, check_coordinates
from bench.data.transforms import unit_sphere
from bench.errors import DataError, DivergedError, unknown_name
from bench.fingerprint import fingerprint
from bench.models.encoder import Encoder
from bench.models.frozen import FrozenWatch
from bench.models.grouping import RELEASED_POINT_MAE, Sampling
from bench.models.ops.fps import farthest_point_sample
from bench.models.ops.gather import gather_points
from bench.progress import named
from bench.protocols.base import Candidate, Task
from bench.protocols.threads import for_batches
from bench.spec import content_key
from bench.store.cached import open_array, publishing, read_bytes, write_array

Array = npt.NDArray[np.float32]
Split = Literal["train", "test"]
Part = Split | str
"""A split, or a condition that the test split is corrupted under (`bench.protocols.base.CorruptedTest`)."""

ENCODER_BATCH = 64
CLOUD_BATCH = 64
POINTS = ("points",)
"""What most encoders are given of a cloud."""
TWICE = 16
"""Clouds of each split that are encoded twice: a frozen encoder gives the same bits.

Of corrupted splits only the first that is encoded alone: seven types at five levels would be 35 such passes more.
"""


def clipped_points(task: Task) -> str | None:
    """Return a note if clouds have too few points.

    All points are then used.
    """
    available = min(task.train.points.shape[1], task.test.points.shape[1])
    if available >= task.points:
        return None
    return f"{task.points} points wanted, the clouds have {available}: all are used"


def prepared_clouds(
    task: Task, split: Part, *, normalise: bool, count: int | None = None, inputs: Sequence[str] = POINTS
) -> Array:
    """Return clouds as the encoder sees them at evaluation, cached.

    Args:
        task: The task.
        split: Split, or a condition of the corrupted test split.
        normalise: Centre each cloud and scale it into the unit sphere first.
        count: Points to keep; None for `Task.points`.
        inputs: What is wanted of each point: ``points``, ``normals``.

    Returns:
        float32 ``[n, min(N, count), 3k]`` with three columns for each of the k inputs, chosen by deterministic
        farthest point sampling (start at point 0; in the published form as the released sampler does, which skips
        points near the origin); memory-mapped where they came from the cache.

    Raises:
        DataError: Normals are wanted and there are none.
        SetupError: The cache cannot be written.
    """
    clouds = whole_clouds(task, split, normalise=normalise, count=count, inputs=inputs)
    return _of_task(clouds, task, split)


def whole_clouds(
    task: Task, split: Part, *, normalise: bool, count: int | None = None, inputs: Sequence[str] = POINTS
) -> Array:
    """Return prepared clouds of a split's whole data set.

    See `prepared_clouds`; a task may use only some of them.
    """
    beside = [_beside(task, split, name) for name in inputs if name != "points"]
    size, available = _shape(task, split)
    count = min(count or task.points, available or count or task.points)
    columns = 3 * len(inputs)
    file = task.cache / "clouds" / f"{_clouds_key(task, split, normalise, count, inputs)[:32]}.npy"
    stored = open_array(file, np.float32, (size, None if available is None else count, columns))
    if stored is not None:
        return stored
    points = _points(task, split)
    count = min(count, points.shape[1])
    reduced = np.empty((len(points), count, columns), dtype=np.float32)

    def reduce(start: int, stop: int) -> None:
        first, *others = (
            torch.from_numpy(np.array(values[start:stop], dtype=np.float32)).to(task.device)
            for values in (points, *beside)
        )
        if normalise:
            first = unit_sphere(first)
        if count < first.shape[1]:
            picks = _farthest(first, count, task)
            first, *others = (gather_points(values, picks) for values in (first, *others))
        reduced[start:stop] = torch.cat([first, *others], dim=-1).cpu().numpy()

    stage = f"clouds of {split}"
    for_batches(len(points), CLOUD_BATCH, task.device, reduce, named(task.progress, stage))
    write_array(file, reduced)
    return reduced


def _beside(task: Task, split: Part, name: str) -> Array:
    """Return what is wanted of each point besides its place, ``[n, N, 3]``.

    Raises:
        DataError: The data set has none.
    """
    origin, own = task.origins.get(_split_of(split)), task.train if split == "train" else task.test
    given = name == "normals" and not _is_corrupted(split)
    found = None if not given else own.normals if origin is None else origin.normals
    if found is None:
        raise DataError(f"the encoder asks for {name} and the {split} objects have none; choose another data set")
    return found


def farthest_points(points: Tensor, count: int, task: Task) -> Tensor:
    """Return `count` farthest points of each cloud, ``[B, count, 3]``.

    In the published form by the authors' operator (docs/reference.md#farthest-point-sampling).
    """
    return gather_points(points, _farthest(points, count, task))


def _farthest(points: Tensor, count: int, task: Task) -> Tensor:
    """Return the positions of farthest points, ``[B, count]``."""
    sampling = RELEASED_POINT_MAE if task.form == "published" else Sampling()
    return farthest_point_sample(
        points, count, skip_origin=sampling.skip_origin, ties=sampling.ties, backend=task.numerics.op_backend
    )


def frozen_features(candidate: Candidate, task: Task, feature: str, *, normalise: bool) -> dict[Split, Array]:
    """Return one feature of both splits for a candidate, cached.

    The encoder is proven to be frozen while it gives them (`bench.models.frozen`); the proof is kept beside the cached
    features and noted in `Task.frozen`.

    Args:
        candidate: The weights; the encoder is built only if something has to be computed.
        task: The task; no label of either split is read.
        feature: Name of the encoder's feature.
        normalise: See `prepared_clouds`.

    Returns:
        float32 ``[n, F]`` per split, memory-mapped where they came from the cache.

    Raises:
        UsageError: The encoder has no feature of that name.
        DataError: Features are not finite, and a cloud is to blame.
        DivergedError: The encoder gives features that are not finite.
        NotFrozenError: The encoder changes, or draws at random.
        SetupError: The cache cannot be written.
    """
    parts: tuple[Split, ...] = ("train", "test")
    found = features_of(candidate, task, feature, parts, normalise=normalise)
    return {split: found[split] for split in parts}


def features_of(
    candidate: Candidate, task: Task, feature: str, parts: Sequence[Part], *, normalise: bool
) -> dict[Part, Array]:
    """Return one feature of some parts, cached; see `frozen_features`."""
    if candidate.stored is not None:
        read = candidate.stored(feature)
        return {part: read[part] for part in parts}
    found: dict[Part, Array] = {}
    watch: FrozenWatch | None = None
    encoder: Encoder | None = None
    for split in parts:
        size = _shape(task, split)[0]
        stem = _features_stem(candidate, task, split, normalise)
        stored = open_array(stem.with_name(f"{stem.name}-{feature}.npy"), np.float32, (size, None))
        proof = read_bytes(stem.with_suffix(".json"))
        if stored is None or proof is None:
            encoder = encoder or candidate.build().to(task.device).float()
            if feature not in encoder.feature_dims:
                raise unknown_name("encoder feature", feature, encoder.feature_dims)
            watch = watch or FrozenWatch(encoder, f"encoder {candidate.name or candidate.key[:12]}")
            made = _encode(encoder, watch, candidate, task, split, normalise)
            proof = json.dumps(asdict(watch.check()), sort_keys=True).encode()
            for name, values in made.items():
                write_array(stem.with_name(f"{stem.name}-{name}.npy"), values)
            with publishing(stem.with_suffix(".json")) as stream:
                stream.write(proof)
            stored = made[feature]
        task.frozen[candidate.name] = json.loads(proof)
        found[split] = _of_task(stored, task, split)
    return found


def _split_of(split: Part) -> Split:
    return "train" if split == "train" else "test"


def _is_corrupted(split: Part) -> bool:
    return split not in ("train", "test")


def _source(task: Task, split: Part) -> tuple[str, Array]:
    """Return manifest and clouds of a split's whole data set, as they are before corruption."""
    of = _split_of(split)
    origin = task.origins.get(of)
    if origin is not None:
        return origin.manifest, origin.points
    return task.data_manifest, task.train.points if of == "train" else task.test.points


def _shape(task: Task, split: Part) -> tuple[int, int | None]:
    """Return objects and points of a cloud; None where a corruption decides on the points."""
    points = _source(task, split)[1]
    return len(points), None if _is_corrupted(split) else points.shape[1]


def _points(task: Task, split: Part) -> Array:
    """Return the clouds of a part; corrupted ones are made or read now.

    Those with fewer points than the encoder needs have theirs repeated.
    """
    if not _is_corrupted(split):
        return _source(task, split)[1]
    assert task.corrupted is not None
    clouds = task.corrupted.clouds(split)
    repeats = -(-task.least_points // clouds.shape[1])
    return clouds if repeats == 1 else np.tile(clouds, (1, repeats, 1))[:, : task.least_points]


def _of_task(values: Array, task: Task, split: Part) -> Array:
    """Select the task's objects from the whole data set."""
    origin = task.origins.get(_split_of(split))
    return values if origin is None else values[origin.rows]


def _encode(
    encoder: Encoder, watch: FrozenWatch, candidate: Candidate, task: Task, split: Part, normalise: bool
) -> Mapping[str, Array]:
    """Encode a split; return all features, ``[n, F]`` each."""
    clouds = whole_clouds(task, split, normalise=normalise, inputs=candidate.inputs)
    made = {name: np.empty((len(clouds), width), np.float32) for name, width in encoder.feature_dims.items()}

    def features(batch: Tensor) -> Mapping[str, Tensor]:
        return encoder.features(encoder(batch))

    def encode(start: int, stop: int) -> None:
        batch = torch.from_numpy(np.array(clouds[start:stop])).to(task.device)
        for name, feature in features(batch).items():
            made[name][start:stop] = feature.float().cpu().numpy()

    if len(clouds) and not (watch.compared and _is_corrupted(split)):
        watch.twice(features, torch.from_numpy(np.array(clouds[:TWICE])).to(task.device))
    stage = f"features of {split}" + (f" ({candidate.name})" if candidate.name else "")
    for_batches(len(clouds), ENCODER_BATCH, task.device, encode, named(task.progress, stage))
    for name, values in made.items():
        bad = np.flatnonzero(~np.isfinite(values).all(1))
        if len(bad):
            _blame_clouds(clouds[bad][..., :3], _points(task, split), bad, split)
            raise DivergedError(
                f"feature '{name}' of encoder {candidate.name or candidate.key[:12]} is not finite for {len(bad)} of "
                f"{len(values)} {split} objects (first: row {bad[0]}): the weights are damaged or training diverged; "
                "pretrain again with a lower recipe.lr"
            )
    return made


def _blame_clouds(seen: Array, stored: Array, rows: npt.NDArray[np.int64], split: Part) -> None:
    """Raise if clouds, not weights, make features NaN or infinite.

    Args:
        seen: Clouds as the encoder saw them, ``[m, n, 3]``.
        stored: All clouds as they are stored.
        rows: Positions of the former among the latter.
        split: The split, for the message.

    Raises:
        DataError: A cloud that cannot be (`bench.data.coordinates`).
    """

    def name(state: str) -> Name:
        return lambda i, point: f"{split} object {rows[i]} as {state}" + ("" if point is None else f" row {point}")

    check_coordinates(np.stack([stored[row] for row in rows[:CLOUD_BATCH]]), name("stored"))
    check_coordinates(np.asarray(seen[:CLOUD_BATCH]), name("the encoder sees it"))


@cache
def _code() -> str:
    """Return the fingerprint of this module, which cached files carry.

    Edited code must not read files that older code wrote.
    """
    return fingerprint([__name__]).digest


def _clouds_key(task: Task, split: Part, normalise: bool, count: int, inputs: Sequence[str]) -> str:
    corrupted: dict[str, JsonValue] = {}
    if _is_corrupted(split):
        assert task.corrupted is not None
        corrupted = {"corruptions": task.corrupted.suite, "least": task.least_points}
    return content_key(
        {
            **({} if tuple(inputs) == POINTS else {"inputs": list(inputs)}),
            "kind": "clouds",
            "code": _code(),
            "manifest": _source(task, split)[0],
            "split": split,
            "points": count,
            "normalise": normalise,
            "sampler": task.form,
            "op_backend": task.numerics.op_backend,
            **corrupted,
        }
    )


def _features_stem(candidate: Candidate, task: Task, split: Part, normalise: bool) -> Path:
    count = min(task.points, _shape(task, split)[1] or task.points)
    key = content_key(
        {
            "kind": "features",
            "candidate": candidate.key,
            "clouds": _clouds_key(task, split, normalise, count, candidate.inputs),
            "device": task.numerics.device,
            "torch": task.numerics.torch,
        }
    )
    return task.cache / "features" / f"encoder-{key[:32]}"
