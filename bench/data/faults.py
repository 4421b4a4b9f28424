"""Collect the faults of a user's files.

Outside of `collecting` the first fault is raised.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from bench.errors import DataError

SHOWN = 50
"""Number of faults that are kept; further ones are only counted."""


@dataclass
class Faults:
    """Distinct faults, one line each.

    Attributes:
        lines: The first `SHOWN` faults.
        more: Number of further faults.
        seen: All lines, and the places that were searched (see `first_visit`).
    """

    lines: list[str] = field(default_factory=list)
    more: int = 0
    seen: set[Hashable] = field(default_factory=set)

    def add(self, line: str) -> None:
        """Keep a fault, or count it."""
        if line in self.seen:
            return
        self.seen.add(line)
        if len(self.lines) < SHOWN:
            self.lines.append(line)
        else:
            self.more += 1


_collected: ContextVar[Faults | None] = ContextVar("faults of a set that is checked", default=None)


@contextmanager
def collecting() -> Iterator[Faults]:
    """Collect faults in a ``with`` block instead of raising them."""
    faults = Faults()
    token = _collected.set(faults)
    try:
        yield faults
    finally:
        _collected.reset(token)


def first_visit(at: Hashable) -> bool:
    """Return whether a place is searched for the first time.

    Always False outside of `collecting`.
    """
    faults = _collected.get()
    if faults is None or at in faults.seen:
        return False
    faults.seen.add(at)
    return True


def collect_or_raise(error: DataError, first: DataError | None = None) -> DataError:
    """Collect a fault and return the first one.

    The caller raises it after checking the other files. Outside of `collecting` it is raised here.
    """
    faults = _collected.get()
    if faults is None:
        raise error
    faults.add(str(error))
    return first or error
