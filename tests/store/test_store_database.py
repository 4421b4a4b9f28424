"""The index: made, upgraded, shared and rebuilt; what is wrong with it is one line that says how to mend it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable
from store_helpers import Start, alter_and_die, key_of, make_record, tree, try_load

from bench.cli.main import main
from bench.errors import BenchError, SetupError, UsageError
from bench.store import Store, failed_rows, index, leases, metric_rows, rebuild, run_rows
from bench.store.database import Database, parse_url
from bench.store.maintenance import status
from bench.store.processes import host_name
from bench.store.schema import VERSION, Base
from bench.store.shared import Texts


def refuse(action: Callable[[], object], kind: type[BenchError] = SetupError) -> str:
    """Run what must fail with one clear line; return the line."""
    with pytest.raises(kind) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def execute(path: Path, *commands: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for command in commands:
        connection.execute(command)
    connection.close()


# --- versions


OLDER = (
    "PRAGMA journal_mode = WAL",
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
    "INSERT INTO alembic_version VALUES ('0001')",
    "CREATE TABLE runs (id INTEGER PRIMARY KEY, folder VARCHAR(400), key VARCHAR(128))",
    "CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_id INTEGER, value DOUBLE)",
    "CREATE TABLE leases (kind VARCHAR(64), key VARCHAR(256), owner VARCHAR(64), host TEXT, pid BIGINT, "
    "process_start DOUBLE, claimed_at DOUBLE, heartbeat_at DOUBLE, note TEXT)",
    f"INSERT INTO leases VALUES ('run', 'held', 'me', '{host_name()}', {os.getpid()}, 0, 1, 1, '')",
)


def test_an_older_index_is_made_again_from_the_folders(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Results of last year must still load after an upgrade of bench, and a job at work must keep its lease."""
    store.publish(make_record(1))
    rows = metric_rows(store)
    path = store.results / "bench.sqlite"
    path.unlink()
    execute(path, *OLDER)
    before = tree(store.results)
    assert metric_rows(Store.open_readonly(store.results)) == rows
    assert "was written by an older bench" in caplog.text
    assert tree(store.results) == before
    again = Store(store.results)
    assert metric_rows(again) == rows
    assert [one.key for one in leases.holders(again.database)] == ["held"]
    assert status(store.results).problem is None


def test_results_folders_that_share_a_database_keep_their_rows(tmp_path: Path) -> None:
    """A group has one server for all; a rebuild of mine must not take away yours."""
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    stores = [Store(tmp_path / name, url) for name in ("mine", "yours")]
    for store in stores:
        store.publish(make_record(1))
    shutil.rmtree(stores[0].results / "runs")
    assert rebuild(stores[0].results, url).dropped == 1
    for store, count in zip(stores, (0, 11), strict=True):
        with store.database.read() as session:
            rows = [run for run in index.heads(session, store.database.owner).values() if run]
            runs = list(index.complete(session, store.database.owner, rows, Texts()))
        assert (len(runs), sum(len(run.values or ()) for run in runs)) == (len(rows), count)
        assert len(metric_rows(store)) == count


def test_the_tables_are_valid_for_postgresql() -> None:
    """Groups that share one index on a server would be refused at the first command."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in Base.metadata.sorted_tables:
        text = str(CreateTable(table).compile(dialect=dialect))
        assert "DATETIME" not in text
        assert "AUTOINCREMENT" not in text
        for one in table.indexes:
            assert str(CreateIndex(one).compile(dialect=dialect)).startswith("CREATE INDEX ix_")


def test_a_newer_database_is_refused_and_left_as_it_is(store: Store) -> None:
    """Older code that writes into a newer schema would destroy it."""
    store.publish(make_record(1))
    path = store.results / "bench.sqlite"
    execute(path, "UPDATE bench_schema SET version = 9999")
    before = path.read_bytes()
    for action in (
        lambda: Store(store.results),
        lambda: metric_rows(Store.open_readonly(store.results)),
        lambda: rebuild(store.results),
    ):
        assert "written by a newer bench (version 9999" in refuse(action)
    assert "newer bench" in str(status(store.results).problem)
    assert path.read_bytes() == before


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """--results pointed at some other project's folder must not be filled with our tables."""
    execute(tmp_path / "bench.sqlite", "CREATE TABLE runs (id INTEGER)")
    assert "not one of bench's" in refuse(lambda: Store(tmp_path))


# --- damage and rebuild


def overwrite_all(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 500)


def overwrite_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


def drop_table(path: Path) -> None:
    execute(path, "DROP TABLE metrics")


