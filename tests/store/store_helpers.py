"""Records to store, and the work of the helper processes that the tests start (importable by spawned children)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from bench.spec import content_key
from bench.store import Metric, RunRecord, SeenNames, Store
from bench.store.folders import DamagedFolderError

Start = Callable[..., BaseProcess]
"""Starts a function with its arguments in a new process (fixture `start`)."""

FINGERPRINT = "c0de" * 16
LABEL = {
    "preset": "nano",
    "method": "recon",
    "architecture": "recon",
    "protocol": "fewshot",
    "setting": "5w10s",
    "dataset": "shapes-scan",
    "pretrain_data": "shapes",
}
KILLABLE = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "sqlite3.connect"}


def spec_of(number: int) -> dict[str, Any]:
    return {"seed": number, "protocol": {"name": "fewshot", "form": "fair"}}


def key_of(number: int) -> str:
    return content_key(spec_of(number))


def make_record(number: int, fingerprint: str = FINGERPRINT, **changes: Any) -> RunRecord:
    """A small but complete record; `number` is its seed and what its arrays are drawn from."""
    draw = np.random.default_rng(number)
    values: dict[str, Any] = {
        "fingerprint": fingerprint,
        "status": "done",
        "spec": spec_of(number),
        "label": dict(LABEL),
        "metrics": [
            Metric(value=0.5 + number / 1000, split="test", n_objects=100, epoch=3),
            *(Metric(value=0.1 * fold, split="test", n_objects=10, fold=fold) for fold in range(10)),
        ],
        "seen_names": SeenNames(seen=("chair", "lamp"), total=5),
        "predictions": {"ids": np.arange(100), "logits": draw.normal(size=(100, 5)).astype(np.float32)},
        "curves": {"loss": [(0.0, 1.5), (1.0, 0.75)]},
        "cost": {"seconds": 1.25},
        "provenance": {"commit": "abc", "dirty": False},
    }
    values |= changes
    return RunRecord(**({"key": content_key(values["spec"])} | values))


def publish_all(results: Path, numbers: list[int], repeats: int = 1, url: str | None = None) -> None:
    """Open the results folder (perhaps creating it) and publish these runs."""
    store = Store(results, url)
    for _ in range(repeats):
        for number in numbers:
            store.publish(make_record(number))


def publish_for_ever(results: Path) -> None:
    """Publish new runs, finished and failed, until killed."""
    store = Store(results)
    number = 0
    while True:
        number += 1
        store.publish(make_record(number))
        store.publish(make_record(number, status="failed", error="stopped"))


def index_folders(results: Path, url: str | None) -> None:
    """Index what the folders hold."""
    Store(results, url).refresh()


def alter_and_die(results: Path) -> None:
    """Be killed inside a transaction that has written to the database's file already."""
    with Store(results).database.write() as session:
        connection = session.connection()
        connection.exec_driver_sql("PRAGMA cache_size = 1")
        connection.exec_driver_sql("UPDATE metrics SET value = 0.987")
        for number in range(200):
            connection.exec_driver_sql(f"INSERT INTO leases VALUES ('{number}', '{'k' * 200}', '', '', 0, 0, 0, 0, '')")
        os.kill(os.getpid(), signal.SIGKILL)


def die_at_every_step(results: Path) -> None:
    """Publish run after run, each in a child killed by SIGKILL at its 1st, 2nd, 3rd ... call to the system.

    After each death the store must hold that run whole or not at all. Prints how many deaths it survived.
    """
    Store(results)
    for step in range(1, 1000):
        child = os.fork()
        if child == 0:
            try:
                _kill_at(step)
                Store(results).publish(make_record(step))
            finally:
                os._exit(0)
        _, outcome = os.waitpid(child, 0)
        store = Store(results)
        found = store.find(key_of(step))
        if found is not None:
            assert len(store.load(found).predictions["logits"]) == 100
        assert not store.set_aside, f"step {step} left a damaged folder: {store.set_aside}"
        if not os.WIFSIGNALED(outcome):
            assert found is not None
            print(step - 1)
            return


def _kill_at(step: int) -> None:
    count = 0

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if name in KILLABLE:
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def hold_lease(results: Path, key: str, sign: Path, url: str | None = None) -> None:
    """Claim a lease, say so by a file, and hold it until killed."""
    lease = Store(results, url).lease("run", key, "held by a test")
    assert lease is not None
    sign.touch()
    time.sleep(600)


def work_once_each(results: Path, keys: list[str], log: Path, url: str | None = None) -> None:
    """Claim key after key; note begin and end of the work done under each lease in an append-only log."""
    store = Store(results, url)
    with log.open("a", buffering=1) as out:
        for key in keys:
            while not (results / f"done-{key}").exists():
                lease = store.lease("run", key)
                if lease is None:
                    store.wait_for("run", key)
                    continue
                with lease:
                    if (results / f"done-{key}").exists():
                        continue
                    out.write(f"begin {key} {os.getpid()}\n")
                    time.sleep(0.02)
                    assert lease.still_mine()
                    (results / f"done-{key}").touch()
                    out.write(f"end {key} {os.getpid()}\n")


def tree(folder: Path) -> list[str]:
    """Every file below a folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def try_load(store: Store, number: int) -> str:
    """Load a run; the error's text where it is refused."""
    found = store.find(key_of(number))
    if found is None:
        return "absent"
    try:
        store.load(found)
    except DamagedFolderError as error:
        return str(error)
    return "loaded"
