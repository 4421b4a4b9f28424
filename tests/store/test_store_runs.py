"""Publishing, finding and loading runs; damaged folders are never used."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from store_helpers import FINGERPRINT, key_of, make_record, tree, try_load

from bench.errors import SetupError
from bench.store import Store, StoredRun, failed_rows, metric_rows, rebuild, run_rows
from bench.store.files import file_digest
from bench.store.folders import MANIFEST

DATABASES = ("sqlite", "postgresql")


def digest(path: Path) -> str:
    return file_digest(path)[1]


FILES = ("spec.json", "metrics.json", "predictions.npz", "curves.json", "provenance.json", "record.json", MANIFEST)


def test_a_run_is_found_by_key_and_fingerprint_only(store: Store) -> None:
    """Reuse hangs on this: other code's result must not be taken for this code's."""
    stored = store.publish(make_record(1))
    assert sorted(tree(stored.folder)) == sorted(FILES)
    assert stored.folder == store.results / "runs" / key_of(1) / FINGERPRINT[:16]
    assert store.find(key_of(1), FINGERPRINT) == stored
    assert store.find(key_of(1), FINGERPRINT[:16] + "0" * 48) is None
    assert store.find(key_of(1), "beef" * 16) is None
    assert store.find(key_of(2)) is None


def test_without_a_fingerprint_the_newest_run_is_found(store: Store) -> None:
    """`--reuse same-spec` must prefer the latest code."""
    store.publish(make_record(1, "ffff" * 16))
    newest = store.publish(make_record(1, "0000" * 16))
    assert store.find(key_of(1)) == newest


def test_a_second_result_of_the_same_run_is_discarded(store: Store) -> None:
    """Nothing stored is altered, even when two processes did the same work."""
    first = store.publish(make_record(1))
    before = digest(first.folder / "metrics.json")
    second = store.publish(make_record(1, metrics=[]))
    assert second == first
    assert digest(first.folder / "metrics.json") == before
    assert len(metric_rows(store)) == 11
    assert not list((store.results / "runs").glob(".incoming-*"))


def test_a_failed_attempt_is_kept_apart(store: Store) -> None:
    """A failed run must never pass for a finished one, nor hide an earlier failure."""
    attempts = [store.publish(make_record(1, status="failed", error=f"boom {i}")) for i in range(2)]
    assert attempts[0].folder != attempts[1].folder
    assert store.find(key_of(1)) is None
    assert metric_rows(store) == []
    assert run_rows(store) == []
    assert [row.error for row in failed_rows(store)] == ["boom 0", "boom 1"]
    assert [row.error for row in failed_rows(store, unresolved=True)] == ["boom 1"]
    assert store.load(failed_rows(store)[0].stored).error == "boom 0"
    store.publish(make_record(1))
    assert failed_rows(store, unresolved=True) == []


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        *((flip, name) for name in FILES),
        *((harm, name) for harm in (truncate, Path.unlink) for name in ("predictions.npz", MANIFEST)),
    ],
)
def test_a_damaged_run_is_set_aside_and_never_used(
    store: Store, name: str, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Any bit that changed on disk must not end in a table."""
    stored = store.publish(make_record(1))
    kept = store.publish(make_record(2))
    harm(stored.folder / name)
    with caplog.at_level(logging.WARNING):
        assert try_load(store, 1) != "loaded"
    assert "set aside" in caplog.text
    assert not stored.folder.exists()
    (place, reason) = store.set_aside[0]
    assert place.is_relative_to(store.results / "quarantine")
    assert place.with_name(place.name + ".reason.txt").read_text().strip() == reason
    assert {row.run_key for row in metric_rows(store)} == {kept.key}
    assert store.find(stored.key) is None
    assert store.publish(make_record(1)).folder == stored.folder
    assert try_load(store, 1) == "loaded"