def be_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [overwrite_all, overwrite_middle, cut, drop_table, be_a_pipe])
def test_a_damaged_database_is_read_past_and_made_again(
    store: Store, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """A broken index must cost a line, not the results."""
    store.publish(make_record(1))
    store.publish(make_record(2, status="failed", error="boom"))
    rows = metric_rows(store)
    harm(store.results / "bench.sqlite")
    before = tree(store.results)
    assert metric_rows(Store.open_readonly(store.results)) == rows
    assert "read 2 run folders instead" in caplog.text
    assert status(store.results).problem is not None
    assert tree(store.results) == before
    report = rebuild(store.results)
    assert (report.indexed, report.failed, report.quarantined) == (1, 1, [])
    assert report.database_replaced is not None
    assert harm is be_a_pipe or "bench.sqlite" in tree(report.database_replaced)
    again = Store(store.results)
    assert metric_rows(again) == rows
    assert failed_rows(again)[0].error == "boom"
    assert status(store.results).problem is None


def log_of_deleting_everything(path: Path) -> bytes:
    """A valid log that would empty the tables if it were replayed."""
    copy = path.with_name("copy.sqlite")
    shutil.copy(path, copy)
    connection = sqlite3.connect(copy, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    for table in ("metrics", "runs"):
        connection.execute(f"DELETE FROM {table}")
    content = copy.with_name("copy.sqlite-wal").read_bytes()
    connection.close()
    assert len(content) > 4096
    return content


@pytest.mark.parametrize("empty", [False, True])
def test_a_deleted_database_is_made_again_from_the_folders(store: Store, empty: bool) -> None:
    """Whoever deletes bench.sqlite loses nothing, not even when its log file stays behind."""
    store.publish(make_record(1))
    rows = metric_rows(store)
    path = store.results / "bench.sqlite"
    stale = log_of_deleting_everything(path)
    path.unlink()
    path.with_name("bench.sqlite-wal").write_bytes(stale)
    if empty:
        path.touch()
    assert metric_rows(Store.open_readonly(store.results)) == rows
    assert metric_rows(Store(store.results)) == rows
    path.unlink()
    assert rebuild(store.results).indexed == 1
    assert metric_rows(store) == rows


def test_leases_survive_a_rebuild(store: Store) -> None:
    """`bench db rebuild` beside a running job must not let a second one start the same work."""
    lease = store.lease("run", "k")
    assert lease is not None
    rebuild(store.results)
    assert lease.still_mine()
    drop_table(store.results / "bench.sqlite")
    rebuild(store.results)
    assert lease.still_mine()
    lease.release()


def test_rebuild_needs_a_results_folder(tmp_path: Path) -> None:
    """A mistyped --results must not create an empty store."""
    assert "no results folder" in refuse(lambda: rebuild(tmp_path / "absent"))
    assert "no results folder" in refuse(lambda: status(tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()


# --- what the machine refuses


def test_a_locked_database_is_one_line(store: Store) -> None:
    """A forgotten sqlite3 shell must be named, not waited for without end."""
    holder = sqlite3.connect(store.results / "bench.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    impatient = Store(store.results, busy_seconds=0.1)
    line = refuse(lambda: impatient.publish(make_record(1)))
    assert "locked by another process" in line
    assert "the run is safe in" in line
    holder.close()
    assert try_load(store, 1) == "loaded"
    assert len(metric_rows(store)) == 11


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(small_disk: Callable[..., Path]) -> None:
    """Runs stored before stay whole; once there is room again the same command works."""
    results = small_disk("size=1m") / "results"
    store = Store(results)
    ballast = results.parent / "ballast"
    line, number = "", 0
    while not line and number < 200:
        number += 1
        try:
            store.publish(make_record(number))
        except SetupError as error:
            line = str(error)
    assert "disk full" in line
    assert "\n" not in line
    assert not list(results.glob("*/.incoming-*"))
    ballast.unlink(missing_ok=True)
    small_disk("size=8m")
    report = Store(results).refresh(verify=True)
    assert report.quarantined == []
    assert report.indexed in (number - 1, number)
    Store(results).publish(make_record(number))
    assert try_load(Store(results), number) == "loaded"


def test_a_full_disk_from_the_start_is_one_line(small_disk: Callable[..., Path]) -> None:
    """The first command on a full disk must say so and leave no broken database."""
    place = small_disk("size=64k")
    (place / "ballast").write_bytes(b"x" * 40_000)
    assert "disk full" in refuse(lambda: Store(place / "results"))
    assert [name for name in tree(place) if "sqlite" in name and not name.endswith(".lock")] == []


def test_a_read_only_folder_can_be_read_and_says_so_when_written(small_disk: Callable[..., Path]) -> None:
    """Archived results must still give a report."""
    place = small_disk("size=4m")
    store = Store(place / "results")
    stored = store.publish(make_record(1))
    small_disk("ro")
    assert "read-only" in refuse(lambda: Store(place / "results"))
    assert "read-only" in refuse(lambda: Store(place / "absent")).lower()
    assert "read-only" in refuse(lambda: rebuild(place / "results"))
    assert "read-only" in refuse(lambda: store.publish(make_record(2))).lower()
    reader = Store.open_readonly(place / "results")
    assert len(metric_rows(reader)) == 11
    assert reader.load(stored).metrics == make_record(1).metrics
    assert status(place / "results").done == 1


def test_what_a_killed_writer_had_begun_is_no_obstacle_to_readers(
    store: Store, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A writer that died inside a transaction leaves a journal that only a writer may roll back."""
    rows = metric_rows(store) if store.publish(make_record(1)) else []
    job = start(alter_and_die, store.results)
    job.join(60)
    assert job.exitcode == -9
    before = tree(store.results)
    assert "bench.sqlite-journal" in before
    assert metric_rows(Store.open_readonly(store.results)) == rows
    assert tree(store.results) == before
    assert metric_rows(Store(store.results)) == rows


def test_reading_changes_nothing(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A report must not create, move or upgrade anything, not even a damaged run."""
    stored = store.publish(make_record(1))
    (stored.folder / "metrics.json").write_text("[]")
    before = tree(store.results)
    reader = Store.open_readonly(store.results)
    assert reader.find(key_of(1)) is None
    assert f"left out runs/{key_of(1)}" in caplog.text
    with pytest.raises(SetupError, match=r"metrics\.json"):
        reader.load(stored)
    assert "reading only" in refuse(lambda: reader.publish(make_record(2)))
    assert "reading only" in refuse(lambda: reader.lease("run", "k"))
    assert tree(store.results) == before


def test_nothing_to_read_is_one_line(tmp_path: Path) -> None:
    """`bench report` before the first run tells what to do."""
    assert "no results folder" in refuse(lambda: Store.open_readonly(tmp_path / "results"))
    assert not (tmp_path / "results").exists()


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    """A mistyped --results names what is wrong."""
    (tmp_path / "results").touch()
    assert "is a file" in refuse(lambda: Store(tmp_path / "results"))


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("not a url", "cannot be parsed"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("postgresql://user:secret@host:port:7/name", "cannot be parsed"),
        ("mysql://user:secret@host/name", "expected postgresql or sqlite"),
        ("postgresql+nosuchdriver://user:secret@host/name", "driver"),
    ],
)
def test_a_wrong_database_url_is_one_line(tmp_path: Path, url: str, word: str) -> None:
    """A typo in the URL must be named, and its password must not be printed."""
    line = refuse(lambda: Store(tmp_path, url), UsageError)
    assert word in line
    assert "secret" not in line


def test_a_database_elsewhere_by_url(tmp_path: Path) -> None:
    """Runs on a network disk, the index on a local one."""
    (tmp_path / "local").mkdir()
    url = f"sqlite:///{tmp_path / 'local' / 'index.sqlite'}"
    store = Store(tmp_path / "results", url)
    store.publish(make_record(1))
    assert len(run_rows(Store.open_readonly(tmp_path / "results", url))) == 1
    assert not (tmp_path / "results" / "bench.sqlite").exists()
    assert parse_url(url).database == str(tmp_path / "local" / "index.sqlite")


def test_status_counts_what_is_there(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`bench db status` is what one looks at when something seems lost: in words, not in Python's."""
    store.publish(make_record(1))
    store.publish(make_record(2, status="failed"))
    lease = store.lease("run", "k")
    found = status(store.results)
    assert (found.done, found.failed, found.metrics, found.folders) == (1, 1, 22, 2)
    assert (found.version, found.problem) == (VERSION, None)
    assert [holder.key for holder in found.leases] == ["k"]
    assert found.sizes["runs"] > 1000
    assert lease is not None
    monkeypatch.setattr(sys, "argv", ["bench", "db", "status", "--results", str(store.results)])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().out
    assert "problem: none" in printed
    assert "leases: run k by process" in printed
    assert not set("{}[]'") & set(printed.partition("version")[2])
    (store.results / "runs" / key_of(1) / "junk").mkdir()
    assert status(store.results).folders == 3
    store.find(key_of(1))
    assert status(store.results).quarantined == 1


def test_writers_hold_the_lock_from_the_start_and_keep_no_log(store: Store) -> None:
    """Two writers that both read first and write later would fail at random."""
    database = Database(store.results)
    with database.write() as session:
        pragmas = [
            session.connection().exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "foreign_keys")
        ]
        other = sqlite3.connect(store.results / "bench.sqlite", timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
    assert pragmas == ["delete", 1]


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import bench.store", "sqlalchemy numpy pydantic torch"),
        ("from bench.store import Store, RunRecord, metric_rows, rebuild, status", "torch pandas alembic matplotlib"),
    ],
)
def test_importing_the_store_is_light(code: str, absent: str) -> None:
    """`bench --help` answers at once, and a report needs no torch."""
    check = f"{code}\nimport sys\nprint([m for m in {absent.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
