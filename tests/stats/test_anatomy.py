"""Sources of variation. If these fail, the luck of folds or objects passes for that of pretraining."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.stats.anatomy import NOT_VARIED, anatomy, component, of_objects, of_teachers, one_way, two_way
from bench.stats.intervals import Scores, Unit

LOOMS = [[98, 97, 99, 96], [91, 90, 93, 92], [96, 95, 97, 95], [95, 96, 99, 98]]
"""Strength of cloth of four looms (Montgomery, Design and Analysis of Experiments, random effects model)."""


def test_the_published_looms_give_their_components() -> None:
    """Mean squares 29.73 and 1.90, and a variance of 6.96 between looms, as the textbook has it."""
    values = np.array(LOOMS, float)
    between = 4 * ((values.mean(1) - values.mean()) ** 2).sum()
    within = ((values - values.mean(1, keepdims=True)) ** 2).sum()
    assert (between / 3, within / 12) == pytest.approx((29.73, 1.90), abs=0.01)
    found = component(between, 3, within, 12, 4, 4)
    assert found.deviation is not None
    assert found.deviation**2 == pytest.approx(6.96, abs=0.01)
    assert found.low is not None
    assert found.high is not None
    # Between the exact interval of the ratio to the rest (0.625 to 53.5) and that of the total variance.
    assert 1.0 < found.low**2 < 6.96 < found.high**2 < 120


def test_a_two_way_table_by_hand() -> None:
    """Rows 0 and 4, columns 0, 2 and 4, no interaction: variances 8 and 4, and nothing is left."""
    row, column, rest = two_way(np.array([[0.0, 2.0, 4.0], [4.0, 6.0, 8.0]]))
    assert row.deviation == pytest.approx(math.sqrt(8))
    assert column.deviation == pytest.approx(2)
    assert rest.deviation == pytest.approx(0, abs=1e-9)
    assert (row.levels, column.levels) == (2, 3)
    # With nothing left over, the interval is the chi-square one of two values: 8 / 5.02 and 8 / 0.00098.
    assert row.low == pytest.approx(math.sqrt(8 / 5.0239), rel=1e-3)
    assert row.high == pytest.approx(math.sqrt(8 / 0.000982), rel=1e-3)


def simulated(rng: np.random.Generator, seeds: int, splits: int, folds: int, sd: tuple[float, ...]) -> Scores:
    of_seed, of_split, of_fold, rest = sd
    seed, split = rng.normal(0, of_seed, seeds), rng.normal(0, of_split, splits)
    fold = rng.normal(0, of_fold, (splits, folds))
    return {
        Unit(s, p): {f: float(0.5 + seed[s] + split[p] + fold[p, f] + rng.normal(0, rest)) for f in range(folds)}
        for s in range(seeds)
        for p in range(splits)
    }


def test_known_sources_are_found_and_covered() -> None:
    """Intervals of 95 % must hold the truth about as often, of seeds, split seeds and folds."""
    rng = np.random.default_rng(2)
    truth = {"seeds": 0.03, "splits": 0.02, "folds": 0.04 / math.sqrt(5)}
    inside: dict[str, list[bool]] = {name: [] for name in truth}
    squares: dict[str, list[float]] = {name: [] for name in truth}
    for _ in range(200):
        found = anatomy(simulated(rng, 4, 3, 5, (0.03, 0.02, 0.04, 0.01)))
        for name, value in truth.items():
            one = getattr(found, name)
            inside[name].append(one.low <= value <= one.high)
            squares[name].append(one.deviation**2)
    for name, value in truth.items():
        # Split seeds hold the draw of their folds, too, which no run of one split seed can tell from them.
        expected = value**2 + (0.04**2 / 5 if name == "splits" else 0)
        assert np.mean(squares[name]) == pytest.approx(expected, rel=0.25)
        if name != "splits":
            assert 0.91 <= np.mean(inside[name]) <= 0.99


def test_what_is_not_varied_has_no_number() -> None:
    """One seed says nothing about seeds; a table with holes nothing about either."""
    one = anatomy({Unit(0): {None: 0.5}})
    assert one.seeds == one.splits == one.folds == one.rest == NOT_VARIED
    seeds = anatomy({Unit(s): {None: 0.5 + 0.01 * s} for s in range(3)})
    assert seeds.seeds.deviation == pytest.approx(0.01)
    assert seeds.splits == NOT_VARIED
    splits = anatomy({Unit(0, p): {None: 0.5 + 0.01 * p} for p in range(3)})
    assert (splits.seeds, splits.splits.levels) == (NOT_VARIED, 3)
    holes = anatomy({Unit(0, 0): {None: 0.5}, Unit(1, 1): {None: 0.6}, Unit(1, 0): {None: 0.6}})
    assert holes.seeds == holes.splits == NOT_VARIED
    folds = anatomy({Unit(0): {0: 0.5, 1: 0.7}})
    assert folds.folds.deviation == pytest.approx(math.sqrt(0.02 / 2))


def test_objects_and_teachers() -> None:
    """Objects: the binomial's deviation. Teachers: only the seeds that all of them have."""
    right = np.array([1.0, 0.0, 1.0, 1.0] * 25)
    alone = of_objects(right, np.arange(100), np.full(100, 0.01))
    assert alone.deviation == pytest.approx(math.sqrt(0.75 * 0.25 / 99))
    views = of_objects(right.repeat(2), np.arange(100).repeat(2), np.full(200, 0.005))
    assert views.deviation == pytest.approx(alone.deviation)  # two views of a thing are one object
    cells = {t: {Unit(s): {None: 0.5 + 0.02 * t + 0.1 * s} for s in range(3 + t)} for t in range(2)}
    assert of_teachers(cells).deviation == pytest.approx(0.02 / math.sqrt(2))
    assert of_teachers({0: cells[0]}) == NOT_VARIED
    assert one_way([0.2, 0.4]).deviation == pytest.approx(0.2 / math.sqrt(2))