def forge(stored: StoredRun, old: str, new: str) -> None:
    """Edit a number of a run and repair its manifest."""
    metrics = stored.folder / "metrics.json"
    metrics.write_text(metrics.read_text().replace(old, new))
    manifest = json.loads((stored.folder / MANIFEST).read_text())
    manifest["files"]["metrics.json"] = {"size": metrics.stat().st_size, "sha256": digest(metrics)}
    (stored.folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_folder_that_changed_since_it_was_indexed_is_named(
    store: Store, store_url: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever edits a number and repairs the manifest is still noticed; the folder is the truth all the same."""
    forge(store.publish(make_record(1)), "0.501", "0.999")
    assert metric_rows(Store.open_readonly(store.results, store_url))[0].value == 0.999
    assert "1 x run folder changed since it was indexed" in caplog.text
    report = rebuild(store.results, store_url)
    assert (report.indexed, report.quarantined) == (1, [])
    assert "1 x run folder changed" in report.mended
    assert rebuild(store.results, store_url).mended == ""


@pytest.mark.parametrize("target", [f"runs/{key_of(2)}/{FINGERPRINT[:16]}", f"runs/{key_of(1)}/beefbeefbeefbeef"])
def test_a_run_moved_to_another_key_is_set_aside(store: Store, store_url: str | None, target: str) -> None:
    """A folder copied or renamed by hand must not stand for another run."""
    stored = store.publish(make_record(1))
    (store.results / target).parent.mkdir(exist_ok=True)
    shutil.copytree(stored.folder, store.results / target)
    reason = rebuild(store.results, store_url).quarantined[0][1]
    assert "belongs to" in reason
    assert {row.run_key for row in metric_rows(store)} == {key_of(1)}


def test_a_failed_attempt_moved_among_the_finished_is_set_aside(store: Store) -> None:
    """An interrupted or failed run is never mistaken for a finished one."""
    failed = store.publish(make_record(1, status="failed"))
    target = store.results / "runs" / key_of(1) / FINGERPRINT[:16]
    target.parent.mkdir(parents=True)
    failed.folder.rename(target)
    store.find(key_of(1))
    assert metric_rows(store) == []
    assert "status 'failed'" in str(store.set_aside[0][1])


def test_publishing_over_a_damaged_run_replaces_it(store: Store) -> None:
    """Recomputing is the remedy the error names; it has to work without a look at the damaged run first."""
    stored = store.publish(make_record(1))
    flip(stored.folder / "metrics.json")
    store.publish(make_record(1))
    assert try_load(store, 1) == "loaded"
    assert len(store.set_aside) == 1
    assert len(metric_rows(store)) == 11


def test_a_deleted_run_leaves_the_index(store: Store) -> None:
    """A run the user removed must not live on in the tables."""
    shutil.rmtree(store.publish(make_record(1)).folder)
    shutil.rmtree(store.publish(make_record(2)).folder.parent)
    assert store.find(key_of(1)) is None
    assert store.refresh().dropped == 1
    assert metric_rows(store) == []


def test_a_run_that_was_never_indexed_is_found_and_indexed(store: Store, store_url: str | None) -> None:
    """A process killed between the rename and the database must not cost its run."""
    other = Store(store.results.parent / "other", store_url)
    stored = other.publish(make_record(1))
    target = store.results / stored.folder.relative_to(other.results)
    shutil.copytree(stored.folder, target)
    found = store.find(key_of(1), FINGERPRINT)
    assert found is not None
    assert found.folder == target
    assert len(metric_rows(store)) == 11
    shutil.copytree(other.publish(make_record(2)).folder, store.results / "runs" / key_of(2) / FINGERPRINT[:16])
    assert store.refresh().indexed == 2
    assert len(metric_rows(store)) == 22


def test_a_run_of_a_newer_bench_is_left_alone(store: Store, store_url: str | None) -> None:
    """Older code must neither use nor set aside what it cannot read."""
    stored = store.publish(make_record(1))
    manifest = stored.folder / MANIFEST
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(SetupError, match="newer bench"):
        store.find(key_of(1))
    report = rebuild(store.results, store_url)
    assert report.skipped[0][0] == stored.folder
    assert "newer bench" in report.skipped[0][1]
    assert stored.folder.exists()


def test_results_can_be_moved(store: Store, store_url: str | None) -> None:
    """A results folder copied to another disk keeps its tables and its runs."""
    store.publish(make_record(1))
    moved = store.results.rename(store.results.with_name("moved"))
    again = Store(moved, store_url)
    assert metric_rows(again)[0].folder.is_relative_to(moved)
    assert try_load(again, 1) == "loaded"
