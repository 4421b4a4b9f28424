"""Query the index for reports; rows are plain values."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import UsageError, unknown_name
from bench.store import jsontext
from bench.store.index import Head, IndexedRun, Row, Status, paths, provenance_of
from bench.store.records import MetricPath
from bench.store.shared import Texts
from bench.store.store import Store, StoredRun


@dataclass(frozen=True)
class MetricRow:
    """A number with its provenance and its run.

    Attributes:
        run_key: Content key of the run.
        fingerprint: Code fingerprint of the run.
        preset: Preset name.
        method: Method name.
        architecture: Method whose architecture and feature the encoder has.
        protocol: Protocol name.
        form: ``"fair"`` or ``"published"``.
        setting: Setting of the protocol, e.g. ``"5w10s"``.
        dataset: Data set judged on.
        pretrain_data: Pretraining data.
        seed: Root seed of the run.
        split_seed: Seed of its validation part, folds and part of the labels.
        split: Split the number was measured on.
        selection: Rule that chose the reported model.
        variant: Candidate, if there are several; else empty.
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


@dataclass(frozen=True, slots=True)
class RunNumbers:
    """Numbers of one run, with the facts they share.

    Iterating yields rows.

    There may be millions of numbers: what goes through many runs takes them together, as they lie here.

    Attributes:
        run_key: Content key of the run.
        fingerprint: Code fingerprint.
        preset: Preset name. This and the following labels are those of `MetricRow`.
        method: Method name.
        architecture: Whose architecture and feature the encoder has.
        protocol: Protocol name.
        form: ``"fair"`` or ``"published"``.
        setting: Setting of the protocol.
        dataset: What was evaluated.
        pretrain_data: What was pretrained on.
        seed: Root seed.
        split_seed: Seed of the splits.
        seen: Evaluated class names that pretraining saw; None where unknown.
        seen_total: Evaluated class names; None where unknown.
        status: Of the run.
        older_code: Whether the run was made by other code than the caller's.
        created_at: UTC time of storing, ISO 8601.
        place: Run folder, absolute.
        paths: What is said of each number; runs of one kind share the list.
        values: The numbers.
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
    split_seed: int
    seen: tuple[str, ...] | None
    seen_total: int | None
    status: str
    older_code: bool
    created_at: str
    place: str
    paths: Sequence[MetricPath]
    values: Sequence[float]

    @property
    def folder(self) -> Path:
        """Run folder, absolute."""
        return Path(self.place)

    def __iter__(self) -> Iterator[MetricRow]:
        """Yield the numbers as rows."""
        for path, value in zip(self.paths, self.values, strict=True):
            yield _Indexed(self, path, value)


@dataclass(frozen=True)
class RunRow:
    """A run without its numbers, for tables.

    Attributes:
        stored: Its location, for `Store.load`.
        preset: Preset name.
        method: Method name.
        architecture: Method whose architecture and feature the encoder has.
        protocol: Protocol name.
        form: ``"fair"`` or ``"published"``.
        setting: Setting of the protocol.
        dataset: Data set judged on.
        pretrain_data: Pretraining data.
        seed: Root seed.
        split_seed: Seed of its validation part, folds and part of the labels.
        seen: Evaluated class names that pretraining saw; None where unknown.
        seen_total: Evaluated class names; None where unknown.
        older_code: Whether it was made by other code than the caller's.
        trial: Whether it is a trial of a search, whose test score must not be used.
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
_NOUNS = {"dataset": "data set", "pretrain_data": "pretraining data", "split_seed": "split seed"}
"""Labels that are not the words a reader knows them by."""


