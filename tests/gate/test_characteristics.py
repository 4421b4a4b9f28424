"""The simulated page on the gate. If these fail, it promises what the gate does not keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.gate.baseline import Baseline, make_baseline, write_baseline
from bench.gate.characteristics import Suite, planned_looks, redraws, scenarios, simulate
from bench.stats.gate import CellResult, decide
from tests.conftest import bench_here


def made(seeds: int = 10, deviation: float = 1.6, gain: float = 10) -> Baseline:
    rng = np.random.default_rng(5)

    def values(mean: float) -> dict[int, float]:
        x = rng.normal(size=seeds)
        scaled = (x - x.mean()) / (x.std(ddof=1) if seeds > 1 else 1)
        return dict(enumerate(((mean + deviation * scaled) / 100).tolist()))

    cells = [
        CellResult("recon", values(40 + gain), "plain"),
        CellResult("point-mae", values(41), "plain"),
        CellResult("plain", values(40)),
    ]
    return make_baseline(cells, "ci", "m", "c")


def test_a_suite_with_clear_gains_finds_what_it_should() -> None:
    """The figures that the issue of every user is: false alarms, a dead method, a loss in one cell."""
    found = {o.scenario.name: o for o in simulate(made(), 150)}
    unchanged = found["nothing"]
    assert unchanged.first["pass"] >= 0.9
    assert unchanged.first["fail"] <= 0.1
    assert unchanged.last["fail"] <= 0.06
    dead = next(o for name, o in found.items() if "recon does nothing" in name)
    assert dead.first["fail"] >= 0.98
    assert found["recon loses 5 points"].last["fail"] >= 0.8
    everywhere = found["every cell loses 2 points"]
    assert everywhere.last["pass"] < 0.2
    assert 3 <= everywhere.seeds <= 10


def test_every_method_above_its_untrained_network_has_a_scenario() -> None:
    """A method whose destruction is not simulated would be believed to be watched."""
    found = scenarios(made())
    dead = {s.name: s.target for s in found if "does nothing" in s.name}
    assert dead == {
        "pretraining of recon does nothing (gain 10.0)": 0.99,
        "pretraining of point-mae does nothing (gain 1.0)": None,
    }
    assert sum("loses 5 points" in s.name for s in found) == 3
    assert sum("does nothing" in s.name for s in scenarios(made(gain=-5))) == 1


def test_a_suite_too_small_to_pass_unchanged_says_so(tmp_path: Path) -> None:
    """Its user would meet undecided builds on other machines and not know that more cells or seeds mend them."""
    write_baseline(made(3, deviation=3.0), tmp_path / "a.json")
    done = bench_here("check", "--baseline", tmp_path / "a.json", "--simulate", 100)
    assert "an unchanged suite passes outright in" in " ".join(done.stdout.split()), done.stderr


@pytest.mark.parametrize(
    ("seeds", "first", "looks"), [(10, 3, (3, 5, 8, 10)), (5, 3, (3, 5)), (3, 3, (3,)), (2, 3, (2,)), (7, 4, (4, 5, 7))]
)
def test_looks_fit_the_seeds_of_the_baseline(seeds: int, first: int, looks: tuple[int, ...]) -> None:
    assert planned_looks(seeds, first) == looks


def test_real_seeds_are_held_against_the_assumptions() -> None:
    found = redraws(made(), splits=50)
    assert found.alarms <= 0.1
    assert 0 <= found.correlation[0] <= 1
    heavy = made()
    cells = [cell.model_copy(update={"values": {**cell.values, 0: 0.95}}) for cell in heavy.cells]
    assert redraws(heavy.model_copy(update={"cells": tuple(cells)}), splits=20).normal < 0.05


def test_the_page_is_written_by_the_command(tmp_path: Path) -> None:
    path, page = tmp_path / "ci.json", tmp_path / "gate.md"
    write_baseline(made(), path)
    done = bench_here("check", "--baseline", path, "--simulate", 100, "--page", page)
    assert done.returncode == 0, done.stderr
    assert "pretraining of recon does nothing" in " ".join(done.stdout.split())
    text = page.read_text()
    assert text.count("pretraining of recon does nothing (gain 10.0)") >= 2
    assert "Assumptions against real seeds" in text
    assert (
        "| pretraining does nothing, gain above the margin: the worst cell | at least 99 | 100.0 | 100.0 | yes |"
        in text
    )
    assert "- pretraining of point-mae does nothing (gain 1.0): failed in" in text, "what it cannot see is said"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--simulate", 100, "--seeds", 2), "the baseline has 1"),
        (("--simulate", 100, "--golden", "x"), "for comparing"),
        (("--update", "--seeds", 2), "for comparing"),
        (("--update", "--more-seeds"), "for comparing"),
        (("--update", "--simulate", 100), "not both"),
        (("--why", "x"), "give --update too"),
        (("--page", "x.md"), "give both"),
        (("--simulate", 100), "has no variance"),
    ],
)
def test_options_that_contradict_each_other_are_one_line(
    tmp_path: Path, arguments: tuple[object, ...], says: str
) -> None:
    path = tmp_path / "ci.json"
    write_baseline(made(seeds=1), path)
    done = bench_here("check", "--baseline", path, *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_the_page_shows_the_margins_that_the_gate_uses() -> None:
    """Once a baseline has a history, the page would otherwise promise margins that no build has."""
    quiet, noisy = made(deviation=0.3), made(deviation=3)
    baseline = quiet.model_copy(update={"history": noisy.replaced("a quieter recipe")})
    used = [
        line.margin for line in decide(baseline.results(), baseline.results(), True, history=baseline.earlier()).lines
    ]
    assert Suite.of(baseline).scales.margin.tolist() == used
    assert used != Suite.of(quiet).scales.margin.tolist()
