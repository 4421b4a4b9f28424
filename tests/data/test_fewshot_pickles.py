"""The field's few-shot folds: read right, never run, and refused in one line if their counts are wrong."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.data.fewshot_pickles import QUERIES, fold_paths, folds_manifest, load_fold, setting_folder
from bench.errors import DataError

WAY, SHOT = 5, 2


def content(fold: int = 0, points: int = 12) -> dict[str, list[Any]]:
    rng = np.random.default_rng(fold)

    def part(each: int) -> list[Any]:
        labels = [label for label in range(WAY) for _ in range(each)]
        return [(rng.normal(size=(points, 6)).astype(np.float32), np.int32(label), 7 * label) for label in labels]

    return {"train": part(SHOT), "test": part(QUERIES)}


def write(root: Path, folds: int = 3, form: str = "5way_2shot") -> Path:
    folder = root / "ModelNetFewshot" / form
    folder.mkdir(parents=True)
    for fold in range(folds):
        (folder / f"{fold}.pkl").write_bytes(pickle.dumps(content(fold)))
    return folder


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_fold(path, WAY, SHOT, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("form", ["5way_2shot", "5way2shot"])
def test_folds_load_from_both_forms_of_the_folder(tmp_path: Path, form: str) -> None:
    """The code writes an underscore, the README does not: half of the users could not read their folds."""
    folder = write(tmp_path, form=form)
    for root in (tmp_path, tmp_path / "ModelNetFewshot"):
        assert fold_paths(root, WAY, SHOT, folds=3) == tuple(folder / f"{fold}.pkl" for fold in range(3))
    read, wanted = load_fold(folder / "2.pkl", WAY, SHOT, normals=True), content(2)
    assert read.fold == 2
    assert read.support_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert read.query.shape == (WAY * QUERIES, 12, 3)
    assert read.query.dtype == np.float32
    assert read.support_normals is not None
    for row, (points, label, _) in enumerate(wanted["train"]):
        np.testing.assert_array_equal(np.hstack([read.support[row], read.support_normals[row]]), points)
        assert read.support_labels[row] == label
    for row, (points, label, _) in enumerate(wanted["test"]):
        np.testing.assert_array_equal(read.query[row], points[:, :3])
        assert read.query_labels[row] == label
    assert load_fold(folder / "2.pkl", WAY, SHOT).query_normals is None


def test_missing_folds_are_counted(tmp_path: Path) -> None:
    """Means over seven folds would pass for means over ten."""
    folder = write(tmp_path)
    (folder / "1.pkl").unlink()
    with pytest.raises(DataError, match="1 of 3 are missing") as error:
        fold_paths(tmp_path, WAY, SHOT, folds=3)
    assert str(folder / "1.pkl") in str(error.value)
    with pytest.raises(DataError, match="8 of 10 are missing"):
        fold_paths(tmp_path, WAY, SHOT)
    with pytest.raises(DataError, match="no 10way_20shot"):
        setting_folder(tmp_path, 10, 20)
    with pytest.raises(DataError, match="did you mean"):
        setting_folder(tmp_path.parent, WAY, SHOT)


def test_manifest_follows_content(tmp_path: Path) -> None:
    """Results of other folds would be reused."""
    folder = write(tmp_path)
    first = folds_manifest(tmp_path, WAY, SHOT, tmp_path / "cache", folds=3)
    os.utime(folder / "0.pkl", ns=(1, 10**18))
    assert folds_manifest(tmp_path, WAY, SHOT, tmp_path / "cache", folds=3) == first
    (folder / "0.pkl").write_bytes(pickle.dumps(content(9)))
    assert folds_manifest(tmp_path, WAY, SHOT, tmp_path / "cache", folds=3) != first


def replace(fold: dict[str, Any], part: str, row: int, **changed: Any) -> None:
    points, label, third = fold[part][row]
    fold[part][row] = (changed.get("points", points), changed.get("label", label), third)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.pop("test"), "the keys 'train' and 'test'"),
        (lambda f: f.update(test=[]), "'test' is not a list"),
        (lambda f: f["train"].pop(), "has 1 objects of label 4, expected 2"),
        (lambda f: f["test"].pop(), "has 19 objects of label 4, expected 20"),
        (lambda f: f["train"].__setitem__(slice(8, 10), []), "'train' has the labels 0, 1, 2, 3; expected 0 to 4"),
        (lambda f: replace(f, "train", 0, label=np.int64(17)), "labels 0, 1, 2, 3, 4, 17"),
        (lambda f: replace(f, "train", 0, label="cup"), "has label cup"),
        (lambda f: replace(f, "test", 5, points=np.ones((3, 6), np.float32)), "'test' object 5"),
        (lambda f: replace(f, "test", 5, points=f["test"][5][0][:7]), "has 7 points, the first 12"),
        (lambda f: replace(f, "test", 5, points=f["test"][5][0].astype(int)), "'test' object 5 is int64"),
        (lambda f: replace(f, "test", 5, points=f["test"][5][0] * np.inf), "expected a finite number"),
        (lambda f: f["train"].__setitem__(1, 3), "'train' object 1 is not a triple"),
        (lambda f: f.update(train=content(0, points=9)["train"]), "'train' clouds have 9 points"),
    ],
)
def test_broken_folds_are_named(tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str) -> None:
    """A fold of the wrong setting, or a damaged one, would enter the mean."""
    fold = content()
    change(fold)
    path = tmp_path / "0.pkl"
    path.write_bytes(pickle.dumps(fold))
    assert says in refusal(path)


def test_any_number_of_queries_on_request(tmp_path: Path) -> None:
    """Own folds with other query counts could not be used."""
    fold = content()
    fold["test"] = fold["test"][::4]
    path = tmp_path / "0.pkl"
    path.write_bytes(pickle.dumps(fold))
    assert len(load_fold(path, WAY, SHOT, queries=None).query) == 25
    assert "expected 20" in refusal(path)


def test_folds_are_never_run(tmp_path: Path) -> None:
    """Opening a fold from the network would run its author's commands."""

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch '{tmp_path / 'ran'}'",)

    path = tmp_path / "0.pkl"
    path.write_bytes(pickle.dumps({"train": Evil(), "test": []}))
    assert "system" in refusal(path)
    assert not (tmp_path / "ran").exists()
    path.write_bytes(pickle.dumps(content())[:900])
    assert "truncated" in refusal(path)
