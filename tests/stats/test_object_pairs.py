"""Comparisons object by object. If these fail, a p value or an ensemble in `bench compare` means something else."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats.answers import Answers, Average, ensemble, read_answers
from bench.stats.object_pairs import Side, align, holm_pairs, join, judge_equivalence, pair_ensembles, pair_sides
from bench.stats.objects import class_differences, flip_test, mcnemar, pair_answers, pair_values
from bench.stats.recomputed import recompute
from bench.store.records import Metric

Bits = npt.NDArray[np.bool_]
rights = st.integers(1, 4).flatmap(
    lambda seeds: st.integers(1, 12).flatmap(
        lambda n: st.tuples(*[st.lists(st.booleans(), min_size=seeds * n, max_size=seeds * n)] * 2).map(
            lambda pair: tuple(np.array(bits).reshape(seeds, n) for bits in pair)
        )
    )
)


def names(n: int) -> list[str]:
    return [f"object-{at}" for at in range(n)]


def answers(predicted: list[int], labels: list[int], **more: object) -> Answers:
    found = Answers(np.array(names(len(labels))), None, np.array(labels), np.array(predicted))
    return Answers(**{**found.__dict__, **more})


def logits(*rows: list[float]) -> npt.NDArray[np.float32]:
    return np.array(rows, np.float32)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 1), (8, 19), (30, 30), (400, 430)])
def test_mcnemar_is_the_binomial_test_of_discordant_pairs(b: int, c: int) -> None:
    """scipy's exact test is the reference."""
    found = mcnemar(b, c)
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert found.p == pytest.approx(expected)
    assert (found.n, found.name) == (b + c, "McNemar, exact")


