"""Read the field's few-shot folds without running the pickles.

The files are ``ModelNetFewshot/{way}way_{shot}shot/{fold}.pkl``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.arrays import cloud, finite
from bench.data.digest import file_digest, manifest_digest
from bench.data.h5set import data_root, holding_folder
from bench.data.modelnet_dat import numbers, whole_number
from bench.data.unpickle import load_pickle
from bench.errors import DataError

FOLDS = 10
QUERIES = 20
"""Test-split queries per class in the distributed folds."""


@dataclass(frozen=True)
class PickledFold:
    """One few-shot fold, with clouds as stored.

    Attributes:
        fold: Its number.
        support: float32 ``[way * shot, N, 3]``, in the order of the file.
        support_labels: int64 ``[way * shot]``, 0..way-1.
        query: float32 ``[q, N, 3]``.
        query_labels: int64 ``[q]``.
        support_normals: float32 like `support`, or None.
        query_normals: float32 like `query`, or None.
        support_classes: int64 ``[way * shot]``, class of each in the data set the fold was drawn from, -1 unknown.
        query_classes: int64 ``[q]``, the same of the queries.
    """

    fold: int
    support: npt.NDArray[np.float32]
    support_labels: npt.NDArray[np.int64]
    query: npt.NDArray[np.float32]
    query_labels: npt.NDArray[np.int64]
    support_normals: npt.NDArray[np.float32] | None = None
    query_normals: npt.NDArray[np.float32] | None = None
    support_classes: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    query_classes: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


def setting_folder(root: Path | None, way: int, shot: int) -> Path:
    """Return the folder of a setting.

    It is ``5way_10shot`` as in the code, or ``5way10shot`` as in the README.

    Args:
        root: ``ModelNetFewshot`` or the folder that holds it.
        way: Classes per fold.
        shot: Supports per class.

    Raises:
        DataError: The folder is missing.
    """
    base = data_root(root, "ModelNetFewshot", f"{way}way_{shot}shot")
    for folder in (base / "ModelNetFewshot", base):
        for name in (f"{way}way_{shot}shot", f"{way}way{shot}shot"):
            if (folder / name).is_dir():
                return folder / name
    hint = holding_folder(base, f"{way}way*{shot}shot")
    raise DataError(f"{base}: no {way}way_{shot}shot (nor {way}way{shot}shot) here{hint}")


def fold_paths(root: Path | None, way: int, shot: int, folds: int = FOLDS) -> tuple[Path, ...]:
    """Return the files of folds 0 to ``folds - 1``.

    Raises:
        DataError: The setting's folder or one of its folds is missing.
    """
    folder = setting_folder(root, way, shot)
    paths = tuple(folder / f"{fold}.pkl" for fold in range(folds))
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{missing[0]}: no such fold ({len(missing)} of {folds} are missing); expected 0.pkl to {folds - 1}.pkl"
        )
    return paths


def folds_manifest(root: Path | None, way: int, shot: int, cache: Path, folds: int = FOLDS) -> str:
    """Return the SHA-256 of a setting's folds, cached.

    Raises:
        DataError: As `fold_paths`, or a file cannot be read.
    """
    listed = [(f"fold {n}", p.name, file_digest(p, cache)) for n, p in enumerate(fold_paths(root, way, shot, folds))]
    return manifest_digest("fewshot-pickles", 1, {"way": way, "shot": shot, "folds": folds}, listed)


def load_fold(path: Path, way: int, shot: int, queries: int | None = QUERIES, normals: bool = False) -> PickledFold:
    """Read one fold.

    Args:
        path: ``{fold}.pkl``.
        way: Expected number of classes.
        shot: Expected supports per class.
        queries: Expected queries per class; None: any number from 1.
        normals: Return normals too.

    Raises:
        DataError: The pickle is unsafe, of another layout, with other counts than the setting's, or has a broken cloud.
    """
    content = load_pickle(path)
    if not isinstance(content, dict) or not {"train", "test"} <= set(content):
        raise DataError(f"{path}: expected a pickled dict with the keys 'train' and 'test'")
    support, support_labels, support_normals = _part(content["train"], path, "train", normals)
    query, query_labels, query_normals = _part(content["test"], path, "test", normals)
    _check_counts(support_labels, path, "train", way, shot)
    _check_counts(query_labels, path, "test", way, queries)
    if support.shape[1] != query.shape[1]:
        raise DataError(f"{path}: 'train' clouds have {support.shape[1]} points, 'test' clouds {query.shape[1]}")
    number = int(path.stem) if path.stem.isdigit() else 0
    classes = [_classes(content[part]) for part in ("train", "test")]
    return PickledFold(number, support, support_labels, query, query_labels, support_normals, query_normals, *classes)


def _classes(triples: Any) -> npt.NDArray[np.int64]:
    """Return the third entries of the triples, or -1."""
    found = [whole_number(triple[2]) if len(triple) > 2 else None for triple in triples]
    return np.asarray([-1 if label is None else label for label in found], dtype=np.int64)


def _part(
    triples: Any, path: Path, part: str, normals: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32] | None]:
    if not isinstance(triples, list | tuple) or not triples:
        raise DataError(f"{path}: '{part}' is not a list of (points, label, class), or is empty")
    points: list[npt.NDArray[np.float32]] = []
    around: list[npt.NDArray[np.float32]] = []
    labels: list[int] = []
    for row, triple in enumerate(triples):
        where = f"'{part}' object {row}"
        if not isinstance(triple, list | tuple) or len(triple) < 2:
            raise DataError(f"{path}: {where} is not a triple (points, label, class)")
        table, label = numbers(triple[0], path, where, normals), whole_number(triple[1])
        if label is None:
            raise DataError(f"{path}: {where} has label {str(triple[1])[:40]}, expected a whole number")
        points.append(cloud(table[:, :3], path, f"{where} points"))
        if normals:
            around.append(finite(table[:, 3:6], path, f"{where} normals"))
        if len(points[-1]) != len(points[0]):
            raise DataError(
                f"{path}: {where} has {len(points[-1])} points, the first {len(points[0])}; expected one number"
            )
        labels.append(label)
    return np.stack(points), np.asarray(labels, dtype=np.int64), np.stack(around) if normals else None


def _check_counts(labels: npt.NDArray[np.int64], path: Path, part: str, way: int, each: int | None) -> None:
    found = sorted(set(labels.tolist()))
    if found != list(range(way)):
        shown = ", ".join(str(label) for label in found[:12])
        raise DataError(f"{path}: '{part}' has the labels {shown}; expected 0 to {way - 1} ({way}-way)")
    counts = np.bincount(labels, minlength=way)
    wrong = np.flatnonzero(counts != each) if each is not None else np.empty(0, np.int64)
    if len(wrong):
        label = int(wrong[0])
        raise DataError(f"{path}: '{part}' has {counts[label]} objects of label {label}, expected {each}")
