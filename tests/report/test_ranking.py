"""Ranks over many cells. If these fail, a report ranks methods on cells that not all of them have, or on too few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.report import ranking
from bench.report.document import Figure, Table
from bench.report.model import build_model
from bench.report.plots import svg
from bench.stats.ranks import ranks
from bench.store.queries import by_run

Maker = Callable[..., Any]


def model(results: Any) -> Any:
    return build_model(by_run(results.rows), results.runs)


def test_ranks_are_over_cells_that_all_methods_have(full_results: Any) -> None:
    """Three sets with few-shot in four settings and a linear probe: fifteen cells, four methods, smoke left out."""
    (one,) = ranking.rankings(model(full_results))
    assert sorted(one.methods) == ["point-mae", "recon", "scratch (point-mae)", "scratch (recon)"]
    assert (len(one.cells), one.scores.shape) == (15, (4, 15, 5))
    assert one.methods[:2] == ("recon", "point-mae")
    assert list(one.average) == pytest.approx(list(ranks(one.scores.mean(2).round(12)).mean(1)))
    assert list(one.average) == sorted(one.average)


def test_the_part_says_what_it_assumes(full_results: Any) -> None:
    """An average rank without its assumptions would be read as a verdict."""
    (part,) = ranking.parts(model(full_results))
    tables = {block.name: block for block in part.blocks if isinstance(block, Table)}
    first = tables["ranks-1"].texts()[0]
    assert first["method"] == "recon"
    assert float(first["best"]) > 90
    assert tables["improvement-1"].texts()[0]["pair"] == "recon over point-mae"
    text = str(part)
    for words in ("Assumed: cells are independent", "not shown to be equal", "Agarwal", "Nemenyi"):
        assert words in text
    (figure,) = (block for block in part.blocks if isinstance(block, Figure))
    drawn, alt = svg(figure.draw, "x")
    assert drawn.startswith("<svg")
    assert alt.startswith("Average ranks: recon 1.")
    assert "Not told apart: " in alt


def test_nine_cells_and_two_methods_are_no_ranking(maker: Maker, make_grid: Maker) -> None:
    """Below ten cells the chi-square is wrong, and two methods have a paired test of their own."""
    few = make_grid(maker(), datasets=("shapes-scan", "ldraw40"), seeds=range(2), settings=("5w10s", "5w20s"))
    assert ranking.parts(model(few)) == []
    pair = (("recon", "recon"), ("scratch", "recon"))
    two = make_grid(maker(), seeds=range(2), encoders=pair)
    assert ranking.parts(model(two)) == []


def test_few_seeds_have_no_probability_of_improvement(maker: Maker, make_grid: Maker) -> None:
    """Three seeds bound it by 0 and 1; and a method without all cells does not cost the others their ranking."""
    results = make_grid(maker(), seeds=range(3))
    results += make_grid(maker(), datasets=("shapes-scan",), seeds=range(3), encoders=(("recon", "point-mae"),))
    (part,) = ranking.parts(model(results))
    assert [block.name for block in part.blocks if isinstance(block, Table)] == ["ranks-1"]
    assert "it takes 5 seeds" in str(part)
    single = ranking.rankings(model(make_grid(maker(), seeds=(0,))))[0]
    assert single.scores.shape[2] == 1
    assert np.isfinite(single.average).all()
    (alone,) = ranking.parts(model(make_grid(maker(), seeds=(0,))))
    assert "resampled" not in [c.name for b in alone.blocks if isinstance(b, Table) for c in b.columns]
