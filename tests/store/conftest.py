from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from postgres_server import Server
from store_helpers import Start

from bench.store import Store, leases


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is one: these tests flush to disk thousands of times."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 32 * 2**20:
        yield tmp_path_factory.mktemp("store")
        return
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def quiet_hearts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that a test leaves behind must not look for their database after it is gone."""
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 3600.0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module with ``DATABASES`` once for each of them."""
    if "store_url" in metafunc.fixturenames and (names := getattr(metafunc.module, "DATABASES", ())):
        metafunc.parametrize("store_url", names, indirect=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server; tests that need one skip where its programs are missing."""
    with tempfile.TemporaryDirectory(prefix="bench-pg-") as folder:
        server = Server(Path(folder))
        yield server
        server.stop()


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """URL of the index: None for an SQLite file in the results folder, or a new database of the server."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield None
        return
    server: Server = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop(url)


@pytest.fixture
def store(tmp_path: Path, store_url: str | None) -> Store:
    return Store(tmp_path / "results", store_url)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a function in a new process; what still runs at the end of the test is killed."""
    # New processes of their own, forked from a fresh server that imported the store (and the main module) once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "store_helpers"])
    started: list[BaseProcess] = []

    def begin(function: Callable[..., None], *arguments: Any) -> BaseProcess:
        process = context.Process(target=function, args=arguments)
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.is_alive():
            process.kill()
        process.join()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a small memory disk (or remount it read-only); skips where this is not permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = False

    def mount(*options: str) -> Path:
        nonlocal mounted
        again = ["-o", "remount," + ",".join(options)] if mounted else ["-t", "tmpfs", "-o", ",".join(options), "tmpfs"]
        try:
            subprocess.run(["mount", *again, str(place)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"cannot mount a memory disk here: {error}")
        mounted = True
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True, capture_output=True)
