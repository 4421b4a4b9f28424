"""Several processes and sudden death: nothing is lost, doubled or half-written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from store_helpers import Start, key_of, make_record, publish_all, publish_for_ever, try_load

from bench.store import Store, failed_rows, index, leases, metric_rows, rebuild, run_rows, scan, scratch


def test_processes_that_start_at_once_publish_together(tmp_path: Path, start: Start) -> None:
    """Four `bench run` on a new results folder: one database is made, every run is there once."""
    results = tmp_path / "results"
    jobs = [start(publish_all, results, [1, 2, 3, 10 + worker, 20 + worker], 2) for worker in range(4)]
    for job in jobs:
        job.join(60)
        assert job.exitcode == 0
    store = Store(results)
    expected = {key_of(n) for n in (1, 2, 3, *range(10, 14), *range(20, 24))}
    assert {row.stored.key for row in run_rows(store, every_fingerprint=True)} == expected
    assert len(run_rows(store, every_fingerprint=True)) == len(expected)
    assert len(metric_rows(store, every_fingerprint=True)) == 11 * len(expected)
    assert store.refresh(verify=True).quarantined == []
    assert not list(results.glob("*/.incoming-*"))


def test_death_at_every_step_of_publishing_leaves_a_whole_run_or_none(tmp_path: Path) -> None:
    """`kill -9` between any two calls to the system must not leave a run that is half there."""
    results = tmp_path / "results"
    code = "import sys, pathlib, store_helpers; store_helpers.die_at_every_step(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(results)],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    deaths = int(done.stdout)
    assert deaths > 20
    report = rebuild(results)
    assert report.quarantined == []
    assert 0 < report.indexed < deaths


def test_killed_writers_leave_only_whole_runs(tmp_path: Path, start: Start) -> None:
    """The same at moments nobody chose, with three writers at once."""
    results = tmp_path / "results"
    jobs = [start(publish_for_ever, results / str(i)) for i in range(3)]
    deadline = time.monotonic() + 60
    while any(len(list((results / str(i)).glob("runs/*"))) < 4 for i in range(3)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for job in jobs:
        job.kill()
        job.join()
        time.sleep(0.013)
    for place in sorted(results.iterdir()):
        report = rebuild(place)
        assert report.quarantined == []
        store = Store(place)
        assert len(run_rows(store)) == report.indexed > 0
        assert len(failed_rows(store)) == report.failed
        assert [try_load(store, n + 1) for n in range(report.indexed)] == ["loaded"] * report.indexed


def begin_and_die(results: Path) -> None:
    """Leave what a job has half done: a run folder, an encoder, a lease."""
    store = Store(results)
    for room in ("runs", "failed", ".", "artifacts/encoder", "reruns", "cache", "cache/converted", "cache/a/b"):
        (results / room).mkdir(parents=True, exist_ok=True)
        (results / room / scratch.scratch_name() / "deep").mkdir(parents=True)
    (results / "cache" / "a" / f"{scratch.scratch_name()}-points.npy.part").write_bytes(b"half")
    store.lease("run", "k")
    store.lease("encoder", f"{'d' * 64}:{'1' * 16}")
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_killed_jobs_left_is_swept_and_nothing_else(store: Store, start: Start) -> None:
    """Abandoned files must not fill the disk, and a writer at work must not lose its own, however slow it is."""
    results = store.results
    job = start(begin_and_die, results)
    job.join(60)
    hours_ago = time.time() - 2 * scratch.ABANDONED_SECONDS
    mine = results / "runs" / scratch.scratch_name()
    fresh, old = results / "runs" / ".incoming-other-machine", results / "runs" / ".incoming-old"
    for folder in (mine, fresh, old):
        folder.mkdir()
    for folder in (mine, old):
        os.utime(folder, (hours_ago, hours_ago))
    held = store.lease("run", f"{'c' * 64}:{'1' * 16}")
    assert len(leases.holders(store.database)) == 3
    cached = results / "cache" / "features"
    cached.mkdir()
    at_work, abandoned = cached / f"{scratch.scratch_name()}-a.npy.part", cached / ".b.npy.17.part"
    for path in (at_work, abandoned):
        path.touch()
        os.utime(path, (hours_ago, hours_ago))
    Store(results).tidy()
    assert sorted(results.rglob(".*")) == sorted([mine, fresh, at_work])
    assert [one.key for one in leases.holders(store.database)] == [f"{'c' * 64}:{'1' * 16}"]
    assert held is not None
    assert held.still_mine()


def test_the_saved_state_of_a_finished_job_is_swept_and_no_other(store: Store) -> None:
    """A kill between storing a result and clearing up left a network and its moments for ever."""
    results = store.results
    stored = store.publish(make_record(1))
    finished = f"{stored.key[:16]}-{stored.fingerprint[:16]}"
    trained = results / "artifacts" / "encoder" / ("a" * 64) / ("2" * 16)
    held = store.lease("encoder", f"{'c' * 64}:{'1' * 16}")
    (results / "artifacts" / "encoder" / ("c" * 64) / ("1" * 16)).mkdir(parents=True)
    trained.mkdir(parents=True)
    kept = {
        f"{stored.key[:16]}-{'9' * 16}",  # other code
        f"{'b' * 16}-{stored.fingerprint[:16]}",  # another run
        f"{'c' * 16}-{'1' * 16}",  # somebody is at it
        "notes",
    }
    for name in (finished, f"{'a' * 16}-{'2' * 16}", *kept):
        (results / "work" / name).mkdir(parents=True)
        (results / "work" / name / "state.safetensors").touch()
    Store(results).tidy()
    assert {path.name for path in (results / "work").iterdir()} == kept
    assert held is not None
    held.release()
    Store(results).tidy()
    assert not (results / "work" / f"{'c' * 16}-{'1' * 16}").exists()


def test_a_run_published_between_walk_and_rewrite_keeps_its_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same at the one moment that matters, without luck."""
    store.publish(make_record(1))
    look = scan.look

    def publish_meanwhile(*arguments: Any, **options: Any) -> scan.View:
        view = look(*arguments, **options)
        Store(store.results).publish(make_record(3))
        return view

    monkeypatch.setattr(scan, "look", publish_meanwhile)
    assert rebuild(store.results).indexed == 2
    monkeypatch.undo()
    with store.database.read() as session:
        assert {run.key for run in index.heads(session, "").values() if run} == {key_of(1), key_of(3)}


def test_a_rebuild_does_not_lose_a_run_published_meanwhile(tmp_path: Path, start: Start) -> None:
    """`bench db rebuild` may be run beside working processes."""
    results = tmp_path / "results"
    Store(results)
    job = start(publish_all, results, list(range(1, 11)))
    while job.is_alive():
        rebuild(results)
    assert job.exitcode == 0
    store = Store(results)
    assert len(run_rows(store)) == 10
    shutil.rmtree(results / "runs")
    assert rebuild(results).dropped == 10


def test_a_temporary_folder_goes_with_its_process_or_with_the_next(tmp_path: Path) -> None:
    """A killed check or profile must not fill the disk of everybody's temporary files for good."""
    with scratch.temporary_folder(tmp_path) as folder:
        (folder / "x").write_text("x")
        (left,) = tmp_path.iterdir()
        dead = tmp_path / left.name.replace(f"-{os.getpid()}-", "-999999999-")
        dead.mkdir()
        (tmp_path / "of-somebody-else").mkdir()
        with scratch.temporary_folder(tmp_path) as second:
            assert folder.is_dir()
            assert second != folder
            assert not dead.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["of-somebody-else"]
