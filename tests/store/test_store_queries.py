"""What reports read: the right run per key, with its path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, text
from store_helpers import FINGERPRINT, LABEL, key_of, make_record

from bench.store import Metric, Store, failed_rows, jsontext, metric_rows, run_rows
from bench.store.index import Head
from bench.store.queries import fitting

DATABASES = ("sqlite", "postgresql")

OLD, NEW = "0" * 64, "1" * 64


def test_a_row_tells_the_whole_path_of_a_number(store: Store) -> None:
    """A number without its path is nothing."""
    metric = Metric(
        name="overall", value=0.25, split="val", selection="last", variant="trunc", headline=False, fold=2, epoch=7,
        votes=10, n_objects=33,
    )  # fmt: skip
    spec = {"seed": 5, "split_seed": 3, "protocol": {"form": "published"}}
    provenance = {"seeds": {"root": 5, "split": 3}}
    stored = store.publish(make_record(5, metrics=[metric], spec=spec, provenance=provenance))
    (row,) = metric_rows(store)
    assert {name: getattr(row, name) for name in LABEL} == LABEL
    assert {name: getattr(row, name) for name in Metric.model_fields} == metric.model_dump()
    assert (row.run_key, row.fingerprint, row.seed, row.form) == (stored.key, FINGERPRINT, 5, "published")
    assert (row.seen, row.seen_total, row.status) == (("chair", "lamp"), 5, "done")
    assert (row.created_at, row.folder) == (stored.created_at, stored.folder)
    assert (row.split_seed, run_rows(store)[0].split_seed) == (3, 3)


def test_one_run_per_key_and_the_callers_code_first(store: Store) -> None:
    """Two codes' results of one seed side by side would count the seed twice."""
    for fingerprint in (OLD, NEW):
        store.publish(make_record(1, fingerprint))
    assert {row.fingerprint for row in metric_rows(store)} == {NEW}
    rows = metric_rows(store, current={key_of(1): OLD})
    assert {(row.fingerprint, row.older_code) for row in rows} == {(OLD, False)}
    assert len(rows) == 11
    rows = metric_rows(store, current={key_of(1): "2" * 64})
    assert {(row.fingerprint, row.older_code) for row in rows} == {(NEW, True)}
    everything = metric_rows(store, current={key_of(1): NEW}, every_fingerprint=True)
    assert {(row.fingerprint, row.older_code) for row in everything} == {(OLD, True), (NEW, False)}
    assert [row.stored.fingerprint for row in run_rows(store, every_fingerprint=True)] == [OLD, NEW]


def test_rows_can_be_limited_to_runs_and_presets(store: Store) -> None:
    """A smoke run must never stand in a table of nano runs."""
    store.publish(make_record(1))
    store.publish(make_record(2, label=LABEL | {"preset": "smoke"}))
    store.publish(make_record(3, status="failed", label=LABEL | {"preset": "smoke"}))
    assert {row.run_key for row in metric_rows(store, presets=["nano"])} == {key_of(1)}
    assert {row.run_key for row in metric_rows(store, keys=[key_of(2)])} == {key_of(2)}
    assert [row.preset for row in run_rows(store)] == ["nano", "smoke"]
    assert failed_rows(store, presets=["nano"]) == []
    assert len(failed_rows(store, keys=[key_of(3)])) == 1


def test_a_run_row_carries_cost_and_provenance(store: Store) -> None:
    """The cost table is made without opening every folder."""
    stored = store.publish(make_record(1, cost={"seconds": 2.5}, provenance={"host": "a", "versions": {"torch": "2"}}))
    (row,) = run_rows(store)
    assert row.stored == stored
    assert (row.cost, row.provenance) == ({"seconds": 2.5}, {"host": "a", "versions": {"torch": "2"}})
    assert row.label == LABEL
    assert row.size_bytes == sum(p.stat().st_size for p in stored.folder.iterdir() if p.name != "MANIFEST.json")


def test_unknown_seen_names_stay_unknown(store: Store) -> None:
    """'none' and 'unknown' are different claims in the column 'saw evaluated class names'."""
    store.publish(make_record(1, seen_names=None))
    assert {(row.seen, row.seen_total) for row in metric_rows(store)} == {(None, None)}


FORGED = ["method = 'act'", "status = 'failed'", "created_at = '0'", "preset = x'00'", "head_digest = digest"]


@pytest.mark.parametrize("change", FORGED)
def test_no_forged_row_hides_a_run_from_a_filtered_reading(store: Store, store_url: str | None, change: str) -> None:
    """Only the rows that are chosen are read whole: one that was altered must not choose itself away."""
    store.publish(make_record(1))
    store.publish(make_record(2, label=LABEL | {"method": "act"}))
    with store.database.write() as session:
        session.execute(text(f"UPDATE runs SET {change} WHERE method = 'recon'"))

    def newest(heads: list[Head]) -> list[Head]:
        return sorted(heads, key=attrgetter("created_at"))[-1:]

    reader = Store.open_readonly(store.results, store_url, fits=fitting({"method": ["recon"]}), choose=newest)
    assert [(run.key, run.row.method) for run in reader.runs()] == [(key_of(1), "recon")]
    assert [row.value for row in metric_rows(reader)] == [row.value for row in metric_rows(store, keys=[key_of(1)])]


@pytest.mark.parametrize(("seed", "fits"), [("0", True), ("00", False), ("1", False), ("9" * 30, False), ("x", False)])
def test_seeds_fit_as_they_are_written(store: Store, seed: str, fits: bool) -> None:
    """They are numbers in the index, and texts where they are asked for."""
    store.publish(make_record(0))
    (head,) = store.heads()
    assert (head.split_seed, fitting({"split_seed": [seed]})(head)) == (0, fits)


def calls_of(function: Callable[[], object]) -> int:
    """Count the calls that a function makes: a measure of its time that is the same on every machine."""
    count = 0

    def called(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_what_is_not_asked_for_costs_next_to_nothing(store: Store, store_url: str | None) -> None:
    """`bench runs` takes 5 s on 100,000 runs: at most 40 calls, and no statement, for each that is not shown."""
    asked, calls = [], []
    for others in (1, 2, 40):  # the first time imports and fills caches
        for number in range(others):
            store.publish(make_record(100 + number, label=LABEL | {"method": "act"}))
        store.publish(make_record(1))
        reader = Store.open_readonly(store.results, store_url, fits=fitting({"method": ["recon"]}))
        said: list[str] = []
        with reader.database.read() as session:
            event.listen(session.get_bind(), "before_cursor_execute", lambda *given, said=said: said.append(given[2]))
        calls.append(calls_of(reader.runs))
        assert [run.key for run in reader.runs()] == [key_of(1)]
        assert len(reader.others()) == others
        asked.append(len(said))
    assert asked[1] == asked[2] > 0
    assert (calls[2] - calls[1]) / 38 < 40


@given(st.dictionaries(st.text(), st.floats() | st.integers() | st.text(), max_size=4))
def test_verified_texts_are_read_as_all_others(value: dict[str, Any]) -> None:
    """A cost that is not a number is stored as a mark, which the short way of reading must not show."""
    text = jsontext.dump_parsed(value)
    assert repr(jsontext.loads_verified(text)) == repr(jsontext.loads(text))
