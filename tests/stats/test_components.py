"""Two spreads kept apart: without them the luck of ten folds passes for the worth of a pretraining."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats.components import variance_components
from bench.stats.intervals import Unit

quick = settings(max_examples=30, deadline=None, derandomize=True)


def drawn(
    seeds: int, folds: int, of_seeds: float, of_folds: float, rest: float = 0.0
) -> dict[Unit, dict[int | None, float]]:
    rng = np.random.default_rng(0)
    seed, fold = rng.normal(0, of_seeds, seeds), rng.normal(0, of_folds, folds)
    noise = rng.normal(0, rest, (seeds, folds)) if rest else np.zeros((seeds, folds))
    return {Unit(s): {f: float(0.5 + seed[s] + fold[f] + noise[s, f]) for f in range(folds)} for s in range(seeds)}


@pytest.mark.parametrize(("of_seeds", "of_folds"), [(0.02, 0.05), (0.05, 0.01), (0.0, 0.03)])
def test_both_deviations_are_found(of_seeds: float, of_folds: float) -> None:
    """Known spreads must come out on the side they were put in."""
    found = variance_components(drawn(400, 200, of_seeds, of_folds))
    assert found.folds == pytest.approx(of_folds, rel=0.15)
    assert found.seeds == pytest.approx(of_seeds, rel=0.15, abs=1e-9)
    assert (found.n_seeds, found.n_folds) == (400, 200)


@quick
@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=6), min_size=2, max_size=5), st.floats(-0.5, 0.5))
def test_a_shift_of_one_seed_moves_the_seeds_only(values: list[list[float]], shift: float) -> None:
    """A better encoder does not change how much the draw of folds matters."""
    scores = {Unit(seed): dict(enumerate(own)) for seed, own in enumerate(values)}
    moved = {**scores, Unit(0): {fold: value + shift for fold, value in scores[Unit(0)].items()}}
    before, after = variance_components(scores), variance_components(moved)
    assert after.folds == pytest.approx(before.folds, abs=1e-9)


def test_what_cannot_be_told_is_none() -> None:
    """One seed says nothing about seeds, a run without folds nothing about folds."""
    assert variance_components({Unit(3): {0: 0.5, 1: 0.7}}).seeds is None
    assert variance_components({Unit(3): {0: 0.5, 1: 0.7}}).folds == pytest.approx(0.1414, abs=1e-3)
    plain = variance_components({Unit(0): {None: 0.5}, Unit(1): {None: 0.7}})
    assert plain.folds is None
    assert plain.seeds == pytest.approx(0.1414, abs=1e-3)
    assert plain.n_folds == 0
    with pytest.raises(ValueError, match="without seeds"):
        variance_components({})
