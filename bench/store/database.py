"""The database behind the index, shared by processes.

SQLite by default (``BEGIN IMMEDIATE`` for writers, foreign keys on), PostgreSQL by URL. SQLite keeps no write-ahead
log, because even readers of one must create files. Where processes on several machines share one results folder, give
a PostgreSQL URL. Several results folders may share a database; each has rows of its own.
"""

from __future__ import annotations

import functools
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from bench.errors import SetupError, UsageError
from bench.store.failures import DamagedDatabaseError, database_failure, file_failure
from bench.store.filelock import file_lock
from bench.store.files import NoRegularFileError, file_head
from bench.store.publish import sync_folder
from bench.store.schema import VERSION, Base
from bench.store.scratch import scratch_name

FILE_NAME = "bench.sqlite"
BUSY_SECONDS = 30.0
_COMPANIONS = ("-wal", "-shm", "-journal")
_ALEMBIC = "alembic_version"
"""Table that only the first version of the index has."""


_ANY_TEXT = functools.partial(str, encoding="utf-8", errors="surrogateescape")
"""Makes texts of what SQLite holds: a row that was tampered with must be readable, to be seen as such."""
_SQLITE, _WRITE_AHEAD = b"SQLite format 3\0", 2
"""First bytes of an SQLite file, and the two bytes that mark a write-ahead log."""

_WRITERS, _MAKERS = 72_031_109, 7_203_110_902
"""Numbers of a server's advisory locks: of writers of one results folder, and of makers of the tables."""

Fill = Callable[[Session], None]
"""Writes the rows of a database that was just made."""


class Condition(Enum):
    """State of a database."""

    absent = "does not exist"
    current = "is as it should be"
    older = "was written by an older bench"
    damaged = "is damaged"


class NewerDatabaseError(SetupError):
    """A newer bench made the index; it is left alone."""


class ForeignDatabaseError(SetupError):
    """The database belongs to another program."""


