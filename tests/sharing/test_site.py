"""The leaderboard ranks what can be compared, says what cannot, and believes nobody."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sharing_runs import a_run, forge, spec_of, store_runs, with_skipped

import bench
from bench.plan.skips import Skipped
from bench.protocols.selection import mean_class_accuracy
from bench.sharing.board import Entry
from bench.sharing.site import Site
from bench.store import RunRecord, jsontext
from tests.conftest import ROOT, bench_here

Pack = Callable[..., Path]
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """Make a bundle of some runs."""

    def make(name: str, *runs: RunRecord) -> Path:
        results = store_runs(tmp_path / f"{name}-results", *runs)
        return bench.load(results).bundle(tmp_path / f"{name}.zip").path

    return make


def some(method: str, right: float, seeds: range = range(4), **changes: Any) -> list[RunRecord]:
    return [a_run(method, seed, right, **changes) for seed in seeds]


def entries(site: Site) -> dict[str, Entry]:
    (board,) = site.collected.boards
    return {entry.cell.label: entry for entry in board.entries}


def test_entries_that_nothing_tells_apart_share_a_rank(pack: Pack, tmp_path: Path) -> None:
    """A leaderboard that orders noise by the second decimal is read as a ranking."""
    first = pack("ours", *some("recon", 0.95), *some("scratch", 0.05))
    second = pack("theirs", *some("act", 0.95), *some("point-mae", 0.55))
    site = bench.site([first, second], tmp_path / "site")
    found = entries(site)
    assert {name: entry.rank for name, entry in found.items()} == {
        "recon": 1, "act": 1, "point-mae": 3, "scratch (recon)": 4,
    }  # fmt: skip
    assert (found["recon"].bundles, found["act"].bundles) == (("ours.zip",), ("theirs.zip",))
    page = site.page.read_text()
    assert "theirs.zip" in page
    assert not re.search(r"(src|href)=\"(?!#|data:)", page), "the page needs another file"
    data = json.loads(site.data.read_text())
    assert data["blocks"][-1]["title"] == "Bundles"
    again = bench.site([first, second], tmp_path / "again")
    assert again.page.read_bytes() == site.page.read_bytes()
    copy = shutil.copyfile(second, tmp_path / "copy.zip")
    assert bench.site([first, second, copy], tmp_path / "third").collected.runs == 16, "a copy is no new evidence"


def wrong_labels(run: RunRecord) -> RunRecord:
    """A run that names the same data, with labels that fit its predictions better; its numbers follow."""
    labels = run.predictions["labels"].copy()
    labels[:50] = run.predictions["predicted"][:50]
    predicted = run.predictions["predicted"]
    values = float((labels == predicted).mean()), mean_class_accuracy(labels, predicted)
    tests = [row.model_copy(update={"value": v}) for row, v in zip(run.metrics[1:], values, strict=True)]
    return replace(run, metrics=[run.metrics[0], *tests], predictions={**run.predictions, "labels": labels})


def test_only_what_is_comparable_is_ranked(pack: Pack, tmp_path: Path) -> None:
    """Other data, options, seeds or labels, and lost seeds: each would be a ranking of something else."""
    lost = replace(a_run("two-tower", 3), status="failed", metrics=[], predictions={}, failure="diverged", error="nan")
    blind = {"predictions": {"ids": np.array(["a", "b"])}}
    bundle = pack("fair", *some("recon", 0.9), *some("scratch", 0.3))
    others = pack(
        "others",
        *some("act", 0.9, range(1)),
        *some("point-mae", 0.9, range(7, 11)),
        *(*some("two-tower", 0.9, range(3)), lost),
        *some("crosspoint", 0.9, **blind),
        *(a_run("recon", seed, 0.9, spec=spec_of("recon", seed, "other-data")) for seed in range(4)),
    )
    labels = pack("labels", *map(wrong_labels, some("multitask", 0.5)))
    site = bench.site([bundle, others, labels], tmp_path / "site")
    board, other = sorted(site.collected.boards, key=lambda board: -len(board.entries))
    assert [entry.cell.dataset for entry in other.entries] == ["other-data"]
    why = {entry.cell.label: entry.why for entry in board.entries}
    assert why["recon"] == why["scratch (recon)"] == ""
    assert why["act"] == "one seed"
    assert why["point-mae"] == "lacks seeds 0, 1, 2, 3"
    assert why["two-tower"] == "1 of 4 seeds diverged"
    assert "crosspoint" not in why, "predictions without labels prove nothing"
    assert sum("do not follow" in one.what for one in site.collected.left_out) == len(some("crosspoint", 0.9))
    assert "multitask" not in why
    assert {one.where.partition(":")[0] for one in site.collected.left_out} == {"labels.zip", "others.zip"}
    assert "tested on other objects or labels" in site.page.read_text()


def test_a_forger_cannot_enter_or_push_others_out(pack: Pack, bundle: Path, tmp_path: Path) -> None:
    """Whoever comes later with other numbers under the same key changes nothing."""

    def lie(content: bytes) -> bytes:
        rows = json.loads(content)
        rows[1]["value"] = 0.99
        return jsontext.dump_bytes(rows)

    honest = pack("honest", *some("recon", 0.6), *some("scratch", 0.5))
    better = pack("better", *some("recon", 0.99), *some("point-mae", 0.6))
    forged, _ = forge(honest, tmp_path / "forged.zip", "metrics.json", lie)
    alone = entries(bench.site([honest], tmp_path / "alone"))
    done = bench_here("site", honest, better, forged, "--out", tmp_path / "site")
    assert done.returncode == 1
    assert "does not hold forged.zip: " in done.stdout
    site = bench.site([honest, better, forged], tmp_path / "site")
    found = entries(site)
    assert found["recon"].summary == alone["recon"].summary
    assert found["recon"].bundles == ("honest.zip",)
    assert {one.where.partition(":")[0] for one in site.collected.left_out} == {"better.zip", "forged.zip"}


def test_methods_that_do_not_apply_are_marked(pack: Pack, tmp_path: Path) -> None:
    """A method without a row looked forgotten, or as if its author hid it; and nobody's word removes a row."""
    results = store_runs(tmp_path / "first-results", *some("recon", 0.9), *some("scratch", 0.3))
    evil = "no words <script>alert(1)</script>"
    place = ("linear", "shapes-scan")
    skipped = [Skipped("act", *place, evil), Skipped("point-mae", *place, "slow"), Skipped("recon", *place, "few: no")]
    with_skipped(results, *skipped, Skipped("recon", "partseg", "shapes-scan", "no parts"))
    first = bench.load(results).bundle(tmp_path / "first.zip").path
    second = pack("second", *some("point-mae", 0.5))
    site = bench.site([first, second], tmp_path / "site")
    (board,) = site.collected.boards
    assert [(one.method, one.why, one.bundles) for one in board.skipped] == [("act", evil, ("first.zip",))]
    assert "point-mae" in entries(site)
    assert [(bundle, one.protocol) for bundle, one in site.collected.elsewhere] == [("first.zip", "partseg")]
    page = site.page.read_text()
    assert "why, as the bundle says" in page
    assert "Skipped, and in no table" in page
    assert "<script>alert" not in page


