"""Folds: a query that was also a support, or a fold that depends on the method, would void every comparison."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from bench.data.base import CloudSet
from bench.errors import BenchError, DataError, UsageError
from bench.protocols.base import HeldOut, Task
from bench.protocols.fewshot import FewShot
from bench.protocols.fewshot.folds import draw_folds

from .conftest import NUMERICS, MakeTask, cloud_set


def labelled(labels: list[int], classes: int) -> CloudSet:
    return CloudSet(
        points=np.zeros((len(labels), 4, 3), np.float32),
        labels=np.array(labels, np.int64),
        ids=tuple(map(str, range(len(labels)))),
        classes=tuple(map(str, range(classes))),
    )


def task_of(train: list[int], test: list[int], split_seed: int, seed: int = 0) -> Task:
    nowhere = Path("unused")
    held = HeldOut(labelled(test, 6))
    return Task(labelled(train, 6), held, "m", split_seed, seed, "cpu", NUMERICS, nowhere, nowhere, 4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    train=st.lists(st.integers(0, 5), min_size=12, max_size=120),
    test=st.lists(st.integers(0, 5), min_size=4, max_size=80),
    way=st.integers(2, 7),
    shot=st.integers(1, 12),
    split_seed=st.integers(0, 1000),
)
def test_folds_keep_apart_what_must_be_apart(
    train: list[int], test: list[int], way: int, shot: int, split_seed: int
) -> None:
    """Supports, validation and queries never mix, and every object has the class its label says."""
    task = task_of(train, test, split_seed)
    options = FewShot.Options(folds=3, queries=5)
    try:
        folds = draw_folds(task, f"{way}w{shot}s", options)
    except BenchError:
        reject()
    assert task.test.revealed == 0
    labels = task.train.labels
    held = np.unique(np.concatenate([f.val for f in (*folds.test, *folds.validation)]))
    for fold in (*folds.test, *folds.validation):
        assert len(fold.classes) == len(set(fold.classes.tolist())) == folds.setting.way <= way
        assert len(fold.support) == len(set(fold.support.tolist())) == folds.setting.way * folds.setting.shot
        assert not set(fold.support.tolist()) & set(held.tolist())
        np.testing.assert_array_equal(fold.classes[fold.support_labels], labels[fold.support])
        np.testing.assert_array_equal(fold.classes[fold.val_labels], labels[fold.val])
        assert set(fold.val_labels.tolist()) == set(range(folds.setting.way))
    asked = folds.asked(task, task.test.reveal())
    for fold, episode in zip(folds.test, asked, strict=True):
        np.testing.assert_array_equal(fold.classes, episode.classes)
        np.testing.assert_array_equal(fold.classes[episode.query_labels], np.array(test)[episode.query])
        assert len(set(episode.query.tolist())) == len(episode.query)
        assert np.bincount(episode.query_labels, minlength=folds.setting.way).min() >= 1
        assert np.bincount(episode.query_labels).max() <= 5


def test_folds_depend_on_the_split_seed_only(make_task: MakeTask) -> None:
    """Methods and pretraining seeds are paired: the run's own seed moves nothing, the split seed everything."""

    def digest(seed: int, split_seed: int) -> str:
        task = make_task(seed=seed, split_seed=split_seed)
        folds = draw_folds(task, "5w10s", FewShot.Options())
        return folds.digest(folds.asked(task, task.test.reveal()))

    assert digest(0, 0) == digest(7, 0)
    assert digest(0, 0) != digest(0, 1)


def test_supports_do_not_depend_on_which_test_object_has_which_label() -> None:
    """Shuffling the test labels moves queries and nothing else: supports leak nothing."""
    train, test = [i % 6 for i in range(90)], [i % 6 for i in range(60)]
    shuffled = np.random.default_rng(0).permutation(test).tolist()
    one, other = (draw_folds(task_of(train, t, 3), "4w5s", FewShot.Options()) for t in (test, shuffled))
    for a, b in zip((*one.test, *one.validation), (*other.test, *other.validation), strict=True):
        for name in ("classes", "support", "support_labels", "val", "val_labels"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_fewer_folds_are_the_first_of_more(make_task: MakeTask) -> None:
    """Three folds today and ten tomorrow share the first three."""
    few = draw_folds(make_task(), "5w10s", FewShot.Options(folds=3)).test
    many = draw_folds(make_task(), "5w10s", FewShot.Options(folds=10)).test
    for a, b in zip(few, many[:3], strict=True):
        np.testing.assert_array_equal(a.support, b.support)


def test_validation_episodes_are_not_the_test_folds(make_task: MakeTask) -> None:
    """What is chosen on validation is not chosen on the very supports that are scored."""
    folds = draw_folds(make_task(), "5w10s", FewShot.Options())
    same = [np.array_equal(a.support, b.support) for a, b in zip(folds.test, folds.validation, strict=True)]
    assert not any(same)


def test_clipping_says_what_it_did(make_task: MakeTask) -> None:
    """A table never shows 10 ways where six classes were told apart."""
    setting = draw_folds(make_task(), "10w20s", FewShot.Options()).setting
    assert (setting.way, setting.shot) == (6, 20)
    assert "10 ways" in (setting.clipped_reason or "")


def test_impossible_and_malformed_settings_are_one_line(make_task: MakeTask) -> None:
    """The user is told what is wrong, not shown a traceback from the drawing."""
    with pytest.raises(DataError, match="few-shot 5w50s"):
        draw_folds(make_task(train=cloud_set(4, 1)), "5w50s", FewShot.Options())
    with pytest.raises(UsageError, match="'five'"):
        draw_folds(make_task(), "five", FewShot.Options())


def test_views_of_one_object_never_stand_on_both_sides_of_validation() -> None:
    """Else a choice would reward remembering an object, and partial-view sets would look easier than they are."""
    labels = [label for label in range(3) for _ in range(36)]
    task = task_of(labels, [0, 1, 2] * 12, split_seed=0)
    views = tuple(f"class{label}-object{row % 36 // 6}#{row % 6}" for row, label in enumerate(labels))
    task.train = replace(task.train, ids=views)
    folds = draw_folds(task, "3w5s", FewShot.Options(folds=5, queries=5))
    objects = [view.partition("#")[0] for view in views]
    held = {objects[row] for fold in (*folds.test, *folds.validation) for row in fold.val}
    assert held
    for fold in (*folds.test, *folds.validation):
        assert not held & {objects[row] for row in fold.support}
