"""Class names of a run's data set, if still available."""

from __future__ import annotations

from pathlib import Path

from bench.data.base import DataPlace
from bench.data.local import resolve_dataset_ref
from bench.data.transfer import common_classes
from bench.errors import BenchError
from bench.paths import Workspace
from bench.registry import DATASETS
from bench.report.transfer import set_names
from bench.store.records import RunRecord


def class_names(place: Workspace, record: RunRecord) -> tuple[str, ...]:
    """Return class names for a run's labels; empty if unavailable.

    Its data set, or a plugin, may be gone.
    """
    trained, tested = set_names(record.label, bool(record.spec.get("train_data")))
    recorded = record.provenance.get("data_root")
    roots = recorded if isinstance(recorded, dict) else {}
    try:
        own = _names(place, tested, record.spec.get("data"), roots.get(tested))
        if not record.spec.get("train_data"):
            return own
        return common_classes(_names(place, trained, record.spec["train_data"], roots.get(trained)), own).names
    except (BenchError, OSError, ValueError, KeyError, ImportError):
        return ()


def _names(place: Workspace, label: str, spec: object, recorded: object) -> tuple[str, ...]:
    """Return class names from the recorded or the current folder."""
    if not isinstance(spec, dict):
        raise ValueError(f"no specification of data set '{label}'")
    dataset_class = DATASETS.load(str(spec["name"]))
    root = Path(str(recorded)) if recorded else None
    if dataset_class.needs_root and (root is None or not root.exists()):
        root = resolve_dataset_ref(label, place.results, DATASETS.names()).root
    options = dataset_class.Options.model_validate(spec["options"])
    return dataset_class(DataPlace(place.cache, root), options).classes()