def test_mcnemar_of_many_pairs_is_edwards_chi_square() -> None:
    """Worked by hand: (|620 - 500| - 1)^2 / 1120 = 12.644; and the exact test says the same to three digits."""
    found = mcnemar(620, 500)
    assert found.name == "McNemar, chi-square"
    assert found.p == pytest.approx(math.erfc(math.sqrt(119**2 / 1120 / 2)))
    assert found.p == pytest.approx(stats.binomtest(620, 1120).pvalue, rel=0.02)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_flips_are_counted_exactly(differences: list[int]) -> None:
    """Against all 2**n choices of signs, one by one."""
    own = [d for d in differences if d]
    sums = [
        abs(sum(s * d for s, d in zip(signs, own, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(own))
    ]
    expected = sum(one >= abs(sum(own)) for one in sums) / len(sums)
    assert flip_test(np.array(differences)).p == pytest.approx(expected)
    assert flip_test(-np.array(differences)).p == pytest.approx(expected)


def test_equivalence_rests_on_seeds_and_objects() -> None:
    """Six seeds and 2,000 objects show equality within 3 points, and 40 objects of the same methods do not."""
    rng = np.random.default_rng(1)
    found = {}
    for n in (40, 2000):
        labels, wrong = [1] * n, rng.random((6, 2, n)) < 0.1
        sides = [
            Side(name, (name,) * 6, tuple(answers(np.where(w[side], 0, 1).tolist(), labels) for w in wrong))
            for side, name in enumerate("ab")
        ]
        pair = pair_sides("here", {}, (sides[0], sides[1]), names(n), [(s, s) for s in range(6)])
        found[n] = judge_equivalence([pair], 0.03)[0].equivalence
    assert [one is not None and one.verdict for one in found.values()] == ["not shown", "equivalent"]
    assert found[2000] is not None
    assert found[2000].words == "equivalent within ± 3 points"


def test_many_flips_are_as_the_exact_ones() -> None:
    """The approximation for large test sets must join the exact test where it takes over."""
    rng = np.random.default_rng(3)
    differences = rng.choice([-3, -2, -1, 1, 2, 3], 990, p=[0.15, 0.15, 0.15, 0.15, 0.15, 0.25])
    exact = flip_test(differences)
    more = flip_test(np.concatenate([differences, [1, -1] * 10]))
    assert (exact.name, more.name) == ("sign flips of objects, exact", "sign flips of objects, normal")
    assert more.p == pytest.approx(exact.p, rel=0.1)


@given(rights)
@settings(max_examples=60, deadline=None)
def test_who_is_named_first_changes_nothing(pair: tuple[Bits, Bits]) -> None:
    """``bench compare A B`` and ``bench compare B A`` must tell the same."""
    first, second = pair
    objects = names(first.shape[1])
    there, back = pair_answers(first, second, objects), pair_answers(second, first, objects)
    assert there.test == back.test
    assert there.difference == pytest.approx(-back.difference)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert (there.better, there.worse) == (back.worse, back.better)
    assert there.table is not None
    assert there.table.both + there.table.only_first + there.table.only_second + there.table.neither == first.size
    assert there.first == pytest.approx(first.mean())


@given(rights)
@settings(max_examples=40, deadline=None)
def test_copies_of_a_seed_are_no_evidence(pair: tuple[Bits, Bits]) -> None:
    """Three seeds that say the same three times would else look three times as sure."""
    first, second = (np.repeat(bits[:1], 3, 0) for bits in pair)
    objects = names(first.shape[1])
    once, thrice = pair_answers(first[:1], second[:1], objects), pair_answers(first, second, objects)
    assert thrice.test.p == pytest.approx(once.test.p)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


def test_views_and_folds_of_an_object_are_one_unit() -> None:
    """Ten views of one mug would else count as ten mugs."""
    first = np.array([[True] * 10 + [False, True]])
    second = np.array([[False] * 10 + [False, True]])
    views = pair_answers(first, second, ["mug"] * 10 + ["cup", "jar"])
    assert (views.units, views.better, views.test.p) == (3, 1, 1.0)
    assert pair_answers(first, second, names(12)).test.p == pytest.approx(2 / 2**10)


def test_the_interval_is_that_of_paired_proportions() -> None:
    """By hand: b = 8, c = 2, n = 40; variance of the differences is (10 / 40 - 0.15^2) / 39."""
    first = np.array([[True] * 8 + [False] * 2 + [True] * 30])
    second = np.array([[False] * 8 + [True] * 2 + [True] * 30])
    found = pair_answers(first, second, names(40))
    half = 1.959964 * math.sqrt((10 / 40 - 0.15**2) / 39)
    assert (found.low, found.high) == pytest.approx((0.15 - half, 0.15 + half), abs=1e-6)
    assert found.table is not None
    assert found.table.odds == 4


def test_numbers_per_object_are_compared_by_wilcoxon() -> None:
    """scipy is the reference; an object the two agree on says nothing."""
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 30)), rng.random((2, 30))
    first[:, 4] = second[:, 4]
    found = pair_values(first, second, names(30))
    each = np.delete((first - second).mean(0), 4)
    assert found.test.p == pytest.approx(stats.wilcoxon(each).pvalue)
    assert (found.test.n, found.units, found.table) == (29, 30, None)


def test_classes_that_move_the_accuracy_most_come_first() -> None:
    """The table would show noise of the rarest classes."""
    labels = np.array([0, 0, 0, 0, 1, 2, 2])
    first = np.array([[True, True, True, False, True, False, False]])
    second = np.array([[False, False, True, False, False, False, False]])
    found = class_differences(labels, first, second)
    assert [(one.label, one.n, one.gained) for one in found] == [(0, 4, 2.0), (1, 1, 1.0), (2, 2, 0.0)]


def test_other_objects_are_named() -> None:
    """Runs on other objects would be paired position by position."""
    own = answers([0, 1], [0, 1])
    with pytest.raises(ValueError, match=r"of 2 and 2 objects 1 are the same .*'object-1'"):
        align(own, answers([0, 1], [0, 1], ids=np.array(["object-0", "other"])))
    with pytest.raises(ValueError, match=r"1 of 2 objects have other labels .*'object-1': class 1 and class 2"):
        align(own, answers([0, 1], [0, 2]))
    with pytest.raises(ValueError, match="folds"):
        align(own, answers([0, 1], [0, 1], fold=np.array([0, 1])))


