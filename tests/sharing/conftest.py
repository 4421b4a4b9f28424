"""Fixtures of the tests of sharing."""

from __future__ import annotations

from pathlib import Path

import pytest
from sharing_runs import some_runs

import bench


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with six finished runs and a failed one; it is read only."""
    return some_runs(tmp_path_factory.mktemp("sharing") / "results")


@pytest.fixture(scope="session")
def bundle(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of these runs."""
    return bench.load(results).bundle(tmp_path_factory.mktemp("bundle") / "mine.zip").path
