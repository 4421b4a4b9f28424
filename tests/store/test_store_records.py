"""Records come back exactly as they were stored, or are refused before anything is written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from store_helpers import LABEL, key_of, make_record, tree

from bench.store import Metric, SeenNames, Store, metric_rows, run_rows
from bench.store.codec import OWN, decode, encode

DATABASES = ("sqlite", "postgresql")

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
METRICS = st.builds(
    Metric,
    name=TEXT,
    value=FLOATS,
    split=st.sampled_from(["val", "test"]),
    variant=TEXT,
    headline=st.booleans(),
    fold=st.none() | st.integers(0, 9),
    n_objects=st.integers(0, 10**6),
)
ARRAYS: st.SearchStrategy[npt.NDArray[Any]] = hnp.arrays(
    st.sampled_from([np.dtype(name) for name in ("float32", "float64", "int64", "uint8", "bool", "<U5")]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


def same(a: object, b: object) -> bool:
    """Equality in which NaN equals NaN, 0.0 differs from -0.0 and tuples equal lists."""
    if isinstance(a, float) and isinstance(b, float):
        return repr(a) == repr(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and a == b


WORDS = st.sampled_from(["finished", "seeds", "value", 'a"value": 1,', '\n  "log": 1,\n', '\\"seeds', "{", "x" * 120])
WRITTEN = st.recursive(
    st.none() | st.integers(-9, 9) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.sampled_from(OWN), inner, max_size=4),
    max_leaves=12,
)


FILES = encode(make_record(1))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    provenance=st.dictionaries(WORDS | st.sampled_from(OWN), WRITTEN, max_size=5),
    name=WORDS,
    values=st.lists(st.integers(0, 3) | st.floats(allow_infinity=False, allow_nan=False), max_size=3),
    indent=st.sampled_from([None, 1, 2, 2, 2, 4]),
)
def test_files_are_read_as_json_however_they_are_laid_out(
    provenance: dict[str, object], name: str, values: list[float], indent: int | None
) -> None:
    """What equal runs have in common is read once: a number or time must never come from another run's file."""
    rows = [{"name": name, "value": value, "split": "test", "n_objects": 1} for value in values]
    files = dict(FILES)
    for file, content in (("provenance.json", provenance), ("metrics.json", rows)):
        files[file] = json.dumps(content, indent=indent, ensure_ascii=False).encode()
    back = decode(files)
    assert same(back.provenance.value | back.own, provenance)
    assert not back.provenance.value.keys() & set(OWN)
    assert [(metric.name, metric.value) for metric in back.record().metrics] == [(name, float(v)) for v in values]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    metrics=st.lists(METRICS, max_size=4),
    curve=st.lists(st.tuples(FLOATS, FLOATS), max_size=4),
    cost=st.dictionaries(TEXT, FLOATS, max_size=3),
    provenance=st.dictionaries(TEXT, JSON, max_size=3),
    predictions=st.dictionaries(NAMES, ARRAYS, max_size=3),
    method=TEXT,
    error=st.none() | st.text(st.characters(), max_size=20),
)  # fmt: skip
def test_files_hold_a_record_exactly(
    metrics: list[Metric],
    curve: list[tuple[float, float]],
    cost: dict[str, float],
    provenance: dict[str, object],
    predictions: dict[str, np.ndarray],
    method: str,
    error: str | None,
) -> None:
    """Otherwise a report shows another number, name or curve than was measured."""
    record = make_record(
        1, metrics=metrics, curves={"loss": curve}, cost=cost, provenance=provenance, predictions=predictions,
        label=LABEL | {"method": method}, error=error,
    )  # fmt: skip
    back = decode(encode(record)).record()
    assert same([m.model_dump() for m in back.metrics], [m.model_dump() for m in metrics])
    assert same(back.curves, {"loss": curve})
    assert same(back.cost, cost)
    assert same(back.provenance, provenance)
    assert (back.label["method"], back.error, back.seen_names) == (method, error, record.seen_names)
    assert back.predictions.keys() == predictions.keys()
    for name, array in predictions.items():
        assert back.predictions[name].dtype == array.dtype
        assert back.predictions[name].tobytes() == array.tobytes()
    assert encode(back) == encode(record)


