"""The methods of a report. If these fail, a reader cannot tell what was compared, or a card breaks the page."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.report.build import BuiltReport, build_report
from bench.report.methods import method_lines
from bench.store.queries import by_run
from tests.report.test_report_files import Page

CARDS: dict[str, dict[str, Any]] = {
    "recon": {
        "paper": "Qi et al., ICML 2023",
        "modalities": ["points", "images", "text"],
        "sees_class_names": "through captions",
        "release_splits": "ShapeNet-55 train + test",
        "stages": ["pretraining"],
        "deviations": [
            {"what": "only visible patches are embedded", "restored_by": "tokenize=all"},
            {"what": "ties go to the first point", "restored_by": "nothing"},
        ],
    },
    "act": {
        "paper": "Dong et al. <b>|x|</b>",
        "modalities": ["points"],
        "sees_class_names": "never",
        "release_splits": "ShapeNet-55 train",
        "stages": ["autoencoder", "distillation"],
        "deviations": [],
    },
    "scratch": {"paper": "none", "modalities": ["points"], "stages": [], "deviations": ["a sentence of old"]},
}


@pytest.fixture(scope="module")
def results(maker: Callable[..., Any]) -> Any:
    """One run of each method, with its card."""
    found = maker().run("recon", "recon", "linear", "ldraw40", 0, "all")
    found.runs[0].cost["parameters_pretraining"] = 2_400_000.0
    for architecture in ("recon", "act"):
        found += maker().run("scratch", architecture, "linear", "ldraw40", 0, "all")
    for run in found.runs:
        run.provenance["method_card"] = CARDS[run.label["method"]]
    return found


@pytest.fixture(scope="module")
def report(results: Any, tmp_path_factory: pytest.TempPathFactory) -> BuiltReport:
    return build_report(by_run(results.rows), results.runs, tmp_path_factory.mktemp("report"))


def test_every_file_says_what_the_methods_declare(report: BuiltReport) -> None:
    """Stages, modalities, class names, splits, sizes and deviations decide how a row may be read."""
    page, markdown = report.html.read_text(), report.markdown.read_text()
    assert Page(page).ids["methods"] == 1
    for text in (page, markdown):
        for fact in ("Methods in this report", "through captions", "points, images, text", "ShapeNet-55 train + test",
                     "nano 1.9 M (2.4 M in pretraining), cls+image+text+max (4C)", "act nano 1.1 M", "tokenize=all",
                     "nothing restores it", "a sentence of old"):  # fmt: skip
            assert fact in text, fact
    rows = list(csv.DictReader(io.StringIO(report.csv.read_text())))
    recon = next(row for row in rows if row["method"] == "recon")
    assert recon["modalities"] == "points; images; text"
    assert recon["how_class_names_are_seen"] == "through captions"
    assert "only visible patches are embedded [tokenize=all]" in recon["deviations"]


def test_scratch_comes_last_with_every_architecture(report: BuiltReport) -> None:
    """Its size is that of the method it stands beside, so one number would be wrong for one of them."""
    lines = report.model.methods
    assert [line.name for line in lines] == ["recon", "scratch"]
    assert lines[1].sizes == ("act nano 1.1 M, cls+max (2C)", "recon nano 1.9 M, cls+image+text+max (4C)")
    assert lines[1].sees_class_names == "not recorded"


def test_stages_are_told_in_order_and_names_are_no_markup(maker: Callable[..., Any], tmp_path: Path) -> None:
    """A method of two stages must not look like one, and a plugin's card may hold any text."""
    results = maker().run("recon", "recon", "linear", "ldraw40", 0, "all")
    results.runs[0].provenance["method_card"] = CARDS["act"]
    report = build_report(by_run(results.rows), results.runs, tmp_path)
    page, markdown = report.html.read_text(), report.markdown.read_text()
    assert "autoencoder → distillation" in page
    assert "autoencoder → distillation" in markdown
    assert "<b>" not in page
    assert "\\<b>\\|x\\|" in markdown
    Page(page)


def test_runs_stored_before_cards_leave_the_section_out(full_results: Any) -> None:
    """Results of earlier versions must still give a report, without an empty table."""
    assert method_lines(full_results.runs) == ()


def test_the_latest_card_counts(maker: Callable[..., Any]) -> None:
    """An author mends a card; the report must not show the old one."""
    old = maker().run("recon", "recon", "linear", "ldraw40", 0, "all").runs[0]
    new = maker().run("recon", "recon", "linear", "ldraw40", 1, "all").runs[0]
    old.provenance["method_card"] = {**CARDS["recon"], "paper": "old"}
    new.provenance["method_card"] = {**CARDS["recon"], "paper": "new"}
    for runs in ([old, new], [new, old]):
        assert [line.paper for line in method_lines(runs)] == ["new"]