def metric_rows(
    store: Store,
    *,
    keys: Collection[str] | None = None,
    presets: Collection[str] | None = None,
    current: Mapping[str, str] | None = None,
    every_fingerprint: bool = False,
) -> list[MetricRow]:
    """Return the numbers of finished runs.

    Ordered by run, then as they were recorded.

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
    runs = finished_runs(store, keys=keys, presets=presets, current=current, every_fingerprint=every_fingerprint)
    return [row for run in run_numbers(store, runs, current or {}) for row in run]


def run_numbers(store: Store, runs: Iterable[IndexedRun], current: Mapping[str, str]) -> list[RunNumbers]:
    """Return the numbers of some runs, in their order.

    Args:
        store: The store.
        runs: Some of its runs.
        current: Fingerprint of the caller's code by run key, for `RunNumbers.older_code`.
    """
    texts = store.texts()
    return [
        RunNumbers(
            **_facts(run, current, texts),
            run_key=run.key,
            fingerprint=run.row.fingerprint,
            status=run.status,
            created_at=run.row.created_at,
            place=f"{store.results}/{run.folder}",
            paths=paths(run, texts),
            values=run.values or (),
        )
        for run in runs
    ]


def by_run(rows: Iterable[MetricRow]) -> list[RunNumbers]:
    """Group rows by run."""
    of_run = [name for name in _OF_RUN if name not in ("paths", "values", "place")]
    found: dict[tuple[Any, ...], list[MetricRow]] = {}
    for row in rows:
        found.setdefault(tuple(getattr(row, name) for name in (*of_run, "folder")), []).append(row)
    shared: dict[tuple[MetricPath, ...], tuple[MetricPath, ...]] = {}
    gathered = []
    for told, own in found.items():
        paths = tuple(MetricPath(*(getattr(row, name) for name in MetricPath._fields)) for row in own)
        numbers: dict[str, Any] = {"paths": shared.setdefault(paths, paths), "values": [row.value for row in own]}
        gathered.append(RunNumbers(**dict(zip(of_run, told, strict=False)), place=str(told[-1]), **numbers))
    return gathered


def run_rows(
    store: Store,
    *,
    keys: Collection[str] | None = None,
    presets: Collection[str] | None = None,
    current: Mapping[str, str] | None = None,
    every_fingerprint: bool = False,
) -> list[RunRow]:
    """Return finished runs, oldest first (arguments as in `metric_rows`).

    Raises:
        SetupError: The store cannot be read.
    """
    current = current or {}
    runs = finished_runs(store, keys=keys, presets=presets, current=current, every_fingerprint=every_fingerprint)
    texts = store.texts()
    return [_run_row(store, run, current, texts) for run in runs]


def finished_runs(
    store: Store,
    *,
    keys: Collection[str] | None = None,
    presets: Collection[str] | None = None,
    current: Mapping[str, str] | None = None,
    every_fingerprint: bool = False,
) -> list[IndexedRun]:
    """Return finished runs as index rows, oldest first.

    See `metric_rows` for the arguments.
    """
    return _chosen(_fitting(store.runs(), "done", keys, presets), current or {}, every_fingerprint)


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
    runs = failed_runs(store, keys=keys) if unresolved else _fitting(store.runs(), "failed", keys, None)
    runs = [run for run in runs if presets is None or run.row.preset in presets]
    texts = store.texts()
    return [_run_row(store, run, {}, texts) for run in runs]


def failed_runs(store: Store, *, keys: Collection[str] | None = None) -> list[IndexedRun]:
    """Return the latest failures of unfinished keys, oldest first.

    As the index has them.
    """
    done = {run.key for run in store.heads() if run.status == "done"}
    runs = [run for run in _fitting(store.runs(), "failed", keys, None) if run.key not in done]
    newest = {run.key: run for run in runs}
    return [run for run in runs if newest[run.key] is run]


def narrow(rows: Sequence[_Row], wanted: Mapping[str, Collection[str]]) -> list[_Row]:
    """Keep rows with accepted values of every label.

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
                raise unknown_name(f"{_NOUNS.get(label, label)} of a stored run", value, known)
    kept = [row for row in rows if all(str(getattr(row, label)) in values for label, values in wanted.items())]
    if rows and not kept:
        words = ", ".join(f"{label} {' or '.join(values)}" for label, values in wanted.items())
        raise UsageError(f"no stored run has {words} together")
    return kept


def fitting(wanted: Mapping[str, Collection[str]]) -> Callable[[Head | Row], bool]:
    """Return a test for accepted values of every label.

    Raises:
        UsageError: There is no such label.
    """
    for label in wanted:
        if label not in LABELS:
            raise unknown_name("label of a run", label, LABELS)
    # Seeds are numbers in the index, and texts on the command line.
    asked = [
        (attrgetter(label), {*values, *(int(one) for one in values if _SEED(one))}) for label, values in wanted.items()
    ]

    return lambda run: all(get(run) in values for get, values in asked)


_SEED = re.compile("0|[1-9][0-9]{0,18}").fullmatch


def require_stored(store: Store, wanted: Mapping[str, Collection[str]], status: Status | None = None) -> None:
    """Raise if no stored run has the accepted values.

    Raises:
        UsageError: No run has one of the values, or none has them together; stored values are named.
    """
    if wanted:
        require_labels([run for run in store.heads() if status in (None, run.status)], wanted)


def require_labels(rows: Sequence[Head | Row], wanted: Mapping[str, Collection[str]]) -> None:
    """Raise if none of some runs has the accepted values.

    Raises:
        UsageError: As `require_stored`.
    """
    if not rows:
        return
    chosen = list(filter(fitting(wanted), rows))
    for label, values in wanted.items():
        if {str(value) for value in set(map(attrgetter(label), chosen))}.issuperset(values):
            continue
        known = {str(value) for value in set(map(attrgetter(label), rows))}
        for value in values:
            if value not in known:
                raise unknown_name(f"{_NOUNS.get(label, label)} of a stored run", value, known)
    if not chosen:
        words = ", ".join(f"{label} {' or '.join(values)}" for label, values in wanted.items())
        raise UsageError(f"no stored run has {words} together")


def nothing_stored(store: Store) -> str:
    """Return the message for a results folder without runs."""
    return f"no runs stored in {store.results} yet; start with: bench run --method recon --protocol fewshot"


def _fitting(
    runs: list[IndexedRun], status: Status, keys: Collection[str] | None, presets: Collection[str] | None
) -> list[IndexedRun]:
    wanted = None if keys is None else set(keys)
    return [
        run
        for run in runs
        if run.row.status == status
        and (wanted is None or run.key in wanted)
        and (presets is None or run.row.preset in presets)
    ]


def _chosen(runs: list[IndexedRun], current: Mapping[str, str], every_fingerprint: bool) -> list[IndexedRun]:
    if every_fingerprint:
        return runs
    best: dict[str, IndexedRun] = {}
    for run in runs:  # oldest first, so a later one replaces an earlier one
        kept = best.get(run.key)
        if kept is None or kept.row.fingerprint != current.get(run.key):
            best[run.key] = run
    return [run for run in runs if best[run.key] is run]


class _Indexed(MetricRow):
    """A number that shares all else with others, saving memory.

    There may be millions of them.
    """

    __slots__ = ("_owner", "_path", "_value")

    def __init__(self, owner: RunNumbers, path: MetricPath, value: float) -> None:
        object.__setattr__(self, "_owner", owner)
        object.__setattr__(self, "_path", path)
        object.__setattr__(self, "_value", value)


_OF_RUN = tuple(field.name for field in fields(RunNumbers))
_PLACES = {
    **{name: f"_path.{name}" for name in MetricPath._fields},
    **{name: f"_owner.{name}" for name in (*_OF_RUN, "folder")},
    "value": "_value",
}
for _name, _place in _PLACES.items():
    setattr(_Indexed, _name, property(attrgetter(_place)))


def _run_row(store: Store, run: IndexedRun, current: Mapping[str, str], texts: Texts) -> RunRow:
    row = run.row
    return RunRow(
        **_facts(run, current, texts),
        stored=store.stored(run),
        trial=bool(row.trial),
        label=texts.value(row.label),
        cost=jsontext.loads(row.cost),
        provenance=provenance_of(run, texts),
        error=row.error,
        size_bytes=row.size_bytes,
    )


_labels = attrgetter(*LABELS)


def _facts(run: IndexedRun, current: Mapping[str, str], texts: Texts) -> dict[str, Any]:
    """Return what numbers and rows of a run both say of it."""
    row = run.row
    return dict(zip(LABELS, _labels(row), strict=True)) | {
        "seen": None if row.seen is None else tuple(texts.value(row.seen)),
        "seen_total": row.seen_total,
        "older_code": run.key in current and current[run.key] != row.fingerprint,
    }