@pytest.mark.parametrize(
    ("status", "error", "told", "failure"),
    [
        ("failed", "loss total is not finite at epoch 2", None, "diverged"),  # as an older bench stored it
        ("failed", "RuntimeError: no room", None, "failed"),
        ("failed", None, None, "failed"),
        ("failed", "DataError: cup.npy row 3 axis y is nan", "failed", "failed"),
        ("failed", "RuntimeError: a word of our own", "diverged", "diverged"),
        ("done", "is nan", None, None),
    ],
)
def test_what_became_of_a_run_is_a_field_and_no_guess_from_words(
    status: str, error: str | None, told: str | None, failure: str | None
) -> None:
    """A cloud with NaN counted as a method that diverged."""
    record = make_record(1, status=status, error=error, failure=told)
    files = encode(record)
    assert (record.failure, decode(files).failure) == (failure, failure)
    head = json.loads(files["record.json"])
    assert ("failure" in head) == (status == "failed"), "finished runs are stored as before"
    if told is None:
        older = {name: value for name, value in head.items() if name != "failure"}
        assert decode({**files, "record.json": json.dumps(older).encode()}).failure == failure
    wrong = {**head, "failure": "lost"}
    with pytest.raises(ValueError, match="failure 'lost' of a run that is"):
        decode({**files, "record.json": json.dumps(wrong).encode()})


@pytest.mark.parametrize("value", [5e-324, 1.7976931348623157e308, 0.1 + 0.2, math.inf, math.nan])
def test_the_index_holds_numbers_to_the_last_bit(store: Store, value: float) -> None:
    """Otherwise the table and the run folder disagree."""
    store.publish(make_record(1, metrics=[Metric(value=value, split="test", n_objects=1)], cost={"s": value}))
    assert repr(metric_rows(store)[0].value) == repr(value)
    assert repr(run_rows(store)[0].cost["s"]) == repr(value)


def test_names_of_any_script_and_undecodable_paths_are_stored(store: Store) -> None:
    """A class called 'Stuhl für zwei' or a path that is not UTF-8 must not cost a finished run."""
    awkward = "cannot open 'dat\udce4.h5'\0"
    stored = store.publish(
        make_record(
            1,
            label=LABEL | {"method": "方法 é 🪑"},
            seen_names=SeenNames(seen=("椅子", "Stühle"), total=7),
            provenance={"path": awkward},
            error=awkward,
        )
    )
    assert store.load(stored).error == awkward
    assert store.load(stored).provenance == {"path": awkward}
    row = run_rows(store)[0]
    assert (row.method, row.seen, row.seen_total) == ("方法 é 🪑", ("椅子", "Stühle"), 7)
    assert row.error == "cannot open 'dat\ufffd.h5'\ufffd"


def test_predictions_are_the_same_bytes_every_time() -> None:
    """Otherwise equal reruns look different to whoever compares folders."""
    assert encode(make_record(3)) == encode(make_record(3))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"label": {"method": "recon"}}, "preset"),
        ({"spec": {}}, "seed"),
        ({"spec": {"seed": 7}, "key": key_of(1)}, "key"),
        ({"spec": {"seed": 2**63}}, "seed"),
        ({"predictions": {"ids": np.array([object()])}}, "Python objects"),
        ({"provenance": {"path": Path("x")}}, "PosixPath"),
        ({"key": "../../etc"}, "key"),
        ({"key": ""}, "key"),
        ({"fingerprint": "a/b"}, "fingerprint"),
    ],
)
def test_a_record_that_cannot_be_stored_leaves_no_trace(store: Store, changes: dict[str, Any], word: str) -> None:
    """Half a record, or one outside its folder, would be worse than an error."""
    before = tree(store.results)
    with pytest.raises((ValueError, TypeError), match=word):
        store.publish(make_record(1, **changes))
    assert tree(store.results) == before
    assert store.find(key_of(1)) is None
