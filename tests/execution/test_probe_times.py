"""Times of heads on cached features: what `bench profile --probes` prints."""

from __future__ import annotations

import pytest

from bench.errors import UsageError
from bench.profiling.plan import ProbeRequest
from bench.profiling.probes import profile_probes


def test_heads_are_timed_and_agree_with_scikit_learn() -> None:
    """A fast solver of our own would be no gain if it found other heads than scikit-learn on the same features."""
    told: list[str] = []
    found = profile_probes(
        ProbeRequest(2000, 24, seeds=1, threads=1, oracle=True), lambda done, total, what: told.append(what)
    )
    assert told == ["few-shot grid", "linear", "svm"]
    grid, linear, svm = found.times
    assert grid.oracle_seconds is None
    assert all(0.05 < one.accuracy < 1 and one.seconds > 0 for one in found.times)
    for one in (linear, svm):
        assert one.oracle_accuracy is not None
        assert abs(one.accuracy - one.oracle_accuracy) <= 0.002


def test_too_small_a_set_is_one_line() -> None:
    with pytest.raises(UsageError, match="expected at least 2000 objects"):
        profile_probes(ProbeRequest(100))
