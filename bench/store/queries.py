"""Read the index for reports, as frozen rows of plain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import UsageError, unknown_name
from bench.store import jsontext
from bench.store.index import IndexedRun, Status
from bench.store.store import Store, StoredRun


@dataclass(frozen=True)
class MetricRow:
    """One number with its path and the run it belongs to.

    Attributes:
        run_key: Content key of the run.
        fingerprint: Code fingerprint of the run.
        preset: Preset name.
        method: Method name.
        architecture: Whose architecture and feature the encoder has.
        protocol: Protocol name.
        form: ``"fair"`` or ``"published"``.
        setting: Setting of the protocol, e.g. ``"5w10s"``.
        dataset: What was evaluated.
        pretrain_data: What was pretrained on.
        seed: Root seed of the run.
        split_seed: Seed of its validation part, folds and part of the labels.
        split: Split the number was measured on.
        selection: How the reported model was chosen.
        variant: Which of several candidates; empty for the only one.
        headline: False for candidates that validation did not choose.
        fold: Fold, or None for the run's own value.
        epoch: Epoch of the chosen model, or None.
        votes: Number of votes per object.
        name: Metric name.
        value: The number (accuracies: fraction in 0..1).
        n_objects: Objects it was measured on.
        seen: Evaluated class names that pretraining saw; None where unknown.
        seen_total: Evaluated class names; None where unknown.
        status: Of the run.
        older_code: Whether the run was made by other code than the caller's.
        created_at: UTC time of storing, ISO 8601.
        folder: Run folder, absolute.
    """

    run_key: str
    fingerprint: str
    preset: str
    method: str
    architecture: str
    protocol: str
    form: str
    setting: str
    dataset: str
    pretrain_data: str
    seed: int
    split: str
    selection: str
    variant: str
    headline: bool
    fold: int | None
    epoch: int | None
    votes: int
    name: str
    value: float
    n_objects: int
    seen: tuple[str, ...] | None
    seen_total: int | None
    status: str
    older_code: bool
    created_at: str
    folder: Path
    split_seed: int = 0


@dataclass(frozen=True)
class RunRow:
    """One run without its numbers, for tables of provenance, cost and errors.

    Attributes:
        stored: Where it lies; `Store.load` takes it.
        preset: Preset name.
        method: Method name.
        architecture: Whose architecture and feature the encoder has.
        protocol: Protocol name.
        form: ``"fair"`` or ``"published"``.
        setting: Setting of the protocol.
        dataset: What was evaluated.
        pretrain_data: What was pretrained on.
        seed: Root seed.
        split_seed: Seed of its validation part, folds and part of the labels.
        seen: Evaluated class names that pretraining saw; None where unknown.
        seen_total: Evaluated class names; None where unknown.
        older_code: Whether it was made by other code than the caller's.
        trial: Whether it is a trial of a search, whose test score may not be looked at.
        label: Every label of the record.
        cost: Seconds by stage, memory, samples, parameters.
        provenance: Commit, versions, host, device, seeds, times.
        error: Exception text and log path of a failed run.
        size_bytes: Bytes of its files.
    """

    stored: StoredRun
    preset: str
    method: str
    architecture: str
    protocol: str
    form: str
    setting: str
    dataset: str
    pretrain_data: str
    seed: int
    seen: tuple[str, ...] | None
    seen_total: int | None
    older_code: bool
    trial: bool
    label: dict[str, str]
    cost: dict[str, float]
    provenance: dict[str, Any]
    error: str | None
    size_bytes: int
    split_seed: int = 0


_Row = TypeVar("_Row", MetricRow, RunRow)
LABELS = (
    "method",
    "architecture",
    "protocol",
    "form",
    "setting",
    "dataset",
    "pretrain_data",
    "preset",
    "seed",
    "split_seed",
)
"""Labels of a run, in the order of tables."""


def metric_rows(
    store: Store,
    *,
    keys: Collection[str] | None = None,
    presets: Collection[str] | None = None,
    current: Mapping[str, str] | None = None,
    every_fingerprint: bool = False,
) -> list[MetricRow]:
    """Return the numbers of finished runs, ordered by run and then as they were recorded.

    Args:
        store: The store.
        keys: Only these runs; None for all.
        presets: Only these presets; None for all.
        current: Fingerprint of the caller's code by run key, for `MetricRow.older_code`.
        every_fingerprint: Return each stored fingerprint of a key. Otherwise one run per key: the one that matches
            `current`, else the newest; two of them side by side would count one seed twice.

    Raises:
        SetupError: The store cannot be read.
    """
    current = current or {}
    runs = _chosen(_runs(store, "done", keys, presets), current, every_fingerprint)
    return [_metric_row(store, run, metric, current) for run in runs for metric in run.metrics]


def run_rows(
    store: Store,
    *,
    keys: Collection[str] | None = None,
    presets: Collection[str] | None = None,
    current: Mapping[str, str] | None = None,
    every_fingerprint: bool = False,
) -> list[RunRow]:
    """Return the finished runs (see `metric_rows` for the arguments), oldest first.

    Raises:
        SetupError: The store cannot be read.
    """
    current = current or {}
    runs = _chosen(_runs(store, "done", keys, presets), current, every_fingerprint)
    return [_run_row(store, run, current) for run in runs]


def failed_rows(
    store: Store,
    *,
    keys: Collection[str] | None = None,
    presets: Collection[str] | None = None,
    unresolved: bool = False,
) -> list[RunRow]:
    """Return the failed attempts, oldest first.

    Args:
        store: The store.
        keys: Only these runs; None for all.
        presets: Only these presets; None for all.
        unresolved: Leave out keys that have a finished run by now, and all but the newest attempt of a key.

    Raises:
        SetupError: The store cannot be read.
    """
    found = store.runs()
    runs = _fitting(found, "failed", keys, presets)
    if unresolved:
        done = {run.key for run in _fitting(found, "done", keys, presets)}
        newest = {run.key: run for run in runs if run.key not in done}
        runs = [run for run in runs if newest.get(run.key) is run]
    return [_run_row(store, run, {}) for run in runs]


def narrow(rows: Sequence[_Row], wanted: Mapping[str, Collection[str]]) -> list[_Row]:
    """Keep the rows that have, of every label, one of the values asked for.

    Args:
        rows: Rows.
        wanted: Accepted values as texts, by label (an attribute of the rows).

    Raises:
        UsageError: There is no such label, no row has one of the values, or none has them together.
    """
    for label, values in wanted.items():
        if label not in LABELS:
            raise unknown_name("label of a run", label, LABELS)
        known = {str(getattr(row, label)) for row in rows}
        for value in values if rows else ():
            if value not in known:
                raise unknown_name(f"{label} of a stored run", value, known)
    kept = [row for row in rows if all(str(getattr(row, label)) in values for label, values in wanted.items())]
    if rows and not kept:
        words = ", ".join(f"{label} {' or '.join(values)}" for label, values in wanted.items())
        raise UsageError(f"no stored run has {words} together")
    return kept


def nothing_stored(store: Store) -> str:
    """Return the line on a results folder without runs."""
    return f"no runs stored in {store.results} yet; start with: bench run --method recon --protocol fewshot"


def _runs(
    store: Store, status: Status, keys: Collection[str] | None, presets: Collection[str] | None
) -> list[IndexedRun]:
    return _fitting(store.runs(), status, keys, presets)


def _fitting(
    runs: list[IndexedRun], status: Status, keys: Collection[str] | None, presets: Collection[str] | None
) -> list[IndexedRun]:
    wanted = None if keys is None else set(keys)
    return [
        run
        for run in runs
        if run.status == status
        and (wanted is None or run.key in wanted)
        and (presets is None or run.values["preset"] in presets)
    ]


def _chosen(runs: list[IndexedRun], current: Mapping[str, str], every_fingerprint: bool) -> list[IndexedRun]:
    if every_fingerprint:
        return runs
    best: dict[str, IndexedRun] = {}
    for run in runs:  # oldest first, so a later one replaces an earlier one
        kept = best.get(run.key)
        if kept is None or kept.values["fingerprint"] != current.get(run.key):
            best[run.key] = run
    return [run for run in runs if best[run.key] is run]


def _common(run: IndexedRun, current: Mapping[str, str]) -> dict[str, Any]:
    """Return what rows of numbers and rows of runs both say."""
    values = run.values
    names = ("preset", "method", "architecture", "protocol", "form", "setting", "dataset", "pretrain_data")
    return {name: values[name] for name in (*names, "seed", "split_seed")} | {
        "seen": None if values["seen"] is None else tuple(jsontext.loads(values["seen"])),
        "seen_total": values["seen_total"],
        "older_code": run.key in current and current[run.key] != values["fingerprint"],
    }


def _metric_row(store: Store, run: IndexedRun, metric: dict[str, Any], current: Mapping[str, str]) -> MetricRow:
    return MetricRow(
        **_common(run, current),
        **metric
        | {
            "headline": bool(metric["headline"]),
            "value": float("nan") if metric["value"] is None else metric["value"],
        },
        run_key=run.key,
        fingerprint=run.values["fingerprint"],
        status=run.status,
        created_at=run.values["created_at"],
        folder=store.results / run.folder,
    )


def _run_row(store: Store, run: IndexedRun, current: Mapping[str, str]) -> RunRow:
    values = run.values
    return RunRow(
        **_common(run, current),
        stored=store.stored(run),
        trial=bool(values["trial"]),
        label=jsontext.loads(values["label"]),
        cost=jsontext.loads(values["cost"]),
        provenance=jsontext.loads(values["provenance"]),
        error=values["error"],
        size_bytes=values["size_bytes"],
    )
