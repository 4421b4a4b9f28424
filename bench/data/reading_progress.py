"""Report progress of reading files on stderr.

For reads that no job shows.
"""

from __future__ import annotations

import sys
import time

from bench.progress import Progress

FIRST_AFTER = 2.0
"""Seconds of work before the first line, so that short work reports nothing."""
EVERY = 5.0
"""Seconds between lines."""


def progress_on_stderr(what: str) -> Progress:
    """Return a progress callback that writes lines to stderr.

    A line has the work, the count and the time left.

    Args:
        what: Name of the data, e.g. ``shapenet55:ShapeNet55-34``.
    """
    began = last = time.monotonic()
    first, seen = 0, 0

    def report(done: int, total: int, stage: str = "", note: str = "") -> None:
        nonlocal began, last, first, seen
        now = time.monotonic()
        if done < seen or seen == 0:  # a new stage: earlier work does not count for the speed
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
