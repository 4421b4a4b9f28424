"""Retrieval: ranks by hand, chance by counting, equal captions, and what is skipped."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bench.data.base import CloudSet
from bench.errors import UsageError
from bench.protocols.base import AlignedHead, Alignment, Facts, Subject, Task
from bench.protocols.features import frozen_features
from bench.protocols.retrieval.judging import chance, first_right
from bench.protocols.retrieval.protocol import SETTINGS, Retrieval
from bench.teachers.clip_scores import retrieval as clip_retrieval
from tests.protocols.conftest import MakeTask, cloud_set, subject, values
from tests.protocols.toy_teacher import WIDTH, ToyTeacher

OPTIONS = Retrieval.Options()


def described(per_class: int, seed: int) -> CloudSet:
    """Clouds whose caption is their class, so that every sentence stands several times."""
    clouds = cloud_set(per_class, seed, noise=0.05)
    return replace(clouds, captions=tuple(f"number{label}" for label in clouds.labels))


@pytest.fixture
def task(make_task: MakeTask, tmp_path: Path) -> Task:
    """A head that maps the encoder's feature onto the features of the captions."""
    plain = make_task(described(20, 1), described(10, 2))
    teacher = ToyTeacher(tmp_path / "c")
    assert plain.train.captions is not None
    x = np.asarray(frozen_features(subject().candidates[""], plain, "transfer", normalise=True)["train"], np.float64)
    target = teacher.encode_texts(plain.train.captions)
    solved = np.linalg.lstsq(np.c_[x, np.ones(len(x))], target, rcond=None)[0]
    head = AlignedHead("transfer", solved[:-1].T.astype(np.float32), solved[-1].astype(np.float32))
    return replace(plain, alignment=partial(Alignment, {"text": head}, teacher))


small_integers = arrays(np.int64, st.tuples(st.integers(1, 12)), elements=st.integers(0, 3))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(meaning=small_integers, seed=st.integers(0, 99))
def test_ranks_are_those_of_a_search_by_hand(meaning: np.ndarray, seed: int) -> None:
    """Recall would be that of another definition."""
    rng = np.random.default_rng(seed)
    queries, gallery = (rng.integers(-2, 3, (len(meaning), 3)).astype(np.float32) for _ in range(2))
    ranks, _ = first_right(queries, gallery, meaning)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(gallery, axis=1)
    for i, similar in enumerate(queries @ gallery.T / np.maximum(lengths, 1e-12)):
        best = max(s for s, kind in zip(similar, meaning, strict=True) if kind == meaning[i])
        before = sum(s > best - 1e-6 and kind != meaning[i] for s, kind in zip(similar, meaning, strict=True))
        surely = sum(s > best + 1e-6 and kind != meaning[i] for s, kind in zip(similar, meaning, strict=True))
        assert 1 + surely <= ranks[i] <= 1 + before


@settings(max_examples=15, deadline=None, derandomize=True)
@given(meaning=small_integers)
def test_chance_counts_equal_captions(meaning: np.ndarray) -> None:
    """Repeated sentences are easy to hit, and a number without its chance level would look good."""
    features = np.random.default_rng(0).normal(size=(len(meaning), 2)).astype(np.float32)
    captions = [str(kind) for kind in meaning]
    expected = clip_retrieval(features, features, captions)
    recalls, median = chance(meaning, (1, 5))
    assert recalls[1] == pytest.approx(expected["chance_at_1"])
    assert recalls[5] == pytest.approx(expected["chance_at_5"])
    assert 1 <= median <= len(meaning)


def test_chance_of_large_sets_is_finite_and_that_of_many_draws() -> None:
    """Binomials of thousands of objects overflow when they are written out."""
    recalls, median = chance(np.arange(20_000), (1, 5))
    assert recalls == {1: pytest.approx(1 / 20_000), 5: pytest.approx(5 / 20_000)}
    assert median == pytest.approx(10_000, abs=1)
    meaning, rng = np.repeat(np.arange(4), 5), np.random.default_rng(0)
    drawn = [int(np.flatnonzero(rng.permutation(meaning) == 0)[0]) + 1 for _ in range(4000)]
    assert chance(meaning, (5,))[0][5] == pytest.approx(np.mean(np.array(drawn) <= 5), abs=0.03)
    assert chance(meaning, (5,))[1] == np.median(drawn)


@pytest.mark.parametrize("setting", SETTINGS)
def test_an_aligned_encoder_beats_chance_and_a_blind_one_does_not(task: Task, setting: str) -> None:
    """The number would not be about the encoder."""
    found = Retrieval.evaluate(subject(), task, setting, OPTIONS)
    assert task.test.revealed == 1
    by_chance = values(found.metrics, name="recall_at_1[chance]")[0]
    assert by_chance == pytest.approx(1 / 60 if setting == "cloud-to-image" else 1 / 6)
    ranks = found.predictions["rank"]
    assert values(found.metrics, name="recall_at_1") == [float((ranks == 1).mean())]
    assert values(found.metrics, name="recall_at_5") == [float((np.asarray(ranks, int) <= 5).mean())]
    assert values(found.metrics, name="median_rank") == [float(np.median(np.asarray(ranks, int)))]
    if setting != "cloud-to-image":
        assert values(found.metrics, name="recall_at_1")[0] > 1.5 * by_chance
    blind = AlignedHead("transfer", np.zeros((WIDTH, 24), np.float32), np.ones(WIDTH, np.float32))
    teacher = ToyTeacher(task.cache)
    other = replace(task, alignment=partial(Alignment, {"text": blind, "image": blind}, teacher))
    none = Retrieval.evaluate(subject(), other, setting, OPTIONS)
    if setting == "caption-to-cloud":
        assert values(none.metrics, name="recall_at_1") == [0.0], "a tie with a wrong object is no hit"
    assert values(none.metrics, name="recall_at_1")[0] <= by_chance + 1e-9


def test_a_teacher_alone_is_an_opponent_here_too(task: Task) -> None:
    """A retrieval figure has nothing to be compared with."""
    alone = Subject("render-classify", "render-classify", {}, {"views": 2, "size": 32})
    for setting in SETTINGS:
        first, again = (Retrieval.evaluate(alone, task, setting, OPTIONS) for _ in range(2))
        assert first.metrics == again.metrics
        assert first.notes["feature"] == "mean of 2 depth views"


def test_what_is_skipped_and_why(make_task: MakeTask, task: Task) -> None:
    """A cell that cannot exist must say so, not fail."""
    full = Facts("recon", aligned=True, captions=True, pictures=True)
    assert Retrieval.skip(full, OPTIONS) is None
    assert Retrieval.skip(replace(full, captions=False), OPTIONS) == "the data set has no captions"
    unaligned = replace(full, aligned=False, unaligned="nothing was trained")
    assert Retrieval.skip(unaligned, OPTIONS) == "no text-aligned output: nothing was trained"
    apart = replace(full, pictures=False)
    assert [Retrieval.skip_setting(apart, OPTIONS, setting) for setting in SETTINGS] == [
        None,
        None,
        "the teacher of its texts knows no pictures",
    ]
    with pytest.raises(UsageError, match="needs a data set with captions"):
        Retrieval.evaluate(subject(), replace(make_task(), alignment=task.alignment), SETTINGS[0], OPTIONS)
