"""Fixtures that several packages share."""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import logging
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import settings

from bench.api import common
from bench.cli.main import main
from bench.registry import REGISTRIES
from bench.store.store import SAID

gc.disable()  # until all tests are collected: importing makes little garbage, and looking for it takes seconds
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a shell's background; what tests start should hear Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
CLASSES = ("ball", "rod", "disc", "slab", "ring", "cross")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long; all others follow in the order of their names."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Look for garbage from now on, in what the tests make: not among the million objects of libraries."""
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # so that libraries free what they made; some report leaks otherwise


@pytest.fixture(autouse=True)
def _nothing_said() -> None:
    """Let each test see the warnings that a process gives once."""
    SAID.clear()


def toy_cloud(kind: int, rng: np.random.Generator, points: int) -> np.ndarray:
    """A cloud of one of six easily told shapes, in the unit sphere."""
    z = rng.normal(size=(points, 3))
    ball = z / np.linalg.norm(z, axis=1, keepdims=True)
    angle = rng.uniform(0, 2 * np.pi, points)
    ring = np.stack([np.cos(angle), 0.1 * z[:, 1], np.sin(angle)], 1)
    box = rng.uniform(-1, 1, (points, 3))
    cross = box * np.where(rng.random((points, 1)) < 0.5, [[1, 0.1, 0.1]], [[0.1, 1, 0.1]])
    shapes = [ball, box * [0.1, 1, 0.1], ball * [1, 0.05, 1], box * [1, 0.1, 0.6], ring, cross]
    cloud = shapes[kind] * rng.uniform(0.8, 1.2, 3) + 0.01 * rng.normal(size=(points, 3))
    cloud -= cloud.mean(0)
    return (cloud / np.linalg.norm(cloud, axis=1).max()).astype(np.float32)


def write_modelnet(root: Path, train: int = 10, test: int = 6, points: int = 160, classes: int = 6) -> Path:
    """Write a small data set in the ModelNet40 HDF5 layout."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "shape_names.txt").write_text("\n".join(CLASSES[:classes]) + "\n")
    for split, count in (("train", train), ("test", test)):
        rng = np.random.default_rng([len(split), count])
        labels = np.repeat(np.arange(classes), count)
        clouds = np.stack([toy_cloud(label, rng, points) for label in labels])
        with h5py.File(root / f"ply_data_{split}0.h5", "w") as file:
            file["data"] = clouds
            file["label"] = labels[:, None].astype(np.uint8)
    return root


@pytest.fixture(scope="session")
def toy_modelnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 60 train and 36 test clouds of 6 classes."""
    return write_modelnet(tmp_path_factory.mktemp("toy") / "toyset")


@contextmanager
def names_as_before() -> Iterator[None]:
    """Forget afterwards which plugins were loaded: tests walk all names."""
    before = {registry: dict(registry._entries) for registry in REGISTRIES.values()}
    files = dict(common._loaded)
    try:
        yield
    finally:
        common._loaded.clear()
        common._loaded.update(files)
        for registry, entries in before.items():
            registry._entries = entries


@pytest.fixture(autouse=True, scope="module")
def names_of_a_module() -> Iterator[None]:
    with names_as_before():
        yield


@pytest.fixture(autouse=True)
def names_of_a_test() -> Iterator[None]:
    with names_as_before():
        yield


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Let the system refuse to write more of a file, half-way, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def bench_command(*arguments: object) -> list[str]:
    """The command line of a real ``bench`` process."""
    return [sys.executable, "-P", "-m", "bench", *map(str, arguments)]


def bench_environment(package_root: Path = ROOT, **extra: str) -> dict[str, str]:
    """Environment of a ``bench`` process: the package under test, quick checkpoints."""
    return {
        **os.environ,
        "PYTHONPATH": str(package_root),
        "COLUMNS": "200",
        "BENCH_CHECKPOINT_SECONDS": "0",
        **extra,
    }


@contextmanager
def environment_of_jobs() -> Iterator[None]:
    """Let all commands in this process give their jobs the same environment, so that one server forks them all."""
    before = dict(os.environ)
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    os.environ.update(COLUMNS="200", BENCH_CHECKPOINT_SECONDS="0")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def bench_here(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Call ``bench`` in this process and return what a process would have: seconds of imports are saved.

    Jobs still have processes of their own, forked from one server that all calls share.
    """
    argv = sys.argv
    SAID.clear()
    out, err, code = io.StringIO(), io.StringIO(), 1
    told = logging.StreamHandler(err)  # what a process does with warnings unless pytest collects them
    told.setLevel(logging.WARNING)
    logging.getLogger().addHandler(told)
    sys.argv = ["bench", *map(str, arguments)]
    try:
        with (
            names_as_before(),
            environment_of_jobs(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    except Exception:
        err.write(traceback.format_exc())
    finally:
        logging.getLogger().removeHandler(told)
        sys.argv = argv
    return subprocess.CompletedProcess(sys.argv, code, out.getvalue(), err.getvalue())


def wait_for(condition: Callable[[], object], seconds: float = 150.0, every: float = 0.02) -> None:
    """Wait until a condition holds, and look again after `every` seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(every)


@contextmanager
def meanwhile(condition: Callable[[], object], act: Callable[[], object]) -> Iterator[None]:
    """Act once, from a thread, as soon as a condition holds; the block is what brings it about."""
    with ThreadPoolExecutor(1) as pool:
        acted = pool.submit(lambda: (wait_for(condition), act()))
        yield
        acted.result()


def children(pid: int) -> list[int]:
    """Processes that a process's first thread started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared folder beside the checkout")
    return folder
