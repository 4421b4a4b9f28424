"""The table of selection rules: if it fails, inflation hides in the headline, or the honest number loses its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench.report import selection
from bench.report.build import build_report
from bench.report.document import Table
from bench.report.scores import scores
from bench.store.queries import MetricRow, by_run
from tests.conftest import bench_here


def console() -> Console:
    return Console(file=StringIO(), width=240, color_system=None)


def printed(screen: Console) -> str:
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


def beside(row: MetricRow, rule: str, gain: float, **changes: object) -> MetricRow:
    """The same run under another rule."""
    return replace(row, selection=rule, value=row.value + gain, **changes)  # type: ignore[arg-type]


def headed(table: Table) -> list[dict[str, str]]:
    """The texts of a table, by heading."""
    return [dict(zip(table.headings, row.values(), strict=True)) for row in table.texts()]


@pytest.fixture
def results(maker: Callable[..., Any]) -> Any:
    """Three seeds of one method and its scratch; the method's runs were also selected last, on test and by votes."""
    found = maker().run("recon", "recon", "linear", "ldraw40", 0, "all")
    for seed in (1, 2):
        found += maker().run("recon", "recon", "linear", "ldraw40", seed, "all")
    for row in [r for r in found.rows if r.split == "test"]:
        found.rows += [
            beside(row, "last", -0.01),
            beside(row, "test", 0.02 + 0.001 * (row.seed - 1)),
            beside(row, "val", 0.005, votes=10, headline=False),
            beside(row, "test", 0.04, votes=10, headline=False, name="accuracy[max of 299 repeats]"),
        ]
    found += maker().run("scratch", "recon", "linear", "ldraw40", 0, "all")
    return found


def test_parts_of_the_data_have_names_of_their_own(results: Any, tmp_path: Path) -> None:
    """Two lines of one name: nobody could say which of them all the pretraining data gave."""
    part = {"pretrain_data": "shapes (25 %)", "run_key": "0" * 64}
    results.rows += [replace(row, **part) for row in results.rows if row.method == "recon" and row.seed == 0]
    built = build_report(by_run(results.rows), results.runs, tmp_path, forms=("csv",))
    names = [row["method"] for row in headed(selection.table(built.model))]
    assert sorted(names) == ["recon, pretrained on shapes", "recon, pretrained on shapes (25 %)"]


def test_every_rule_has_its_column_and_the_honest_number_stays(results: Any, tmp_path: Path) -> None:
    screen = console()
    built = build_report(by_run(results.rows), results.runs, tmp_path, console=screen, selection=True)
    (line,) = built.model.ledger
    cell = line.cell
    assert all(
        row.cell.summary.mean != max(s.mean for s in line.scores.values()) for row in built.model.sections[0].rows
    )
    (found,) = headed(selection.table(built.model))
    mean = cell.summary.mean
    assert found["val"].startswith(f"{100 * mean:.1f} ±")
    assert found["last epoch"].startswith(f"{100 * (mean - 0.01):.1f}")
    assert found["test"].startswith(f"{100 * (mean + 0.02):.1f}")
    assert found["val, voted"].endswith("(10)")
    assert found["max of votes"].endswith("(299 × 10)")
    assert found["inflation"].startswith("+2.0 [")
    assert found["best seed"] == f"{100 * (cell.summary.maximum - mean):+.1f}"
    assert found["all habits"] == f"{100 * (cell.summary.maximum + 0.04 - mean):+.1f}"
    shown = printed(screen)
    assert selection.TITLE in shown
    assert "difference to scratch" not in shown, "--selection prints this table instead of the others"
    for text in (built.html.read_text(), built.markdown.read_text()):
        assert selection.TITLE in text
        assert found["inflation"] in text.replace("\\", "")


def test_lines_of_older_code_are_marked(results: Any, tmp_path: Path) -> None:
    """An inflation measured by older code would be quoted as today's."""
    results.rows = [replace(row, older_code=row.method == "recon" and row.seed == 1) for row in results.rows]
    built = build_report(by_run(results.rows), results.runs, tmp_path, forms=("csv",))
    (found,) = headed(selection.table(built.model))
    assert found["method"] == "recon (older code)"


