"""The accuracy gate. If these fail, CI lets a regression through or stops work for nothing."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.gate.baseline import read_baseline
from bench.stats.gate import (
    LEVEL,
    LOOKS,
    SEVERITY,
    CellResult,
    GateReport,
    Lines,
    Scales,
    decide,
    judge,
    spent,
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


def lowered(points: float, values: Mapping[int, float] = VALUES) -> dict[int, float]:
    return {seed: value - points / 100 for seed, value in values.items()}


def drawn(mean: float, deviation: float, seeds: int, seed: int) -> dict[int, float]:
    """Scores with exactly this mean and deviation, points."""
    x = np.random.default_rng(seed).normal(size=seeds)
    if seeds == 1:
        return {0: mean / 100}
    return dict(enumerate(((mean + deviation * (x - x.mean()) / x.std(ddof=1)) / 100).tolist()))


def stored(cells: int = 3, seeds: int = 10, deviation: float = 1.8) -> list[CellResult]:
    return [result(name, drawn(60, deviation, seeds, i)) for i, name in enumerate("abcdefgh"[:cells])]


def changed(base: Sequence[CellResult], points: Mapping[str, float], n: int) -> list[CellResult]:
    """The first seeds of a baseline; each cell's mean lies so many points below that of the whole baseline."""
    return [
        replace(cell, values=dict(list(lowered(points.get(cell.cell, 0.0), centred(cell.values, n)).items())))
        for cell in base
    ]


def centred(values: Mapping[int, float], n: int) -> dict[int, float]:
    first = dict(list(values.items())[:n])
    shift = np.mean(list(values.values())) - np.mean(list(first.values()))
    return {seed: value + float(shift) + 1e-6 for seed, value in first.items()}


def verdicts(report: GateReport) -> dict[tuple[str, str], str]:
    return {(line.cell, line.quantity): line.verdict for line in report.lines}


@pytest.mark.parametrize("same_machine", [True, False])
@pytest.mark.parametrize(
    ("drop", "verdict", "code"), [(0.0, "pass", 0), (1.0, "pass", 0), (5.5, "fail", 1), (-9, "pass", 0)]
)
def test_verdict_by_size_of_the_drop(drop: float, verdict: str, code: int, same_machine: bool) -> None:
    """A drop that draws explain passes, one that they do not fails, and the exit codes say so."""
    base = stored()
    report = decide(base, changed(base, {"a": drop}, 3), same_machine, seeds=range(3))
    assert (verdicts(report)["a", "accuracy"], report.verdict, report.exit_code) == (verdict, verdict, code)
    assert report.lines[0].drop == pytest.approx(drop, abs=1e-3)


def test_between_them_more_seeds_are_asked_for_and_tell() -> None:
    """With one seed a middling drop is neither; the advice to add seeds has to lead somewhere."""
    base = stored()
    few = decide(base, changed(base, {"a": 3.5}, 1), False, seeds=range(1))
    assert few.verdict == "undecided"
    assert few.exit_code == 3
    assert any("--more-seeds" in note for note in few.notes)
    many = decide(base, changed(base, {"a": 3.5}, 10), False, seeds=range(10))
    assert many.verdict == "fail"


def test_a_small_loss_everywhere_fails_although_every_cell_passes() -> None:
    """Two points lost in every table of a paper are a regression, however noisy each cell is."""
    base = stored(cells=6)
    report = decide(base, changed(base, dict.fromkeys("abcdef", 2.0), 3), False, seeds=range(3))
    found = verdicts(report)
    assert {found[name, "accuracy"] for name in "abcdef"} == {"pass"}
    assert found["mean of the suite", "mean"] == "fail"
    assert next(line.margin for line in report.lines if line.quantity == "mean") <= 2


def test_a_real_but_negligible_drop_passes() -> None:
    """With quiet cells a third of a point is significant; nobody wants a red build for it."""
    base = stored(deviation=0.2)
    report = decide(base, changed(base, {"a": 0.3}, 10), False, seeds=range(10))
    line = report.lines[0]
    assert line.p is not None
    assert line.p < 0.05
    assert (line.verdict, line.margin) == ("pass", 1.0)


def test_identical_numbers_pass_outright() -> None:
    """On the machine the baseline was made on, unchanged code passes without any judgement."""
    base = stored()
    now = [replace(cell, values=dict(list(cell.values.items())[:3])) for cell in base]
    report = decide(base, now, same_machine=True, seeds=range(3))
    assert {line.reason for line in report.lines} == {"identical numbers"}
    assert [note for note in report.notes if "undecided" not in note] == []