@given(st.permutations(range(8)))
@settings(max_examples=30, deadline=None)
def test_the_order_of_objects_does_not_matter(order: list[int]) -> None:
    """Another order in the file would change the numbers."""
    rng = np.random.default_rng(1)
    fold = np.array([4, 4, 4, 4, 2, 2, 2, 2])
    own = Answers(
        ids=np.array([f"o{at % 4}" for at in range(8)]), fold=fold, labels=np.array([5, 7, 5, 7, 6, 3, 6, 3]),
        predicted=rng.choice([3, 5, 6, 7], 8), logits=rng.random((8, 3)).astype(np.float32),
        columns=np.array([[5, 7], [6, 3]]),
    )  # fmt: skip
    turned = align(own, own.take(np.array(order)))
    assert turned.predicted.tolist() == own.predicted.tolist()
    columns, expected = turned.question_columns(), own.question_columns()
    assert columns is not None
    assert expected is not None
    assert np.array_equal(columns, expected)
    moved = own.take(np.array(order))
    assert (moved.accuracy, moved.top_5) == (own.accuracy, own.top_5)


def test_an_ensemble_averages_and_votes() -> None:
    """By hand: two unsure runs for class 0, one that is sure of class 1."""
    labels = [1]
    rows = ([0.1, 0.0], [0.2, 0.0], [-3.0, 3.0])
    runs = [answers([0], labels, logits=logits(row)) for row in rows[:2]] + [
        answers([1], labels, logits=logits(rows[2]))
    ]
    expected: dict[Average, int] = {"probabilities": 1, "logits": 1, "votes": 0}
    for average, label in expected.items():
        assert ensemble(runs, average).predicted.tolist() == [label]
    tied = [runs[0], runs[2]]
    assert ensemble(tied, "votes").predicted.tolist() == [1]  # the surer of two single votes
    bare = [answers([0], labels), answers([1], labels)]
    assert ensemble(bare, "votes").predicted.tolist() == [0]
    with pytest.raises(ValueError, match="only votes"):
        ensemble([runs[0], bare[0]])


def test_an_ensemble_of_folds_names_their_classes() -> None:
    """The third column of a few-shot head is no class 3; one beyond the fold's classes is none at all."""
    one = Answers(
        ids=np.array(["a", "b"]), fold=np.array([0, 1]), labels=np.array([9, 4]), predicted=np.array([9, -1]),
        logits=logits([0, 2, 1], [0, 1, 5]), columns=np.array([[8, 9], [4, 6]]),
    )  # fmt: skip
    joined = ensemble([one, one])
    assert joined.predicted.tolist() == [9, -1]
    assert ensemble([one, one], "votes").predicted.tolist() == [9, -1]
    assert joined.accuracy == 0.5


def test_stored_numbers_are_computed_again() -> None:
    """A number that its own answers contradict would go unnoticed."""
    predictions = {
        "ids": np.array(names(4)),
        "labels": np.array([0, 0, 0, 1]),
        "predicted": np.array([0, 0, 1, 0]),
        "predicted.other": np.array([0, 0, 0, 1]),
        "logits": logits(*[[1.0] + [0.0] * 6] * 4),
    }
    metrics = [
        Metric(value=0.5, split="test", n_objects=4),
        Metric(name="mean_class_accuracy", value=1 / 3, split="test", n_objects=4),
        Metric(name="accuracy_top_5", value=0.75, split="test", n_objects=4),
        Metric(value=0.9, split="test", n_objects=4, variant="other", headline=False),
        Metric(value=0.8, split="test", n_objects=4, votes=10, headline=False),
        Metric(value=0.8, split="test", n_objects=4, selection="test"),
        Metric(value=0.8, split="val", n_objects=4),
    ]
    checks = recompute(predictions, metrics)
    assert not checks[0].holds, "the logits name class 0 for every object"
    assert [(c.name, c.variant, c.holds) for c in checks[1:]] == [
        ("accuracy", "", True),
        ("mean_class_accuracy", "", True),
        ("accuracy_top_5", "", True),
        ("accuracy", "other", False),
    ]
    assert checks[-1].recomputed == 1.0


