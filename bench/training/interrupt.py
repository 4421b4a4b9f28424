"""Save and stop on Ctrl-C, SIGTERM or a closed terminal."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from bench.signals import stop_signals


class StopRequest:
    """Context manager that turns a stop signal into a flag.

    The step under way is finished after the first signal of `bench.signals`.

    The previous handlers come back with the first signal, so that a second Ctrl-C stops at once, and at exit.
    Outside the main thread signals cannot be caught and the context does nothing.

    Attributes:
        name: Name of the signal that asked for a stop, or None.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._previous: dict[signal.Signals, signal.Handlers] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                self._previous[number] = signal.signal(number, self._note)  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.name = signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            # None: the handler was not installed from Python, and cannot be put back from it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