def test_a_lost_gain_fails_although_the_accuracy_passes() -> None:
    """A noisy accuracy hides that pretraining stopped working; paired with scratch the loss shows."""
    wide = {0: 0.60, 1: 0.75, 2: 0.90, 3: 0.66, 4: 0.84}
    untrained = {0: 0.50, 1: 0.64, 2: 0.81, 3: 0.56, 4: 0.73}
    base = [result("recon", wide, "scratch"), result("scratch", untrained)]
    now = [result("recon", untrained, "scratch"), result("scratch", untrained)]
    found = verdicts(decide(base, now, True))
    assert found["recon", "accuracy"] != "fail"
    assert found["recon", "gain"] == "fail"
    gain = next(line for line in decide(base, now, True).lines if line.quantity == "gain")
    assert (gain.base, gain.now) == (pytest.approx(10.2), pytest.approx(0.0, abs=1e-9))


@pytest.mark.parametrize("same_machine", [True, False])
@pytest.mark.parametrize("seeds", [2, 3, len(SHIPPED.seeds)])
def test_the_shipped_suite_fails_where_pretraining_does_nothing(seeds: int, same_machine: bool) -> None:
    """An optimiser that never steps leaves the numbers of the untrained network: CI has to be red."""
    first = SHIPPED.first(seeds)
    base = SHIPPED.results()
    now = {c.cell: replace(c, values={s: c.values[s] for s in first}) for c in base}
    assert decide(base, list(now.values()), same_machine, seeds=first).verdict == "pass"
    untrained = [replace(r, values=now[r.scratch].values) if r.scratch else r for r in now.values()]
    report = decide(base, untrained, same_machine, seeds=first)
    assert report.exit_code == 1
    failed = {(line.cell.split(" | ")[0], line.quantity) for line in report.lines if line.verdict == "fail"}
    assert failed & {("crosspoint", "accuracy"), ("crosspoint", "gain")}


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
        ([result(values={0: 0.7, 1: 0.7})], "seeds [0, 1], expected [0, 1, 2]"),
        ([result(values={0: 0.7, 1: 0.7, 3: 0.7})], "seeds [0, 1, 3], expected"),
        ([result(values={0: 0.7, 1: 0.7, 2: float("nan")})], "not a finite number"),
        ([result(values={0: 0.72, 1: 0.70, 2: 0.71})], "under other seeds (0, 1): seeds are swapped"),
        ([result(values={0: 0.71, 1: 0.70, 2: 0.72})], "under other seeds (0, 1, 2): seeds are swapped"),
        ([replace(result(), scratch="other")], "compared with 'other'"),
    ],
)
def test_what_cannot_be_compared_is_broken(current: list[CellResult], reason: str) -> None:
    """A suite that lost a cell, or was judged on other data, must never pass as "no drop"."""
    report = decide([result()], current, same_machine=True)
    assert (report.verdict, report.exit_code) == ("broken", 4)
    assert reason in report.lines[0].reason


def test_a_part_that_an_older_baseline_lacks_is_not_compared() -> None:
    """Else every new digest that runs record would break all stored baselines."""
    now = replace(result(), content={**result().content, "pretraining clouds": "p"})
    assert decide([result()], [now], same_machine=True).verdict == "pass"
    lacking = decide([now], [result()], same_machine=True)
    assert (lacking.verdict, "other pretraining clouds" in lacking.lines[0].reason) == ("broken", True)


def test_pictures_are_compared_on_one_kind_of_machine_only() -> None:
    """Rendering rounds as the processor's matrix products do: another one would break every check."""
    base, now = (replace(result(), content={"pretraining clouds": "c", "pretraining pictures": p}) for p in "xy")
    assert decide([base], [now], same_machine=True).verdict == "broken"
    assert decide([base], [now], same_machine=False).verdict == "pass"
    other = replace(now, content={**now.content, "pretraining clouds": "d"})
    assert decide([base], [other], same_machine=False).verdict == "broken"


def test_a_gain_over_a_broken_scratch_is_broken() -> None:
    """Without its scratch a method's gain is unknown, not fine."""
    base = [result("recon", VALUES, "scratch"), result("scratch", UNTRAINED)]
    report = decide(base, [result("recon", VALUES, "scratch")], True)
    gain = next(line for line in report.lines if line.quantity == "gain")
    assert (report.exit_code, gain.verdict) == (4, "broken")
    assert "scratch: missing" in gain.reason


def test_gains_pass_and_ask_for_a_refresh() -> None:
    """An improvement left out of the baseline could be lost again unseen."""
    report = decide([result()], [result(values=lowered(-5.0))], same_machine=False)
    assert report.verdict == "pass"
    assert any("refresh" in note for note in report.notes)


def test_new_cells_are_named_and_not_judged() -> None:
    """Someone who adds a method to the suite must learn that it is not guarded yet."""
    report = decide([result()], [result(), result("new", {0: 0.0})], same_machine=True)
    assert report.verdict == "pass"
    assert any("new" in note for note in report.notes)


