"""Convert a run record to files and back.

Layout (all JSON is strict, see `bench.store.jsontext`):

    spec.json          the run's spec, plain
    metrics.json       list of metrics, each with its path
    predictions.npz    per-object arrays, compressed, no pickles
    curves.json        series by name, lists of [step, value]
    provenance.json    commit, versions, host, device, seeds, times
    record.json        key, fingerprint, status, label, seen names, cost, error, failure
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue, ValidationError

from bench.spec import content_key
from bench.store import jsontext
from bench.store.records import Failure, Metric, RunRecord, SeenNames, failure_of

LABELS = ("preset", "method", "architecture", "protocol", "setting", "dataset", "pretrain_data")
"""Label names every record carries; tables are grouped by them."""

_MB = 1 << 20
LIMITS = {
    "spec.json": _MB,
    "metrics.json": 16 * _MB,
    "predictions.npz": 128 * _MB,
    "curves.json": 64 * _MB,
    "provenance.json": 4 * _MB,
    "record.json": 4 * _MB,
}
"""Files of a run and the bytes each may have: a hundred times what the largest run so far needed."""

SERIES = ("predictions.npz", "curves.json")
"""Files that are not indexed."""

MOST_METRICS = 20_000
MOST_ARRAYS = 1_000
ARRAY_BYTES = 256 * _MB
"""Most bytes that the arrays of a run may take in memory together."""

LABEL_LENGTH = 1_000

OWN = ("finished", "log", "seeds", "started")
"""Fields of provenance that no two runs share."""

_KEPT = 1_000
"""Texts of which it is kept what was read of them, and the characters these may have."""
_SHORT = 50_000

_LONGEST_HEAD = 20_000
"""Bytes of the longest head of an array that is read; NumPy refuses those of 10,000 and more."""
_MAGIC = np.lib.format.MAGIC_LEN
_HEADS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

Arrays = dict[str, npt.NDArray[np.generic]]
Curves = dict[str, list[tuple[float, float]]]


def encode(record: RunRecord) -> dict[str, bytes]:
    """Return a record's files by name.

    Nothing is written yet, so a record that cannot be stored leaves no trace.

    Raises:
        ValueError: A label or the spec's seed is missing, the key is not the spec's, or there is more than `decode`
            reads.
        TypeError: A value has no JSON form, or an array holds Python objects.
    """
    missing = [name for name in LABELS if not isinstance(record.label.get(name), str)]
    if missing:
        raise ValueError(f"record {record.key[:12]} lacks the label {', '.join(missing)}")
    try:
        _check_spec(record.key, record.spec)
    except ValueError as error:
        raise ValueError(f"record {record.key[:12]}: its spec does not fit: {error}") from error
    head = {
        "key": record.key,
        "fingerprint": record.fingerprint,
        "status": record.status,
        "label": record.label,
        "seen_names": None if record.seen_names is None else record.seen_names.model_dump(),
        "cost": record.cost,
        "error": record.error,
    }
    if record.failure is not None:
        head["failure"] = record.failure
    files = {
        "spec.json": jsontext.dump_bytes(record.spec),
        "metrics.json": jsontext.dump_bytes([metric.model_dump() for metric in record.metrics]),
        "predictions.npz": encode_arrays(record.predictions),
        "curves.json": (jsontext.dumps(record.curves) + "\n").encode(),
        "provenance.json": jsontext.dump_bytes(record.provenance),
        "record.json": jsontext.dump_bytes(head),
    }
    for name, content in files.items():
        if len(content) > LIMITS[name]:
            raise ValueError(f"record {record.key[:12]}: {name} has {len(content):,} bytes, at most {LIMITS[name]:,}")
    return files


_Value = TypeVar("_Value")


class Shared(NamedTuple, Generic[_Value]):
    """A value that many runs share, read once and immutable.

    Attributes:
        value: The value.
        digest: SHA-256 of the text it was read from.
    """

    value: _Value
    digest: bytes


@dataclass(frozen=True)
class Content:
    """Checked content of a run's files, as the index needs it.

    See `RunRecord` for the other parts.

    Attributes:
        metrics: Its metrics, whatever their values are.
        values: Their values.
        provenance: Its provenance without the fields of `own`.
        own: What no two runs share of it.
    """

    key: str
    fingerprint: str
    status: Literal["done", "failed"]
    failure: Failure | None
    error: str | None
    label: dict[str, str]
    cost: dict[str, float]
    seen_names: SeenNames | None
    spec: dict[str, JsonValue]
    metrics: Shared[tuple[Metric, ...]]
    values: list[float]
    provenance: Shared[dict[str, JsonValue]]
    own: dict[str, JsonValue]
    predictions: Arrays
    curves: Curves

    def rows(self) -> list[Metric]:
        """Return its metrics with their values."""
        return [
            metric.model_copy(update={"value": value})
            for metric, value in zip(self.metrics.value, self.values, strict=True)
        ]

    def record(self) -> RunRecord:
        """Return the run as a record that shares nothing with others."""
        return RunRecord(
            key=self.key,
            fingerprint=self.fingerprint,
            status=self.status,
            spec=self.spec,
            label=self.label,
            metrics=self.rows(),
            seen_names=self.seen_names,
            predictions=self.predictions,
            curves=self.curves,
            cost=self.cost,
            provenance=deepcopy(self.provenance.value) | self.own,
            error=self.error,
            failure=self.failure,
        )


def decode(contents: Mapping[str, bytes], *, keep: bool = True) -> Content:
    """Read a run's files; predictions and curves may be missing.

    Args:
        contents: Bytes by file name.
        keep: Whether predictions are wanted; else only the heads of their arrays are looked at.

    Raises:
        ValueError: A file does not hold what its name promises; the text names it.
    """
    name = "record.json"
    try:
        head = _mapping(jsontext.loads(contents[name]))
        if head["status"] not in ("done", "failed"):
            raise ValueError(f"unexpected status {head['status']!r:.40}")
        failure = head.get("failure")
        if failure not in ((None,) if head["status"] == "done" else (None, "diverged", "failed")):
            raise ValueError(f"failure {failure!r:.40} of a run that is {head['status']}")
        label = {field: _text(value, LABEL_LENGTH) for field, value in head["label"].items()}
        cost = {field: _number(value) for field, value in head["cost"].items()}
        seen = None if head["seen_names"] is None else SeenNames.model_validate(head["seen_names"])
        error = None if head["error"] is None else _text(head["error"])
        key, fingerprint = _text(head["key"]), _text(head["fingerprint"])
        if missing := [field for field in LABELS if field not in label]:
            raise ValueError(f"the label {', '.join(missing)} is missing")
        name = "metrics.json"
        metrics, values = _metrics(contents[name].decode())
        name = "spec.json"
        spec = jsontext.flat_enough(_mapping(jsontext.loads(contents[name])))
        _check_spec(key, spec)
        name = "provenance.json"
        provenance, own = _provenance(contents[name].decode())
        curves: Curves = {}
        predictions: Arrays = {}
        if (name := "curves.json") in contents:
            curves = {
                field: [(_number(x), _number(y)) for x, y in series]
                for field, series in _mapping(jsontext.loads(contents[name])).items()
            }
        if (name := "predictions.npz") in contents:
            predictions = decode_arrays(contents[name], keep=keep)
    except (ValidationError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ValueError(f"{name} has unexpected content ({type(problem).__name__}: {reason})") from problem
    return Content(
        key=key,
        fingerprint=fingerprint,
        status=head["status"],
        failure=failure_of(head["status"], error, failure),
        error=error,
        label=label,
        cost=cost,
        seen_names=seen,
        spec=spec,
        metrics=metrics,
        values=values,
        provenance=provenance,
        own=own,
        predictions=predictions,
        curves=curves,
    )


_NUMBER = re.compile(r'"value": (-?(?:0|[1-9][0-9]{0,14})(?:\.[0-9]{1,25})?(?:e[+-][0-9]{1,3})?)(?=[,\n])')
_OWN_FIELD = re.compile(rf'\n  "({"|".join(OWN)})": (\{{\n(?:    .*\n)*  \}}|.+?)(?=,?\n)')


def _metrics(text: str) -> tuple[Shared[tuple[Metric, ...]], list[float]]:
    """Read ``metrics.json``; parse equal paths of runs once.

    Thousands of runs differ in the values only. What is left when these are cut out is read and checked once: a
    number may stand wherever another number may.
    """
    parts = _NUMBER.split(text)
    metrics = _once(_rows, '"value": 0'.join(parts[::2]))
    if len(parts) // 2 == len(metrics.value):
        return metrics, list(map(float, parts[1::2]))
    metrics = _once(_rows, text)  # Values that are NaN, or written in another way.
    return metrics, [metric.value for metric in metrics.value]


def _provenance(text: str) -> tuple[Shared[dict[str, JsonValue]], dict[str, JsonValue]]:
    """Read ``provenance.json``; parse its common part once.

    The common part is what is left without the fields of `OWN`.
    """
    parts = _OWN_FIELD.split(text)
    names, values = parts[1::3], parts[2::3]
    parts[1::3], parts[2::3] = [f'\n  "{name}": null' for name in names], [""] * len(names)
    with contextlib.suppress(ValueError):  # Written in another way.
        common, holes = _once(_common, "".join(parts))
        own = jsontext.flat_enough({name: jsontext.loads(value) for name, value in zip(names, values, strict=True)})
        if len(names) == len(holes) and holes == dict.fromkeys(own):
            return common, own
    return _common(text)


def _rows(text: str) -> Shared[tuple[Metric, ...]]:
    rows = jsontext.loads(text)
    if len(rows) > MOST_METRICS:
        raise ValueError(f"{len(rows):,} numbers, a run has at most {MOST_METRICS:,}")
    return Shared(tuple(Metric.model_validate(row, strict=True) for row in rows), _digest(text))


def _common(text: str) -> tuple[Shared[dict[str, JsonValue]], dict[str, JsonValue]]:
    """Read provenance and separate the fields of `OWN`."""
    value = jsontext.flat_enough(_mapping(jsontext.loads(text)))
    own = {name: value.pop(name) for name in OWN if name in value}
    return Shared(value, _digest(text)), own


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _once(read: Callable[[str], _Value], text: str) -> _Value:
    """Read a text, or return an equal one's result."""
    return _lookup(read, text) if len(text) < _SHORT else read(text)


