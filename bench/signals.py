"""Stop signals: Ctrl-C, SIGTERM, SIGHUP, SIGUSR2, all handled alike.

SLURM announces the end of a time limit with SIGUSR2 here (`bench.execution.slurm`).

A signal that was ignored when the process started stays ignored (``nohup``, a shell's background jobs).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code of a process stopped by one of these signals."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop this process."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2")
    known = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return tuple(number for number in known if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def like_ctrl_c() -> Iterator[None]:
    """Raise `KeyboardInterrupt` on every stop signal.

    Only the main thread may enter.
    """
    before = {number: signal.signal(number, _interrupt) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")
