"""Do work once, although several processes may want it.

The one that holds the lease does it; the others wait and find it done.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.store.leases import Holder
from bench.store.run_folders import WorkerStore

OnWait = Callable[[str], None]


def once(
    store: WorkerStore,
    kind: str,
    key: str,
    *,
    done: Callable[[], bool],
    work: Callable[[], None],
    on_wait: OnWait,
    note: str,
) -> None:
    """Do work under its lease unless it is done.

    Args:
        store: Holds the leases.
        kind: Kind of work.
        key: Key of the work.
        done: Whether its result is in place; asked again after every wait.
        work: Does it.
        on_wait: Told who does it meanwhile, in words, at least once a second.
        note: Description of the work, for others who wait.
    """
    while not done():
        lease = store.lease(kind, key, note=note)
        if lease is None:
            store.wait_for(kind, key, on_wait=lambda holder, _: on_wait(_words(holder, note)))
            continue
        with lease:
            if not done():
                work()


def _words(holder: Holder, note: str) -> str:
    """Describe who does the work and who waits."""
    host = holder.host.partition("/")[0]  # the rest is the boot id and the process namespace
    since = time.strftime("%H:%M", time.localtime(holder.claimed_at))
    waits = f"; then goes on: {note}" if note and note != holder.note else ""
    work = f"{holder.kind} since {since} ({holder.note or 'unnamed'})"
    return f"process {holder.pid} on {host} has been making this {work}{waits}"
