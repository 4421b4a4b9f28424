"""Inflation: if it is wrong, the harness misjudges how much of the literature's numbers is selection."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats.cells import RunScores, group_cells
from bench.stats.intervals import Unit, summarise
from bench.stats.selection import LAST, TEST, VAL, Rule, best_of, headline_lines, inflation, selection_ledger
from bench.store.queries import MetricRow, by_run

MakeRow = Callable[..., MetricRow]
fractions = st.floats(0, 1, allow_nan=False)


def runs(row: MakeRow, scores: dict[int, tuple[float, float]], **given: object) -> list[MetricRow]:
    """Rows (val-selected, test-selected) of one cell by seed."""
    plain = {"protocol": "finetune", "setting": "all", **given}
    found = []
    for seed, values in scores.items():
        for rule, value in zip(("val", "test"), values, strict=True):
            found.append(row(seed=seed, run_key=f"k{seed}", selection=rule, value=value, **plain))
    return found


def test_inflation_is_the_paired_difference_with_its_interval(row: MakeRow) -> None:
    rows = runs(row, {0: (0.80, 0.82), 1: (0.84, 0.85), 2: (0.79, 0.82)})
    (line,) = selection_ledger(group_cells(by_run(rows)), by_run(rows))
    assert line.inflation is not None
    assert line.inflation.mean == pytest.approx(0.02)
    plain = summarise({Unit(seed): {None: value} for seed, value in enumerate([0.02, 0.01, 0.03])})
    assert (line.inflation.low, line.inflation.high) == pytest.approx((plain.low, plain.high))
    assert line.best_of_seeds == pytest.approx(0.84 - 0.81)
    assert line.together == pytest.approx(0.85 - 0.81)
    assert list(line.scores) == [VAL, TEST]


def test_votes_and_their_maximum_have_columns_of_their_own(row: MakeRow) -> None:
    """A voted number in the honest column would be the very mistake the table is about."""
    rows = runs(row, {0: (0.80, 0.82)})
    plain = {"seed": 0, "run_key": "k0", "protocol": "finetune", "setting": "all", "headline": False, "votes": 10}
    rows += [
        row(selection="val", value=0.81, **plain),
        row(selection="test", value=0.83, **plain),
        row(selection="test", value=0.86, name="accuracy[max of 299 repeats]", **plain),
    ]
    cells = group_cells(by_run(rows))
    assert [cell.metric for cell in cells] == ["accuracy"]
    assert cells[0].summary.mean == 0.80
    (line,) = selection_ledger(cells, by_run(rows))
    found = {rule: summary.mean for rule, summary in line.scores.items()}
    assert found == {
        VAL: 0.80,
        TEST: 0.82,
        Rule(voted=True): 0.81,
        Rule(voted=True, selection="test"): 0.83,
        Rule(voted=True, repeats=299, selection="test"): 0.86,
    }
    assert line.votes == 10
    assert line.together == pytest.approx(0.06)
    assert line.best_of_seeds is None


def test_votes_do_not_enter_the_candidates_of_scratch(row: MakeRow) -> None:
    rows = []
    for variant, chosen in (("a", True), ("b", False)):
        rows.append(row(variant=variant, headline=chosen, value=0.6 if chosen else 0.5))
    rows.append(row(variant="a", headline=False, votes=10, value=0.9))
    (cell,) = group_cells(by_run(rows))
    assert {c.variant: c.test for c in cell.candidates if c.test is not None} == {"a": 0.6, "b": 0.5}


def test_rows_of_candidates_that_were_not_chosen_stay_out(row: MakeRow) -> None:
    """Validation chose another initialisation: its last epoch is no property of this cell."""
    rows = [
        row(variant="a", headline=True, value=0.6),
        row(variant="a", headline=True, selection="last", value=0.55),
        row(variant="b", headline=False, value=0.7),
        row(variant="b", headline=False, selection="last", value=0.75),
    ]
    (line,) = selection_ledger(group_cells(by_run(rows)), by_run(rows))
    assert line.scores[LAST].mean == 0.55
    assert line.inflation is None


def test_cells_with_one_rule_have_no_line_and_accuracy_speaks_for_a_run(row: MakeRow) -> None:
    single = [row()]
    assert selection_ledger(group_cells(by_run(single)), by_run(single)) == ()
    rows = runs(row, {0: (0.8, 0.9)}) + runs(row, {0: (0.7, 0.6)}, name="mean_class_accuracy")
    lines = selection_ledger(group_cells(by_run(rows)), by_run(rows))
    assert [line.cell.metric for line in lines] == ["accuracy", "mean_class_accuracy"]
    assert [line.cell.metric for line in headline_lines(lines)] == ["accuracy"]


def test_folds_are_averaged_within_a_seed_first(row: MakeRow) -> None:
    rows = [row(fold=f, value=v, selection=r) for f, v, r in ((0, 0.5, "val"), (1, 0.7, "val"))]
    rows += [row(fold=f, value=v, selection="test") for f, v in ((0, 0.6), (1, 0.8))]
    (line,) = selection_ledger(group_cells(by_run(rows)), by_run(rows))
    assert line.inflation is not None
    assert line.inflation.mean == pytest.approx(0.1)
    assert (line.inflation.n, line.inflation.low) == (1, None)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(fractions, min_size=1, max_size=6), st.integers(1, 6))
def test_best_of_k_is_the_mean_over_all_choices_of_k_seeds(values: list[float], k: int) -> None:
    k = min(k, len(values))
    expected = float(np.mean([max(chosen) for chosen in combinations(values, k)]))
    assert best_of(values, k) == pytest.approx(expected)
    assert best_of(values, 1) == pytest.approx(float(np.mean(values)))
    assert best_of(values, len(values)) == pytest.approx(max(values))


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.dictionaries(st.integers(0, 9), st.tuples(fractions, fractions), min_size=1, max_size=5))
def test_inflation_of_a_maximum_is_never_negative(scores: dict[int, tuple[float, float]]) -> None:
    honest: RunScores = {Unit(seed): {None: pair[0]} for seed, pair in scores.items()}
    generous: RunScores = {Unit(seed): {None: max(pair)} for seed, pair in scores.items()}
    found = inflation(generous, honest)
    assert found is not None
    assert found.mean >= 0
    assert inflation({}, honest) is None


def test_best_of_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match="best of 3 of 2 seeds"):
        best_of([0.1, 0.2], 3)
