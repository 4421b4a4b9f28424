"""Runs of other machines are verified, taken in once, and never overwrite anything."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sharing_runs import CODE, SKIPPED, a_run, forge, some_runs, store_runs, with_skipped

import bench
from bench.plan.skips import Skipped, remembered
from bench.protocols import metric_code
from bench.sharing import rescoring
from bench.store import RunRecord, Store, jsontext
from tests.conftest import bench_here


def tree(results: Path) -> dict[str, bytes]:
    return {
        path.relative_to(results).as_posix(): path.read_bytes()
        for part in ("runs", "failed", "rescored")
        for path in sorted((results / part).rglob("*"))
        if path.is_file() and ".incoming" not in path.as_posix()
    }


@pytest.mark.parametrize("source", ["folder", "bundle"])
def test_runs_come_in_whole_and_once(results: Path, bundle: Path, tmp_path: Path, source: str) -> None:
    """Somebody who merges every evening must not count a seed twice."""
    place, other = tmp_path / "mine", results if source == "folder" else bundle
    store_runs(place, a_run("point-mae"))
    own = tree(place)
    done = bench_here("db", "merge", other, "--results", place)
    assert (done.returncode, done.stderr) == (0, "")
    assert "took in 6 finished and 1 failed runs; 0 were here already" in done.stdout
    assert tree(place) == own | tree(results)
    assert len(bench.load(place).runs()) == 7
    assert "took in 0 finished runs; 7 were here already" in bench_here("db", "merge", other, "--results", place).stdout
    assert tree(place) == own | tree(results)


def test_other_numbers_of_the_same_run_are_a_conflict(results: Path, tmp_path: Path) -> None:
    """Which of two numbers is right is for a person to find out."""
    place = tmp_path / "mine"
    good, other_code = a_run("recon", 0, 0.2), a_run("recon", 1, 0.2)
    store_runs(place, good, replace(other_code, fingerprint="beef" * 16))
    before = tree(place)
    done = bench_here("db", "merge", results, "--results", place)
    assert done.returncode == 1
    where = f"runs/{good.key}/{CODE[:16]}"
    assert f"conflict {where}: accuracy (test) is {good.metrics[1].value:.6f} here and " in done.stdout
    assert f"note runs/{other_code.key}/{CODE[:16]}: accuracy (test)" in done.stdout
    assert {name: content for name, content in tree(place).items() if name in before} == before


def test_forged_and_damaged_runs_stay_outside(results: Path, bundle: Path, tmp_path: Path) -> None:
    def lie(content: bytes) -> bytes:
        rows = json.loads(content)
        rows[1]["value"] = 0.99
        return jsontext.dump_bytes(rows)

    forged, folder = forge(bundle, tmp_path / "forged.zip", "metrics.json", lie)
    found = bench.merge(forged, tmp_path / "mine")
    assert (found.done, [one.where for one in found.refused]) == (5, [folder])
    copy = shutil.copytree(results, tmp_path / "copy")
    next(copy.glob("runs/*/*/spec.json")).write_text("{}")
    next(copy.glob("failed/*/*/record.json")).unlink()
    found = bench.merge(copy, tmp_path / "theirs")
    assert (found.done, found.failed, len(found.refused)) == (5, 0, 2)


@pytest.mark.parametrize(
    ("other", "message"),
    [("none", "no bundle at"), ("empty", "no runs in"), ("mine", "is the results folder itself"), ("text", "no zip")],
)
def test_nothing_to_take_in_is_one_line(tmp_path: Path, other: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "text").write_text("hello" * 99)
    done = bench_here("db", "merge", tmp_path / other, "--results", tmp_path / "mine")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr


def at_every_step(work: Callable[[], object], check: Callable[[], object]) -> int:
    """Do a work in children killed at their 1st, 4th, 7th ... change of files, then let it end."""
    for step in range(1, 2000, 3):
        child = os.fork()
        if child == 0:
            count = 0

            def hook(name: str, arguments: tuple[object, ...], step: int = step) -> None:
                nonlocal count
                count += name in ("os.rename", "os.mkdir", "shutil.rmtree")
                if name == "os.rename" and count >= step:
                    os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            try:
                work()
            finally:
                os._exit(0)
        _, outcome = os.waitpid(child, 0)
        check()
        if not os.WIFSIGNALED(outcome):
            return step
    raise AssertionError("never ended")


def test_a_merge_that_is_killed_is_completed_by_the_next(results: Path, tmp_path: Path) -> None:
    place = tmp_path / "mine"

    def whole() -> None:
        assert tree(place).items() <= tree(results).items()

    at_every_step(lambda: bench.merge(results, place), whole)
    assert tree(place) == tree(results)
    assert not list(place.rglob(".incoming*")), "unfinished folders of killed merges stay for ever"
    assert len(bench.load(place).runs()) == 6


@pytest.mark.parametrize("source", ["folder", "bundle"])
def test_reasons_of_skipped_combinations_come_in_once(tmp_path: Path, source: str) -> None:
    """After a merge the report said "not run" where the other machine's report said why."""
    results = with_skipped(some_runs(tmp_path / "results", seeds=1))
    own = Skipped("act", "linear", "shapes-scan", "what this machine says")
    place = with_skipped(store_runs(tmp_path / "mine", a_run("point-mae")), own)
    other = results if source == "folder" else bench.load(results).bundle(tmp_path / "x.zip").path
    assert "learnt why 3 combinations were skipped" in bench_here("db", "merge", other, "--results", place).stdout
    found = remembered(place)
    assert found[0] == own, "what is here stays"
    assert sorted(map(str, found[1:])) == sorted(map(str, SKIPPED))
    again = bench.merge(other, place)
    assert (again.skipped, again.refused, remembered(place)) == (0, [], found)


