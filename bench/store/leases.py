"""Leases: only one process does a piece of work.

A lease is a row (kind, key). Its holder writes a heartbeat every few seconds from a thread. A holder on this machine
is dead when its process is gone, and is replaced at once; a holder on another machine is dead when its heartbeat is
older than `STALE_SECONDS` on the database's clock, which all of them share. A process on this machine that
merely hangs keeps its lease. A lease that was taken over wrongly costs repeated work, never a mixed result, because
folders are published whole and the first one stays.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from sqlalchemy import ColumnElement, CursorResult, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from bench.errors import BenchError
from bench.store import jsontext
from bench.store.database import Database
from bench.store.processes import host_name, process_alive, process_start
from bench.store.schema import LeaseTable

HEARTBEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
FORGOTTEN_SECONDS = 24 * 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holder:
    """Holder of a lease.

    Attributes:
        kind: Kind of work, e.g. ``"run"``, ``"pretrain"``.
        key: Content key of the work.
        owner: Unique name of this claim.
        host: Machine, its boot and its process namespace (process ids mean something only inside these).
        pid: Process id.
        process_start: Start of the process on a clock of its host, to recognise a reused process id.
        claimed_at: Seconds since the epoch, on the database's clock.
        heartbeat_at: The same.
        note: The holder's description of its work.
    """

    kind: str
    key: str
    owner: str
    host: str
    pid: int
    process_start: float
    claimed_at: float
    heartbeat_at: float
    note: str

    def alive(self, now: float, silent_seconds: float = STALE_SECONDS) -> bool:
        """Whether the holder may still be at work.

        On another machine, whether it was heard of lately.

        Args:
            now: Time on the clock of its heartbeat (`Database.now`).
            silent_seconds: Seconds after which a holder elsewhere counts as dead.
        """
        if self.host == host_name():
            return process_alive(self.pid, self.process_start)
        return now - self.heartbeat_at <= silent_seconds


class Lease:
    """A lease of this process; a context manager releases it.

    The heartbeat starts with the claim and ends with `release` or the process.
    """

    def __init__(self, database: Database, holder: Holder) -> None:
        self.holder = holder
        self._database = database
        self._done = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, name=f"lease {holder.kind} {holder.key[:12]}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def renew(self) -> bool:
        """Write a heartbeat; return False if the lease was lost.

        From then on another process holds it.

        Raises:
            SetupError: The database cannot be written; the lease is not lost by that.
        """
        if self._lost or self._done.is_set():
            return False
        with self._database.write(alone=False) as session:
            now = self._database.now(session)
            done = session.execute(update(LeaseTable).where(self._mine()).values(heartbeat_at=now))
            assert isinstance(done, CursorResult)
            self._lost = done.rowcount == 0
        return not self._lost

    def still_mine(self) -> bool:
        """Return whether this process still holds the lease.

        To be called before publishing what was made under it.
        """
        if self._lost or self._done.is_set():
            return False
        with self._database.read() as session:
            self._lost = session.execute(select(LeaseTable.key).where(self._mine())).first() is None
        return not self._lost

    def release(self) -> None:
        """Release the lease; harmless if already released or lost."""
        if self._done.is_set():
            return
        self._done.set()
        self._thread.join()
        try:
            with self._database.write(alone=False) as session:
                session.execute(delete(LeaseTable).where(self._mine()))
        except BenchError as error:
            # Do not fail finished work: the lease ends with this process anyway.
            _log.warning("lease on %s %s not given back: %s", self.holder.kind, self.holder.key[:12], error)

    def _mine(self) -> ColumnElement[bool]:
        return and_(
            LeaseTable.kind == self.holder.kind,
            LeaseTable.key == self.holder.key,
            LeaseTable.owner == self.holder.owner,
        )

    def _beat(self) -> None:
        level = logging.WARNING
        while not self._done.wait(HEARTBEAT_SECONDS):
            try:
                if not self.renew():
                    return
            except BenchError as error:
                _log.log(level, "heartbeat of %s %s: %s", self.holder.kind, self.holder.key[:12], error)
                level = logging.DEBUG  # Warn once; with a full disk this would repeat every few seconds.


def claim(database: Database, kind: str, key: str, note: str = "") -> Lease | None:
    """Claim a piece of work.

    Args:
        database: The index.
        kind: Kind of work, at most 64 characters.
        key: Content key of the work, at most 256 characters.
        note: Shown to those who wait.

    Returns:
        The lease, or None where a living process holds it (this one included).

    Raises:
        SetupError: The database cannot be written.
    """
    try:
        with database.write(alone=False) as session:
            now = database.now(session)
            mine = Holder(
                kind, key, uuid.uuid4().hex, host_name(), os.getpid(), process_start(os.getpid()) or 0.0, now, now,
                jsontext.storable(note),
            )  # fmt: skip
            found = session.execute(
                select(LeaseTable).where(LeaseTable.kind == kind, LeaseTable.key == key).with_for_update()
            ).scalar_one_or_none()
            if found is None:
                session.execute(insert(LeaseTable).values(**vars(mine)))
            elif _holder(found).alive(now):
                return None
            else:
                session.execute(
                    update(LeaseTable)
                    .where(LeaseTable.kind == kind, LeaseTable.key == key, LeaseTable.owner == found.owner)
                    .values(**vars(mine))
                    .execution_options(synchronize_session=False)
                )
    except IntegrityError:
        return None  # On a server two processes may insert at once; the other one's row is kept.
    return Lease(database, mine)


def holder(database: Database, kind: str, key: str) -> Holder | None:
    """Return the living holder of a lease, or None."""
    with database.read() as session:
        row, now = session.get(LeaseTable, (kind, key)), database.now(session)
        found = None if row is None else _holder(row)
    return found if found is not None and found.alive(now) else None


def holders(database: Database) -> list[Holder]:
    """Return all recorded leases, dead holders included, oldest first."""
    return _holders(database)[0]


def living(database: Database) -> list[Holder]:
    """Return the leases of living holders, oldest first."""
    found, now = _holders(database)
    return [one for one in found if one.alive(now)]


def _holders(database: Database) -> tuple[list[Holder], float]:
    """Return all recorded leases, and the time they were read."""
    with database.read() as session:
        rows = session.execute(select(LeaseTable).order_by(LeaseTable.claimed_at)).scalars()
        return [_holder(row) for row in rows], database.now(session)


def wait_for(
    database: Database,
    kind: str,
    key: str,
    on_wait: Callable[[Holder, float], None] | None = None,
    *,
    timeout: float | None = None,
) -> bool:
    """Wait until no living process holds a lease.

    Afterwards the work may be done or may have failed: look for its result, and claim it again if there is none.

    Args:
        database: The index.
        kind: Kind of work.
        key: Content key of the work.
        on_wait: Called with the holder and the seconds waited so far, at least once per second.
        timeout: Seconds to wait at most; None for as long as it takes.

    Returns:
        False where the time ran out.
    """
    start = time.monotonic()
    pause = 0.05
    while (found := holder(database, kind, key)) is not None:
        waited = time.monotonic() - start
        if timeout is not None and waited >= timeout:
            return False
        if on_wait is not None:
            on_wait(found, waited)
        time.sleep(pause)
        pause = min(1.0, pause * 1.5)
    return True


def remove_dead(database: Database) -> int:
    """Delete leases of dead holders; return how many.

    A holder on this machine is dead when its process is gone. One elsewhere must have been silent for a day.
    """
    found, now = _holders(database)
    dead = [one for one in found if not one.alive(now, FORGOTTEN_SECONDS)]
    if dead:
        with database.write(alone=False) as session:
            for one in dead:
                mine = (LeaseTable.kind == one.kind, LeaseTable.key == one.key, LeaseTable.owner == one.owner)
                session.execute(delete(LeaseTable).where(*mine, LeaseTable.heartbeat_at == one.heartbeat_at))
    return len(dead)


def _holder(row: LeaseTable) -> Holder:
    """Return a row's holder; an invalid row's counts as dead."""
    kind, key, owner, host, note = (
        jsontext.storable(str(value)) for value in (row.kind, row.key, row.owner, row.host, row.note)
    )
    times = (row.process_start, row.claimed_at, row.heartbeat_at)
    if type(row.pid) is not int or not all(isinstance(value, int | float) for value in times):
        return Holder(kind, key, owner, "", 0, 0.0, 0.0, 0.0, note)
    return Holder(kind, key, owner, host, row.pid, *times, note)
