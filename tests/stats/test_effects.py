"""Effects of options: what an ablation concludes must follow from its scores."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from bench.stats.effects import Effect, Tried, best_setting, effects
from bench.stats.intervals import Unit


def tried(values: tuple[str, ...], scores: list[float], lost: int = 0) -> Tried:
    runs = {Unit(seed): {None: score} for seed, score in enumerate(scores)}
    gone = {Unit(len(scores) + at): "diverged" for at in range(lost)}
    return Tried(values, runs, runs, gone, len(scores) + lost)


def grid(levels: list[str], seeds: int, rng: np.random.Generator) -> list[Tried]:
    return [tried(values, list(rng.normal(0.7, 0.05, seeds))) for values in itertools.product(*levels)]


def by_name(found: list[Effect]) -> dict[str, Effect]:
    return {one.comparison.first: one for one in found}


def test_effects_of_a_grid_are_those_of_regression_and_anova() -> None:
    """A grid with the seed as a block: estimates are those of least squares, F of repeated measures is t squared."""
    settings = grid(["ab", "xy"], 5, np.random.default_rng(1))
    table = np.array([[folds[None] for folds in one.test.values()] for one in settings])  # [setting, seed]
    a, x = (
        np.array([1.0 if one.values[at] == high else -1.0 for one in settings]) for at, high in ((0, "b"), (1, "y"))
    )
    design = np.stack([np.ones(4), a, x, a * x], 1)
    fitted = np.linalg.lstsq(np.repeat(design, 5, 0), table.ravel(), rcond=None)[0]
    found = by_name(effects(("a", "x"), settings, ("a", "x")))
    for at, (name, scale) in enumerate((("a=b", 2), ("x=y", 2), ("a=b, x=y", 4)), start=1):
        comparison = found[name].comparison
        own = np.array(list(comparison.differences.values()))
        assert comparison.difference == pytest.approx(scale * fitted[at])
        by_seed = design[:, at] @ table / 4  # the effect within each seed: its spread is the error
        between, within = 5 * by_seed.mean() ** 2, ((by_seed - by_seed.mean()) ** 2).sum() / 4
        assert stats.ttest_1samp(own, 0).statistic ** 2 == pytest.approx(between / within)
        assert comparison.p_holm is not None
    means = [tried((value,), list(table[rows].mean(0))) for value, rows in (("a", [0, 1]), ("b", [2, 3]))]
    (alone,) = (one.comparison for one in effects(("a",), means, ("a",)))
    expected = stats.ttest_1samp(list(found["a=b"].comparison.differences.values()), 0)
    assert (alone.p, alone.low, alone.high) == pytest.approx((expected.pvalue, *expected.confidence_interval()))


def test_one_at_a_time_compares_with_the_base_alone() -> None:
    settings = [
        tried(("0.6", "off"), [0.50, 0.52, 0.54]),
        tried(("0.2", "off"), [0.40, 0.42, 0.45]),
        tried(("0.6", "on"), [0.60, 0.62, 0.63]),
    ]
    found = effects(("ratio", "stop"), settings, ("0.6", "off"))
    assert [effect.comparison.first for effect in found] == ["ratio=0.2", "stop=on"]
    assert found[0].comparison.difference == pytest.approx(-0.29 / 3)
    assert found[1].comparison.verdict == "above"


def test_a_fraction_finds_main_effects_and_names_what_it_cannot_tell_apart() -> None:
    """Eight of sixteen settings; the effects of A (10 points) and of A with B (4 points) are put in by hand."""
    from bench.ablation.designs import fractional

    settings = []
    for values in fractional([["0", "1"]] * 4):
        a, b, _, _ = (int(str(value)) for value in values)
        noise = [0.001, -0.001, 0.0005]
        settings.append(tried(tuple(map(str, values)), [0.5 + 0.10 * a + 0.04 * a * b + n * (1 + b) for n in noise]))
    found = by_name(effects(("A", "B", "C", "D"), settings, ("0", "0", "0", "0"), fraction=True))
    assert len(settings) == 8
    assert found["A=1"].comparison.difference == pytest.approx(0.12)
    assert found["C=1"].comparison.difference == pytest.approx(0)
    together = found["A=1, B=1"]
    assert together.comparison.difference == pytest.approx(0.04)
    assert together.aliases == ("C x D",)
    assert not found["A=1"].aliases


@pytest.mark.parametrize("axes", range(4, 17))
def test_a_fraction_has_resolution_four(axes: int) -> None:
    """No main effect may be mixed with another, or with an interaction of two axes."""
    from bench.ablation.designs import fractional

    signs = np.array(fractional([[-1, 1]] * axes), float)
    assert len({tuple(row) for row in signs}) == len(signs) < 2**axes
    assert np.array_equal(signs.T @ signs, len(signs) * np.eye(axes))
    pairs = np.stack([signs[:, i] * signs[:, j] for i, j in itertools.combinations(range(axes), 2)])
    assert not (pairs @ signs).any()


def test_the_best_is_chosen_on_validation_and_its_sureness_counted() -> None:
    """By hand: of the 27 resamples of three seeds, a beats b in all but those whose mean difference is negative."""
    scores = {"a": [0.6, 0.7, 0.55], "b": [0.5, 0.6, 0.7], "c": [0.0, 0.1, 0.0]}
    best = best_setting(("axis",), [tried((name,), own) for name, own in scores.items()])
    assert best is not None
    assert (best.values, best.resamples, best.exact) == (("a",), 27, True)
    sums = [sum((0.1, 0.1, -0.15)[at] for at in own) for own in itertools.product(range(3), repeat=3)]
    assert best.probability == pytest.approx(sum(total > 0 for total in sums) / 27)
    assert len(best.others) == 2
    assert all(other.p_holm is not None for other in best.others)


def test_a_setting_that_lost_a_run_is_no_candidate() -> None:
    """Its remaining seeds are a choice that nobody made."""
    settings = [tried(("a",), [0.9, 0.9], lost=1), tried(("b",), [0.5, 0.6, 0.7]), tried(("c",), [0.4, 0.5, 0.5])]
    best = best_setting(("axis",), settings)
    assert best is not None
    assert best.values == ("b",)
    one, _ = effects(("axis",), settings, ("b",))
    assert one.comparison.verdict == "lost"
    assert one.words == "1 of 3 seeds diverged: no verdict"


def test_one_seed_says_nothing_about_sureness() -> None:
    best = best_setting(("axis",), [tried(("a",), [0.5]), tried(("b",), [0.6])])
    assert best is not None
    assert (best.values, best.probability) == (("b",), None)


def test_settings_level_on_validation_are_named() -> None:
    """Equal means in another order of seeds are a tie, although their sums differ in the last bit."""
    scores = {"a": [0.1, 0.2, 0.3], "b": [0.3, 0.1, 0.2], "c": [0.0, 0.0, 0.0]}
    best = best_setting(("axis",), [tried((name,), own) for name, own in scores.items()])
    assert best is not None
    assert (best.values, best.level) == (("a",), (("b",),))
