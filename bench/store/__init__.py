"""Run records on disk, their index, and leases.

Names are loaded on first use, so that importing the package costs nothing and never imports SQLAlchemy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.store.artifacts import ArtifactStore
    from bench.store.folders import DamagedFolderError
    from bench.store.leases import Holder, Lease
    from bench.store.maintenance import RebuildReport, StoreStatus, rebuild, status
    from bench.store.queries import MetricRow, RunRow, failed_rows, metric_rows, run_rows
    from bench.store.records import Metric, RunRecord, SeenNames
    from bench.store.store import Store, StoredRun

_HOMES = {
    "artifacts": ("ArtifactStore",),
    "folders": ("DamagedFolderError",),
    "leases": ("Holder", "Lease"),
    "maintenance": ("RebuildReport", "StoreStatus", "rebuild", "status"),
    "queries": ("MetricRow", "RunRow", "failed_rows", "metric_rows", "run_rows"),
    "records": ("Metric", "RunRecord", "SeenNames"),
    "store": ("Store", "StoredRun"),
}

__all__ = [
    "ArtifactStore",
    "DamagedFolderError",
    "Holder",
    "Lease",
    "Metric",
    "MetricRow",
    "RebuildReport",
    "RunRecord",
    "RunRow",
    "SeenNames",
    "Store",
    "StoreStatus",
    "StoredRun",
    "failed_rows",
    "metric_rows",
    "rebuild",
    "run_rows",
    "status",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
