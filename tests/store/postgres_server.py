"""A PostgreSQL server for tests, started from Debian's programs where they are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

PROGRAMS = "/usr/lib/postgresql"
SYSTEM_USER = "postgres"


class Server:
    """A running server that is reached by a socket below its folder.

    Args:
        folder: New folder of its data; short, since the path of a socket is.
    """

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("psycopg", reason="needs the extra 'postgres'")
        places = sorted(Path(PROGRAMS).glob("*/bin/pg_ctl"))
        found = shutil.which("initdb") or (str(places[-1].with_name("initdb")) if places else None)
        if found is None:
            pytest.skip("needs PostgreSQL's programs (apt-get install postgresql)")
        self._programs, self._data = Path(found).parent, folder / "data"
        self._as: list[str] = []
        if os.getuid() == 0:  # The server refuses to run as root.
            try:
                user = pwd.getpwnam(SYSTEM_USER)
            except KeyError:
                pytest.skip(f"root needs a system user {SYSTEM_USER} to run a server as")
            os.chown(folder, user.pw_uid, user.pw_gid)
            folder.chmod(0o755)
            self._as = ["runuser", "-u", SYSTEM_USER, "--"]
        self._run("initdb", "-D", self._data, "-U", "bench", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        fast = f"-k {folder} -c listen_addresses= -c fsync=off -c full_page_writes=off -c max_connections=60"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", folder / "log", "-o", fast, "start")
        self._url = URL.create("postgresql+psycopg", "bench", database="postgres", query={"host": str(folder)})

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as, str(self._programs / program), *map(str, arguments)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/", check=False
        )
        if done.returncode:
            pytest.fail(f"{program} failed: {done.stdout[-2000:]}")

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"b{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name}")
        return self._url.set(database=name).render_as_string(hide_password=False)

    def drop(self, url: str) -> None:
        """Delete a database, whoever is connected."""
        self.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        """Execute a statement outside of any database of bench."""
        engine = create_engine(self._url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def stop(self) -> None:
        """Stop it, without waiting for those who are connected."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", "immediate", "stop")
