"""The page of results. If these fail, the page that the README points to says what the runs do not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.report.markdown import to_markdown
from bench.report.page import Page, page_document, read_page
from bench.stats.deviations import Deviation
from bench.store.queries import by_run
from tests.report.conftest import Maker, Results, grid

SECTIONS: list[dict[str, Any]] = [
    {"title": "Lines", "runs": {"dataset": "shapes-scan", "protocol": "fewshot"}, "pairs": True},
    {"title": "Side by side", "runs": {"protocol": "fewshot"}, "columns": "setting"},
    {"title": "Sets", "runs": {"protocol": "linear", "method": "recon"}, "columns": "dataset"},
]


def rendered(results: Results, sections: list[dict[str, Any]] = SECTIONS, **deviations: Any) -> str:
    page = Page.model_validate({"title": "Results", "text": "By hand.", "sections": sections})
    return to_markdown(page_document(page, "results.yaml", by_run(results.rows), results.runs, deviations))


def test_every_number_and_every_doubt_is_on_the_page() -> None:
    """The page left out "(not after Holm)" and what the split seed decides, which the report says."""
    text = rendered(grid(Maker(), datasets=("shapes-scan", "ldraw40"), seeds=range(3)))
    doubts, _, rest = text.partition("## Lines")
    assert text.startswith("<!-- Written by `bench report --page results.yaml`")
    assert "one split seed" in doubts
    assert ("verdicts do not survive Holm's correction" in doubts) == ("(not after Holm)" in rest)
    assert (
        "| setting | method | seeds | accuracy % | difference to scratch | verdict | saw evaluated class names |"
        in rest
    )
    assert "### fewshot on ldraw40" in rest
    assert "| method | shapes-scan | ldraw40 |" in rest or "| method | ldraw40 | shapes-scan |" in rest
    sets = rest.partition("## Sets")[2].partition("## Cost")[0]
    assert "scratch (recon)" in sets
    assert "point-mae" not in sets, "its scratch would stand beside nothing"
    assert "Some CPU, 2 cores, Linux" in rest
    assert "0123456789ab" in rest
    assert "moderated over the" in rest


def test_filters_choose_runs_by_fields_and_scratch_stays() -> None:
    """A table of the long recipe would hold the short one, too, and Holm would run over both."""
    long = Maker(overrides=(("encoder.recipe", {"epochs": 90, "lr": 0.001}),))
    results = grid(Maker(), datasets=("ldraw40",), seeds=range(3), settings=())
    results += grid(long, datasets=("ldraw40",), seeds=range(3), settings=(), encoders=(("recon", "recon"),))
    (section,) = [{"title": "Long", "runs": {"method": "recon", "where": {"encoder.recipe.epochs": 90}}}]
    key = next(
        run.key for run in results.runs if (run.spec["encoder"] or {}).get("recipe") == {"epochs": 90, "lr": 0.001}
    )  # type: ignore[union-attr]
    text = rendered(results, [section], **{key: (Deviation("recipe.epochs", "90", "50"),)})
    assert text.count("| all | recon ") == 1
    assert "| all | scratch (recon) | 3 |" in text
    assert "recipe.epochs=90 (default 50)" in text
    with pytest.raises(UsageError, match="no stored run fits a section"):
        rendered(results, [{"title": "None", "runs": {"dataset": "nowhere"}}])


def test_lost_runs_are_said_first(maker: type[Maker]) -> None:
    """Two diverged seeds of five were three seeds that agreed."""
    results = grid(Maker(), datasets=("ldraw40",), seeds=range(3), settings=())
    for seed in (3, 4):
        results += maker().run("recon", "recon", "linear", "ldraw40", seed, "all", status="failed")
    text = rendered(results, [{"title": "All", "runs": {}}])
    assert "recon all: 2 of 5 seeds diverged." in text.partition("## All")[0]
    assert "| 3 of 5 (2 diverged) |" in text
    assert "2 of 5 seeds diverged: no verdict" in text
    older = Results([replace(row, older_code=True) for row in results.rows], results.runs)
    assert "older" in rendered(older, [{"title": "All", "runs": {}}]).partition("## All")[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1",
        "title: x",
        "title: x\nsections: []",
        "title: x\nsections: [{title: a, run: {}}]",
        "a: [",
        "title: &a [*a]",
    ],
)
def test_a_file_that_describes_no_page_is_one_line(tmp_path: Path, text: str) -> None:
    """The error must name the file, whatever is in it."""
    path = tmp_path / "page.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"page\.yaml") as caught:
        read_page(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot read"):
        read_page(tmp_path / "absent.yaml")
