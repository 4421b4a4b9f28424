"""What needs no encoder stands beside the accuracies, and a table that repeats another is not shown twice."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench.report import contents
from bench.report.html import to_html
from bench.report.markdown import to_markdown
from bench.report.model import ReportModel, build_model
from bench.report.records import to_csv
from bench.report.scores import floor
from bench.report.terminal import render_terminal
from bench.store.queries import by_run


def _judged(make_grid: Any, maker: Any, counts: dict[int, int], spread: float = 0.0) -> Any:
    """Runs that answered about `counts` objects of each class; mean class accuracy lies `spread` beside accuracy."""
    found = make_grid(maker(), ("shapes-scan",), (0, 1), ())
    labels = np.repeat(list(counts), list(counts.values()))
    for run in found.runs:
        run.predictions = {
            "ids": np.array([f"object-{i}" for i in range(len(labels))]),
            "labels": labels,
            "predicted": np.zeros_like(labels),
            "logits": np.zeros((len(labels), 4), np.float32),
        }
    tests = [row for row in found.rows if row.split == "test" and row.fold is None]
    found.rows += [replace(row, name="mean_class_accuracy", value=row.value - spread) for row in tests]
    return found


def _texts(model: ReportModel) -> list[str]:
    screen = Console(file=io.StringIO(), width=200)
    document = contents.report(model)
    render_terminal(document, screen)
    texts = (screen.file.getvalue(), to_markdown(document), to_html(document))  # type: ignore[attr-defined]
    return [" ".join(text.split()) for text in texts]


@pytest.mark.parametrize(
    ("counts", "spread", "shown", "metrics"),
    [
        ({0: 10, 1: 10, 2: 10, 3: 10}, 0.0, "Chance 25.0 %, most frequent class 25.0 %.", 1),
        ({0: 10, 1: 10, 2: 10, 3: 10}, 0.01, "Chance 25.0 %, most frequent class 25.0 %.", 2),
        ({0: 30, 1: 10}, 0.0, "Chance 25.0 %, most frequent class 75.0 %.", 2),
    ],
    ids=["balanced", "other-numbers", "unbalanced"],
)
def test_floors_stand_beside_accuracies(
    make_grid: Any, maker: Any, counts: dict[int, int], spread: float, shown: str, metrics: int
) -> None:
    """70 % looks well until one knows that the largest class alone gives 75 %."""
    found = _judged(make_grid, maker, counts, spread)
    model = build_model(by_run(found.rows), found.runs)
    assert len(model.shown) == metrics
    for text in _texts(model):
        assert shown in text
        assert ("Mean class accuracy is the same" in text) == (metrics == 1)
    lines = list(csv.DictReader(io.StringIO(to_csv(model))))
    assert {line["metric"] for line in lines} == {"accuracy", "mean_class_accuracy"}
    assert {float(line["chance"]) for line in lines} == {0.25}


def test_the_floor_of_few_shot_is_that_of_its_ways(make_grid: Any, maker: Any) -> None:
    """A head with more outputs than a fold has classes must not make chance look lower."""
    found = make_grid(maker(folds=2), ("shapes-scan",), (0,), ("5w10s", "10w10s"), linear=False)
    for run in found.runs:
        ways = int(run.label["setting"].partition("w")[0])
        labels = np.tile(np.arange(ways), 4)
        run.predictions = {
            "ids": np.array([str(i) for i in range(len(labels))]),
            "fold": np.repeat([0, 1], len(labels) // 2),
            "labels": labels,
            "predicted": labels,
            "logits": np.zeros((len(labels), 40), np.float32),
            "classes": np.stack([np.arange(ways)] * 2),
        }
    (section,) = build_model(by_run(found.rows), found.runs).sections
    told = {part.strip().lower().rstrip(".") for part in floor(section).split(";")}
    assert told == {
        "chance 20.0 %, most frequent class 20.0 % (5w10s)",
        "chance 10.0 %, most frequent class 10.0 % (10w10s)",
    }


@pytest.mark.parametrize(
    "predictions",
    [{}, {"offsets": np.arange(3)}, {"rank": np.arange(3)}, {"ids": np.array(["a"]), "labels": np.array([0])}],
    ids=["nothing", "rooms", "ranks", "damaged"],
)
def test_no_floor_is_guessed(make_grid: Any, maker: Any, predictions: dict[str, Any]) -> None:
    """Runs that do not tell their test labels get no floor, and no error."""
    found = _judged(make_grid, maker, {0: 1, 1: 1})
    for run in found.runs:
        run.predictions = predictions
    model = build_model(by_run(found.rows), found.runs)
    assert all("hance" not in floor(section) for section in model.sections)
    assert len(model.shown) == 2
