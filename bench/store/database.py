"""The database behind the index: opened, created, upgraded and locked so that several processes can share it.

SQLite by default (WAL, ``BEGIN IMMEDIATE`` for writers, foreign keys on), any SQLAlchemy URL otherwise. WAL needs
shared memory: where processes on several machines share one results folder, give a PostgreSQL URL. One database
serves one results folder.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from bench.errors import SetupError, UsageError
from bench.store.failures import DamagedDatabaseError, damaged_database, database_failure, file_failure
from bench.store.filelock import file_lock
from bench.store.folders import sync_directory
from bench.store.schema import HEAD, REVISIONS, Base

FILE_NAME = "bench.sqlite"
BUSY_SECONDS = 30.0
_COMPANIONS = ("-wal", "-shm", "-journal")

Fill = Callable[[Session], None]
"""Writes the rows of a database that was just made."""


class Database:
    """A database and the two ways into it, `read` and `write`.

    Connections live for one block: no file handle is carried across a fork, and a rebuild can replace the file
    of a damaged SQLite database between blocks (a lock file keeps it from doing so inside one).

    Attributes:
        results: Results folder.
        url: Database URL.
        path: File of an SQLite database, None for a server.
        readonly: Whether only `read` is allowed.
    """

    def __init__(
        self, results: Path, url: str | None = None, *, readonly: bool = False, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self.results = results
        self.readonly = readonly
        self.busy_seconds = busy_seconds
        self.url = URL.create("sqlite", database=str(results / FILE_NAME)) if url is None else parse_url(url)
        self.path = Path(self.url.database) if self.is_sqlite and self.url.database else None
        self._reader = self._engine(self.url)
        self._writer = self._reader.execution_options(bench_write=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a file."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def shown(self) -> str:
        """The database as a user may see it: its path, or its URL without the password."""
        return str(self.path) if self.path is not None else self.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session inside one read transaction (a consistent snapshot).

        Raises:
            SetupError: One line saying what is wrong with the database and how to mend it.
        """
        with self._translated(), self.shared_lock(), Session(self._reader) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session inside one write transaction, committed when the block ends well.

        On SQLite the transaction is exclusive from its start, so what was read in it stays true until it commits.

        Raises:
            SetupError: One line saying what is wrong with the database and how to mend it.
            sqlalchemy.exc.IntegrityError: A row that must be unique exists already.
        """
        if self.readonly:
            raise SetupError(f"database '{self.shown}' was opened for reading only")
        with self._translated(), self.shared_lock(), Session(self._writer) as session, session.begin():
            yield session

    def open(self, fill: Fill) -> None:
        """Make sure the database exists, has the current schema, and was filled when it was made.

        A new SQLite database is made beside its place and renamed into it; an upgrade is one transaction.

        Args:
            fill: Writes the rows of a new database (the results folder may hold runs already).

        Raises:
            SetupError: It is damaged, was written by a newer bench, or cannot be created or upgraded.
        """
        if self._present() and self.revision() == HEAD:
            return
        if self.readonly:
            self._refuse_to_change()
        with self.exclusive_lock():
            if self.path is not None and not self._present():
                self.create_file(fill)
                return
            with self._translated(), Session(self._writer) as session, session.begin():
                connection = session.connection()
                if not self.is_sqlite:
                    # Servers have no lock file: the first of several starting processes upgrades, the others wait.
                    connection.execute(text("SELECT pg_advisory_xact_lock(7203110902)"))
                found = _stamp(connection, self.shown)
                if found != HEAD:
                    _upgrade(connection)
                if found is None:
                    fill(session)

    def revision(self) -> str | None:
        """Return the schema revision, None for an empty database.

        Raises:
            SetupError: A newer bench wrote it, it is not a bench database, or it cannot be read.
        """
        with self._translated(), self.shared_lock(), self._reader.begin() as connection:
            return _stamp(connection, self.shown)

    def create_file(self, fill: Fill) -> None:
        """Make a filled SQLite database beside its place and rename it into it, replacing what is there.

        The caller holds the exclusive lock.

        Raises:
            SetupError: It cannot be written; nothing is left behind.
        """
        assert self.path is not None
        draft = self.path.with_name(f".{self.path.name}-{uuid.uuid4().hex}")
        try:
            with self._translated(draft):
                engine = self._engine(URL.create("sqlite", database=str(draft)))
                writer = engine.execution_options(bench_write=True)
                with Session(writer) as session, session.begin():
                    _upgrade(session.connection())
                    fill(session)
                # A lasting property of the file, set outside a transaction and through the driver itself.
                with closing(engine.raw_connection()) as raw:
                    raw.cursor().execute("PRAGMA journal_mode = WAL")
            for leftover in self.companions():
                # The log of an earlier file would be replayed into the new one.
                leftover.unlink(missing_ok=True)
            draft.rename(self.path)
            sync_directory(self.path.parent)
        except OSError as error:
            raise file_failure("create", self.path, error) from error
        finally:
            for suffix in ("", *_COMPANIONS):
                draft.with_name(draft.name + suffix).unlink(missing_ok=True)

    def companions(self) -> list[Path]:
        """Files that SQLite keeps beside the database."""
        return [] if self.path is None else [self.path.with_name(self.path.name + end) for end in _COMPANIONS]

    def damage(self) -> DamagedDatabaseError | None:
        """Return what makes the database unreadable, or None where SQLite's own check finds it sound.

        Raises:
            SetupError: It cannot be judged: locked, written by a newer bench, or not one of bench's.
        """
        try:
            with self._translated(), self.shared_lock(), self._reader.begin() as connection:
                if self.is_sqlite:
                    verdict = str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar())
                    if verdict != "ok":
                        return damaged_database(self.shown, " ".join(verdict.split()))
                found = _stamp(connection, self.shown)
                if found == HEAD and (missing := _missing_tables(connection)):
                    return damaged_database(self.shown, f"no table {', '.join(missing)}")
        except DamagedDatabaseError as error:
            return error
        return None

    def shared_lock(self) -> AbstractContextManager[None]:
        """Context manager that keeps the file from being replaced; for servers and read-only places a no-op."""
        return self._lock(exclusive=False)

    def exclusive_lock(self) -> AbstractContextManager[None]:
        """Context manager during which no other process has the SQLite file open through this class."""
        return self._lock(exclusive=True)

    @contextmanager
    def _lock(self, *, exclusive: bool) -> Iterator[None]:
        with ExitStack() as stack:
            if self.path is not None and not (self.readonly and not os.access(self.path.parent, os.W_OK)):
                path = self.path.with_name(self.path.name + ".lock")
                try:
                    stack.enter_context(file_lock(path, exclusive=exclusive, timeout=self.busy_seconds))
                except OSError as error:
                    raise file_failure("lock", path, error) from error
            yield

    def _present(self) -> bool:
        return self.path is None or (self.path.exists() and self.path.stat().st_size > 0)

    def _refuse_to_change(self) -> None:
        if not self._present():
            raise SetupError(
                f"no results in '{self.results}' ('{self.shown}' does not exist); run 'bench run' first, "
                "point --results elsewhere, or run 'bench db rebuild' if it holds run folders"
            )
        raise SetupError(
            f"database '{self.shown}' was written by an older bench; upgrade it with 'bench db status' "
            "where its folder is writable"
        )

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
                "install it (for PostgreSQL: pip install psycopg and postgresql+psycopg://...)"
            ) from error
        _configure_sqlite(engine, readonly=self.readonly)
        return engine

    @contextmanager
    def _translated(self, path: Path | None = None) -> Iterator[None]:
        try:
            yield
        except IntegrityError:
            raise
        except DBAPIError as error:
            raise database_failure(self.shown, path or self.path, error.orig or error) from error


def parse_url(url: str) -> URL:
    """Parse a database URL.

    Raises:
        UsageError: It is no URL, or an in-memory SQLite database, which several processes cannot share.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # Not shown: it may hold a password that cannot be told from the rest.
        raise UsageError(
            "the database URL cannot be parsed; expected e.g. postgresql+psycopg://user@host/name"
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UsageError(f"database URL '{parsed.render_as_string()}' is not supported; expected postgresql or sqlite")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise UsageError(f"database URL '{url}' is in memory and cannot be shared; give a file: sqlite:///path/to/file")
    return parsed


def _read_only_url(path: Path) -> URL:
    """URL for reading where the folder may not be writable for us.

    SQLite needs shared memory beside a file in WAL mode. Where it cannot make any, it reads through a log that is
    there (somebody else writes, or was killed), and without a log the file is complete and is read as it is.
    """
    if os.access(path.parent, os.W_OK):
        return URL.create("sqlite", database=str(path))
    wal = path.with_name(path.name + "-wal")
    logged = wal.exists() and wal.stat().st_size > 0
    query = {"uri": "true", "mode": "ro"} | ({} if logged else {"immutable": "1"})
    return URL.create("sqlite", database=path.absolute().as_uri(), query=query)


def _configure_sqlite(engine: Engine, *, readonly: bool) -> None:
    def prepare(connection: Any, record: object) -> None:
        # The driver would otherwise open transactions on its own, deferred and too late.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        # Safe in WAL: a power cut can lose the last commits but never damages the file, and folders are the truth.
        cursor.execute("PRAGMA synchronous = NORMAL")
        if readonly:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    def begin(connection: Connection) -> None:
        wanted = connection.get_execution_options().get("bench_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if wanted else "BEGIN")

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)


def _stamp(connection: Connection, shown: str) -> str | None:
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" not in tables:
        if "runs" in tables:
            raise SetupError(f"database '{shown}' is not one of bench's; use another --results or database URL")
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is not None and found not in REVISIONS:
        raise SetupError(
            f"database '{shown}' was written by a newer bench (revision {found}, this one knows {HEAD}); "
            "upgrade bench or use another --results"
        )
    return None if found is None else str(found)


def _missing_tables(connection: Connection) -> list[str]:
    return sorted(set(Base.metadata.tables) - set(inspect(connection).get_table_names()))


def _upgrade(connection: Connection) -> None:
    # Imported here: opening a database that is up to date must not pay for the migration machinery.
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, HEAD)
    except CommandError as error:
        raise SetupError(
            f"database '{connection.engine.url.render_as_string()}' cannot be upgraded: {error}"
        ) from error
