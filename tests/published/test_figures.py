"""Published figures: nothing lost, every figure with its source and how it was chosen."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

import bench
from bench.published.figures import Figure, figures, select
from tests.conftest import ROOT, bench_here

SILENT = re.compile(
    r"not (stated|mentioned)|mixes voted|printed in the voted column|voted Point-MAE|listed under voting"
)


def test_every_figure_says_who_stands_behind_it_and_how_it_was_chosen() -> None:
    """A user report in an issue, or the best of eight voted seeds, would pass as the authors' plain figure."""
    every = figures()
    assert len(every) == 498
    assert Counter(figure.standing for figure in every) == {
        "authors": 135, "third party": 301, "reading note": 32, "user report": 30,
    }  # fmt: skip
    told = [figure.chosen for figure in every]
    assert Counter(one.epoch for one in told) == {"best on test": 15, "not said": 483}
    assert Counter(one.best_of for one in told) == {8: 5, None: 493}
    assert Counter(one.votes for one in told) == {"not said": 394, "no": 74, "yes": 25, "maximum": 5}
    assert Counter(one.averaged for one in told) == {"10 folds": 12, "10 runs": 20, "several runs": 17, "": 449}
    assert all(figure.source and figure.value > 0 for figure in every)


def test_no_word_of_a_source_about_votes_is_overlooked() -> None:
    """The tallies above could hide two errors that cancel."""
    for figure in figures():
        text = f"{figure.setting}; {figure.note}"
        said = re.search(r"vot(e|ing)\b", text)
        if figure.chosen.votes == "not said":
            assert not said or SILENT.search(text), text
        else:
            assert said or "Monte Carlo" in text, text
        if figure.chosen.votes == "no":
            assert re.search(r"(no|without) vot|this one is not", text), text
        assert ("best" in text and "epoch" in text) == (figure.chosen.epoch == "best on test"), text


def only(**fields: object) -> Figure:
    (found,) = [one for one in figures() if all(getattr(one, name) == value for name, value in fields.items())]
    return found


def test_known_figures_read_as_their_sources_say() -> None:
    best = only(method="ReCon", split="PB_T50_RS", setting="vote")
    assert (best.value, str(best.chosen)) == (91.26, "best epoch on test, best of 8 seeds, maximum of votes")
    assert only(method="Point-MAE", value=85.18, source="Point-MAE README (7445a68)").chosen.votes == "no"
    assert only(method="ReCon", value=92.38).standing == "user report"
    assert only(method="ReCon", value=66.7751).standing == "authors"
    assert (
        only(method="CrossPoint", value=91.2, note="author: average of several runs, no std (issue 14)").standing
        == "third party"
    )
    assert only(method="ReCon", setting="5w10s", source="ReCon README (51a8be0)").shown == "97.3 ± 1.9"
    assert [one.value for one in figures() if one.doubtful] == [71.1, 61.2]


def test_the_shipped_file_is_the_one_that_was_read(shared: Path) -> None:
    """A figure would have been altered, or a remembered one shipped."""
    source = shared / "published" / "results.csv"
    assert source.read_bytes() == (ROOT / "bench" / "published" / "figures.csv").read_bytes()
    unread = list(csv.reader((shared / "published" / "unverified.csv").read_text(encoding="utf-8").splitlines()))
    assert len(unread) > 1
    assert not list((ROOT / "bench").rglob("*unverified*"))


def test_figures_are_found_by_our_names_and_by_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = select(["recon"], [], ["finetune"]), select(["ReCon"], [], ["full", "listed as encoder fine-tuned"])
    assert ours == theirs != []
    monkeypatch.setenv("COLUMNS", "80")
    done = bench_here("published", "show", "-m", "recon", "--dataset", "s3dis")
    assert done.returncode == 0
    assert "DOUBTFUL" in done.stdout
    assert "probably misplaced" in " ".join(done.stdout.split())
    told = json.loads(bench_here("published", "show", "-m", "act", "-p", "finetune", "--json").stdout)
    assert {"value", "source", "standing", "chosen"} <= set(told[0])
    table = bench.published_figures("recon", protocol="finetune")
    assert len(table) == len(ours)
    assert table["best_of"].max() == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-m", "recn"), "did you mean recon"),
        (("--dataset", "ModelNt40"), "did you mean ModelNet40"),
        (("-p", "fine-tune"), "did you mean finetune"),
        (("-m", "crosspoint", "-p", "semseg"), "no published figure is of crosspoint, semseg together"),
        (("-m", ""), "unknown method"),
    ],
)
def test_a_wrong_name_is_one_line(words: tuple[str, ...], message: str) -> None:
    done = bench_here("published", "show", *words)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr
