"""What reports read from the index, as frozen rows of plain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.store import jsontext
from bench.store.schema import MetricTable, RunTable
from bench.store.store import Store, StoredRun

Status = Literal["done", "failed"]


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
    label: dict[str, str]
    cost: dict[str, float]
    provenance: dict[str, Any]
    error: str | None
    size_bytes: int
    split_seed: int = 0


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
        SetupError: The index cannot be read.
    """
    current = current or {}
    with store.database.read() as session:
        runs = _chosen(_runs(session, "done", keys, presets), current, every_fingerprint)
        by_id = {run.id: run for run in runs}
        query = select(MetricTable).join(MetricTable.run).where(RunTable.status == "done").order_by(MetricTable.id)
        numbers: dict[int, list[MetricTable]] = {run.id: [] for run in runs}
        for metric in session.execute(query).scalars():
            if metric.run_id in by_id:
                numbers[metric.run_id].append(metric)
        split_seeds = {run.id: _split_seed(run) for run in runs}
        return [
            _metric_row(store, run, metric, current, split_seeds[run.id]) for run in runs for metric in numbers[run.id]
        ]


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
        SetupError: The index cannot be read.
    """
    current = current or {}
    with store.database.read() as session:
        runs = _chosen(_runs(session, "done", keys, presets), current, every_fingerprint)
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
        SetupError: The index cannot be read.
    """
    with store.database.read() as session:
        runs = _runs(session, "failed", keys, presets)
        if unresolved:
            done = {run.key for run in _runs(session, "done", keys, presets)}
            newest = {run.key: run for run in runs if run.key not in done}
            runs = [run for run in runs if newest.get(run.key) is run]
        return [_run_row(store, run, {}) for run in runs]


def nothing_stored(store: Store) -> str:
    """What to say of a results folder without runs."""
    return f"no runs stored in {store.results} yet; start with: bench run --method recon --protocol fewshot"


def _runs(
    session: Session, status: Status, keys: Collection[str] | None, presets: Collection[str] | None
) -> list[RunTable]:
    query = select(RunTable).where(RunTable.status == status).order_by(RunTable.created_at, RunTable.id)
    if presets is not None:
        query = query.where(RunTable.preset.in_(list(presets)))
    wanted = None if keys is None else set(keys)
    # Keys are compared here: a grid may hold more of them than a database takes parameters.
    return [run for run in session.execute(query).scalars() if wanted is None or run.key in wanted]


def _chosen(runs: list[RunTable], current: Mapping[str, str], every_fingerprint: bool) -> list[RunTable]:
    if every_fingerprint:
        return runs
    best: dict[str, RunTable] = {}
    for run in runs:  # oldest first, so a later one replaces an earlier one
        kept = best.get(run.key)
        if kept is None or kept.fingerprint != current.get(run.key):
            best[run.key] = run
    return [run for run in runs if best[run.key] is run]


def _older(run: RunTable, current: Mapping[str, str]) -> bool:
    return run.key in current and current[run.key] != run.fingerprint


def _split_seed(run: RunTable) -> int:
    """Split seed as the worker wrote it down; 0 for runs of code that knew no other."""
    seeds = jsontext.loads(run.provenance).get("seeds")
    found = seeds.get("split", 0) if isinstance(seeds, dict) else 0
    return found if isinstance(found, int) else 0


def _seen(run: RunTable) -> tuple[str, ...] | None:
    return None if run.seen is None else tuple(jsontext.loads(run.seen))


def _metric_row(
    store: Store, run: RunTable, metric: MetricTable, current: Mapping[str, str], split_seed: int
) -> MetricRow:
    return MetricRow(
        run_key=run.key,
        fingerprint=run.fingerprint,
        preset=run.preset,
        method=run.method,
        architecture=run.architecture,
        protocol=run.protocol,
        form=run.form,
        setting=run.setting,
        dataset=run.dataset,
        pretrain_data=run.pretrain_data,
        seed=run.seed,
        split=metric.split,
        selection=metric.selection,
        variant=metric.variant,
        headline=metric.headline,
        fold=metric.fold,
        epoch=metric.epoch,
        votes=metric.votes,
        name=metric.name,
        value=float("nan") if metric.value is None else metric.value,
        n_objects=metric.n_objects,
        seen=_seen(run),
        seen_total=run.seen_total,
        status=run.status,
        older_code=_older(run, current),
        created_at=run.created_at,
        folder=store.results / run.folder,
        split_seed=split_seed,
    )


def _run_row(store: Store, run: RunTable, current: Mapping[str, str]) -> RunRow:
    return RunRow(
        stored=StoredRun(
            key=run.key,
            fingerprint=run.fingerprint,
            status="done" if run.status == "done" else "failed",
            folder=store.results / run.folder,
            created_at=run.created_at,
            manifest_sha256=run.manifest_sha256,
        ),
        preset=run.preset,
        method=run.method,
        architecture=run.architecture,
        protocol=run.protocol,
        form=run.form,
        setting=run.setting,
        dataset=run.dataset,
        pretrain_data=run.pretrain_data,
        seed=run.seed,
        seen=_seen(run),
        seen_total=run.seen_total,
        older_code=_older(run, current),
        label=jsontext.loads(run.label),
        cost=jsontext.loads(run.cost),
        provenance=jsontext.loads(run.provenance),
        error=run.error,
        size_bytes=run.size_bytes,
        split_seed=_split_seed(run),
    )