@lru_cache(_KEPT)
def _lookup(read: Callable[[str], Any], text: str) -> Any:
    return read(text)


def encode_arrays(arrays: Arrays) -> bytes:
    """Return arrays as a reproducible compressed ``.npz``.

    Its bytes depend on the content only (fixed times, given order).

    Raises:
        ValueError: A name is empty or holds NUL.
        TypeError: An array holds Python objects.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, value in arrays.items():
            if not name or "\0" in name:
                raise ValueError(f"array name {name!r} cannot be stored")
            array = np.asanyarray(value)
            if array.dtype.hasobject:
                raise TypeError(f"array '{name}' holds Python objects; store numbers or fixed-width text")
            part = io.BytesIO()
            np.lib.format.write_array(part, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, part.getvalue())
    return buffer.getvalue()


def decode_arrays(content: bytes, *, keep: bool = True) -> Arrays:
    """Read arrays from ``.npz`` bytes, within a size limit.

    Nothing larger than `ARRAY_BYTES` however small it was packed.

    Args:
        content: Bytes of an archive.
        keep: Whether the arrays are wanted; else only their heads are read, and none is returned.

    Raises:
        ValueError: The bytes are not such an archive, hold pickled objects, or unpack to too much.
    """
    arrays: Arrays = {}
    seen = set()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ARRAYS or sum(entry.file_size for entry in entries) > ARRAY_BYTES:
                raise ValueError(f"more than {MOST_ARRAYS} arrays or {ARRAY_BYTES:,} bytes when unpacked")
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if entry.compress_type not in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED) or name in seen:
                    raise ValueError(f"array '{name:.60}' is there twice or packed in another way")
                seen.add(name)
                if keep:
                    arrays[name] = _array(archive.read(entry))
                else:
                    with archive.open(entry) as file:
                        _head_of(file, entry.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"not an .npz archive: {error}") from error
    return arrays


def _head_of(file: IO[bytes], size: int) -> tuple[int, tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an ``.npy`` of a known size.

    Returns:
        Where its data begin, its shape, whether it is in Fortran's order, and its type.

    Raises:
        ValueError: It has no such head, or another size than the head claims.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADS:
        raise ValueError(f"unsupported array format {version}")
    length = file.read(2 if version == (1, 0) else 4)
    count = int.from_bytes(length, "little")
    shape, fortran, dtype = _head(version, length + file.read(min(count, _LONGEST_HEAD)))
    begin = _MAGIC + len(length) + count
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    if math.prod(shape) * dtype.itemsize != size - begin or math.prod(shape) > max(size, 1000):
        raise ValueError("the number of values in an array differs from its header")
    return begin, shape, fortran, dtype


def _array(content: bytes) -> npt.NDArray[np.generic]:
    """Read one ``.npy`` without trusting its header's size."""
    begin, shape, fortran, dtype = _head_of(io.BytesIO(content), len(content))
    if fortran or begin == len(content):
        array: npt.NDArray[np.generic] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        return array
    return np.frombuffer(content, dtype, offset=begin).reshape(shape).copy()


@lru_cache(1_000)
def _head(version: tuple[int, int], text: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an array."""
    head: tuple[tuple[int, ...], bool, np.dtype[Any]] = _HEADS[version](io.BytesIO(text))
    return head


def _check_spec(key: str, spec: dict[str, Any]) -> None:
    """Refuse a spec that does not match its key.

    One whose seeds the index cannot hold is refused, too.
    """
    for name, seed in (("seed", spec.get("seed")), ("split_seed", spec.get("split_seed", 0))):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"a '{name}' from 0 to 2**63 - 1 is needed, got {seed!r:.40}")
    if content_key(spec) != key:
        raise ValueError(f"key {key[:12]} does not belong to this specification")


def _text(value: object, longest: int | None = None) -> str:
    if not isinstance(value, str) or (longest is not None and len(value) > longest):
        raise ValueError(f"expected {'short ' if longest else ''}text, got {value!r:.40}")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, got {value!r:.40}")
    return float(value)


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value
