"""The accuracy gate. If these fail, CI lets a regression through or stops work for nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import SetupError, UsageError
from bench.stats.gate import (
    SEVERITY,
    Baseline,
    CellResult,
    decide,
    make_baseline,
    margin_points,
    read_baseline,
    write_baseline,
)
from tests.conftest import ROOT

VALUES = {0: 0.70, 1: 0.72, 2: 0.71}
UNTRAINED = {0: 0.50, 1: 0.53, 2: 0.51}
SHIPPED = read_baseline(ROOT / "baselines" / "ci.json")


def result(name: str = "recon", values: Mapping[int, float] = VALUES, scratch: str = "") -> CellResult:
    return CellResult(
        name,
        values,
        scratch,
        options={"protocol.revision": "1", "protocol.options.folds": "10", "encoder.recipe.epochs": "4"},
        content={"test labels": "l", "test clouds": "c", "test classes": "n"},
        splits=dict.fromkeys(values, "s"),
    )


def baseline(names: Sequence[str] = ("recon",)) -> Baseline:
    """Cells with a deviation of one point over three seeds: a margin of 2.5."""
    return make_baseline([result(n) for n in names], "ci", "m", "c")


def lowered(points: float, values: Mapping[int, float] = VALUES) -> dict[int, float]:
    return {seed: value - points / 100 for seed, value in values.items()}


@pytest.mark.parametrize("same_machine", [True, False])
@pytest.mark.parametrize(
    ("drop", "verdict", "code"),
    [
        (0.0, "pass", 0),
        (1.2, "pass", 0),
        (1.3, "undecided", 3),
        (2.4, "undecided", 3),
        (2.6, "fail", 1),
        (-9, "pass", 0),
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


def test_a_lost_gain_fails_although_the_accuracy_passes() -> None:
    """A noisy accuracy hides that pretraining stopped working; paired with scratch the loss shows."""
    wide, untrained = {0: 0.60, 1: 0.75, 2: 0.90}, {0: 0.50, 1: 0.64, 2: 0.81}
    stored = make_baseline([result("recon", wide, "scratch"), result("scratch", untrained)], "ci", "m", "c")
    now = [result("recon", untrained, "scratch"), result("scratch", untrained)]
    lines = {(line.cell, line.quantity): line for line in decide(stored, now, True).lines}
    assert lines["recon", "accuracy"].verdict == "pass"
    assert lines["recon", "gain"].verdict == "fail"
    assert lines["recon", "gain"].base == pytest.approx(10.0)
    assert lines["recon", "gain"].now == pytest.approx(0.0)


def shipped_now(seeds: int) -> dict[str, CellResult]:
    """What an unchanged tree would measure on the first seeds of the shipped suite."""
    return {
        c.cell: CellResult(c.cell, c.values, c.scratch, c.options, c.content, c.splits)
        for c in SHIPPED.first(seeds).cells
    }


@pytest.mark.parametrize("same_machine", [True, False])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_shipped_suite_fails_where_pretraining_does_nothing(seeds: int, same_machine: bool) -> None:
    """An optimiser that never steps leaves the numbers of the untrained network: CI has to be red."""
    now = shipped_now(seeds)
    assert decide(SHIPPED, list(now.values()), same_machine, seeds).verdict == "pass"
    untrained = [replace(r, values=now[r.scratch].values) if r.scratch else r for r in now.values()]
    report = decide(SHIPPED, untrained, same_machine, seeds)
    assert report.exit_code == 1
    failed = {(line.cell.split(" | ")[0], line.quantity) for line in report.lines if line.verdict == "fail"}
    assert failed >= {("crosspoint", "accuracy"), ("crosspoint", "gain")}
    assert {line.cell.split(" | ")[0] for line in report.lines if line.quantity == "gain"} == {"crosspoint", "recon"}


@pytest.mark.parametrize(
    ("current", "reason"),
    [
        ([], "missing"),
        ([result(), result()], "2 results"),
        ([replace(result(), options={**result().options, "protocol.revision": "2"})], "protocol.revision 1 -> 2"),
        (
            [replace(result(), options={**result().options, "encoder.recipe.epochs": "9"})],
            "encoder.recipe.epochs 4 -> 9",
        ),
        ([replace(result(), options={})], "encoder.recipe.epochs 4 -> (none)"),
        ([replace(result(), content={**result().content, "test labels": "x"})], "other test labels"),
        ([replace(result(), content={**result().content, "test clouds": "x"})], "other test clouds"),
        ([replace(result(), content={**result().content, "test classes": "x"})], "other test classes"),
        ([replace(result(), content={})], "other test classes, test clouds, test labels"),
        ([replace(result(), splits={0: "s", 1: "s", 2: "other"})], "splits or folds"),
        ([result(values={0: 0.7, 1: 0.7})], "seeds [0, 1]"),
        ([result(values={0: 0.7, 1: 0.7, 3: 0.7})], "seeds [0, 1, 3]"),
        ([result(values={0: 0.7, 1: 0.7, 2: float("nan")})], "not a finite number"),
    ],
)
def test_what_cannot_be_compared_is_broken(current: list[CellResult], reason: str) -> None:
    """A suite that lost a cell, or was judged on other data, must never pass as "no drop"."""
    report = decide(baseline(), current, same_machine=True)
    assert (report.verdict, report.exit_code) == ("broken", 4)
    assert reason in report.lines[0].reason


def test_a_gain_over_a_broken_scratch_is_broken() -> None:
    """Without its scratch a method's gain is unknown, not fine."""
    stored = make_baseline([result("recon", VALUES, "scratch"), result("scratch", UNTRAINED)], "ci", "m", "c")
    report = decide(stored, [result("recon", VALUES, "scratch")], True)
    gain = next(line for line in report.lines if line.quantity == "gain")
    assert (report.exit_code, gain.verdict) == (4, "broken")
    assert "scratch: missing" in gain.reason


