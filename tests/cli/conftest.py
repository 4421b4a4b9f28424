"""Fixtures of the command line's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from compare_runs import Compare, make_runs

from bench.cli.main import main


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Compare:
    """Call the real command line in this process; returns exit code, output and error output.

    Not for jobs: in an environment that is the test's own, they need a server of their own, which `bench_here` saves.
    """

    def run(*arguments: object) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", "300")
            patch.setenv("BENCH_RESULTS", str(tmp_path / "results"))
            patch.setattr(sys, "argv", ["bench", *map(str, arguments)])
            with pytest.raises(SystemExit) as stop:
                main()
        code = stop.value.code
        captured = capsys.readouterr()
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of `make_runs`."""
    return make_runs(tmp_path_factory.mktemp("compare"))


@pytest.fixture
def compare(call: Compare, results: Path) -> Compare:
    """Call ``bench compare``, on these results or on others."""

    def run(*arguments: object, place: Path = results) -> tuple[int, str, str]:
        return call("compare", *arguments, "--results", place)

    return run
