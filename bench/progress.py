"""Progress callbacks: the one signature used everywhere."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Callback that reports how far long work is."""

    def __call__(self, done: int, total: int, what: str = "", note: str = "", /) -> None:
        """Report progress.

        Args:
            done: Units done.
            total: Units in all.
            what: Name of the work or of its stage, e.g. ``heads 5w1s``; empty where only the caller knows it.
            note: Further figures to show, e.g. losses and samples per second.
        """


def silent(done: int, total: int, what: str = "", note: str = "") -> None:
    """Show nothing."""


def named(progress: Progress, what: str) -> Progress:
    """Return a callback that reports under a given name."""

    def report(done: int, total: int, _: str = "", note: str = "") -> None:
        progress(done, total, what, note)

    return report


def part(progress: Progress, before: int, total: int) -> Progress:
    """Return a callback for one part of longer work.

    Args:
        progress: Told about the whole.
        before: Units of the whole that are done before the part.
        total: Units of the whole.
    """

    def report(done: int, _: int, what: str = "", note: str = "") -> None:
        progress(before + done, total, what, note)

    return report
