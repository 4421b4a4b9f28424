"""Rows of the index: made from run folders, replaced and removed by folder."""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from bench.store import jsontext
from bench.store.folders import Manifest
from bench.store.records import Metric, RunRecord
from bench.store.schema import MetricTable, RunTable


def put(session: Session, folder: str, record: RunRecord, manifest: Manifest) -> None:
    """Insert the rows of a run, replacing those of the same folder.

    Args:
        session: Open write transaction.
        folder: Run folder, relative to the results folder.
        record: The run; predictions and curves are not looked at.
        manifest: The folder's manifest.
    """
    remove(session, folder)
    run_id = session.execute(
        insert(RunTable).values(**_run_values(folder, record, manifest)).returning(RunTable.id)
    ).scalar_one()
    if record.metrics:
        session.execute(insert(MetricTable), [_metric_values(run_id, metric) for metric in record.metrics])


def remove(session: Session, folder: str) -> None:
    """Delete the rows of a folder; nothing happens where there are none."""
    session.execute(delete(RunTable).where(RunTable.folder == folder))


def digests(session: Session, key: str | None = None) -> dict[str, str]:
    """Return the manifest digest recorded for each indexed folder, of one key or of all."""
    query = select(RunTable.folder, RunTable.manifest_sha256)
    if key is not None:
        query = query.where(RunTable.key == key)
    return {row.folder: row.manifest_sha256 for row in session.execute(query)}


def _run_values(folder: str, record: RunRecord, manifest: Manifest) -> dict[str, Any]:
    seen = record.seen_names
    label = {name: jsontext.storable(value) for name, value in record.label.items()}
    names = ("preset", "method", "architecture", "protocol", "setting", "dataset", "pretrain_data")
    return {
        "folder": folder,
        "manifest_sha256": manifest.digest,
        "size_bytes": manifest.size,
        "key": record.key,
        "fingerprint": record.fingerprint,
        "status": record.status,
        "created_at": manifest.created_at,
        **{name: label.get(name, "") for name in names},
        "form": label.get("form") or _form(record),
        "seed": record.spec["seed"],
        "seen": None if seen is None else _text(list(seen.seen)),
        "seen_total": None if seen is None else seen.total,
        "label": _text(label),
        "cost": _text(record.cost),
        "provenance": _text(record.provenance),
        "error": None if record.error is None else jsontext.storable(record.error),
    }


def _form(record: RunRecord) -> str:
    protocol = record.spec.get("protocol")
    form = protocol.get("form") if isinstance(protocol, dict) else None
    return form if isinstance(form, str) else "fair"


def _metric_values(run_id: int, metric: Metric) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "name": jsontext.storable(metric.name),
        "value": None if math.isnan(metric.value) else metric.value,
        "split": metric.split,
        "selection": metric.selection,
        "variant": jsontext.storable(metric.variant),
        "headline": metric.headline,
        "fold": metric.fold,
        "epoch": metric.epoch,
        "votes": metric.votes,
        "n_objects": metric.n_objects,
    }


def _text(value: Any) -> str:
    return jsontext.storable(jsontext.dumps(value))
