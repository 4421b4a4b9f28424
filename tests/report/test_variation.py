"""Where scores vary. If these fail, an interval is sold as one over objects, teachers or split seeds that it is not."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.report import variation
from bench.report.document import Table
from bench.report.model import build_model
from bench.stats.answers import read_answers
from bench.stats.objects import cross
from bench.store.queries import by_run

Maker = Callable[..., Any]
OBJECTS = 60


def answered(results: Any) -> Any:
    """Give every linear run answers about the same objects, and the accuracy that follows from them."""
    right = {}
    for run in results.runs:
        if run.label["protocol"] != "linear":
            continue
        rng = np.random.default_rng(zlib.crc32(run.key.encode()))
        labels = np.arange(OBJECTS) % 5
        hit = rng.random(OBJECTS) < {"recon": 0.8}.get(run.label["method"], 0.5)
        ids = np.array([f"o{at}" for at in range(OBJECTS)])
        run.predictions = {"ids": ids, "labels": labels, "predicted": np.where(hit, labels, (labels + 1) % 5)}
        right[run.key] = float(hit.mean())
    results.rows = [
        replace(row, value=right[row.run_key]) if row.split == "test" and row.run_key in right else row
        for row in results.rows
    ]
    return results


def tables(results: Any) -> dict[str, Table]:
    model = build_model(by_run(results.rows), results.runs)
    return {block.name: block for part in variation.parts(model) for block in part.blocks if isinstance(block, Table)}


@pytest.fixture(scope="module")
def found(maker: Maker, make_grid: Maker) -> tuple[Any, dict[str, Table]]:
    results = answered(make_grid(maker(), datasets=("shapes-scan",), seeds=range(4), settings=("5w10s",)))
    return results, tables(results)


def texts(table: Table, method: str, protocol: str) -> dict[str, str]:
    return next(one for one in table.texts() if one["method"] == method and one["table"].startswith(f"{protocol} on"))


def test_only_what_runs_vary_has_a_number(found: tuple[Any, dict[str, Table]]) -> None:
    """Four pretraining seeds, ten folds, sixty objects, one split seed and one teacher."""
    sources = found[1]["sources"]
    linear, fewshot = texts(sources, "recon", "linear"), texts(sources, "recon", "fewshot")
    assert "[" in linear["seeds"]
    assert "[" in linear["objects"]
    assert "[" in fewshot["folds"]
    assert linear["folds"] == linear["splits"] == "not varied"
    assert fewshot["objects"] == "–"  # without stored answers nothing is known about objects
    names = [column.name for column in sources.columns]
    assert {"splits", "teacher"} <= set(names), "a source that nobody varied is named as such"


def test_the_crossed_interval_is_that_of_compare(found: tuple[Any, dict[str, Table]]) -> None:
    """The report and ``bench compare`` must not give two intervals for one question."""
    results, made = found
    line = texts(made["seeds-and-objects"], "recon", "linear")
    right: dict[str, list[Any]] = {"recon": [], "scratch": []}
    for run in results.runs:
        if run.label["protocol"] == "linear" and run.label["architecture"] == "recon":
            right[run.label["method"]].append(read_answers(run.predictions).right)
    objects = [f"o{at}" for at in range(OBJECTS)]
    expected = cross(*(np.stack(one) for one in right.values()), objects, np.full(OBJECTS, 1 / OBJECTS))
    assert expected is not None
    assert expected.low is not None
    assert expected.high is not None
    ends = f"[{100 * expected.low:+.1f}, {100 * expected.high:+.1f}]".replace("-", "−")
    assert line["difference"] == f"{100 * expected.difference:+.1f} {ends}"
    assert line["size"] == f"4 × {OBJECTS}"
    assert not any(one["table"].startswith("fewshot") for one in made["seeds-and-objects"].texts())


def test_another_seed_of_the_teacher_is_a_source(maker: Maker, make_grid: Maker) -> None:
    """Three cells that differ in the teacher's seed only say what it does; two teachers do not."""
    everything = None
    for seed in range(3):
        teacher = {"name": "tiny-clip", "options": {"seed": seed, "epochs": 9}, "identity": f"id{seed}"}
        own = maker(overrides=(("encoder.teacher", teacher),))
        grid = make_grid(own, datasets=("shapes-scan",), seeds=range(3), settings=(), encoders=(("recon", "recon"),))
        everything = grid if everything is None else everything.__iadd__(grid)
    lines = tables(everything)["sources"].texts()
    assert len(lines) == 3
    assert len({line["teacher"] for line in lines}) == 1
    assert "[" in lines[0]["teacher"]
    other = {"name": "tiny-clip", "options": {"seed": 0, "epochs": 7}, "identity": "other"}
    alone = maker(overrides=(("encoder.teacher", other),))
    grid = make_grid(alone, datasets=("shapes-scan",), seeds=range(3), settings=(), encoders=(("recon", "recon"),))
    assert [line["teacher"] for line in tables(grid)["sources"].texts()] == ["not varied"]


def test_a_report_of_many_runs_reads_no_answers(
    found: tuple[Any, dict[str, Table]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of 10,000 runs must not open 10,000 files; seeds and folds need none."""
    monkeypatch.setattr(variation, "MOST_RUNS", 10)
    made = tables(found[0])
    assert "seeds-and-objects" not in made
    assert "objects" not in [column.name for column in made["sources"].columns]
