"""Progress as people see it. If these fail, nobody knows how long a study takes, and a log is silent for hours."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from bench.execution.events import Event
from bench.execution.forecast import Forecast
from bench.fingerprint import Fingerprint
from bench.plan.graph import Job
from bench.screen import ProgressView


def job(name: str) -> Job:
    return Job(kind="teacher", key=name * 64, fingerprint=Fingerprint(digest="0" * 64, modules={}), title=f"fit {name}")


def test_the_forecast_learns_from_finished_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate that is ten times off would stay so until the end."""
    jobs, now, one = [job(name) for name in "abc"], [0.0], 45.0
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    forecast = Forecast([(job, one) for job in jobs])
    assert (forecast.begun, forecast.left()) == (0, pytest.approx(3 * one))
    forecast.begin(jobs[0])
    now[0] = one / 3
    assert (forecast.begun, forecast.left()) == (1, pytest.approx(3 * one - one / 3))
    forecast.end(jobs[0])
    assert forecast.left() == pytest.approx(2 * one / 3)
    forecast.end(jobs[1])  # given up, as what it needs has failed: it says nothing about the pace
    assert (forecast.begun, forecast.left()) == (2, pytest.approx(one / 3))
    forecast.begin(jobs[2])
    now[0] += one
    assert (forecast.begun, forecast.left()) == (3, 0.0)


def test_a_log_says_which_job_of_how_many_and_what_it_does() -> None:
    """A file or a pipe shows no bars: for minutes it would hold nothing at all."""
    console, one = Console(file=io.StringIO(), width=120), job("a")
    with ProgressView(console) as view:
        view(one, Event(kind="stage", stage="start", done=3, total=16, left=720))
        view(one, Event(kind="stage", stage="pretrain", done=120, total=300))
        view(one, Event(kind="alive", done=3, total=16, left=660))
        view(one, Event(kind="stage", stage="end", done=3, total=16, left=600))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "fit a  job 3 of 16, about 12 min left for all"
    assert lines[1] == "  fit a, pretrain 120 of 300: 0 min so far; job 3 of 16, about 11 min left for all"
