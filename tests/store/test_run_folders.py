"""Stores without a database: what a worker on another machine writes, and who does which work."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from store_helpers import FINGERPRINT, Start, key_of, make_record

from bench.store import Store, file_leases
from bench.store.once import once
from bench.store.run_folders import RunFolders


def hold(results: Path, ready: Path) -> None:
    """Claim a piece of work and keep it until killed."""
    assert RunFolders(results).lease("run", "key", "slow work") is not None
    ready.touch()
    time.sleep(60)


def test_a_store_indexes_what_workers_elsewhere_wrote(tmp_path: Path) -> None:
    """Finished and failed runs of a cluster would be missing from tables, or a database would lie on NFS."""
    results = tmp_path / "results"
    elsewhere = RunFolders(results)
    for record in (make_record(1), make_record(2), make_record(3, status="failed", error="no")):
        elsewhere.publish(record)
    first = elsewhere.find(key_of(1), FINGERPRINT)
    assert first is not None
    assert elsewhere.find(key_of(4), FINGERPRINT) is None
    assert elsewhere.find(key_of(3), FINGERPRINT) is None, "a failed attempt is no finished run"
    assert not [*results.glob("*.sqlite*")], "a worker opened SQLite"
    store = Store(results)
    assert sorted((run.key, run.status) for run in store.runs()) == sorted(
        (key_of(number), status) for number, status in ((1, "done"), (2, "done"), (3, "failed"))
    )
    found = store.find(key_of(1))
    assert found is not None
    assert found.folder == first
    assert store.load(found).metrics == make_record(1).metrics


def test_a_run_that_is_there_stays_and_a_damaged_one_makes_room(tmp_path: Path) -> None:
    """The second of two workers must not replace numbers that a reader has seen."""
    elsewhere = RunFolders(tmp_path / "results")
    folder = elsewhere.publish(make_record(1))
    before = (folder / "MANIFEST.json").stat().st_ino
    elsewhere.publish(make_record(1, cost={"seconds": 9.0}))
    assert (folder / "MANIFEST.json").stat().st_ino == before
    (folder / "metrics.json").write_text("[]")
    assert elsewhere.find(key_of(1), FINGERPRINT) is None
    assert list((tmp_path / "results" / "quarantine").rglob("metrics.json"))
    elsewhere.publish(make_record(1))
    assert elsewhere.find(key_of(1), FINGERPRINT) is not None


def test_threads_that_want_the_same_work_do_it_once(tmp_path: Path) -> None:
    """Nodes that start together would all make the same data set."""
    done: list[int] = []
    waited: list[str] = []

    def work() -> None:
        time.sleep(0.2)
        done.append(1)

    def wanted() -> None:
        once(RunFolders(tmp_path), "data", "k", done=lambda: bool(done), work=work, on_wait=waited.append, note="data")

    threads = [threading.Thread(target=wanted) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 1
    assert f"process {os.getpid()} on " in waited[0]
    assert list((tmp_path / file_leases.LEASES).iterdir()) == []


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_the_lease_of_a_killed_worker_is_taken_over(
    where: str, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study would wait for ever for a node that died; one that only works for long must be left alone."""
    ready = tmp_path / "ready"
    worker = start(hold, tmp_path, ready)
    while not ready.exists():
        time.sleep(0.01)
    assert RunFolders(tmp_path).lease("run", "key") is None
    if where == "elsewhere":
        monkeypatch.setattr(file_leases, "host_name", lambda: "another-node/boot/namespace")
        monkeypatch.setattr(file_leases, "STALE_SECONDS", 0.5)
        (path,) = (tmp_path / file_leases.LEASES).iterdir()
        beat = threading.Event()

        def beating() -> None:
            while not beat.wait(0.1):
                os.utime(path, (0, time.time_ns() % 10**9))  # its clock is decades behind

        thread = threading.Thread(target=beating)
        thread.start()
    waits: list[float] = []
    waiting = threading.Thread(target=lambda: RunFolders(tmp_path).wait_for("run", "key", lambda _, s: waits.append(s)))
    waiting.start()
    waiting.join(1.0)
    assert waiting.is_alive(), "a living holder was not waited for"
    worker.kill()
    if where == "elsewhere":
        beat.set()
        thread.join()
    waiting.join(5.0)
    assert not waiting.is_alive()
    mine = RunFolders(tmp_path).lease("run", "key")
    assert mine is not None
    mine.release()
