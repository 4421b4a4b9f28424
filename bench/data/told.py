"""Progress of the first reading of a user's files, told on stderr where no job shows it."""

from __future__ import annotations

import sys
import time

from bench.progress import Progress

FIRST_AFTER = 2.0
"""Seconds of work before the first line: what is over sooner needs none."""
EVERY = 5.0
"""Seconds between lines."""


def told(what: str) -> Progress:
    """Return a progress callback that writes a line now and then: what, how far, and how long it will still take.

    Args:
        what: What is read, e.g. ``shapenet55:ShapeNet55-34``.
    """
    began = last = time.monotonic()
    first, seen = 0, 0

    def report(done: int, total: int, stage: str = "", note: str = "") -> None:
        nonlocal began, last, first, seen
        now = time.monotonic()
        if done < seen or seen == 0:  # another stage begins; what an earlier run had done counts for no speed
            began, first = now, done
            last = min(last, now)
        seen = done
        wait = FIRST_AFTER if last <= began else EVERY
        if now - max(last, began) < wait or done >= total:
            return
        last = now
        left = (now - began) / max(done - first, 1) * (total - done)
        print(f"reading {what}: {done:,} of {total:,}, {left:.0f} s left", file=sys.stderr, flush=True)

    return report