drops = st.lists(st.floats(-20, 40), min_size=3, max_size=3)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(drops, st.integers(0, 2), st.floats(0, 30), st.booleans(), st.integers(1, 10))
def test_a_larger_drop_never_improves_the_verdict(
    by_cell: list[float], which: int, more: float, same_machine: bool, seeds: int
) -> None:
    """Otherwise breaking the code further could turn CI green."""
    base = stored()
    worse = [drop + more * (i == which) for i, drop in enumerate(by_cell)]
    first, second = (
        decide(base, changed(base, dict(zip("abc", by, strict=True)), seeds), same_machine, seeds=range(seeds)).verdict
        for by in (by_cell, worse)
    )
    assert SEVERITY.index(first) <= SEVERITY.index(second)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(drops, st.integers(0, 1000))
def test_order_of_results_does_not_matter(by_cell: list[float], seed: int) -> None:
    """Results arrive in the order in which runs finish."""
    base = stored(seeds=3)
    now = [replace(c, values=dict(reversed(lowered(d, c.values).items()))) for c, d in zip(base, by_cell, strict=True)]
    assert decide(base, now, False) == decide(base[::-1], random.Random(seed).sample(now, 3), False)


def test_margins_follow_the_deviation_over_seeds() -> None:
    """Noisier cells have wider margins, a quiet suite one of a point, and no scatter of the change widens them."""
    quiet, usual, noisy = (
        Scales.of(Lines.of({c.cell: c.values for c in stored(deviation=d)}, {}, range(10))).margin for d in (0.1, 1, 2)
    )
    assert (quiet == 1.0).all()
    assert (usual[:3] < noisy[:3]).all()
    assert noisy[:3] == pytest.approx(2 * usual[:3], abs=0.2)
    assert noisy[-1] == 2.0, "the mean of the suite is held to two points"


def test_history_of_the_baseline_adds_to_what_is_known_of_the_deviation() -> None:
    """A baseline of few seeds that happen to agree must not alarm at every change."""
    lucky = [result(c.cell, drawn(60, 0.2, 8, i)) for i, c in enumerate(stored())]
    now = changed(lucky, {"a": 1.5}, 3)
    assert decide(lucky, now, False, seeds=range(3)).verdict == "fail"
    assert decide(lucky, now, False, seeds=range(3), history=[stored()]).verdict != "fail"
    other = [replace(cell, cell=cell.cell * 2) for cell in stored()]
    alone = decide(lucky, now, False, seeds=range(3))
    assert decide(lucky, now, False, seeds=range(3), history=[other]) == alone, "another suite says nothing"


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_few_seeds_of_a_baseline_still_see_a_collapse(seeds: int) -> None:
    """Two seeds may agree or differ by chance; a network that guesses is broken all the same."""
    base = [result("a", drawn(90, 9, seeds, 1)), result("b", drawn(90, 0, seeds, 2))]
    assert decide(base, changed(base, {"a": 70}, 1), False, seeds=range(1)).verdict == "fail"
    assert decide(base, changed(base, {}, seeds), False).verdict != "fail"


def test_seeds_that_agree_give_no_certainty() -> None:
    """Judges without chance (zero-shot of a teacher) have no deviation: a point may still be rounding."""
    same = [result(name, dict.fromkeys(range(8), 0.5)) for name in "ab"]
    report = decide(same, [replace(cell, values=lowered(0.3, cell.values)) for cell in same], False)
    assert report.verdict == "pass"
    assert decide(same, [replace(cell, values=lowered(3, cell.values)) for cell in same], False).verdict == "fail"


@pytest.mark.parametrize("looks", [LOOKS, (3, 5), (1,), (2, 3, 4, 10)])
def test_all_looks_together_spend_the_level_once(looks: Sequence[int]) -> None:
    """Looking again and again until something is significant would fail an unchanged suite in the end."""
    assert sum(spent(looks, i) for i in range(len(looks))) == pytest.approx(LEVEL)


def test_an_unchanged_suite_rarely_fails() -> None:
    """Reruns with other draws of the same quality: at most one build in twenty is red for nothing."""
    rng = np.random.default_rng(3)

    def lines(n: int) -> Lines:
        cells = {name: dict(enumerate(rng.normal(0.6, 0.018, n).tolist())) for name in "abcdef"}
        return Lines.of(cells, {"a": "e", "b": "f"}, range(n))

    failed = 0
    for _ in range(400):
        base, now = lines(10), lines(3)
        found, _ = judge(base.points.mean(1) - now.points.mean(1), 3, Scales.of(base))
        failed += "fail" in found
    assert failed / 400 < 0.075