def test_gains_pass_and_ask_for_a_refresh() -> None:
    """An improvement left out of the baseline could be lost again unseen."""
    report = decide(baseline(), [result(values=lowered(-5.0))], same_machine=False)
    assert report.verdict == "pass"
    assert any("refresh" in note for note in report.notes)


def test_new_cells_are_named_and_not_judged() -> None:
    """Someone who adds a method to the suite must learn that it is not guarded yet."""
    report = decide(baseline(), [result(), result("new", {0: 0.0})], same_machine=True)
    assert report.verdict == "pass"
    assert any("new" in note for note in report.notes)


def test_more_seeds_of_the_baseline_narrow_the_margin() -> None:
    """The advice to rerun with more seeds has to be one that can be followed."""
    five = {seed: 0.70 + 0.01 * (seed % 3) for seed in range(5)}
    stored = make_baseline([result(values=five)], "ci", "m", "c")
    few = decide(stored, [result(values=lowered(2.0, {s: five[s] for s in range(3)}))], False, 3)
    assert few.verdict == "undecided"
    assert any("more --seeds" in note for note in few.notes)
    all_seeds = decide(stored, [result(values=lowered(2.0, five))], False, 5)
    assert all_seeds.lines[0].margin < few.lines[0].margin
    with pytest.raises(UsageError, match="the baseline has 5"):
        decide(stored, [result(values=five)], False, 6)


drops = st.lists(st.floats(-20, 40), min_size=3, max_size=3)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(drops, st.integers(0, 2), st.floats(0, 30), st.booleans())
def test_a_larger_drop_never_improves_the_verdict(
    by_cell: list[float], which: int, more: float, same_machine: bool
) -> None:
    """Otherwise breaking the code further could turn CI green."""
    names = ("a", "b", "c")
    worse = [drop + more * (i == which) for i, drop in enumerate(by_cell)]
    verdicts = [
        decide(baseline(names), [result(n, lowered(d)) for n, d in zip(names, by, strict=True)], same_machine).verdict
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
    assert decide(baseline(names), results, False) == decide(baseline(tuple(reversed(names))), shuffled, False)


def test_margin_follows_the_deviation_over_seeds() -> None:
    """3 x sqrt(2/n) x deviation, the larger of own and pooled, rounded up, at least one point."""
    assert margin_points(own=1.0, pooled=0.5, n=2) == pytest.approx(3.0)
    assert margin_points(own=0.5, pooled=1.0, n=2) == pytest.approx(3.0)
    assert margin_points(own=1.0, pooled=None, n=3) == pytest.approx(2.5)
    assert margin_points(own=0.01, pooled=0.01, n=5) == 1.0
    assert margin_points(own=None, pooled=1.0, n=1) == pytest.approx(4.3)
    assert margin_points(own=None, pooled=None, n=1) == 5.0


def test_unchanged_noise_rarely_fails_a_made_baseline() -> None:
    """Reruns with other draws of the same quality: fewer than 1 % of lines may fail."""
    rng = random.Random(3)

    def measured() -> list[CellResult]:
        drawn = {n: {s: rng.gauss(0.6, 0.015) for s in range(3)} for n in "abcdef"}
        return [result(n, drawn[n], "f" if n in "ab" else "") for n in drawn]

    lines = [
        line for _ in range(300) for line in decide(make_baseline(measured(), "ci", "m", "c"), measured(), False).lines
    ]
    assert sum(line.verdict == "fail" for line in lines) / len(lines) < 0.01


def test_baseline_survives_the_disk_and_reads_well_in_a_diff(tmp_path: Path) -> None:
    """One changed score must show as one changed line."""
    path = tmp_path / "baselines" / "ci.json"
    made = make_baseline([result("b"), result("a")], "ci", "2 cores", "abc")
    write_baseline(made, path)
    assert read_baseline(path) == made
    before = path.read_text().splitlines()
    write_baseline(make_baseline([result("a"), result("b", VALUES | {1: 0.7201})], "ci", "2 cores", "abc"), path)
    changed = [line for line, other in zip(before, path.read_text().splitlines(), strict=True) if line != other]
    assert len(changed) == 1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "no baseline at"),
        ("{", "is no baseline"),
        ({"version": 1}, "version"),
        ({"cells": []}, "cells"),
        ({"cells": "twice"}, "occurs twice"),
        ({"cells": "nan"}, "finite"),
        ({"cells": "seeds"}, "has seeds"),
        ({"cells": "scratch"}, "which is no cell"),
    ],
)
def test_a_bad_baseline_is_one_clear_line(tmp_path: Path, change: str | dict[str, object] | None, says: str) -> None:
    """CI shows this line and nothing else."""
    path = tmp_path / "ci.json"
    if change is not None:
        whole = make_baseline([result("a"), result("b")], "ci", "m", "c").model_dump(mode="json")
        first = whole["cells"][0]
        damaged: Mapping[object, object] = {
            "twice": [first, first],
            "nan": [{**first, "values": {"0": float("nan")}}],
            "seeds": [first, {**whole["cells"][1], "values": {"0": 0.5}}],
            "scratch": [{**first, "scratch": "nothing"}],
        }
        new = change if isinstance(change, str) else {k: damaged.get(str(v), v) for k, v in change.items()}
        path.write_text(new if isinstance(new, str) else json.dumps({**whole, **new}))
    with pytest.raises(SetupError, match=says) as caught:
        read_baseline(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 4
