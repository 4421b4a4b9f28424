"""A run record as the files of its folder, and back.

Layout (all JSON is strict, see `bench.store.jsontext`):

    spec.json          the run's spec, plain
    metrics.json       list of metrics, each with its path
    predictions.npz    per-object arrays, compressed, no pickles
    curves.json        series by name, lists of [step, value]
    provenance.json    commit, versions, host, device, seeds, times
    record.json        key, fingerprint, status, label, seen names, cost, error
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from bench.store import jsontext
from bench.store.folders import DamagedFolderError
from bench.store.records import Metric, RunRecord, SeenNames

LABELS = ("preset", "method", "architecture", "protocol", "setting", "dataset", "pretrain_data")
"""Label names every record carries; tables are grouped by them."""

Arrays = dict[str, npt.NDArray[np.generic]]
Curves = dict[str, list[tuple[float, float]]]


def encode(record: RunRecord) -> dict[str, bytes]:
    """Return the files of a record by name; nothing is written yet, so a record that cannot be stored leaves no trace.

    Raises:
        ValueError: A label or the spec's seed is missing, or an array name cannot be stored.
        TypeError: A value has no JSON form, or an array holds Python objects.
    """
    missing = [name for name in LABELS if not isinstance(record.label.get(name), str)]
    if missing:
        raise ValueError(f"record {record.key[:12]} lacks the label {', '.join(missing)}")
    seed = record.spec.get("seed")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise ValueError(f"record {record.key[:12]}: its spec needs a 'seed' from 0 to 2**63 - 1, got {seed!r}")
    head = {
        "key": record.key,
        "fingerprint": record.fingerprint,
        "status": record.status,
        "label": record.label,
        "seen_names": None if record.seen_names is None else record.seen_names.model_dump(),
        "cost": record.cost,
        "error": record.error,
    }
    return {
        "spec.json": jsontext.dump_bytes(record.spec),
        "metrics.json": jsontext.dump_bytes([metric.model_dump() for metric in record.metrics]),
        "predictions.npz": encode_arrays(record.predictions),
        "curves.json": (jsontext.dumps(record.curves) + "\n").encode(),
        "provenance.json": jsontext.dump_bytes(record.provenance),
        "record.json": jsontext.dump_bytes(head),
    }


def decode(folder: Path, *, series: bool = True) -> RunRecord:
    """Read a record from a folder whose checksums were verified.

    Args:
        folder: Run folder.
        series: Read predictions and curves too; the index does without them.

    Raises:
        DamagedFolderError: A file does not hold what its name promises; the reason names it.
    """
    name = "record.json"
    try:
        head = _read(folder, name)
        name = "metrics.json"
        metrics = [Metric.model_validate(row) for row in _read(folder, name)]
        curves: Curves = {}
        predictions: Arrays = {}
        if series:
            name = "curves.json"
            curves = {str(k): [(float(x), float(y)) for x, y in v] for k, v in _read(folder, name).items()}
            name = "predictions.npz"
            predictions = decode_arrays((folder / name).read_bytes())
        name = "spec.json"
        spec = _mapping(_read(folder, name))
        name = "provenance.json"
        provenance = _mapping(_read(folder, name))
        name = "record.json"
        if head["status"] not in ("done", "failed"):
            raise ValueError(f"status {head['status']!r}")
        return RunRecord(
            key=str(head["key"]),
            fingerprint=str(head["fingerprint"]),
            status=head["status"],
            spec=spec,
            label={str(k): str(v) for k, v in head["label"].items()},
            metrics=metrics,
            seen_names=None if head["seen_names"] is None else SeenNames.model_validate(head["seen_names"]),
            predictions=predictions,
            curves=curves,
            cost={str(k): float(v) for k, v in head["cost"].items()},
            provenance=provenance,
            error=None if head["error"] is None else str(head["error"]),
        )
    except (FileNotFoundError, ValidationError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise DamagedFolderError(
            folder, f"{name} is not what a run holds ({type(error).__name__}: {reason})"
        ) from error


def decode_spec(folder: Path) -> dict[str, Any]:
    """Read the spec of a run alone, as it stands: a thousand take a tenth of a second.

    Raises:
        DamagedFolderError: It is missing or does not hold what its name promises.
    """
    try:
        return _mapping(_read(folder, "spec.json"))
    except (OSError, ValueError) as error:
        raise DamagedFolderError(folder, f"spec.json is not what a run holds ({error})") from error


def encode_arrays(arrays: Arrays) -> bytes:
    """Return arrays as a compressed ``.npz`` whose bytes depend on the content only (fixed times, given order).

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
    """Read what `encode_arrays` wrote.

    Raises:
        ValueError: The bytes are not such an archive, or hold pickled objects.
    """
    arrays: Arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for entry in archive.infolist():
                part = io.BytesIO(archive.read(entry))
                arrays[entry.filename.removesuffix(".npy")] = np.lib.format.read_array(part, allow_pickle=False)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"not an .npz archive: {error}") from error
    return arrays


def _read(folder: Path, name: str) -> Any:
    return jsontext.loads((folder / name).read_bytes())


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("expected a JSON object")
    return value
