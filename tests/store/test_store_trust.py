"""The folders are the truth: whatever is done to the index or to one folder, the others are reported as they are."""

from __future__ import annotations

import codecs
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_helpers import FINGERPRINT, Start, key_of, make_record, publish_all, tree

from bench.errors import SetupError
from bench.spec import content_key
from bench.store import Store, failed_rows, metric_rows, rebuild, run_rows
from bench.store.codec import LIMITS
from bench.store.files import file_digest
from bench.store.folders import MANIFEST
from bench.store.store import SAID


def fill(results: Path) -> Store:
    store = Store(results)
    for number in (1, 2, 3):
        store.publish(make_record(number))
    store.publish(make_record(4, status="failed", error="boom"))
    return store


def reported(store: Store) -> tuple[object, ...]:
    return metric_rows(store), run_rows(store), failed_rows(store)


def execute(results: Path, *commands: str) -> None:
    connection = sqlite3.connect(results / "bench.sqlite", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    for command in commands:
        connection.execute(command)
    connection.close()


ROW = "INSERT INTO runs SELECT {} FROM runs WHERE id = 1"
COLUMNS = (
    "id, results, folder, digest, head_digest, signature, listed, numbers, manifest_sha256, size_bytes, key, "
    "fingerprint, status, failure, created_at, preset, method, architecture, protocol, form, setting, dataset, "
    "pretrain_data, seed, split_seed, trial, seen, seen_total, spec, label, paths, provenance, own, cost, error"
)
FORGERIES = {
    "a value": ["UPDATE metrics SET value = 0.987"],
    "a value of another kind": ["UPDATE metrics SET value = 'high' WHERE place = 0"],
    "invalid UTF-8": ["UPDATE runs SET method = CAST(x'ff00c3' AS TEXT)"],
    **{
        f"the column {name}": [f"UPDATE runs SET {name} = {value} WHERE id = 2"]
        for name, value in {
            "method": "'act'",
            "seed": "9",
            "dataset": "'other'",
            "setting": "'x'",
            "key": "'x'",
            "fingerprint": "'x'",
            "status": "'failed'",
            "trial": "1",
            "created_at": "'9'",
            "signature": "'x'",
            "manifest_sha256": "x'00'",
            "digest": "'x'",
            "head_digest": "'x'",
            "seen": "'[]'",
            "folder": "'runs/../x'",
            "results": "'x'",
        }.items()
    },
    "selection": ["""UPDATE texts SET text = replace(text, '"test","val"', '"test","test"')"""],
    "a text of another": ["UPDATE texts SET text = (SELECT text FROM texts ORDER BY id LIMIT 1)"],
    "texts deleted": ["DELETE FROM texts"],
    "paths exchanged": ["UPDATE runs SET paths = label"],
    "rows deleted": ["DELETE FROM metrics", "DELETE FROM runs WHERE id = 2"],
    "metrics deleted": ["DELETE FROM metrics WHERE place > 3"],
    "metrics exchanged": [
        f"UPDATE metrics SET run_id = {new} WHERE run_id = {old}" for old, new in ((1, 9), (2, 1), (9, 2))
    ],
    "folders exchanged": [
        "UPDATE runs SET folder = folder || 'x' WHERE id < 3",
        "UPDATE runs SET folder = (SELECT substr(o.folder, 1, length(o.folder) - 1) FROM runs o "
        "WHERE o.id = 3 - runs.id) WHERE id < 3",
    ],
    "a run that has no folder": [ROW.format(COLUMNS.replace("id, ", "77, ", 1).replace("folder", "'runs/a/b'"))],
    "a trigger": ["CREATE TRIGGER t AFTER DELETE ON metrics BEGIN DELETE FROM leases; END"],
    "a view": ["ALTER TABLE metrics RENAME TO m", "CREATE VIEW metrics AS SELECT * FROM m"],
    "an endless view": [
        "DROP TABLE runs",
        "CREATE VIEW runs AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT "
        + ", ".join(f"x AS {name}" for name in COLUMNS.split(", "))
        + " FROM c",
    ],
    "a column dropped": ["ALTER TABLE runs DROP COLUMN trial"],
    **{
        f"table {name} dropped": [f"DROP TABLE {name}"]
        for name in ("runs", "metrics", "texts", "leases", "bench_schema")
    },
    "no version": ["DELETE FROM bench_schema"],
    "a version in words": [
        "DROP TABLE bench_schema",
        "CREATE TABLE bench_schema (version)",
        "INSERT INTO bench_schema VALUES ('two')",
    ],
}


Filled = tuple[Path, bytes, tuple[object, ...]]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Results whose index may be harmed, the bytes of the sound index, and what they report."""
    store = fill(tmp_path_factory.mktemp("damage") / "results")
    store.tidy()
    return store.results, (store.results / "bench.sqlite").read_bytes(), reported(store)


@pytest.fixture
def no_run_is_being_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders are young; a reader would wait for their rows."""
    monkeypatch.setattr("bench.store.store._PUBLISHING_SECONDS", 0.0)


@pytest.mark.usefixtures("no_run_is_being_published")
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_index_is_read_past_with_a_line_and_mended(
    filled: Filled, forgery: str, caplog: pytest.LogCaptureFixture
) -> None:
    """98.7 % stood in report, CSV and list after one UPDATE."""
    results, sound, right = filled
    (results / "bench.sqlite").write_bytes(sound)
    execute(results, *FORGERIES[forgery])
    before = tree(results)
    for verify in (False, True):
        caplog.clear()
        SAID.clear()
        assert reported(Store.open_readonly(results, verify=verify)) == right
        assert sum("index" in line.getMessage() for line in caplog.records) == 1
    assert tree(results) == before
    assert rebuild(results).quarantined == []
    caplog.clear()
    assert reported(Store.open_readonly(results)) == right
    assert not caplog.records
    assert reported(Store(results)) == right


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=20))
def test_random_damage_to_the_index_never_changes_what_is_reported(
    filled: Filled, changes: list[tuple[float, int]]
) -> None:
    """A bad block of the disk must not change a number; at worst the index is said to be of a newer bench."""
    results, sound, right = filled
    content = bytearray(sound)
    for place, value in changes:
        content[int(place * len(content))] = value
    (results / "bench.sqlite").write_bytes(content)
    try:
        assert reported(Store.open_readonly(results)) == right
    except SetupError as error:
        if "newer bench" not in str(error):
            raise


