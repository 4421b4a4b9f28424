"""Throttle and measure the progress of a training stage."""

from __future__ import annotations

import time
from collections.abc import Mapping

from bench.progress import Progress

MIN_INTERVAL_S = 0.5


class Pace:
    """Report progress at intervals and measure throughput.

    The first step of a session is left out of the pace: it holds compilation and the first touch of memory.

    Args:
        progress: Told about optimiser steps, those before a resume included.
        min_interval_s: Least time between two calls; the last one always passes.
    """

    def __init__(self, progress: Progress, min_interval_s: float = MIN_INTERVAL_S) -> None:
        self._progress = progress
        self._interval = min_interval_s
        self._sent = -float("inf")
        self._origin: tuple[float, int] | None = None

    def due(self, done: int, total: int) -> bool:
        """Record `done` finished steps; return whether to report now."""
        now = time.perf_counter()
        if self._origin is None:
            self._origin = (now, done)
        return done >= total or now - self._sent >= self._interval

    def send(self, stage: str, done: int, total: int, losses: Mapping[str, float], batch: int) -> None:
        """Report progress with the newest losses and the throughput.

        The first step of this session does not count for the throughput.

        Args:
            stage: Name of the stage in words, e.g. ``pretrain point-mae``.
            done: Optimiser steps done.
            total: Optimiser steps in all.
            losses: Newest value of each loss.
            batch: Samples of a step.
        """
        now = time.perf_counter()
        self._sent = now
        notes = [f"{name} {value:.4f}" for name, value in losses.items()]
        if self._origin is not None and done > self._origin[1] and now > self._origin[0]:
            notes.append(f"{batch * (done - self._origin[1]) / (now - self._origin[0]):.0f} samples/s")
        self._progress(done, total, stage, ", ".join(notes))