class Database:
    """A database with read and write transactions.

    Connections live for one block: no file handle is carried across a fork, and a rebuild can replace the file
    of a damaged SQLite database between blocks (a lock file keeps it from doing so inside one).

    Attributes:
        results: Results folder.
        url: Database URL.
        path: File of an SQLite database, None for a server.
        owner: The results folder as the rows name it: empty where the file lies in it, so that both can be moved.
        readonly: Whether only `read` is allowed, which then creates no file, not even a lock.
    """

    def __init__(
        self, results: Path, url: str | URL | None = None, *, readonly: bool = False, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self.results = results
        self.readonly = readonly
        self.busy_seconds = busy_seconds
        default = URL.create("sqlite", database=str(results / FILE_NAME))
        self.url = default if url is None else parse_url(url) if isinstance(url, str) else url
        self.path = Path(self.url.database) if self.is_sqlite and self.url.database else None
        inside = self.path is not None and self.path.absolute().parent == results.absolute()
        self.owner = "" if inside else str(results.absolute())
        engine = self._engine(self.url)
        # A server gives every statement a snapshot of its own unless told otherwise.
        self._reader = engine if self.is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        self._writer = engine.execution_options(bench_write=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def shown(self) -> str:
        """Path, or URL without password."""
        return str(self.path) if self.path is not None else self.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session inside one read transaction (a consistent snapshot).

        Raises:
            SetupError: One line saying what is wrong with the database and how to mend it.
        """
        with self._translated(), ExitStack() as stack:
            if not self.readonly:
                stack.enter_context(self._lock(exclusive=False))
            session = stack.enter_context(Session(self._reader))
            stack.enter_context(session.begin())
            yield session

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Session]:
        """Yield a session inside one write transaction.

        What was read in it stays true until it commits: no other process writes rows of this results folder meanwhile.

        Args:
            alone: Keep others from writing. False for leases, whose heartbeats must not wait for minutes while a
                server's index is made again; SQLite has one writer at a time in any case.

        Raises:
            SetupError: One line saying what is wrong with the database and how to mend it.
            sqlalchemy.exc.IntegrityError: A row that must be unique exists already.
        """
        if self.readonly:
            raise SetupError(f"database '{self.shown}' was opened for reading only")
        with self._translated(), self._lock(exclusive=False), Session(self._writer) as session, session.begin():
            if alone and not self.is_sqlite:
                lock = "SELECT pg_advisory_xact_lock(:number, hashtext(:owner))"
                session.execute(text(lock), {"number": _WRITERS, "owner": self.owner})
            yield session

    def now(self, session: Session) -> float:
        """Return the time on the clock that all users of the database share.

        Seconds since the epoch. Machines that share a server need not agree on the time; those that share an SQLite
        file are one machine.
        """
        if self.is_sqlite:
            return time.time()
        return float(session.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

    def condition(self) -> tuple[Condition, str]:
        """Return the database's condition, and problems in words.

        Only tables and columns are looked at; a page that cannot be read shows when it is read.

        Raises:
            NewerDatabaseError: A newer bench wrote it.
            ForeignDatabaseError: Another program did.
            SetupError: It cannot be asked.
        """
        if self.path is not None:
            try:
                head = file_head(self.path, 20)
            except FileNotFoundError:
                return Condition.absent, ""
            except NoRegularFileError as error:
                return Condition.damaged, str(error)
            except OSError as error:
                raise file_failure("read", self.path, error) from error
            if not head:
                return Condition.absent, ""
            if not head.startswith(_SQLITE):
                return Condition.damaged, "it is no database"
            if _WRITE_AHEAD in head[18:20]:
                return Condition.older, "it keeps a write-ahead log"
        try:
            with self._translated(), Session(self._reader) as session, session.begin():
                return _condition(session.connection(), self.shown)
        except DamagedDatabaseError as error:
            return Condition.damaged, error.found

    def open(self, fill: Fill, replace: Callable[[str], None]) -> None:
        """Make sure a current, filled database exists.

        Args:
            fill: Writes the rows of a new database (the results folder may hold runs already).
            replace: Puts a new file in the place of one that is older or damaged, under the exclusive lock; is told
                what is wrong with it.

        Raises:
            SetupError: A newer bench or another program wrote it, or it cannot be created.
        """
        if self.condition()[0] is Condition.current:
            return
        with self.exclusive_lock():
            found, why = self.condition()
            if found is Condition.current:
                return
            if self.path is None:
                self._make_tables(fill)
            elif found is Condition.absent:
                self.create_file(fill)
            else:
                replace(f"{found.value}{why and f': {why}'}")

    def create_file(self, fill: Fill) -> None:
        """Build a filled SQLite database and rename it into place.

        What stands there is replaced.

        The caller holds the exclusive lock.

        Raises:
            SetupError: It cannot be written; nothing is left behind.
        """
        assert self.path is not None
        draft = self.path.with_name(f"{scratch_name()}-{self.path.name}")
        try:
            with self._translated(draft):
                engine = self._engine(URL.create("sqlite", database=str(draft)))
                with Session(engine.execution_options(bench_write=True)) as session, session.begin():
                    _create_tables(session.connection())
                    fill(session)
            for leftover in self.companions():
                # The log of an earlier file would be replayed into the new one.
                leftover.unlink(missing_ok=True)
            draft.rename(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise file_failure("create", self.path, error) from error
        finally:
            for suffix in ("", *_COMPANIONS):
                draft.with_name(draft.name + suffix).unlink(missing_ok=True)

    def companions(self) -> list[Path]:
        """Files that SQLite keeps beside the database."""
        return [] if self.path is None else [self.path.with_name(self.path.name + end) for end in _COMPANIONS]

    def exclusive_lock(self) -> AbstractContextManager[None]:
        """Keep other processes from writing to the SQLite file.

        For servers this does nothing.
        """
        return self._lock(exclusive=True)

    def _make_tables(self, fill: Fill) -> None:
        """Make or remake a server's tables in one transaction.

        Leases that are there stay.
        """
        with self._translated(), Session(self._writer) as session, session.begin():
            connection = session.connection()
            # Servers have no lock file: the first of several starting processes does it, the others wait.
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MAKERS})
            if _condition(connection, self.shown)[0] is Condition.current:
                return
            there = set(inspect(connection).get_table_names())
            for table in (_ALEMBIC, "metrics", "runs", "bench_schema"):
                if table in there:
                    connection.execute(text(f"DROP TABLE {table}"))
            _create_tables(connection)
            fill(session)

    @contextmanager
    def _lock(self, *, exclusive: bool) -> Iterator[None]:
        with ExitStack() as stack:
            if self.path is not None:
                path = self.path.with_name(self.path.name + ".lock")
                try:
                    stack.enter_context(file_lock(path, exclusive=exclusive, timeout=self.busy_seconds))
                except OSError as error:
                    raise file_failure("lock", path, error) from error
            yield

    def _engine(self, url: URL) -> Engine:
        path = Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None
        try:
            if path is None:
                return create_engine(url, poolclass=NullPool)
            engine = create_engine(
                _read_only_url(path) if self.readonly else url,
                poolclass=NullPool,
                connect_args={"timeout": self.busy_seconds, "check_same_thread": False},
            )
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise UsageError(
                f"database URL '{self.url.render_as_string()}' needs a driver that is not installed ({error}); "
                "install it (for PostgreSQL: pip install 'recon-bench[postgres]', and postgresql+psycopg://...)"
            ) from error
        _configure_sqlite(engine)
        return engine

    @contextmanager
    def _translated(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except (DBAPIError, sqlite3.Error) as error:
            found = getattr(error, "orig", None) or error
            raise database_failure(self.shown, path or self.path, found) from error
        except UnicodeDecodeError as error:  # SQLite's message may contain bytes of a damaged page
            raise DamagedDatabaseError(self.shown, "a page of it is no text") from error


def parse_url(url: str) -> URL:
    """Parse a database URL.

    Raises:
        UsageError: It is no URL, or an in-memory SQLite database, which several processes cannot share.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # Do not show the URL: it may hold a password that cannot be recognised.
        raise UsageError(
            "the database URL cannot be parsed; expected e.g. postgresql+psycopg://user@host/name"
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(f"database URL '{parsed.render_as_string()}' is not supported; expected postgresql or sqlite")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise UsageError(f"database URL '{url}' is in memory and cannot be shared; give a file: sqlite:///path/to/file")
    return parsed


def read_rows(session: Session, query: Select[Any]) -> Sequence[Sequence[Any]]:
    """Return all rows of a query as the driver gives them.

    This is twice as fast as the reading that survives rows which were tampered with, its fallback.

    Raises:
        sqlalchemy.exc.DBAPIError, sqlite3.Error: They cannot be read.
    """
    connection = session.connection()
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name != "sqlite":
        return connection.execute(query).all()
    try:
        driver.text_factory = str
        return _plain_rows(connection, query)
    except (OperationalError, sqlite3.OperationalError):  # Perhaps of a text that is none.
        driver.text_factory = _ANY_TEXT
        return _plain_rows(connection, query)
    finally:
        driver.text_factory = _ANY_TEXT


def _plain_rows(connection: Connection, query: Select[Any]) -> Sequence[Sequence[Any]]:
    """Return rows as the driver's own tuples.

    SQLAlchemy's rows cost as much again, and there may be millions.
    """
    with connection.execute(query) as result:
        cursor: Any = result.cursor
        found: Sequence[Sequence[Any]] = cursor.fetchall()
        return found


def _read_only_url(path: Path) -> URL:
    """Return a URL that opens a file for reading only."""
    return URL.create("sqlite", database=path.absolute().as_uri(), query={"uri": "true", "mode": "ro"})


def _configure_sqlite(engine: Engine) -> None:
    def prepare(connection: Any, record: object) -> None:
        # The driver would otherwise open transactions on its own, deferred and too late.
        connection.isolation_level = None
        connection.text_factory = _ANY_TEXT
        cursor = connection.cursor()
        # Of a new file: heads of rows are read a third faster from large pages, which also waste less.
        cursor.execute("PRAGMA page_size = 16384")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA trusted_schema = OFF")
        # A power cut can lose the last commits; the folders are the truth.
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    def begin(connection: Connection) -> None:
        wanted = connection.get_execution_options().get("bench_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if wanted else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)


def _create_tables(connection: Connection) -> None:
    Base.metadata.create_all(connection)
    connection.execute(text("INSERT INTO bench_schema (version) VALUES (:version)"), {"version": VERSION})


def _condition(connection: Connection, shown: str) -> tuple[Condition, str]:
    tables = _tables(connection)
    if not tables:
        return Condition.absent, ""
    if "bench_schema" not in tables:
        if _ALEMBIC in tables and _scalars(connection, f"SELECT version_num FROM {_ALEMBIC}") == ["0001"]:
            return Condition.older, ""
        if not tables.keys() & {"leases", "metrics"}:
            raise ForeignDatabaseError(f"database '{shown}' is not one of bench's; use another --results or URL")
        return Condition.damaged, "no table bench_schema"
    versions = _scalars(connection, "SELECT version FROM bench_schema")
    if len(versions) != 1 or type(versions[0]) is not int:
        return Condition.damaged, "it does not say its version"
    if versions[0] > VERSION:
        raise NewerDatabaseError(
            f"database '{shown}' was written by a newer bench (version {versions[0]}, this one knows {VERSION}); "
            "upgrade bench or use another --results"
        )
    if versions[0] < VERSION:
        return Condition.older, ""
    for name, table in Base.metadata.tables.items():
        if name not in tables:
            return Condition.damaged, f"no table {name}"
        if tables[name] != set(table.columns.keys()):
            return Condition.damaged, f"table {name} has other columns"
    if connection.dialect.name == "sqlite":
        odd = _scalars(connection, "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view')")
        if odd:
            return Condition.damaged, f"it has a trigger or view '{odd[0]}'"
    return Condition.current, ""


def _tables(connection: Connection) -> dict[str, set[str]]:
    """Return the names of columns by table."""
    if connection.dialect.name == "sqlite":  # in one question: every job asks it, and the inspector takes six
        found: dict[str, set[str]] = {}
        of = "sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table' AND t.name NOT GLOB 'sqlite_*'"
        for table, name in connection.execute(text(f"SELECT t.name, c.name FROM {of}")):
            found.setdefault(table, set()).add(name)
        return found
    looked = inspect(connection)
    return {table: {one["name"] for one in looked.get_columns(table)} for table in looked.get_table_names()}


def _scalars(connection: Connection, query: str) -> list[Any]:
    return list(connection.execute(text(query)).scalars())
