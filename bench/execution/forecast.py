"""Estimate the time left of a plan.

Estimates of jobs are corrected by how long finished ones took.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

from bench.plan.graph import Job


class Forecast:
    """Estimates the remaining time of a plan's jobs.

    Args:
        jobs: Jobs of the plan, each with its estimated seconds.

    Attributes:
        total: Number of jobs.
        workers: Jobs at a time.
    """

    def __init__(self, jobs: Sequence[tuple[Job, float]]) -> None:
        self.total = len(jobs)
        self.workers = 1
        self._open = {job.id: (job.kind, max(seconds, 0.1)) for job, seconds in jobs}
        self._begun: dict[str, float] = {}
        self._took: dict[str, list[tuple[float, float]]] = defaultdict(list)

    @property
    def begun(self) -> int:
        """Number of jobs begun, finished and failed ones included."""
        return self.total - len(self._open) + len(self._begun)

    def begin(self, job: Job) -> None:
        """Note that a job begins."""
        self._begun[job.id] = time.monotonic()

    def end(self, job: Job) -> None:
        """Note that a job ends.

        One that never began says nothing about the pace.
        """
        kind, estimated = self._open.pop(job.id)
        if (begun := self._begun.pop(job.id, None)) is not None:
            self._took[kind].append((time.monotonic() - begun, estimated))

    def left(self) -> float:
        """Return the estimated seconds until all jobs are done."""
        now = time.monotonic()
        every = [pair for pairs in self._took.values() for pair in pairs]
        rest = []
        for identity, (kind, estimated) in self._open.items():
            known = self._took.get(kind) or every
            pace = sum(took for took, _ in known) / sum(told for _, told in known) if known else 1.0
            rest.append(max(estimated * pace - (now - self._begun.get(identity, now)), 0.0))
        return max([sum(rest) / self.workers, *rest], default=0.0)
