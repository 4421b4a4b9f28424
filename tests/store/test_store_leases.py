"""Leases: work is claimed by one process at a time and survives the death of its holder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update
from store_helpers import Start, hold_lease, work_once_each

from bench.store import Holder, Store, leases
from bench.store.schema import LeaseTable

DATABASES = ("sqlite", "postgresql")


def alter(store: Store, key: str, **values: object) -> None:
    with store.database.write() as session:
        session.execute(update(LeaseTable).where(LeaseTable.key == key).values(**values))


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lease_is_held_by_one_and_given_back(store: Store) -> None:
    """Two workers on one spec must not both pretrain."""
    lease = store.lease("run", "k", "epoch 3")
    assert lease is not None
    with lease:
        assert store.lease("run", "k") is None
        assert store.lease("pretrain", "k") is not None, "kinds are apart"
        found = store.holder("run", "k")
        assert found is not None
        assert (found.pid, found.note) == (os.getpid(), "epoch 3")
        assert lease.still_mine()
    assert not lease.still_mine()
    assert store.holder("run", "k") is None
    again = store.lease("run", "k")
    assert again is not None
    lease.release()
    assert again.still_mine(), "an old claim must not release a new one"


def test_an_exception_gives_the_lease_back(store: Store) -> None:
    """A failed run must not block its own retry."""
    with pytest.raises(RuntimeError), store.lease("run", "k"):  # type: ignore[union-attr]
        raise RuntimeError
    assert store.lease("run", "k") is not None


def test_processes_hammering_the_same_keys_do_each_work_once(
    tmp_path: Path, store_url: str | None, start: Start
) -> None:
    """Four `bench run` at once on the same spec do the work once."""
    results = tmp_path / "results"
    Store(results, store_url)
    log = tmp_path / "log"
    keys = [f"key{i}" for i in range(8)]
    jobs = [start(work_once_each, results, keys if i % 2 else keys[::-1], log, store_url) for i in range(4)]
    for job in jobs:
        job.join(60)
        assert job.exitcode == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert Counter(key for what, key, _ in lines if what == "begin") == dict.fromkeys(keys, 1)
    assert Counter(key for what, key, _ in lines if what == "end") == dict.fromkeys(keys, 1)


def test_a_killed_holder_is_replaced_at_once(store: Store, store_url: str | None, tmp_path: Path, start: Start) -> None:
    """After `kill -9` the same command must go on, not wait for a time-out."""
    job = start(hold_lease, store.results, "k", tmp_path / "sign", store_url)
    wait_until((tmp_path / "sign").exists)
    assert store.lease("run", "k") is None
    assert not store.wait_for("run", "k", timeout=0.2)
    seen: list[Holder] = []
    assert job.pid is not None
    os.kill(job.pid, signal.SIGKILL)
    start_time = time.monotonic()
    assert store.wait_for("run", "k", lambda holder, waited: seen.append(holder), timeout=10)
    lease = store.lease("run", "k")
    assert time.monotonic() - start_time < 5
    assert lease is not None
    assert lease.still_mine()
    assert all(holder.pid == job.pid for holder in seen)


def test_a_reused_process_id_is_not_the_holder(store: Store) -> None:
    """A dead holder whose number another program got must not block the work for ever."""
    lease = store.lease("run", "k")
    assert lease is not None
    alter(store, "k", process_start=lease.holder.process_start - 500)
    other = store.lease("run", "k")
    assert other is not None
    assert not lease.still_mine()
    assert not lease.renew()


def test_a_silent_holder_on_another_machine_is_replaced_after_a_minute(store: Store) -> None:
    """On a cluster a node that vanished must not hold its work, one that is just busy must keep it."""
    lease = store.lease("run", "k")
    assert lease is not None
    alter(store, "k", host="other-node/1", heartbeat_at=time.time() - leases.STALE_SECONDS + 10)
    assert store.lease("run", "k") is None
    assert store.holder("run", "k") is not None
    alter(store, "k", heartbeat_at=time.time() - leases.STALE_SECONDS - 1)
    assert store.holder("run", "k") is None
    successor = store.lease("run", "k")
    assert successor is not None
    assert not lease.still_mine(), "the old holder must learn that it lost the lease"
    assert lease.renew() is False
    assert successor.still_mine()


def test_the_heartbeat_keeps_a_lease_fresh(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it other machines would take over work that goes on."""
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.05)
    with store.lease("run", "k") as lease:  # type: ignore[union-attr]
        alter(store, "k", heartbeat_at=0.0)
        wait_until(lambda: leases.holders(store.database)[0].heartbeat_at > time.time() - 5)
        assert lease.renew()


def test_waiting_reports_whom_it_waits_for(store: Store) -> None:
    """A silent wait looks like a hang."""
    said: list[tuple[str, float]] = []
    with store.lease("run", "k", "pretraining recon"):  # type: ignore[union-attr]
        assert not store.wait_for("run", "k", lambda holder, waited: said.append((holder.note, waited)), timeout=0.2)
    (note, waited), *_ = said
    assert note == "pretraining recon"
    assert 0 <= waited < 0.1
    assert store.wait_for("run", "k")


def test_the_host_is_this_boot_of_this_machine() -> None:
    """Process ids of another boot or container must not be mistaken for ours."""
    assert leases.host_name().startswith(socket.gethostname() + "/")
    assert leases.process_alive(os.getpid(), leases.process_start(os.getpid()) or 0.0)
    assert leases.process_start(2**22 + 1) is None


def test_a_zombie_does_no_work() -> None:
    """A killed child stays listed until its parent asks for it; waiting for that could be for ever."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    wait_until(lambda: leases.process_start(child.pid) is None)
    assert Path(f"/proc/{child.pid}").exists() or not Path("/proc/self").exists()
    child.wait()
