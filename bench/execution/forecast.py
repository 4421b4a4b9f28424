"""Estimate the time left of a plan.

Estimates of jobs are corrected by how long finished ones took.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.plan.graph import Job


@dataclass
class _Kind:
    """Jobs of one kind: seconds of those that wait, and the pace of those that ended."""

    waiting: float = 0.0
    longest: list[tuple[float, str]] = field(default_factory=list)
    """Heap of negative seconds; jobs that wait no more are dropped when they come to its top."""
    took: float = 0.0
    told: float = 0.0


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
        self._seconds = {job.id: max(seconds, 0.1) for job, seconds in jobs}
        self._kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
        self._waiting: set[str] = set()
        self._begun: dict[str, tuple[str, float]] = {}
        for job, _ in jobs:
            self._wait(job)

    @property
    def begun(self) -> int:
        """Number of jobs begun, finished and failed ones included."""
        return self.total - len(self._waiting)

    def begin(self, job: Job) -> None:
        """Note that a job begins."""
        self._leave(job)
        self._begun[job.id] = (job.kind, time.monotonic())

    def again(self, job: Job) -> None:
        """Note that a job that began waits once more."""
        del self._begun[job.id]
        self._wait(job)

    def end(self, job: Job) -> None:
        """Note that a job ends.

        One that never began says nothing about the pace.
        """
        if job.id in self._begun:
            kind = self._kinds[job.kind]
            kind.took += time.monotonic() - self._begun.pop(job.id)[1]
            kind.told += self._seconds[job.id]
        else:
            self._leave(job)

    def left(self) -> float:
        """Return the estimated seconds until all jobs are done."""
        now = time.monotonic()
        took, told = (sum(getattr(kind, name) for kind in self._kinds.values()) for name in ("took", "told"))
        paces = {}
        rest, longest = 0.0, 0.0
        for name, kind in self._kinds.items():
            pace = paces[name] = kind.took / kind.told if kind.told else took / told if told else 1.0
            rest += kind.waiting * pace
            while kind.longest and kind.longest[0][1] not in self._waiting:
                heapq.heappop(kind.longest)
            if kind.longest:
                longest = max(longest, -kind.longest[0][0] * pace)
        for identity, (name, begun) in self._begun.items():
            own = max(self._seconds[identity] * paces[name] - (now - begun), 0.0)
            rest, longest = rest + own, max(longest, own)
        return max(rest / self.workers, longest)

    def _wait(self, job: Job) -> None:
        self._waiting.add(job.id)
        kind = self._kinds[job.kind]
        kind.waiting += self._seconds[job.id]
        heapq.heappush(kind.longest, (-self._seconds[job.id], job.id))

    def _leave(self, job: Job) -> None:
        self._waiting.discard(job.id)
        kind = self._kinds[job.kind]
        kind.waiting = max(kind.waiting - self._seconds[job.id], 0.0)
