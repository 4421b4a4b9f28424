"""The report as a document. If these fail, a program reads other numbers than a reader, or a page cannot be opened."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from bench.report import contents, curves
from bench.report.data import to_json
from bench.report.document import Cell, Document, Field, Table
from bench.report.html import to_html
from bench.report.markdown import to_markdown
from bench.report.model import MOST_COMPARED, build_model
from bench.report.records import to_csv
from bench.report.scores import notes
from bench.report.terminal import render_terminal
from bench.store.queries import by_run

Maker = Callable[..., Any]


def blocks(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for one in block.get("blocks", ()):
        yield one
        yield from blocks(one)


def on_screen(document: Document, width: int = 80) -> str:
    screen = io.StringIO()
    render_terminal(document, Console(file=screen, width=width))
    return screen.getvalue()


def test_json_holds_the_raw_numbers_of_every_table(full_results: Any) -> None:
    """A program that parses "64.1 ± 2.7" loses digits, and breaks when the text changes."""
    model = build_model(by_run(full_results.rows), full_results.runs)
    told = json.loads(to_json(contents.report(model)))
    tables = [block for block in blocks(told) if block["type"] == "table"]
    means = {(record["mean"], record["low"]) for record in csv.DictReader(io.StringIO(to_csv(model)))}
    scores = [row["score"] for table in tables for row in table["rows"] if isinstance(row.get("score"), dict)]
    assert {(str(one["value"]), str(one.get("low", ""))) for one in scores} == means
    (runs,) = (table for table in tables if table["name"] == "runs")
    assert {row["key"]["value"] for row in runs["rows"]} == {line.run.key for line in model.runs}
    for table in tables:
        names = [column["name"] for column in table["columns"]]
        assert len(set(names)) == len(names), "two columns of one name are one in JSON"
        assert all(list(row) == names for row in table["rows"])


def test_long_tables_are_cut_for_readers_and_whole_for_programs() -> None:
    """A page of 100,000 rows is opened by no browser; a row that is missing without a word was never run."""
    fields: list[Field[int]] = [Field("n", "number", lambda n: Cell(f"run {n}!", n))]
    document = Document("Runs", (Table.of("runs", fields, range(1000)),))
    for text in (on_screen(document), to_markdown(document), to_html(document)):
        assert "run 199!" in text
        assert "run 200!" not in text
        assert "800 more rows are left out; the JSON file holds all 1,000." in text


def test_cost_stands_in_every_rendering(maker: Maker) -> None:
    """Wall time of a shared machine says little: the work of a step and processor time stand beside it."""
    results = maker().run("recon", "recon", "linear", "ldraw40", 0, "all")
    results.runs[0].cost |= {"pretrain_cpu_seconds": 360.0, "pretrain_step_flops": 2.5e9}
    document = contents.report(build_model(by_run(results.rows), results.runs))
    for text in (on_screen(document, 120), to_markdown(document), to_html(document)):
        assert "6 min 00 s" in text
        assert "2.5 GFLOP" in text


def test_curves_of_few_runs_are_read(maker: Maker, make_grid: Maker) -> None:
    """Every run folder of 100,000 was opened for a plot that shows ten lines."""
    results = make_grid(maker(), datasets=("ldraw40",), seeds=range(30), linear=False, encoders=(("recon", "recon"),))
    read = []

    class Counted(type(results.runs[0])):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            if name == "curves":
                read.append(object.__getattribute__(self, "key"))
            return object.__getattribute__(self, name)

    for run in results.runs:
        run.__class__ = Counted
    panels = curves.curve_panels(results.runs)
    assert {len(panel.lines) for panel in panels} == {curves.MOST_LINES}
    assert len(set(read)) <= curves.MOST_LINES * curves.MOST_JUDGEMENTS
    (part,) = curves.parts(panels)
    assert f"At most {curves.MOST_LINES} runs of an encoder are drawn" in to_html(Document("Curves", (part,)))


def test_many_variants_are_not_compared_each_with_each(maker: Maker) -> None:
    """A thousand variants make half a million pairs, which take an hour and tell nothing."""
    made = None
    for epochs in range(MOST_COMPARED + 1):
        changed = maker(overrides=(("encoder.recipe", {"epochs": epochs}),))
        for seed in (0, 1):
            one = changed.run("recon", "recon", "linear", "ldraw40", seed, "all")
            made = one if made is None else made.__iadd__(one)
    assert made is not None
    (section,) = build_model(by_run(made.rows), made.runs).sections
    assert section.pairs == ()
    assert any("not compared with each other" in note for note in notes(section))


@pytest.mark.parametrize("beside", [(), ("board.json",), ("results.md", "report.json")])
def test_a_page_names_only_files_that_lie_beside_it(beside: tuple[str, ...]) -> None:
    """The pages of a leaderboard and of an ablation named results.csv, which neither has."""
    page = to_html(Document("Title", ()), beside)
    assert re.findall(r"<code>([^<]+)</code>", page) == list(beside)
    assert ("<footer>" in page) == bool(beside)
