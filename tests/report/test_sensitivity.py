"""What seeds can show, of stored tables and of plans. If these fail, a study is planned on numbers of another one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.report.model import build_model
from bench.report.sensitivity import Question, answers, document, planned_line, sensitivities
from bench.stats.power import ASSUMED_DEVIATION, pooled_spread
from bench.store.queries import by_run


@pytest.fixture(scope="module")
def known(full_results: Any) -> list[Any]:
    return sensitivities(build_model(by_run(full_results.rows), full_results.runs))


def test_every_table_has_its_families(known: list[Any], full_results: Any) -> None:
    """The family is the report's: as many comparisons as its Holm correction counts, on the seeds it compares."""
    model = build_model(by_run(full_results.rows), full_results.runs)
    section = next(s for s in model.sections if (s.protocol, s.dataset) == ("fewshot", "ldraw40"))
    one = next(k for k in known if k.section.anchor == section.anchor and k.against == "scratch")
    assert one.spread == pooled_spread([row.versus for row in section.rows if row.versus])
    assert (one.spread.comparisons, one.seeds) == (8, 5)
    assert not any(k.section.smoke for k in known)
    asked = answers(one, Question(0.01))
    assert asked["seeds_needed"] > 5
    assert asked["smallest_difference"] > 0.01
    assert asked["seconds_more"] == pytest.approx((asked["seeds_needed"] - 5) * one.seconds)
    # Two methods pretrain once for four settings; every cell is evaluated.
    assert one.seconds == pytest.approx(16 * 2.5 + 2 * (141 + 14) + 60)
    assert answers(one, Question(0.01, seeds=asked["seeds_needed"]))["smallest_difference"] <= 0.01


def test_the_table_says_what_it_assumes(known: list[Any]) -> None:
    """A number of seeds without its power, its correction and its deviation is no plan."""
    text = str(list(document(known, Question(0.02)).walk()))
    for words in ("Power 80 %", "Holm", "normally distributed", "seeds for 2"):
        assert words in text


@pytest.fixture(scope="module")
def plan(toy_modelnet: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Plan point-mae and scratch, a linear probe, on a toy set."""
    data = f"modelnet-h5:{toy_modelnet}"

    def planned(**more: Any) -> Any:
        given = {"preset": "nano", "pretrain_data": data, "seeds": 3, **more}
        return bench.study("point-mae", "linear", data, results=tmp_path_factory.mktemp("plan"), **given).plan()

    return planned


def test_a_plan_without_stored_runs_says_what_it_assumes(plan: Callable[..., Any]) -> None:
    """Three seeds of one comparison at a deviation of 3 points show 9.8 points, by the paired t test."""
    line = plan().sensitivity
    assert line.startswith("3 seeds show a difference to scratch from 9.8 points (linear on ")
    assert f"deviation {100 * ASSUMED_DEVIATION:.1f} points assumed: none is stored" in line
    assert re.search(r"1 point takes 73 seeds, about \S+ device hours$", line)
    assert "1 seed can show no difference to scratch, it takes two or more" in plan(seeds=1).sensitivity
    assert line in str(plan())


def test_a_plan_that_compares_nothing_says_nothing(plan: Callable[..., Any]) -> None:
    """Smoke runs are not compared, and one method without scratch has no opponent."""
    assert plan(preset="smoke").sensitivity == ""
    assert plan(baseline=False).sensitivity == ""


def test_a_plan_uses_the_variation_of_the_same_protocol(plan: Callable[..., Any], known: list[Any]) -> None:
    """Stored runs of another data set are better than a guess, and are named."""
    line = planned_line(plan().plan.runs, lambda: known)
    stored = next(k for k in known if k.section.protocol == "linear" and k.against == "scratch")
    assert f"deviation {100 * stored.spread.deviation:.1f} points from 20 stored runs of linear on " in line
    assert stored.section.dataset in line


def test_a_plan_counts_comparisons_within_a_setting(toy_modelnet: Path, tmp_path: Path) -> None:
    """Two variants in four few-shot settings make four comparisons: no variant is compared with another setting."""
    data = f"modelnet-h5:{toy_modelnet}"
    given: dict[str, Any] = {"preset": "nano", "pretrain_data": data, "baseline": False, "seeds": 3}
    swept = bench.study(
        "point-mae", "fewshot", data, results=tmp_path, overrides={"point-mae.mask_ratio": "0.2,0.4"}, **given
    )
    settings = len({run.label["setting"] for run in swept.plan().plan.runs})
    assert settings > 1
    assert f"Holm over {settings}," in swept.plan().sensitivity


def test_an_ablations_plan_counts_its_effects(toy_modelnet: Path, tmp_path: Path) -> None:
    """Four by two values have three and one main effects and three interactions, not 28 pairs of settings."""
    data = f"modelnet-h5:{toy_modelnet}"
    axes: dict[str, Any] = {"mask_ratio": [0.2, 0.4, 0.6, 0.8], "loss": ["cdl1", "cdl2"]}
    study = bench.ablate("point-mae", axes, protocols="linear", dataset=data, pretrain_data=data, results=tmp_path)
    assert "between two settings from" in study.plan().sensitivity
    assert "Holm over 7," in study.plan().sensitivity
