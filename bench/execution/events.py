"""Messages of a worker to its parent, as JSON lines."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Literal

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """A message of a worker.

    Attributes:
        kind: ``stage`` (progress of a stage), ``waiting`` (another process does this work), ``warning`` (text
            for the user), ``run`` (a run was stored), ``failed`` (a run, or with an empty key the whole job, failed),
            ``alive`` (from the pool, once a minute: the job goes on).
        stage: Name of the stage, e.g. ``pretrain``.
        done: Units done; with the stages ``start`` and ``end`` of the pool, jobs of the plan that have begun.
        total: Units in all, or jobs of the plan; 0 when unknown.
        left: Seconds until the whole plan is done, where the pool says so.
        note: Free text: samples per second, whom we wait for, the error.
        key: Key of the run concerned.
        diverged: Whether it failed because a number of a network stopped being finite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["stage", "waiting", "warning", "run", "failed", "alive"]
    stage: str = ""
    done: float = 0
    total: float = 0
    left: float = 0
    note: str = ""
    key: str = ""
    diverged: bool = False


class Channel:
    """Writes events to a file descriptor; drops too frequent progress."""

    def __init__(self, descriptor: int, interval: float = 0.2) -> None:
        self._descriptor = descriptor
        self._interval = interval
        self._last: tuple[str, float] = ("", 0.0)
        self._lock = threading.Lock()

    def send(self, event: Event) -> None:
        """Send an event; ignore a parent that is gone."""
        line = event.model_dump_json(exclude_defaults=True) + "\n"
        with self._lock:
            try:
                os.write(self._descriptor, line.encode())
            except OSError:
                return

    def progress(self, done: int, total: int, what: str = "", note: str = "") -> None:
        """Report progress of a stage, a few times a second.

        Start and end are always sent.
        """
        now = time.monotonic()
        name, at = self._last
        if name == what and now - at < self._interval and 0 < done < total:
            return
        self._last = (what, now)
        self.send(Event(kind="stage", stage=what, done=done, total=total, note=note))


class WarningsToParent(logging.Handler):
    """Logging handler that sends the harness's warnings to the parent."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(logging.WARNING)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send one warning."""
        self._channel.send(Event(kind="warning", note=record.getMessage()))
