"""The accuracy gate. If these fail, CI lets a regression through or stops work for nothing."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import SetupError
from bench.stats.gate import (
    SEVERITY,
    Baseline,
    BaselineCell,
    CellResult,
    decide,
    make_baseline,
    margin_points,
    read_baseline,
    write_baseline,
)

VALUES = {0: 0.70, 1: 0.72, 2: 0.71}


def result(name: str = "recon", values: Mapping[int, float] = VALUES) -> CellResult:
    return CellResult(name, values, protocol_revision=1, split_digest="s")


def baseline(margin: float = 4.0, names: tuple[str, ...] = ("recon",)) -> Baseline:
    cells = tuple(
        BaselineCell(cell=n, values=VALUES, deviation=1.0, margin=margin, protocol_revision=1, split_digest="s")
        for n in names
    )
    return Baseline(suite="ci", machine="m", commit="c", margin_reason="r", cells=cells)


def lowered(points: float) -> dict[int, float]:
    return {seed: value - points / 100 for seed, value in VALUES.items()}


@pytest.mark.parametrize("same_machine", [True, False])
@pytest.mark.parametrize(
    ("drop", "verdict", "code"),
    [
        (0.0, "pass", 0),
        (1.9, "pass", 0),
        (2.1, "undecided", 3),
        (3.9, "undecided", 3),
        (4.1, "fail", 1),
        (-9.0, "pass", 0),
    ],
)
def test_verdict_by_size_of_the_drop(drop: float, verdict: str, code: int, same_machine: bool) -> None:
    """Above the margin fails, above half of it is undecided, and the exit codes say so."""
    report = decide(baseline(), [result(values=lowered(drop))], same_machine)
    assert (report.verdict, report.exit_code) == (verdict, code)
    assert report.lines[0].drop == pytest.approx(drop, abs=1e-9)


def test_identical_numbers_pass_outright() -> None:
    """On the machine the baseline was made on, unchanged code passes without any judgement."""
    report = decide(baseline(), [result()], same_machine=True)
    assert (report.lines[0].reason, report.notes) == ("identical numbers", ())


@pytest.mark.parametrize(
    ("current", "reason"),
    [
        ([], "missing"),
        ([result(), result()], "2 results"),
        ([replace(result(), protocol_revision=2)], "protocol revision 2"),
        ([replace(result(), split_digest="other")], "splits or folds"),
        ([result(values={0: 0.7, 1: 0.7})], "seeds [0, 1]"),
        ([result(values={0: 0.7, 1: 0.7, 2: float("nan")})], "not a finite number"),
    ],
)
def test_what_cannot_be_compared_is_broken(current: list[CellResult], reason: str) -> None:
    """A suite that lost a cell or changed its protocol must never pass as "no drop"."""
    report = decide(baseline(), current, same_machine=True)
    assert (report.verdict, report.exit_code) == ("broken", 4)
    assert reason in report.lines[0].reason


def test_gains_pass_and_ask_for_a_refresh() -> None:
    """A gain left out of the baseline could be lost again unseen."""
    report = decide(baseline(), [result(values=lowered(-5.0))], same_machine=False)
    assert report.verdict == "pass"
    assert any("refresh" in note for note in report.notes)


def test_new_cells_are_named_and_not_judged() -> None:
    """Someone who adds a method to the suite must learn that it is not guarded yet."""
    report = decide(baseline(), [result(), result("new", {0: 0.0})], same_machine=True)
    assert report.verdict == "pass"
    assert any("new" in note for note in report.notes)


drops = st.lists(st.floats(-20, 40), min_size=3, max_size=3)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(drops, st.integers(0, 2), st.floats(0, 30), st.booleans(), st.floats(0.5, 10))
def test_a_larger_drop_never_improves_the_verdict(
    by_cell: list[float], which: int, more: float, same_machine: bool, margin: float
) -> None:
    """Otherwise breaking the code further could turn CI green."""
    names = ("a", "b", "c")
    worse = [drop + more * (i == which) for i, drop in enumerate(by_cell)]
    verdicts = [
        decide(
            baseline(margin, names),
            [result(n, lowered(d)) for n, d in zip(names, by, strict=True)],
            same_machine,
        ).verdict
        for by in (by_cell, worse)
    ]
    assert SEVERITY.index(verdicts[0]) <= SEVERITY.index(verdicts[1])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(drops, st.integers(0, 1000))
def test_order_of_results_does_not_matter(by_cell: list[float], seed: int) -> None:
    """Results arrive in the order in which runs finish."""
    names = ("a", "b", "c")
    results = [result(n, dict(reversed(lowered(d).items()))) for n, d in zip(names, by_cell, strict=True)]
    shuffled = random.Random(seed).sample(results, 3)
    assert decide(baseline(4.0, names), results, False) == decide(
        baseline(4.0, tuple(reversed(names))), shuffled, False
    )


def test_margin_follows_the_deviation_over_seeds() -> None:
    """3 x sqrt(2/n) x deviation, the larger of own and pooled, rounded up, at least one point."""
    assert margin_points(own=1.0, pooled=0.5, n=2) == pytest.approx(3.0)
    assert margin_points(own=0.5, pooled=1.0, n=2) == pytest.approx(3.0)
    assert margin_points(own=1.0, pooled=None, n=3) == pytest.approx(2.5)
    assert margin_points(own=0.01, pooled=0.01, n=5) == 1.0
    assert margin_points(own=None, pooled=1.0, n=1) == pytest.approx(4.3)
    assert margin_points(own=None, pooled=None, n=1) == 5.0


def test_unchanged_noise_rarely_fails_a_made_baseline() -> None:
    """Reruns with other draws of the same quality: fewer than 1 % of cells may fail."""
    rng = random.Random(3)
    failed = 0
    for _ in range(300):
        made = make_baseline(
            [result(n, {s: rng.gauss(0.6, 0.015) for s in range(3)}) for n in "abcdef"], "ci", "m", "c"
        )
        again = [result(n, {s: rng.gauss(0.6, 0.015) for s in range(3)}) for n in "abcdef"]
        failed += sum(line.verdict == "fail" for line in decide(made, again, False).lines)
    assert failed / 1800 < 0.01


def test_baseline_survives_the_disk_and_reads_well_in_a_diff(tmp_path: Path) -> None:
    """One changed score must show as one changed line."""
    path = tmp_path / "baselines" / "ci.json"
    made = make_baseline([result("b"), result("a")], "ci", "2 cores", "abc")
    write_baseline(made, path)
    assert read_baseline(path) == made
    before = path.read_text().splitlines()
    write_baseline(make_baseline([result("a"), result("b", VALUES | {1: 0.7201})], "ci", "2 cores", "abc"), path)
    changed = [line for line, other in zip(before, path.read_text().splitlines(), strict=True) if line != other]
    assert any("0.72" in line for line in changed)
    assert all('"1"' in line or "deviation" in line or "margin" in line for line in changed)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no baseline at"),
        ("{", "is no baseline"),
        ('{"version": 2}', "is no baseline: version"),
        ('{"version": 1, "suite": "s", "machine": "m", "commit": "c", "margin_reason": "r", "cells": []}', "cells"),
    ],
)
def test_a_bad_baseline_is_one_clear_line(tmp_path: Path, text: str | None, says: str) -> None:
    """CI shows this line and nothing else."""
    path = tmp_path / "ci.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SetupError, match=says) as caught:
        read_baseline(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_cell_may_occur_once() -> None:
    """Two margins for one cell would leave open which one counts."""
    with pytest.raises(ValueError, match="occurs twice"):
        baseline(names=("a", "a"))