def test_without_other_rules_there_is_no_table(maker: Callable[..., Any], tmp_path: Path) -> None:
    """A report of plain runs must not grow an empty section; asked for it, the user learns what to run."""
    screen, plain = console(), maker().run("recon", "recon", "linear", "ldraw40", 0, "all")
    plain += maker().run("scratch", "recon", "linear", "ldraw40", 0, "all")
    built = build_report(by_run(plain.rows), plain.runs, tmp_path, console=screen, selection=True)
    assert built.model.ledger == ()
    assert "--legacy" in printed(screen)
    assert selection.TITLE not in built.html.read_text() + built.markdown.read_text()


def test_smoke_runs_show_their_path_and_no_inflation(maker: Callable[..., Any], tmp_path: Path) -> None:
    """Their numbers mean nothing; an inflation of noise would be quoted."""
    found = maker(preset="smoke").run("recon", "recon", "linear", "ldraw40", 0, "all")
    found.rows += [beside(row, "test", 0.02) for row in found.rows if row.split == "test"]
    screen = console()
    build_report(by_run(found.rows), found.runs, tmp_path, console=screen, selection=True, forms=("csv",))
    shown = printed(screen)
    assert selection.SMOKE_NOTE in shown
    assert "SMOKE: linear on ldraw40" in shown
    assert "inflation  " not in shown


def test_the_command_has_the_flag(tmp_path: Path) -> None:
    """On an empty store it says what to run instead of printing an empty table."""
    (tmp_path / "results").mkdir()
    told = bench_here("report", "--selection", "--results", tmp_path / "results", "--out", tmp_path / "reports")
    assert told.returncode == 0, told.stderr
    assert "No stored run was reported under more than one selection rule yet." in told.stdout


def test_one_network_has_one_line_and_options_are_told_apart(maker: Callable[..., Any], tmp_path: Path) -> None:
    """Runs with and without --legacy stood in two tables, so that methods run either way were not compared."""

    def run(legacy: bool, votes: int, seed: int = 0) -> Any:
        options = {"feature": "transfer", "votes": votes}
        changed = (("protocol.options", options), ("protocol.legacy", legacy))
        found = maker(overrides=changed).run("recon", "recon", "finetune", "ldraw40", seed, "all")
        test = [row for row in found.rows if row.split == "test"]
        found.rows += [beside(row, "last", -0.01) for row in test]
        found.rows += [beside(row, "test", 0.02) for row in test if legacy]
        return found

    results = run(False, 0)
    results += run(False, 0, seed=1)
    results += run(True, 0)
    results += run(False, 5)
    built = build_report(by_run(results.rows), results.runs, tmp_path, forms=("csv",))
    lines = headed(selection.table(built.model))
    assert {line["method"] for line in lines} == {"recon"}
    assert sorted((line["judged by"], line["test"] != "–") for line in lines) == [
        ("finetune on ldraw40, all, nano [votes=0]", True),
        ("finetune on ldraw40, all, nano [votes=5]", False),
    ]
    plain, voted = built.model.sections
    assert (len(plain.rows), len(voted.rows)) == (1, 1), "one table per way of judging"
    assert plain.rows[0].cell.summary.n == 2
    (line,) = [line for line in lines if line["judged by"].endswith("[votes=0]")]
    assert line["seeds"] == "2"
    assert line["test"].endswith("(1 of 2 seeds)"), "the seed without --legacy has no such score"
    assert line["inflation"] == "+2.0", "over the seeds that have both"
    assert scores(plain).texts()[0]["selection-test"].endswith("(+2.0, 1 of 2 seeds)")


def test_only_the_rules_that_the_table_shows_are_explained(results: Any, tmp_path: Path) -> None:
    """A reader looks for the column that a caption explains."""
    words = ("“test” is the epoch", "“voted”", "“max of votes”", "Inflation is")
    every = build_report(by_run(results.rows), results.runs, tmp_path).markdown.read_text()
    assert all(word in every for word in words)
    rows = [row for row in results.rows if row.selection != "test" and row.votes == 1]
    report = build_report(by_run(rows), results.runs, tmp_path, forms=("markdown", "latex"))
    few = report.markdown.read_text()
    assert "“all habits” is" in few
    assert "all habits" in report.file("latex").read_text()
    assert not any(word in few for word in words)