# --- scoring again


def older(run: RunRecord, value: float) -> RunRecord:
    """A run whose accuracy was computed by metric code 0."""
    metrics = [run.metrics[0], run.metrics[1].model_copy(update={"value": value}), *run.metrics[2:]]
    return replace(run, metrics=metrics, provenance={**run.provenance, "metric_code": 0})


def test_old_metric_code_is_replaced_and_kept(tmp_path: Path) -> None:
    """A mended metric changes published numbers: both must be there to see."""
    right, old = a_run("recon", 0), older(a_run("recon", 1), 0.123)
    place = store_runs(tmp_path / "results", right, old)
    before = tree(place)
    done = bench_here("db", "rescore", "--dry-run", "--results", place)
    assert "1 runs would be scored anew (1 numbers), 1 unchanged" in done.stdout
    assert tree(place) == before
    done = bench_here("db", "rescore", "--results", place)
    assert (done.returncode, done.stderr) == (0, "")
    name, truth = f"runs/{old.key}/{CODE[:16]}", a_run("recon", 1).metrics[1].value
    assert f"changed {name}: accuracy 0.123000 -> {truth:.6f}" in done.stdout
    record = bench.load(place).record(old.key)
    assert record.metrics[1].value == truth
    entry = {"metric_code": 0, "values": {"accuracy": 0.123}, "new": {"accuracy": truth}}
    assert record.provenance["rescored"] == [entry]
    listed = json.loads(bench_here("runs", "--json", "--results", place).stdout)
    assert [run["rescored"] for run in sorted(listed, key=lambda run: run["seed"])] == [[], [entry]]
    pages = bench_here("report", "--results", place, "--out", tmp_path / "report").stdout
    assert "Rescored numbers" in pages
    assert "0.1230" in pages
    blocks = json.loads((tmp_path / "report" / "report.json").read_text())["blocks"]
    (part,) = (one for one in blocks if one.get("anchor") == "rescored")
    (row,) = part["blocks"][-1]["rows"]
    assert (row["number"], row["old"]["value"], row["new"]["value"]) == ("accuracy", 0.123, truth)
    assert record.provenance["metric_code"] == metric_code.METRIC_CODE
    kept = {f"rescored/{old.key}/{CODE[:16]}-1{n.removeprefix(name)}": c for n, c in before.items() if name in n}
    assert kept.items() <= tree(place).items()
    assert bench.load(place).runs(seed=1)["score"].tolist() == [truth]
    assert "0 runs scored anew (0 numbers), 2 unchanged" in bench_here("db", "rescore", "--results", place).stdout


def test_an_altered_run_is_named_not_mended(tmp_path: Path) -> None:
    """Scoring again must not turn a forgery into evidence."""
    forged = older(a_run("recon", 0), 0.9)
    forged.provenance["metric_code"] = metric_code.METRIC_CODE
    place = store_runs(tmp_path / "results", forged)
    before = tree(place)
    done = bench_here("db", "rescore", "--results", place)
    assert done.returncode == 1
    assert "does not follow" in done.stdout
    assert tree(place) == before


def test_scoring_again_survives_being_killed(tmp_path: Path) -> None:
    runs = [older(a_run("recon", seed), 0.1) for seed in range(2)]
    place = store_runs(tmp_path / "results", *runs)

    def complete() -> None:
        stored = {path.parent.name for part in ("runs", "rescored") for path in place.glob(f"{part}/[!.]*/*")}
        assert stored == {run.key for run in runs}

    at_every_step(lambda: rescoring.rescore(bench.load(place).workspace, None), complete)
    assert {run.status for run in Store(place).runs()} == {"done"}
    assert len(bench.load(place).runs()) == 2
    assert [bench.load(place).record(run.key).metrics[1].value for run in runs] == [
        a_run("recon", seed).metrics[1].value for seed in range(2)
    ]


def test_a_copy_of_the_runs_is_enough(tmp_path: Path) -> None:
    """The index of the other machine may be missing or wrong."""
    other = some_runs(tmp_path / "other", seeds=1)
    for file in other.glob("bench.sqlite*"):
        file.unlink()
    assert bench.merge(other, tmp_path / "mine").done == 2
