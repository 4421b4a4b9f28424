"""Faults of a user's files: the first ends a run, a check collects them all."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from bench.errors import DataError

SHOWN = 50
"""Faults of one set that are kept; more are counted."""


@dataclass
class Faults:
    """Faults that were found, one line each, each once.

    Attributes:
        lines: The first `SHOWN`.
        more: Number of further ones.
        seen: Lines, and what was searched already (see `first_look`).
    """

    lines: list[str] = field(default_factory=list)
    more: int = 0
    seen: set[Hashable] = field(default_factory=set)

    def add(self, line: str) -> None:
        """Keep or count one fault."""
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
    """Go on after a fault in this context, file after file, and keep what is found."""
    faults = Faults()
    token = _collected.set(faults)
    try:
        yield faults
    finally:
        _collected.reset(token)


def first_look(at: Hashable) -> bool:
    """Whether something has not been searched for faults in this context; true once, and never in a run."""
    faults = _collected.get()
    if faults is None or at in faults.seen:
        return False
    faults.seen.add(at)
    return True


def passed_over(error: DataError, first: DataError | None = None) -> DataError:
    """Note a fault and return the first, to be raised once the other files have been looked at; raise it in a run."""
    faults = _collected.get()
    if faults is None:
        raise error
    faults.add(str(error))
    return first or error