def test_folds_are_averaged_as_the_protocol_does() -> None:
    """Folds of unequal size would give another mean than the stored one."""
    predictions = {
        "query": np.array([3, 5, 6]),
        "fold": np.array([0, 0, 1], np.int16),
        "labels": np.array([2, 4, 2], np.int32),
        "predicted": np.array([2, 2, 2], np.int32),
        "classes": np.array([[2, 4], [4, 2]], np.int32),
    }
    found = read_answers(predictions)
    assert found.accuracy == 0.75
    assert found.right @ found.weights == 0.75
    assert found.positions
    rows = [Metric(value=v, split="test", n_objects=3, fold=f) for f, v in ((None, 0.75), (0, 0.5), (1, 1.0))]
    assert [c.holds for c in recompute(predictions, rows) if c.at is not None] == [True, True, True]


@pytest.mark.parametrize(
    ("predictions", "words"),
    [
        ({"ids": np.array(["room"]), "offsets": np.array([0, 9])}, "points of rooms"),
        ({"ids": np.array(["a"]), "rank": np.array([1])}, "ranks matches"),
        ({"ids": np.array(["a"]), "labels": np.array([1])}, "lack 'predicted'"),
        ({"ids": np.array(["a"]), "labels": np.array([1]), "predicted": np.array([1, 2])}, "different lengths"),
    ],
)
def test_what_is_no_classification_says_what_it_is(predictions: dict[str, npt.NDArray[np.generic]], words: str) -> None:
    """Points of rooms would be paired as if they were objects."""
    with pytest.raises(ValueError, match=words):
        read_answers(predictions)


def test_a_pair_holds_every_seed_and_holm_covers_all_pairs() -> None:
    """The table of seeds and the p value over them would be of different runs."""
    labels = [0] * 20
    good, bad = answers([0] * 20, labels), answers([0] * 10 + [1] * 10, labels)
    sides = (Side("a", ("a 0", "a 1"), (good, good)), Side("b", ("b 0", "b 1"), (bad, bad)))
    pair = pair_sides("here", {}, sides, names(20), [(0, 0), (1, 1)])
    assert pair.seeds == ("0", "1")
    assert [one.difference for one in pair.per_seed] == pytest.approx([0.5, 0.5])
    assert pair.pooled is not None
    assert pair.pooled.test.p == pytest.approx(2 / 2**10)
    assert pair.methods is None, "two seeds say next to nothing about how much seeds matter"
    assert [one.p_holm for one in holm_pairs([pair, pair])] == [None, None]
    three = tuple(Side(s.name, (*s.titles, f"{s.name} 2"), (*s.runs, s.runs[0])) for s in sides)
    seeds = [(0, 0), (1, 1), (2, 2)]
    clear = pair_sides("here", {}, (three[0], three[1]), names(20), seeds)
    assert clear.methods is not None
    assert clear.methods.difference == pytest.approx(0.5)
    same = pair_sides("there", {}, (three[0], three[0]), names(20), seeds)
    assert same.methods is not None
    assert (same.methods.p, same.methods.low) == (1.0, None)
    corrected = holm_pairs([clear, same, pair])
    assert clear.methods.p is not None
    assert [one.p_holm for one in corrected] == [pytest.approx(2 * clear.methods.p), 1.0, None]
    gone = pair_sides("here", {}, (three[0], three[1]), names(20), seeds, lost="a: 1 of 4 seeds diverged")
    assert gone.methods is None, "what is left of four seeds is a choice that nobody made"
    voted = tuple(join(side, "votes") for side in sides)
    assert (
        pair_ensembles("here", {}, voted, names(20)).main
        == pair_sides("here", {}, (voted[0], voted[1]), names(20), [(0, 0), (1, 1)]).main
    )
