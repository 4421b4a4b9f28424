"""Rows of the index: made from run folders, and read back only as far as they may be believed.

A row carries a digest of its values and the signature of its folder's files. One that was altered, or whose folder
changed since, is no row at all for those who read: they take the run from its folder instead.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnClause, column, delete, insert, select
from sqlalchemy.orm import Session

from bench.store import jsontext
from bench.store.folders import Manifest
from bench.store.records import Metric, RunRecord
from bench.store.schema import MetricTable, RunTable

Status = Literal["done", "failed"]
_RUN = [one.name for one in RunTable.__table__.columns if one.name not in ("id", "results", "digest")]
_METRIC = [one.name for one in MetricTable.__table__.columns if one.name not in ("run_id", "place")]


@dataclass(frozen=True)
class IndexedRun:
    """Content of the index on one run folder.

    Attributes:
        folder: Relative to the results folder, POSIX.
        signature: Of the folder's files when they were read (`bench.store.files.signature`).
        values: Columns of the row by name, as the database holds them.
        metrics: Columns of its metrics by name, likewise.
        digest: SHA-256 of both.
    """

    folder: str
    signature: str
    values: dict[str, Any]
    metrics: tuple[dict[str, Any], ...]
    digest: str

    @property
    def key(self) -> str:
        """Content key of the run."""
        return str(self.values["key"])

    @property
    def status(self) -> Status:
        """Whether the run finished."""
        return "done" if self.values["status"] == "done" else "failed"


def describe(folder: str, signature: str, record: RunRecord, manifest: Manifest) -> IndexedRun:
    """Return what the index holds of a run.

    Args:
        folder: Run folder, relative to the results folder.
        signature: Of its files.
        record: The run; predictions and curves are not looked at.
        manifest: The folder's manifest.
    """
    seen = record.seen_names
    label = {name: jsontext.storable(value) for name, value in record.label.items()}
    names = ("preset", "method", "architecture", "protocol", "setting", "dataset", "pretrain_data")
    values = {
        "folder": folder,
        "signature": signature,
        "manifest_sha256": manifest.digest,
        "size_bytes": manifest.size,
        "key": record.key,
        "fingerprint": record.fingerprint,
        "status": record.status,
        "created_at": manifest.created_at,
        **{name: label.get(name, "") for name in names},
        "form": label.get("form") or _form(record),
        "seed": record.spec["seed"],
        "split_seed": record.spec.get("split_seed", 0),
        "trial": int(bool(record.spec.get("trial"))),
        "seen": None if seen is None else _text(list(seen.seen)),
        "seen_total": None if seen is None else seen.total,
        "label": _text(label),
        "cost": _text(record.cost),
        "provenance": _text(record.provenance),
        "error": None if record.error is None else jsontext.storable(record.error),
    }
    metrics = tuple(_metric_values(metric) for metric in record.metrics)
    return IndexedRun(folder, signature, values, metrics, _digest(values, metrics))


def put(session: Session, results: str, runs: Iterable[IndexedRun]) -> None:
    """Insert the rows of runs, replacing those of the same folders.

    Args:
        session: Open write transaction.
        results: The results folder as the database names it.
        runs: Their rows.
    """
    for run in runs:
        remove(session, results, run.folder)
        made = insert(RunTable).values(results=results, digest=run.digest, **run.values).returning(RunTable.id)
        run_id = session.execute(made).scalar_one()
        if run.metrics:
            rows = [{"run_id": run_id, "place": i, **metric} for i, metric in enumerate(run.metrics)]
            session.execute(insert(MetricTable), rows)


def remove(session: Session, results: str, folder: str | None = None) -> None:
    """Delete the rows of a folder, or of every folder; nothing happens where there are none."""
    chosen = RunTable.results == results
    if folder is not None:
        chosen &= RunTable.folder == folder
    session.execute(delete(MetricTable).where(MetricTable.run_id.in_(select(RunTable.id).where(chosen))))
    session.execute(delete(RunTable).where(chosen))


def read(session: Session, results: str, key: str | None = None) -> dict[str, IndexedRun | None]:
    """Return the rows by folder, of one key's folders or of all; None for a row that was altered.

    Columns are read as the driver gives them, since a row that was tampered with may hold anything.
    """
    run, metric = RunTable.__table__, MetricTable.__table__
    mine = RunTable.results == results
    if key is not None:
        mine &= RunTable.folder.startswith(f"runs/{key}/", autoescape=True)
    wanted: list[ColumnClause[Any]] = [column(name) for name in ("id", "digest", *_RUN)]
    rows = session.execute(select(*wanted).select_from(run).where(mine)).all()
    names: list[ColumnClause[Any]] = [column(name) for name in ("run_id", *_METRIC)]
    own_metrics = MetricTable.run_id.in_(select(RunTable.id).where(mine))
    query = select(*names).select_from(metric).where(own_metrics).order_by(MetricTable.run_id, MetricTable.place)
    numbers: dict[object, list[dict[str, Any]]] = {row.id: [] for row in rows}
    for found in session.execute(query):
        if (own := numbers.get(found[0])) is not None:
            own.append(dict(zip(_METRIC, found[1:], strict=True)))
    indexed: dict[str, IndexedRun | None] = {}
    for row in rows:
        values, metrics = dict(zip(_RUN, row[2:], strict=True)), tuple(numbers[row.id])
        folder = str(values["folder"])
        sound = folder not in indexed and _digest(values, metrics) == row.digest
        indexed[folder] = IndexedRun(folder, values["signature"], values, metrics, row.digest) if sound else None
    return indexed


def same(first: IndexedRun, second: IndexedRun) -> bool:
    """Whether two rows say the same of a run, whatever the times and inodes of its files."""
    return _without_signature(first) == _without_signature(second)


def _without_signature(run: IndexedRun) -> IndexedRun:
    return replace(run, signature="", digest="", values=run.values | {"signature": ""})


def _form(record: RunRecord) -> str:
    protocol = record.spec.get("protocol")
    form = protocol.get("form") if isinstance(protocol, dict) else None
    return form if isinstance(form, str) else "fair"


def _metric_values(metric: Metric) -> dict[str, Any]:
    return {
        "name": jsontext.storable(metric.name),
        # SQLite keeps no sign of a zero.
        "value": None if math.isnan(metric.value) else metric.value + 0.0,
        "split": metric.split,
        "selection": metric.selection,
        "variant": jsontext.storable(metric.variant),
        "headline": int(metric.headline),
        "fold": metric.fold,
        "epoch": metric.epoch,
        "votes": metric.votes,
        "n_objects": metric.n_objects,
    }


def _digest(values: dict[str, Any], metrics: tuple[dict[str, Any], ...]) -> str:
    """SHA-256 of values; the kinds of values count, so that text ``"1"`` is not the number 1."""
    text = json.dumps([values, metrics], sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def _text(value: Any) -> str:
    return jsontext.storable(jsontext.dumps(value))