# --- foreign folders


def reseal(folder: Path, **manifest: object) -> None:
    """Make the manifest fit what lies in the folder now."""
    raw = json.loads((folder / MANIFEST).read_text())
    for name in LIMITS:
        size, sha256 = file_digest(folder / name)
        raw["files"][name] = {"size": size, "sha256": sha256}
    (folder / MANIFEST).write_text(json.dumps(raw | manifest))


def nested(folder: Path) -> None:
    (folder / "provenance.json").write_text('{"a":' + "[" * 100_000 + "]" * 100_000 + "}")
    reseal(folder)


def deep(folder: Path) -> None:
    (folder / "provenance.json").write_text('{"a":' + "[" * 300 + "]" * 300 + "}")
    reseal(folder)


def spec(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "spec.json").write_text(text)
        reseal(folder)

    return write


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))
        reseal(folder)

    return write


def named(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        raw = json.loads((folder / MANIFEST).read_text())
        raw["files"][name] = {"size": 0, "sha256": "0" * 64}
        (folder / MANIFEST).write_text(json.dumps(raw))

    return write


def instead(make: Callable[[Path], object], name: str = "metrics.json") -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return write


def manifest(**changes: object) -> Callable[[Path], None]:
    return lambda folder: reseal(folder, **changes)


def zeros(folder: Path) -> None:
    """Gigabytes of zeros, claimed and begun, in a small file."""
    with zipfile.ZipFile(folder / "predictions.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (2**33,)})
        with archive.open("logits.npy", "w", force_zip64=True) as file:
            file.write(head.getvalue())
            for _ in range(9):
                file.write(bytes(2**25))
    reseal(folder)


def claimed(folder: Path) -> None:
    """An array whose head claims a petabyte."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (2**47,)})
    with zipfile.ZipFile(folder / "predictions.npz", "w") as archive:
        archive.writestr("logits.npy", head.getvalue())
    reseal(folder)


def rows(folder: Path) -> None:
    row = json.loads((folder / "metrics.json").read_text())[0]
    (folder / "metrics.json").write_text("[" + ",".join([json.dumps(row)] * 60_000) + "]")
    reseal(folder)


SEED = '"seed": 2'
FOREIGN: dict[str, Callable[[Path], object]] = {
    "nested 100,000 deep": nested,
    "nested 300 deep": deep,
    "a seed of 2^70": replaced("spec.json", SEED, f'"seed": {2**70}'),
    "a seed of 5,000 digits": replaced("spec.json", SEED, f'"seed": {"9" * 5000}'),
    "no seed": spec('{"protocol": {}}'),
    "another specification": replaced("spec.json", SEED, '"seed": 3'),
    "a field twice": replaced("spec.json", SEED, f'{SEED}, {SEED}'),
    "a list as specification": spec("[]"),
    "a pipe": instead(os.mkfifo),
    "a pipe as manifest": instead(os.mkfifo, MANIFEST),
    "a link to a device": instead(lambda path: path.symlink_to("/dev/zero")),
    "a link to itself": instead(lambda path: path.symlink_to(path)),
    "a folder": instead(Path.mkdir),
    "a device named": named("/dev/zero"),
    "a way out named": named("../../../secret"),
    "a control character named": named("a\x1b[31m\n"),
    "another file named": named("extra.bin"),
    "a newer format": manifest(format=2),
    "an endless format": lambda folder: (folder / MANIFEST).write_text('{"format": 1e999}'),
    "a list as manifest": lambda folder: (folder / MANIFEST).write_text("[1]"),
    "a time in words": manifest(created_at="long ago"),
    "another key in the manifest": manifest(key=key_of(9)),
    "another code in record.json": replaced("record.json", FINGERPRINT, "beef" * 16),
    "a label that is a list": replaced("record.json", '"method": "recon"', '"method": ["recon"]'),
    "a label without end": replaced("record.json", '"method": "recon"', f'"method": "{"x" * 2000}"'),
    "a cost in words": replaced("record.json", '"seconds": 1.25', '"seconds": "many"'),
    "a cost of 400 digits": replaced("record.json", '"seconds": 1.25', f'"seconds": {"9" * 400}'),
    "a value in words": replaced("metrics.json", '"value": 0.502', '"value": "0.987"'),
    "a bare NaN": replaced("metrics.json", '"value": 0.502', '"value": NaN'),
    "more objects than fit": replaced("metrics.json", '"n_objects": 100', f'"n_objects": {2**64}'),
    "60,000 numbers": rows,
    "gigabytes of zeros": zeros,
    "a petabyte claimed": claimed,
    "curves of words": lambda folder: ((folder / "curves.json").write_text('{"loss": [["a", "b"]]}'), reseal(folder)),
}  # fmt: skip


@pytest.mark.parametrize("harm", FOREIGN)
def test_a_foreign_folder_is_left_out_by_name_and_the_others_are_reported(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One folder from elsewhere stopped or hung every report of a group."""
    results = tmp_path / "results"
    stored = fill(results).find(key_of(2))
    assert stored is not None
    FOREIGN[harm](stored.folder)
    before, began = tree(results), time.monotonic()
    reader = Store.open_readonly(results, verify=True, keep=True)
    assert {row.run_key for row in metric_rows(reader)} == {key_of(1), key_of(3)}
    assert len(failed_rows(reader)) == 1
    lines = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(lines) == 1
    assert key_of(2) in lines[0]
    assert lines[0].isprintable()
    assert time.monotonic() - began < 20
    assert tree(results) == before
    report = rebuild(results)
    assert report.indexed == 2
    assert len(report.quarantined) + len(report.skipped) == 1


def test_a_folder_that_is_a_link_and_a_name_with_control_characters_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A name from elsewhere must not reach the terminal as it is."""
    store = fill(tmp_path / "results")
    runs = store.results / "runs"
    shutil.copytree(runs / key_of(1), runs / "a\x1b[31m\nb")
    (runs / "linked").symlink_to(runs / key_of(2))
    (runs / "loop").symlink_to(runs / "loop")
    (runs / "note.txt").touch()
    assert len(run_rows(Store.open_readonly(store.results))) == 3
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all(line.isprintable() and "left out" in line for line in lines)


# --- reading


def test_a_record_outlives_the_look_it_came_from_and_still_refuses_another_content(tmp_path: Path) -> None:
    """A report frees what it looked at: curves drawn later must be those of the row whose numbers it shows."""
    results = fill(tmp_path / "results").results
    reader = Store.open_readonly(results)
    records = {run.key: reader.record(run) for run in reader.runs()}
    reader.forget()
    assert records[key_of(2)].curves == make_record(2).curves
    (folder,) = (results / "runs" / key_of(2)).iterdir()
    replaced("metrics.json", '"value": 0.502', '"value": 0.987')(folder)
    with pytest.raises(SetupError, match="differs from its row"):
        _ = records[key_of(2)].curves
    assert records[key_of(1)].curves == make_record(1).curves


def read_without_rights(places: list[Path]) -> None:
    """Read as a user who may write nothing."""
    codecs.lookup("cp437")  # zip files need it; the interpreter may lie where that user cannot read
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    for results in places:
        assert not os.access(results, os.W_OK)
        assert len(metric_rows(Store.open_readonly(results))) == 33, results.name
        (reader := Store.open_readonly(results, verify=True, keep=True)).runs()
        assert len([reader.load(row.stored) for row in run_rows(reader)]) == 3, results.name


@pytest.mark.skipif(os.getuid() != 0, reason="only root can take a user's rights away")
def test_a_user_who_may_write_nothing_reads_everything(tmp_path: Path, start: Start) -> None:
    """Every command ended with exit 4 on a colleague's results."""
    places = [tmp_path / name for name in ("as it is", "no index", "a row deleted", "damaged")]
    for results in places:
        fill(results)
    (places[1] / "bench.sqlite").unlink()
    execute(places[2], "DELETE FROM runs WHERE id = 2")
    (places[3] / "bench.sqlite").write_bytes(b"x" * 5000)
    tmp_path.chmod(0o755)
    subprocess.run(["chmod", "-R", "a-w,a+rX", *places], check=True)
    before = tree(tmp_path)
    job = start(read_without_rights, places)
    job.join(60)
    assert job.exitcode == 0
    assert tree(tmp_path) == before


def test_reading_while_others_write_is_quiet_and_right(
    tmp_path: Path, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """A report beside a running study must not cry that the index is wrong."""
    results = tmp_path / "results"
    Store(results)
    job = start(publish_all, results, list(range(1, 7)))
    seen = 0
    while job.is_alive():
        rows = metric_rows(Store.open_readonly(results))
        assert len(rows) % 11 == 0
        assert len(rows) >= seen
        seen = len(rows)
    assert job.exitcode == 0
    assert len(metric_rows(Store.open_readonly(results))) == 6 * 11
    assert not caplog.records


def test_a_copied_results_folder_is_read_again_with_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Moving costs nothing; a copy has new files, which are read once and then indexed."""
    store = fill(tmp_path / "results")
    right = [(row.run_key, row.value) for row in metric_rows(store)]
    moved = store.results.rename(tmp_path / "moved")
    copied = Path(shutil.copytree(moved, tmp_path / "copied"))
    assert [(row.run_key, row.value) for row in metric_rows(Store.open_readonly(moved))] == right
    assert not caplog.records
    assert [(row.run_key, row.value) for row in metric_rows(Store.open_readonly(copied))] == right
    (line,) = [record.getMessage() for record in caplog.records]
    assert "4 x run folder copied or touched" in line
    Store(copied).tidy()
    caplog.clear()
    Store.open_readonly(copied).runs()
    assert not caplog.records


def test_the_key_is_the_one_of_the_specification() -> None:
    """What is compared with a folder's name is what the worker makes its name of."""
    record = make_record(1)
    assert record.key == content_key(json.loads(json.dumps(record.spec)))


READ_BOTH_WAYS = r"""
import os, re, resource, sys
from pathlib import Path
from bench.store import Store, failed_rows, metric_rows, rebuild, run_rows, scan

def reported(folder):
    found = rebuild(Path(folder))
    store = Store(Path(folder))
    told = repr((found, metric_rows(store), run_rows(store), failed_rows(store))).replace(folder, "")
    return re.sub(r"-\d{8}T\d{6}-[0-9a-f]{8}", "", told)  # when a folder was moved to quarantine

alone = reported(sys.argv[1])
assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt == 0
scan._MANY = 1
assert reported(sys.argv[2]) == alone
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
assert cores < 2 or resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt > 0
print(alone)
"""


def test_many_folders_are_read_by_several_processes_as_by_one(tmp_path: Path) -> None:
    """From thousands of runs on, a run or a damaged folder could be lost that a small folder shows."""
    one, copy = tmp_path / "one", tmp_path / "two"
    fill(one)
    damaged = next((one / "runs" / key_of(2)).iterdir()) / "metrics.json"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    shutil.copytree(one, copy, ignore=shutil.ignore_patterns("bench.sqlite*"))
    (one / "bench.sqlite").unlink()
    done = subprocess.run(
        [sys.executable, "-c", READ_BOTH_WAYS, one, copy], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert key_of(1)[:12] in done.stdout
    assert key_of(2)[:12] in done.stdout, "the damaged folder is named"
