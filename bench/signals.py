"""Requests to stop: Ctrl-C, a scheduler's SIGTERM, a closed terminal's SIGHUP; all end alike.

A signal that was ignored when the process started stays ignored (``nohup``, a shell's background jobs).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code of what was stopped by any of them."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that ask this process to stop, without those it ignores."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    known = [signal.Signals[name] for name in names if name in signal.Signals.__members__]
    return tuple(number for number in known if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def like_ctrl_c() -> Iterator[None]:
    """Let every stop signal raise `KeyboardInterrupt` in the main thread, which must be the one that enters."""
    before = {number: signal.signal(number, _interrupt) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(f"stopped by {signal.Signals(number).name}")
