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

import io
import math
import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from bench.spec import content_key
from bench.store import jsontext
from bench.store.records import Metric, RunRecord, SeenNames

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


def decode(contents: Mapping[str, bytes]) -> RunRecord:
    """Read a record from the files of its folder, of which predictions and curves may be left out.

    Raises:
        ValueError: A file does not hold what its name promises; the text names it.
    """
    name = "record.json"
    try:
        head = _mapping(jsontext.loads(contents[name]))
        if head["status"] not in ("done", "failed"):
            raise ValueError(f"status {head['status']!r:.40}")
        failure = head.get("failure")
        if failure not in ((None,) if head["status"] == "done" else (None, "diverged", "failed")):
            raise ValueError(f"failure {failure!r:.40} of a run that is {head['status']}")
        label = {field: _text(value, LABEL_LENGTH) for field, value in head["label"].items()}
        cost = {field: _number(value) for field, value in head["cost"].items()}
        seen = None if head["seen_names"] is None else SeenNames.model_validate(head["seen_names"])
        error = None if head["error"] is None else _text(head["error"])
        key, fingerprint = _text(head["key"]), _text(head["fingerprint"])
        if missing := [field for field in LABELS if field not in label]:
            raise ValueError(f"no label {', '.join(missing)}")
        name = "metrics.json"
        rows = jsontext.loads(contents[name])
        if len(rows) > MOST_METRICS:
            raise ValueError(f"{len(rows):,} numbers, a run has at most {MOST_METRICS:,}")
        metrics = [Metric.model_validate(row, strict=True) for row in rows]
        name = "spec.json"
        spec = jsontext.flat_enough(_mapping(jsontext.loads(contents[name])))
        _check_spec(key, spec)
        name = "provenance.json"
        provenance = jsontext.flat_enough(_mapping(jsontext.loads(contents[name])))
        curves: Curves = {}
        predictions: Arrays = {}
        if (name := "curves.json") in contents:
            curves = {
                field: [(_number(x), _number(y)) for x, y in series]
                for field, series in _mapping(jsontext.loads(contents[name])).items()
            }
        if (name := "predictions.npz") in contents:
            predictions = decode_arrays(contents[name])
    except (ValidationError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ValueError(f"{name} is not what a run holds ({type(problem).__name__}: {reason})") from problem
    return RunRecord(
        key=key,
        fingerprint=fingerprint,
        status=head["status"],
        spec=spec,
        label=label,
        metrics=metrics,
        seen_names=seen,
        predictions=predictions,
        curves=curves,
        cost=cost,
        provenance=provenance,
        error=error,
        failure=failure,
    )


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


def decode_arrays(content: bytes) -> Arrays:
    """Read what `encode_arrays` wrote, and nothing larger than `ARRAY_BYTES` however small it was packed.

    Raises:
        ValueError: The bytes are not such an archive, hold pickled objects, or unpack to too much.
    """
    arrays: Arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_ARRAYS or sum(entry.file_size for entry in entries) > ARRAY_BYTES:
                raise ValueError(f"more than {MOST_ARRAYS} arrays or {ARRAY_BYTES:,} bytes when unpacked")
            for entry in entries:
                name = entry.filename.removesuffix(".npy")
                if entry.compress_type not in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED) or name in arrays:
                    raise ValueError(f"array '{name:.60}' is there twice or packed in another way")
                arrays[name] = _array(archive.read(entry))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"not an .npz archive: {error}") from error
    return arrays


def _array(content: bytes) -> npt.NDArray[np.generic]:
    """Read one ``.npy``; memory is taken for what is there, not for what its head claims."""
    version = np.lib.format.read_magic(io.BytesIO(content))
    if version not in _HEADS:
        raise ValueError(f"format {version} of an array")
    width = 2 if version == (1, 0) else 4
    begin = _MAGIC + width
    begin += int.from_bytes(content[_MAGIC:begin], "little")
    shape, fortran, dtype = _head(version, content[_MAGIC:begin])
    if math.prod(shape) * dtype.itemsize != len(content) - begin or math.prod(shape) > max(len(content), 1000):
        raise ValueError("an array with another number of values than its head says")
    if fortran or dtype.hasobject or begin == len(content):
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

    Or that cannot be indexed.
    """
    for name, seed in (("seed", spec.get("seed")), ("split_seed", spec.get("split_seed", 0))):
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"a '{name}' from 0 to 2**63 - 1 is needed, got {seed!r:.40}")
    if content_key(spec) != key:
        raise ValueError(f"key {key[:12]} is not the one of this specification")


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
