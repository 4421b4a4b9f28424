"""A study of many jobs, of which some fail: nothing is lost, and nothing is done twice."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.many_jobs import run

JOBS = 120
FAILS = 0.1


def test_no_job_of_many_is_lost_or_done_twice(tmp_path: Path) -> None:
    """A study that loses a run shows a mean of fewer seeds; one that repeats work wastes a cluster."""
    first = run(tmp_path / "results", JOBS, fails=FAILS)
    assert first.problems == ()
    assert first.jobs == JOBS
    assert first.failed > 0

    again = run(tmp_path / "results", JOBS, fails=0.0)
    assert again.problems == ()
    assert again.begun == first.left
    assert again.failed == 0
