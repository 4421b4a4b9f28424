"""Splits and episodes: without these, methods would be compared on different objects or see their test queries."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.splits import (
    Episode,
    carve_validation,
    clip_setting,
    cross_validation,
    episodes,
    nested_subset,
    object_groups,
    parse_setting,
    split_digest,
)
from bench.errors import DataError, UsageError

quick = settings(max_examples=40, deadline=None, derandomize=True)
label_arrays = st.lists(st.integers(0, 6), min_size=2, max_size=80).map(lambda v: np.asarray(v, dtype=np.int64))


@quick
@given(label_arrays, st.floats(0.05, 0.9), st.integers(0, 2**32))
def test_carve_partitions_and_keeps_every_class_in_train(labels: np.ndarray, fraction: float, seed: int) -> None:
    if max(np.bincount(labels)) < 2:
        with pytest.raises(DataError, match="no class has two"):
            carve_validation(labels, fraction, seed)
        return
    train, val = carve_validation(labels, fraction, seed)
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert set(labels[train]) == set(labels), "a class vanished from train"
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        expected = 0 if count < 2 else min(max(round(fraction * count), 1), count - 1)
        assert np.sum(labels[val] == label) == expected
    again = carve_validation(labels, fraction, seed)
    assert split_digest(train, val) == split_digest(*again)


def test_carve_is_pinned_and_changes_with_the_seed_only() -> None:
    """A changed draw would silently unpair new runs from stored ones."""
    labels = np.repeat(np.arange(4), 10)
    train, val = carve_validation(labels, 0.2, 7)
    assert val.tolist() == [4, 7, 10, 16, 20, 28, 31, 33]
    assert not np.array_equal(val, carve_validation(labels, 0.2, 8)[1])
    assert train.dtype == np.int64


def test_carve_of_one_class_ignores_the_others() -> None:
    """Adding a class to a data set must not reshuffle what the other classes validate on."""
    small = carve_validation(np.repeat(np.arange(3), 12), 0.25, 3)[1]
    large = carve_validation(np.repeat(np.arange(5), 12), 0.25, 3)[1]
    assert np.array_equal(small, large[: len(small)])


@quick
@given(label_arrays, st.integers(2, 7), st.integers(0, 2**32))
def test_every_object_is_held_out_once(labels: np.ndarray, folds: int, seed: int) -> None:
    """Cross-validated accuracy would count some objects twice, or judge a fit by what it was fitted on."""
    if max(np.bincount(labels)) < 2:
        with pytest.raises(DataError, match="no class has two"):
            cross_validation(labels, folds, seed)
        return
    parts = cross_validation(labels, folds, seed)
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(len(labels)))
    for fitted, held in parts:
        assert sorted([*fitted, *held]) == list(range(len(labels)))
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            assert np.sum(labels[held] == label) in (count // folds, -(-count // folds))
    assert max(len(held) for _, held in parts) - min(len(held) for _, held in parts) <= 1
    assert split_digest(*parts[0]) == split_digest(*cross_validation(labels, folds, seed)[0])


def test_views_of_one_object_are_held_out_together() -> None:
    """Another view of a fitted object would be judged."""
    names = object_groups([f"{item}#{view}" for item in range(9) for view in range(3)])
    parts = cross_validation(np.repeat(np.arange(3), 9), 3, 0, names)
    assert all(not {names[i] for i in fitted} & {names[i] for i in held} for fitted, held in parts)
    with pytest.raises(UsageError, match="expected at least 2"):
        cross_validation(np.zeros(4, dtype=np.int64), 1, 0)


@quick
@given(st.integers(2, 6), st.integers(1, 5), st.floats(0.1, 0.8), st.integers(0, 99))
def test_views_of_one_object_stay_together(objects: int, views: int, fraction: float, seed: int) -> None:
    """Another view of a training object in validation would make every head look better than it is."""
    ids = [f"set/{label}/{item}#{view}" for view in range(views) for label in range(3) for item in range(objects)]
    labels = np.array([int(name.split("/")[1]) for name in ids])
    train, val = carve_validation(labels, fraction, seed, object_groups(ids))
    names = object_groups(ids)
    assert not {names[i] for i in train} & {names[i] for i in val}
    assert len(train) + len(val) == len(ids)
    assert set(labels[val]) == set(labels[train]) == {0, 1, 2}


def test_object_groups_strip_the_view_only() -> None:
    assert object_groups(["mug#3", "a/b.ply", "x#y/z.ply", "t.txt#480"]) == ["mug", "a/b.ply", "x#y/z.ply", "t.txt"]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_carve_refuses_a_fraction_outside_zero_one(fraction: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        carve_validation(np.repeat(np.arange(3), 4), fraction, 0)


def test_split_digest_tells_splits_apart() -> None:
    """Equal digests of different splits would let a baseline be compared with other objects."""
    a, b = np.array([1, 2, 3]), np.array([4])
    assert split_digest(a, b) != split_digest(np.array([1, 2]), np.array([3, 4]))
    assert split_digest(a) == split_digest(a.astype(np.int32))


def check_episode(episode: Episode, train: np.ndarray, test: np.ndarray, way: int, shot: int, queries: int) -> None:
    assert len(set(episode.classes.tolist())) == way
    assert np.array_equal(train[episode.support], episode.classes[episode.support_labels])
    assert np.array_equal(test[episode.query], episode.classes[episode.query_labels])
    assert len(set(episode.support.tolist())) == way * shot
    assert len(set(episode.query.tolist())) == len(episode.query)
    for local, label in enumerate(episode.classes):
        assert np.sum(episode.support_labels == local) == shot
        assert np.sum(episode.query_labels == local) == min(queries, np.sum(test == label))


@quick
@given(st.integers(2, 6), st.integers(1, 5), st.integers(1, 30), st.integers(0, 2**40))
def test_episodes_hold_what_they_promise(way: int, shot: int, queries: int, seed: int) -> None:
    train, test = np.repeat(np.arange(8), 6), np.tile(np.arange(8), 9)
    for episode in episodes(train, test, way, shot, queries, folds=3, seed=seed):
        check_episode(episode, train, test, way, shot, queries)


def test_a_fold_does_not_depend_on_the_number_of_folds() -> None:
    """Otherwise a quick 3-fold look and the full run would not be comparable."""
    train, test = np.repeat(np.arange(8), 15), np.repeat(np.arange(8), 25)
    few, many = episodes(train, test, 5, 10, folds=2, seed=1), episodes(train, test, 5, 10, folds=10, seed=1)
    for a, b in zip(few, many[:2], strict=True):
        assert split_digest(a.classes, a.support, a.query) == split_digest(b.classes, b.support, b.query)
    assert len({split_digest(e.classes, e.support, e.query) for e in many}) == 10
    fewer_queries = episodes(train, test, 5, 10, queries=5, folds=2, seed=1)
    assert np.array_equal(fewer_queries[1].support, few[1].support)
    val = episodes(train, test, 5, 10, folds=2, seed=1, purpose="val")
    assert not np.array_equal(val[0].support, few[0].support)


def test_classes_without_enough_objects_stay_out() -> None:
    train = np.array([0] * 5 + [1] * 5 + [2] * 2 + [3] * 5)
    test = np.array([0, 1, 2, 2])
    for episode in episodes(train, test, 2, 5, folds=5):
        assert set(episode.classes.tolist()) == {0, 1}
    with pytest.raises(DataError, match=r"only 2 classes have 5 training objects"):
        episodes(train, test, 3, 5)


@pytest.mark.parametrize(("way", "shot", "queries", "folds"), [(1, 1, 1, 1), (2, 0, 1, 1), (2, 1, 0, 1), (2, 1, 1, 0)])
def test_episode_numbers_out_of_range_are_refused(way: int, shot: int, queries: int, folds: int) -> None:
    labels = np.repeat(np.arange(3), 4)
    with pytest.raises(UsageError, match="expected at least"):
        episodes(labels, labels, way, shot, queries, folds)


def test_setting_that_fits_is_left_alone() -> None:
    setting = clip_setting("5w10s", np.repeat(np.arange(6), 30), np.repeat(np.arange(6), 20))
    assert (setting.way, setting.shot, setting.name, setting.clipped_reason) == (5, 10, "5w10s", None)


def test_too_few_classes_clip_the_ways_in_words() -> None:
    setting = clip_setting("10w20s", np.repeat(np.arange(7), 30), np.repeat(np.arange(7), 20))
    assert (setting.name, setting.requested) == ("7w20s", "10w20s")
    assert setting.clipped_reason == "10 ways clipped to the 7 classes"


def test_too_few_objects_clip_the_shots_and_a_starved_class_is_left_out() -> None:
    train = np.repeat(np.arange(6), [30, 16, 16, 15, 15, 2])
    setting = clip_setting("5w20s", train, np.repeat(np.arange(6), 8))
    assert setting.name == "5w15s"
    assert setting.clipped_reason == (
        "20 shots clipped to 15, what 5 classes have; 1 of 6 classes left out, too few objects; "
        "20 queries per class wanted, some classes have only 8"
    )
    fewer = clip_setting("5w20s", np.repeat(np.arange(4), [30, 16, 4, 4]), np.arange(4))
    assert (fewer.way, fewer.shot) == (2, 16)
    assert fewer.clipped_reason is not None
    assert "5 ways clipped to the 2 classes with 10 or more" in fewer.clipped_reason


@quick
@given(label_arrays, label_arrays, label_arrays, st.integers(2, 12), st.integers(1, 12))
def test_a_clipped_setting_can_always_be_drawn(
    train: np.ndarray, val: np.ndarray, test: np.ndarray, way: int, shot: int
) -> None:
    """A setting announced as runnable that then fails would waste a whole pretraining."""
    try:
        setting = clip_setting(f"{way}w{shot}s", train, val, test)
    except DataError:
        return
    assert setting.way <= way
    assert setting.shot <= shot
    for pool in (val, test):
        assert len(episodes(train, pool, setting.way, setting.shot, folds=1)) == 1


def test_two_classes_are_the_least() -> None:
    with pytest.raises(DataError, match="at least 2 are needed"):
        clip_setting("5w10s", np.zeros(40, dtype=np.int64), np.zeros(40, dtype=np.int64))


@pytest.mark.parametrize("name", ["5x10", "5w", "w10s", "1w10s", "5w0s", "5w10s ", "-5w10s", ""])
def test_misspelt_settings_are_refused_with_an_example(name: str) -> None:
    with pytest.raises(UsageError, match="5w10s"):
        parse_setting(name)


fractions = st.lists(st.floats(0.01, 1.0), min_size=2, max_size=4).map(sorted)


@quick
@given(label_arrays, fractions, st.integers(0, 2**32), st.integers(0, 3))
def test_a_smaller_part_lies_inside_a_larger_one(labels: np.ndarray, parts: list[float], seed: int, least: int) -> None:
    """Without it a curve over fractions mixes more data with other data."""
    taken = [nested_subset(labels, part, seed, "labels", least=least) for part in parts]
    for small, large in pairwise(taken):
        assert set(small) <= set(large)
    np.testing.assert_array_equal(nested_subset(labels, 1.0, seed, "labels"), np.arange(len(labels)))


@quick
@given(label_arrays, st.floats(0.01, 1.0), st.integers(0, 2**32))
def test_a_part_is_stratified_and_exact(labels: np.ndarray, part: float, seed: int) -> None:
    """A class that lost more than its share would be judged on chance, not on the amount of data."""
    taken = nested_subset(labels, part, seed, "pretrain")
    assert len(taken) == max(round(part * len(labels)), 1)
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        # One object from the draw in each class, the rest from the cut that makes the total exact.
        classes = len(np.unique(labels))
        assert abs(np.sum(labels[taken] == label) - part * count) <= 1 + count * (classes + 0.5) / len(labels)


@quick
@given(label_arrays, st.floats(0.01, 0.5), st.integers(0, 2**32))
def test_every_class_keeps_enough_for_a_validation_part(labels: np.ndarray, part: float, seed: int) -> None:
    """At one percent of the labels a protocol must still find two objects of each class that has them."""
    kept = labels[nested_subset(labels, part, seed, "labels", least=2)]
    for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
        assert np.sum(kept == label) >= min(2, count)


def test_parts_hang_on_seed_and_purpose_and_keep_views_together() -> None:
    """Seeds must draw other objects, and no object may stand on both sides of a cut through its views."""
    labels = np.repeat(np.arange(3), 20)
    drawn = {tuple(nested_subset(labels, 0.3, seed, why)) for seed in (0, 1) for why in ("labels", "pretrain")}
    assert len(drawn) == 4
    groups = object_groups([f"object{i // 4}#{i % 4}" for i in range(60)])
    taken = nested_subset(labels, 0.4, 0, "labels", groups)
    assert len(taken) == 24
    assert all(count == 4 for count in np.unique([groups[i] for i in taken], return_counts=True)[1])


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5, float("nan")])
def test_a_bad_fraction_is_one_line(fraction: float) -> None:
    with pytest.raises(UsageError, match="up to 1"):
        nested_subset(np.zeros(4, dtype=np.int64), fraction, 0, "labels")
