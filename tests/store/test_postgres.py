"""A server that several machines share. If these fail, processes on a cluster lose runs, or each other's work."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from postgres_server import Server
from sqlalchemy import make_url, text, update
from store_helpers import Start, index_folders, key_of, make_record

from bench.errors import SetupError
from bench.store import Store, index
from bench.store.maintenance import rebuild, status
from bench.store.queries import failed_rows, metric_rows, run_rows
from bench.store.run_folders import RunFolders
from bench.store.scan import read_run
from bench.store.schema import LeaseTable

DATABASES = ("postgresql",)
WRITERS, RUNS = 8, 6
"""Writers of a machine, and runs of each."""
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"
WRITE = """
import multiprocessing, sys
from pathlib import Path
from typing import Any
sys.path.insert(0, {helpers!r})
from store_helpers import publish_all
from bench.store import leases

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    print(leases.host_name(), flush=True)
    jobs = []
    for writer in range({writers}):
        numbers = [*range({first} + writer * {runs}, {first} + (writer + 1) * {runs}), 900 + writer]
        jobs.append(context.Process(target=publish_all, args=(Path({results!r}), numbers, 1, {url!r})))
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    sys.exit(max(job.exitcode for job in jobs))
"""


def test_sixteen_writers_on_two_machines_lose_nothing(tmp_path: Path, store_url: str) -> None:
    """Machines are told apart by their process namespace; eight runs are made by one writer of each."""
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not make process namespaces here")
    results = tmp_path / "results"
    texts = [
        WRITE.format(
            helpers=str(Path(__file__).parent),
            writers=WRITERS,
            runs=RUNS,
            first=first,
            results=str(results),
            url=store_url,
        )
        for first in (0, WRITERS * RUNS)
    ]
    machines = [
        subprocess.Popen(
            [*apart, sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for text in texts
    ]
    said = [machine.communicate(timeout=120) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert said[0][0] != said[1][0], "the two must be different machines"
    keys = {key_of(number) for number in [*range(2 * WRITERS * RUNS), *range(900, 900 + WRITERS)]}
    store = Store(results, store_url)
    with store.database.read() as session:
        assert len(index.heads(session, store.database.owner)) == len(keys)
    assert {row.stored.key for row in run_rows(store)} == keys
    assert len(metric_rows(store)) == 11 * len(keys)
    assert status(results, store_url).problem is None
    assert rebuild(results, store_url).mended == ""


def test_two_that_index_the_same_folder_at_once_both_succeed(store: Store, store_url: str, start: Start) -> None:
    """Of six runs that failed at once, one ended in a traceback: two processes had indexed the same folder."""
    folder = RunFolders(store.results).publish(make_record(1, status="failed"))
    run = read_run(store.results, folder, series=False)[0]
    with store.database.write() as session:
        index.put(session, store.database.owner, [run], run.texts or {})
        job = start(index_folders, store.results, store_url)
        deadline = time.monotonic() + 60
        while not session.execute(text(WAITING)).scalar_one():
            assert time.monotonic() < deadline, "it should wait for this transaction"
            time.sleep(0.02)
    job.join(60)
    assert job.exitcode == 0
    with store.database.read() as session:
        assert session.execute(text("SELECT count(*) FROM runs")).scalar_one() == 1
    assert len(failed_rows(Store(store.results, store_url))) == 1
    assert status(store.results, store_url).problem is None


def test_clocks_that_disagree_take_no_living_lease(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes are minutes apart; the lease of one whose heartbeat beats must stay its own."""
    lease = store.lease("run", "k", "at work")
    assert lease is not None
    with store.database.write() as session:
        session.execute(update(LeaseTable).values(host="other-node/1"))
    for seconds in (-120, 120):
        real = time.time
        monkeypatch.setattr(time, "time", lambda ahead=seconds, real=real: real() + ahead)
        assert store.lease("run", "k") is None
        assert store.holder("run", "k") is not None
        assert lease.renew(), "its heartbeat is written by the server's clock"
        monkeypatch.setattr(time, "time", real)
        assert store.holder("run", "k") is not None


def test_heartbeats_go_on_while_rows_are_written(store: Store) -> None:
    """Making the index of 100,000 runs anew takes minutes, after which every job would count as dead."""
    lease = store.lease("run", "k")
    assert lease is not None
    with store.database.write() as session:
        session.connection()
        assert lease.renew()


def test_a_server_that_refuses_is_one_line(store: Store, store_url: str, postgres: Server) -> None:
    """A server that is restarted in the night must cost neither a traceback nor a run."""
    store.publish(make_record(1))
    with store.database.write() as session:
        session.execute(text("DROP TABLE metrics"))
    with pytest.raises(SetupError, match=r"refused: .*check that the server runs"):
        store.publish(make_record(2))
    again = Store(store.results, store_url)
    assert {row.stored.key for row in run_rows(again)} == {key_of(1), key_of(2)}
    postgres.drop(store_url)
    with pytest.raises(SetupError, match=r"refused: .*does not exist.*check that the server runs") as refused:
        Store(store.results, store_url)
    assert "\n" not in str(refused.value)
    postgres.execute(f"CREATE DATABASE {make_url(store_url).database}")
    assert len(metric_rows(Store(store.results, store_url))) == 22, "the folders have everything"
