"""Requests to stop: a scheduler's or a terminal's must end a command as Ctrl-C does, and keep its state."""

from __future__ import annotations

import signal

import pytest

from bench.signals import like_ctrl_c, stop_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2])
def test_every_request_to_stop_is_ctrl_c(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt, match=number.name), like_ctrl_c():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_what_was_ignored_at_the_start_stays_ignored() -> None:
    """Under nohup a closed terminal stops nothing."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stop_signals() == (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
        with like_ctrl_c():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
