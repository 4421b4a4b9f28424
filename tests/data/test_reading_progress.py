"""The first reading of a large data set says how far it is."""

from __future__ import annotations

import time

import pytest

from bench.data.reading_progress import progress_on_stderr


def test_long_reading_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A first start would stand still for minutes without a word, or print a line for every file."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    report = progress_on_stderr("shapenet55:DIR")
    for stage in range(2):
        for done in range(0, 1001):
            report(done, 1000)
            now += 0.02
        said = capsys.readouterr().err.splitlines()
        assert 2 <= len(said) <= 5, stage
        assert said[0].startswith("reading shapenet55:DIR: 1")
        assert said[0].endswith("18 s left")
    report(5, 10)
    assert capsys.readouterr().err == ""
