"""Paired comparisons. If these fail, "A above B" in a report means something else than it says."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.stats.comparisons import compare, holm, holm_family, smallest_p
from bench.stats.intervals import Unit

NAMES = ("a", "b")


def scores(values: list[float]) -> dict[Unit, dict[int | None, float]]:
    return {Unit(seed): {None: value} for seed, value in enumerate(values)}


def test_paired_interval_and_p_agree_with_scipy() -> None:
    """scipy's paired t test is the reference."""
    a, b = [0.71, 0.74, 0.69, 0.75, 0.72], [0.68, 0.70, 0.70, 0.71, 0.66]
    ours = compare(NAMES, scores(a), scores(b))
    reference = stats.ttest_rel(a, b)
    interval = reference.confidence_interval(0.95)
    assert ours.p == pytest.approx(reference.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))
    assert ours.difference == pytest.approx(statistics.fmean(x - y for x, y in zip(a, b, strict=True)))


def test_pairing_finds_what_the_seeds_hide() -> None:
    """Seeds that move both methods alike must cancel: that is what pairing is for."""
    shared = [0.0, 0.1, 0.2, 0.3]
    a = scores([0.50 + s + e for s, e in zip(shared, (0.001, 0.002, 0.0, 0.001), strict=True)])
    assert compare(NAMES, a, scores([0.48 + s for s in shared])).verdict == "above"


@pytest.mark.parametrize(
    ("a", "b", "verdict", "words"),
    [
        ([0.70, 0.71, 0.72], [0.60, 0.61, 0.625], "above", "a above b"),
        ([0.60, 0.61, 0.625], [0.70, 0.71, 0.72], "below", "b above a"),
        ([0.60, 0.80, 0.70], [0.65, 0.70, 0.72], "none", "no difference shown"),
        ([0.9], [0.1], "one-seed", "one seed: no comparison"),
        ([0.5, 0.6], [0.5, 0.6], "none", "no difference shown"),
        ([0.5, 0.75], [0.25, 0.5], "no-spread", "no spread over seeds: no comparison"),
    ],
)
def test_verdict_is_the_interval_of_the_difference(a: list[float], b: list[float], verdict: str, words: str) -> None:
    """The verdict a reader acts on follows from the interval and nothing else."""
    found = compare(NAMES, scores(a), scores(b))
    assert (found.verdict, found.words) == (verdict, words)


def test_one_seed_gives_neither_interval_nor_p() -> None:
    """However large the gap, one pretraining shows nothing about the next."""
    found = compare(NAMES, scores([0.99]), scores([0.01]))
    assert (found.low, found.high, found.p) == (None, None, None)
    assert found.difference == pytest.approx(0.98)


def test_the_same_difference_in_every_seed_claims_nothing() -> None:
    """Accuracies are multiples of 1/n: two seeds that both gain 2.5 points would be "above", p < 0.001, by luck."""
    found = compare(NAMES, scores([0.825, 0.85]), scores([0.8, 0.825]))
    assert (found.low, found.high, found.p, found.verdict) == (None, None, None, "no-spread")
    assert any("same in every seed" in note for note in found.notes)
    (only,) = holm_family([found])
    assert not only.survives_holm


def test_unpaired_seeds_are_dropped_and_named() -> None:
    """A seed only one side has would turn a paired comparison into an unpaired one."""
    found = compare(
        NAMES,
        {Unit(0): {None: 0.5}, Unit(1): {None: 0.6}, Unit(2): {None: 0.7}},
        {Unit(1): {None: 0.5}, Unit(2): {None: 0.5}, Unit(9): {None: 1}},
    )
    assert (found.n, found.dropped) == (2, (Unit(0), Unit(9)))
    assert found.difference == pytest.approx(0.15)
    assert "seeds 0, 9 left out: not in both" in found.notes
    assert compare(NAMES, {Unit(0): {None: 0.5}}, {Unit(1): {None: 0.5}}).verdict == "unpaired"


def test_only_folds_both_have_are_compared() -> None:
    """An easy fold that one side lacks must not count as a difference."""
    found = compare(
        NAMES,
        {Unit(0): {0: 0.5, 1: 0.5, 2: 1.0}, Unit(1): {0: 0.4}},
        {Unit(0): {0: 0.5, 1: 0.5}, Unit(1): {1: 0.4}},
    )
    assert found.difference == pytest.approx(0.0)
    assert found.dropped == (Unit(1),)
    assert "folds left out in seeds 0: not in both" in found.notes


def test_small_n_names_the_smallest_p_without_normality() -> None:
    """Of 2**n sign flips the two extreme ones carry 2**(1 - n): below six pairs that is above 0.05."""
    assert [smallest_p(n) for n in (0, 1, 2, 5, 6)] == [1.0, 1.0, 0.5, 0.0625, 0.03125]
    exact = stats.permutation_test(
        (np.array([1.0, 2.0, 3.0, 4.0]),), np.mean, permutation_type="samples", n_resamples=10_000
    )
    assert smallest_p(4) == pytest.approx(exact.pvalue)
    assert any(
        "p = 0.0625" in note for note in compare(NAMES, scores([0.7, 0.71, 0.7, 0.72, 0.7]), scores([0.6] * 5)).notes
    )
    assert not compare(NAMES, scores([0.7, 0.71, 0.7, 0.72, 0.7, 0.71]), scores([0.6] * 6)).notes


def test_holm_matches_a_hand_worked_example() -> None:
    """Holm (1979) on 0.01, 0.04, 0.03, 0.005: x4, x3, x2, x1 in order of size, made non-decreasing."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_holm_lies_between_the_raw_value_and_bonferroni(values: list[float]) -> None:
    """A correction below the raw p, or above Bonferroni's, is no Holm correction."""
    adjusted = holm(values)
    assert all(p <= q <= min(1.0, len(values) * p) + 1e-12 for p, q in zip(values, adjusted, strict=True))
    order = sorted(range(len(values)), key=values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_family_leaves_out_what_was_not_tested() -> None:
    """A one-seed row must not make the correction of the others stricter."""
    strong = compare(NAMES, scores([0.70, 0.71, 0.72]), scores([0.60, 0.61, 0.625]))
    family = holm_family([strong, compare(NAMES, scores([0.9]), scores([0.1]))])
    assert family[0].p_holm == strong.p
    assert family[1].p_holm is None
    assert family[0].survives_holm
    assert not family[1].survives_holm


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Of 1,000 comparisons of equal methods about 5 % may be called different."""
    rng = np.random.default_rng(1)
    shown = 0
    for _ in range(1000):
        values = rng.normal(0.6, 0.02, size=(2, 5))
        shown += compare(NAMES, scores(list(values[0])), scores(list(values[1]))).verdict != "none"
    assert abs(shown / 1000 - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 1000)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=6))
def test_swapping_the_sides_mirrors_the_result(pairs: list[tuple[float, float]]) -> None:
    """Which method is named first must not matter."""
    a, b = scores([x for x, _ in pairs]), scores([y for _, y in pairs])
    one, other = compare(NAMES, a, b), compare(("b", "a"), b, a)
    mirror = {"above": "below", "below": "above"}
    assert other.verdict == mirror.get(one.verdict, one.verdict)
    ends = [0.0 if end is None else end for end in (one.high, one.low, other.low, other.high)]
    assert ends[2:] == pytest.approx([-ends[0], -ends[1]], abs=1e-12)
