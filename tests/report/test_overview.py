"""The overview and the answers by class. If these fail, a reader sees ranks, costs or confusions that are not so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.plan.skips import Skipped
from bench.report import contents, overview, provenance
from bench.report.build import build_report
from bench.report.classes import count_classes
from bench.report.document import Document, Figure, Part, Table
from bench.report.model import build_model
from bench.store.queries import by_run
from tests.report.conftest import Maker, Results, grid

NAMES = ("apple", "boat", "<b>car</b>")


@pytest.fixture(scope="module")
def results() -> Results:
    found = grid(Maker(), datasets=("ldraw40",), seeds=range(3), settings=("5w10s", "10w10s"))
    found += grid(Maker(preset="smoke"), datasets=("ldraw40",), seeds=(0,), settings=())
    for run in found.runs:
        run.cost["flops_forward"] = 2e8 if run.label["architecture"] == "recon" else 1e8
    return found


def tables(found: Any) -> dict[str, Table]:
    return {block.name: block for block in Document("x", (found,)).walk() if isinstance(block, Table)}


def test_every_method_stands_beside_every_protocol_with_its_rank(results: Results) -> None:
    """Who wins where is asked first; it stood in no single place."""
    found = overview.part(build_model(by_run(results.rows), results.runs))
    assert found is not None
    matrix = tables(found)["overview-1"]
    assert matrix.headings == ["method", "fewshot, 5w10s", "fewshot, 10w10s", "linear", "mean rank"]
    assert {str(row.cells[0]) for row in matrix.rows} == {
        "recon",
        "point-mae",
        "scratch (recon)",
        "scratch (point-mae)",
    }
    for at in (1, 2, 3):
        ranked = sorted(matrix.rows, key=lambda row: -row.cells[at].value)
        assert [str(row.cells[at]).rpartition("#")[2] for row in ranked] == ["1", "2", "3", "4"]
    ranks = [[float(str(cell).rpartition("#")[2]) for cell in row.cells[1:4]] for row in matrix.rows]
    assert [row.cells[4].value for row in matrix.rows] == [pytest.approx(sum(own) / 3) for own in ranks]


def test_a_method_that_lacks_a_protocol_has_no_mean_rank(results: Results) -> None:
    """A method would be first on the mean of the protocols that suit it."""
    kept = [row for row in results.rows if not (row.method == "recon" and row.protocol == "linear")]
    model = build_model(by_run(kept), results.runs)
    found = overview.part(model)
    assert found is not None
    (row,) = (row for row in tables(found)["overview-1"].rows if str(row.cells[0]) == "recon")
    assert [str(row.cells[3]), str(row.cells[4])] == ["–", "–"]
    missing = [(gap.method, gap.setting, gap.seeds) for gap in provenance.gaps(model)]
    assert missing == [("recon", "all", "all")]
    place = next(s for s in model.shown if s.protocol == "linear")
    asked = ("recon", "linear", place.dataset)
    for reasons, told in {
        ("it has no heads",): "it has no heads",
        ("all: no labels", "it has no heads"): "no labels",
        ("5w10s: of another setting",): "5w10s: of another setting",
    }.items():
        skipped = (*(Skipped(*asked, reason) for reason in reasons), Skipped("act", *asked[1:], "of another method"))
        assert [gap.reason for gap in provenance.gaps(replace(model, skipped=skipped))] == [told]
    assert "missing" in [block.anchor for block in contents.report(model).walk() if isinstance(block, Part)]


def test_the_front_holds_what_nothing_cheaper_beats(results: Results) -> None:
    """The most accurate method is bought with twice the network: that is what a front shows."""
    found = overview.part(build_model(by_run(results.rows), results.runs))
    assert found is not None
    rows = {row["method"]: row for row in tables(found)["front-1"].texts()}
    means = {name: float(row["mean"]) for name, row in rows.items()}
    best = max(means, key=means.__getitem__)
    assert set(rows[best]["front"].split(", ")) == {"seconds", "flops", "parameters"} or best == "recon"
    assert "flops" in rows[best]["front"]
    cheap = max(("point-mae", "scratch (point-mae)"), key=means.__getitem__)
    assert "flops" in rows[cheap]["front"]
    worse = min(("recon", "scratch (recon)"), key=means.__getitem__)
    assert "flops" not in rows[worse]["front"] or worse == best
    figures = [block.name for block in Document("x", (found,)).walk() if isinstance(block, Figure)]
    assert figures == ["front-1-seconds", "front-1-flops", "front-1-parameters"]
    alike = by_run(row for row in results.rows if row.architecture == "recon")
    found = overview.part(build_model(alike, results.runs))
    assert found is not None
    figures = [block.name for block in Document("x", (found,)).walk() if isinstance(block, Figure)]
    assert figures == ["front-1-seconds"], "networks of one size stand on a vertical line"


def test_one_way_of_judging_needs_no_overview(maker: type[Maker]) -> None:
    results = grid(maker(), datasets=("ldraw40",), seeds=range(2), settings=())
    assert overview.part(build_model(by_run(results.rows), results.runs)) is None


def answered(results: Results, labels: list[int], predicted: dict[str, list[int]]) -> Results:
    """Results whose runs stored answers, by method."""
    runs = []
    for run in results.runs:
        ids = np.array([f"object-{at}" for at in range(len(labels))])
        said = np.array(predicted[run.label["method"]], np.int64)
        runs.append(replace(run, predictions={"ids": ids, "labels": np.array(labels), "predicted": said}))
    return Results(results.rows, runs)


def test_classes_and_confusions_are_counted(maker: type[Maker], tmp_path: Path) -> None:
    """Two methods of one accuracy may be wrong about different things; the names of classes are the data set's."""
    made = grid(maker(), ("ldraw40",), range(2), (), encoders=(("recon", "recon"), ("scratch", "recon")))
    results = answered(made, [0, 0, 1, 1, 2, 2], {"recon": [0, 0, 1, 0, -1, 2], "scratch": [1, 1, 1, 1, 2, 0]})
    report = build_report(by_run(results.rows), results.runs, tmp_path, class_names=lambda _: NAMES)
    found = {block.name: block for block in report.document.walk() if isinstance(block, Table)}
    accuracy = [{**row, "class": row["class"]} for row in found["table-1-classes"].texts()]
    assert [(row["class"], row["method-0"], row["method-1"]) for row in accuracy] == [
        ("apple", "100.0", "0.0"),
        ("boat", "50.0", "100.0"),
        ("<b>car</b>", "50.0", "50.0"),
    ]
    confused = [tuple(row.values()) for row in found["table-1-confused"].texts()]
    assert confused == [("boat", "apple", "2", "50.0"), ("<b>car</b>", "no class", "2", "50.0")]
    shares = [list(row.values()) for row in found["table-1-confusions"].texts()]
    assert shares == [["apple", "100", "", "", ""], ["boat", "50", "50", "", ""], ["<b>car</b>", "", "", "50", "50"]]
    assert "<b>car" not in report.html.read_text()


def test_answers_of_few_runs_are_read(maker: type[Maker]) -> None:
    """A report of 100,000 runs would open each of them for a table that shows ten methods."""
    made = grid(maker(), ("ldraw40",), range(30), (), encoders=(("recon", "recon"),))
    results = answered(made, [0, 1], {"recon": [0, 1]})
    model = build_model(by_run(results.rows), results.runs)
    (counts,) = count_classes(model.shown, {run.key: run for run in results.runs}).values()
    assert counts.runs == {"recon": 3}
    assert counts.names == ("0", "1")
    nothing = build_model(by_run(made.rows), made.runs)
    assert count_classes(nothing.shown, {run.key: run for run in made.runs}) == {}