def test_wrong_use_is_one_line(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("no zip")
    (tmp_path / "other").mkdir()
    same = shutil.copy(bundle, tmp_path / "other" / bundle.name)
    cases = {
        (): "missing argument",
        (tmp_path / "none.zip",): "no bundle at",
        (tmp_path / "x.zip",): "no zip file",
        (bundle, same): "two bundles are called",
        (bundle, "--out", bundle / "site"): "cannot write",
    }
    for words, message in cases.items():
        done = bench_here("site", *words)
        assert done.returncode in (2, 4), words
        assert message in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_the_workflow_of_the_page_is_one(tmp_path: Path) -> None:
    """A reader copies it into a repository."""
    text = (ROOT / "docs" / "share.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    found = yaml.safe_load(block)
    assert found["permissions"] == {"contents": "read"}
    steps = [step.get("run", "") for job in found["jobs"].values() for step in job["steps"]]
    assert any("bench bundle verify" in step for step in steps)
    assert any("bench site" in step for step in steps)


PROBE = """<script>
document.body.dataset.wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
document.body.dataset.rows = document.querySelectorAll("tr.row").length;
document.body.dataset.requests = performance.getEntriesByType("resource").length;
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [500, 1280])
def test_the_page_fits_a_screen(pack: Pack, tmp_path: Path, width: int) -> None:
    """Tables scroll by themselves; the page does not."""
    assert BROWSER is not None
    runs = [*some("recon", 0.9), *some("scratch", 0.3), *some("act", 0.9, range(1))]
    site = bench.site([pack("a-name-of-some-length-for-a-bundle", *runs)], tmp_path / "site")
    site.page.write_text(site.page.read_text().replace("</body>", PROBE))
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={tmp_path / 'profile'}")
    told = subprocess.run(
        [BROWSER, *flags, f"--window-size={width},900", "--dump-dom", f"file://{site.page}"],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    assert 'data-wide="false"' in told
    assert 'data-requests="0"' in told
    assert re.search(r'data-rows="[1-9]', told)
