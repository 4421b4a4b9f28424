"""Progress messages of a running stage."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

MIN_INTERVAL_S = 0.5


@dataclass(frozen=True)
class ProgressEvent:
    """One moment of a stage.

    Attributes:
        stage: What is running, in words, e.g. ``pretrain point-mae``.
        done: Optimiser steps done, those before a resume included.
        total: Optimiser steps in all.
        epoch: Epoch in progress or just finished, counted from 1.
        epochs: Epochs in all.
        losses: Newest value of each loss.
        samples_per_second: Training throughput of this session without its first step, or None before the
            second step.
        eta_s: Seconds to go at that pace, or None before the second step.
    """

    stage: str
    done: int
    total: int
    epoch: int
    epochs: int
    losses: dict[str, float]
    samples_per_second: float | None
    eta_s: float | None


OnProgress = Callable[[ProgressEvent], None]


def unseen(event: ProgressEvent) -> None:
    """Progress callback that shows nothing."""


class Pace:
    """Throttles events and measures the pace.

    The first step of a session is left out of the pace: it holds compilation and the first touch of memory.

    Args:
        on_progress: Receives the events.
        min_interval_s: Least time between two events; the last one always passes.
    """

    def __init__(self, on_progress: OnProgress, min_interval_s: float = MIN_INTERVAL_S) -> None:
        self._on_progress = on_progress
        self._interval = min_interval_s
        self._sent = -float("inf")
        self._origin: tuple[float, int] | None = None

    def due(self, done: int, total: int) -> bool:
        """Note that `done` steps are finished, and tell whether it is time for an event."""
        now = time.perf_counter()
        if self._origin is None:
            self._origin = (now, done)
        return done >= total or now - self._sent >= self._interval

    def send(
        self, stage: str, done: int, total: int, epoch: int, epochs: int, losses: dict[str, float], batch: int
    ) -> None:
        """Send an event."""
        now = time.perf_counter()
        self._sent = now
        seconds_per_step = None
        if self._origin is not None and done > self._origin[1] and now > self._origin[0]:
            seconds_per_step = (now - self._origin[0]) / (done - self._origin[1])
        self._on_progress(
            ProgressEvent(
                stage=stage,
                done=done,
                total=total,
                epoch=epoch,
                epochs=epochs,
                losses=losses,
                samples_per_second=None if seconds_per_step is None else batch / seconds_per_step,
                eta_s=None if seconds_per_step is None else (total - done) * seconds_per_step,
            )
        )
