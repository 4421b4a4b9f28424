"""Repeat a stored run and compare the numbers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from bench.chosen import chosen_method
from bench.data.base import DataPlace
from bench.data.local import list_local, resolve_dataset_ref
from bench.errors import BenchError, UsageError
from bench.execution.engines import EngineSetup, Listener, run_plan
from bench.paths import Workspace
from bench.plan.brought import Brought
from bench.plan.code import IMPORTED
from bench.plan.encoders import encoder_key, find_encoder
from bench.plan.graph import Plan, Stored, build_plan
from bench.plan.located import Located
from bench.plan.resolve import Resolution
from bench.plan.teachers import open_teacher
from bench.plugins import load_plugin_file
from bench.registry import DATASETS, ENCODERS, REGISTRIES
from bench.spec import DataSpec, PretrainSpec, RunSpec, content_key
from bench.store.records import Metric, RunRecord
from bench.store.scratch import scratch_name
from bench.store.store import Store

_MADE_AGAIN = frozenset({"features", "clouds"})
"""Parts of the cache that a run computes itself, and must compute again."""


@dataclass(frozen=True)
class Change:
    """A number that changed; None if missing on one side."""

    name: str
    before: float | None
    after: float | None


@dataclass(frozen=True)
class Rerun:
    """Result of repeating a run.

    Attributes:
        first: The stored run.
        again: The new attempt.
        changes: Numbers that differ.
        numbers: Number of scores that were compared.
        arrays: Names of the arrays of predictions that differ.
        same_code: Whether the same code made both.
        folder: Folder of the new attempt.
    """

    first: RunRecord
    again: RunRecord
    changes: tuple[Change, ...]
    numbers: int
    arrays: tuple[str, ...]
    same_code: bool
    folder: Path

    @property
    def identical(self) -> bool:
        """Whether all numbers and predictions are bitwise equal."""
        return not self.changes and not self.arrays


def load_plugins_of(record: RunRecord, given: Sequence[Path]) -> tuple[Path, ...]:
    """Load the plugin files a run was made with.

    Files that are `given` take the place of those of the same name.

    Raises:
        UsageError: One is gone.
    """
    kept = record.provenance.get("plugin_files", [])
    recorded = [Path(str(path)) for path in kept] if isinstance(kept, list) else []
    files = [*given, *(path for path in recorded if path.name not in {one.name for one in given})]
    for path in files:
        if not path.is_file():
            raise UsageError(f"the run was made with the plugin {path}, which is gone; give it with --plugin FILE")
        load_plugin_file(path)
    return tuple(files)


def rerun(
    workspace: Workspace,
    setup: EngineSetup,
    record: RunRecord,
    datasets: Sequence[str],
    listener: Listener,
) -> Rerun:
    """Repeat a stored run, pretraining included, and store the attempt.

    It is stored beside the old one.

    Args:
        workspace: Results folder of the run.
        setup: How jobs are run, with the plugins of the run (see `load_plugins_of`).
        record: The run.
        datasets: Folders of data sets, ``NAME:ROOT``; those recorded with the run are tried next.
        listener: Told how it goes.

    Raises:
        UsageError: Another version made it, its data is nowhere to be found or changed, or this machine cannot do it.
        BenchError: The run failed.
        KeyboardInterrupt: It was stopped; nothing is kept.
    """
    try:
        spec = RunSpec.model_validate(record.spec)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise UsageError(
            f"run {record.key[:12]} was made by another version of bench, and cannot be read here: {why}"
        ) from None
    if content_key(spec) != record.key:
        raise UsageError(
            f"run {record.key[:12]} was made by another version of bench, which computes another key; use that version"
        )
    _check_machine(spec)
    places = {one.manifest: _locate(one, record, datasets, workspace) for one in _data_of(spec)}
    resolution = Resolution(runs=[spec], places=places)
    with tempfile.TemporaryDirectory(dir=workspace.results, prefix=f"{scratch_name()}-") as name:
        apart = Workspace(Path(name) / "results", Path(name) / "cache")
        apart.prepare()
        _borrow_cache(workspace.cache, apart.cache)
        if spec.encoder.method in ENCODERS:
            resolution.brought[str(spec.encoder.imported)] = _brought(spec, record)
        elif spec.encoder.imported is not None:
            found = find_encoder(workspace.results, encoder_key(spec.encoder))
            resolution.stored.append(found)
            place = Store(apart.results).artifacts.folder("encoder", found.key, IMPORTED.digest)
            shutil.copytree(found.folder, place)
        artifacts = Store(apart.results).artifacts
        nothing = Stored(
            run=lambda key, code: False,
            encoder=lambda key, code: artifacts.find_folder("encoder", key, code) is not None,
            teacher=lambda teacher: open_teacher(teacher, apart).ready(),
        )
        again = _run(build_plan(resolution, nothing), apart, replace(setup, store_url=None), listener)
    again.label = dict(record.label)
    changes, numbers = _changes(record.metrics, again.metrics)
    arrays = tuple(name for name in _names(record, again) if not _same(record, again, name))
    same_code = record.fingerprint == again.fingerprint
    again.provenance |= {
        "rerun_of": record.fingerprint,
        "identical": not changes and not arrays,
        "data_root": {place.label: str(place.root) if place.root else None for place in places.values()},
    }
    folder = Store(workspace.results, setup.store_url).publish_again(again)
    return Rerun(record, again, changes, numbers, arrays, same_code, folder)


def _brought(spec: RunSpec, record: RunRecord) -> Brought:
    """Return the encoder that a user brought, with the file it was read from.

    Raises:
        UsageError: The file is gone; that it holds something else now is found by the job.
    """
    told = record.provenance.get("encoder")
    place = told.get("file") if isinstance(told, dict) else None
    file = Path(str(place)) if place is not None else None
    if file is not None and not file.is_file():
        raise UsageError(f"the run was made with {file} of encoder '{spec.encoder.method}', which is gone; put it back")
    chosen = chosen_method(spec.encoder.method, spec.encoder.options)
    return Brought(chosen, file, str(spec.encoder.imported))


def _run(plan: Plan, apart: Workspace, setup: EngineSetup, listener: Listener) -> RunRecord:
    outcome = run_plan(plan, apart, setup, listener)
    if outcome.interrupted:
        raise KeyboardInterrupt
    if outcome.failed:
        raise BenchError("; ".join(f"{title}: {error}" for title, error, _ in outcome.failed))
    store = Store(apart.results)
    stored = store.find(plan.runs[0].key, plan.runs[0].fingerprint.digest)
    assert stored is not None
    return store.load(stored)


def _check_machine(spec: RunSpec) -> None:
    """Refuse a run that this machine would compute differently."""
    import torch

    from bench.training.precision import resolve_device

    numerics = spec.encoder.numerics
    resolve_device(numerics.device)
    here = ".".join(torch.__version__.split("+")[0].split(".")[:2])
    if numerics.torch != here:
        raise UsageError(f"the run was made with torch {numerics.torch}, which is in its key; here is torch {here}")
    for unit, version in {**numerics.plugins, **spec.plugins}.items():
        kind, _, name = unit.partition(".")
        found = REGISTRIES[kind].entry(name).version if kind in REGISTRIES else ""
        if found != version:
            raise UsageError(f"the run was made with version {version} of {name}, which is in its key; here is {found}")


def _data_of(spec: RunSpec) -> list[DataSpec]:
    found, encoder = [spec.data, spec.train_data], spec.encoder
    stages: list[PretrainSpec] = [encoder, *([encoder.first_stage] if encoder.first_stage is not None else [])]
    found += [stage.data for stage in stages]
    return [one for one in found if one is not None]


def _locate(spec: DataSpec, record: RunRecord, datasets: Sequence[str], workspace: Workspace) -> Located:
    """Find the folder whose content matches a manifest."""
    dataset_class = DATASETS.load(spec.name)
    options = dataset_class.Options.model_validate(spec.options)
    kept = record.provenance.get("data_root")
    recorded = kept if isinstance(kept, dict) else {}
    given = [resolve_dataset_ref(text, workspace.results, DATASETS.names()) for text in datasets]
    roots = [one.root for one in given if one.format == spec.name and one.root is not None]
    roots += [Path(str(root)) for root in recorded.values() if root]
    roots += [Path(entry.root) for entry in list_local(workspace.results).values() if entry.format == spec.name]
    tried = []
    for root in dict.fromkeys(roots) if dataset_class.needs_root else [None]:
        try:
            dataset = dataset_class(DataPlace(workspace.cache, root), options)
            if dataset.manifest() == spec.manifest:
                labels = [label for label, place in recorded.items() if place == (str(root) if root else None)]
                label = labels[0] if len(labels) == 1 else spec.name
                return Located(spec, label, root, dataset.train_size())
            tried.append(f"{root or 'what this version makes'} holds other data")
        except (BenchError, OSError) as error:
            tried.append(f"{root}: {error}")
    why = "; ".join(tried) or "no folder is recorded with the run"
    what = f"{spec.name} {spec.manifest[:12]}"
    raise UsageError(f"the data of the run, {what}, is not found ({why}); give --dataset {spec.name}:DIR")


def _borrow_cache(cache: Path, apart: Path) -> None:
    """Link data sets and teachers into another cache.

    Nothing that the run itself makes is linked.
    """
    for entry in cache.iterdir():
        if entry.name not in _MADE_AGAIN and not entry.name.startswith("."):
            (apart / entry.name).symlink_to(entry)


def _changes(before: Sequence[Metric], after: Sequence[Metric]) -> tuple[tuple[Change, ...], int]:
    first, second = ({_name(metric): metric for metric in metrics} for metrics in (before, after))
    names = list(dict.fromkeys([*first, *second]))
    found = [Change(name, *(_value(side.get(name)) for side in (first, second))) for name in names]
    return tuple(one for one in found if not _equal(one.before, one.after)), len(names)


def _name(metric: Metric) -> str:
    parts = [metric.name, metric.split, f"chosen on {metric.selection}", metric.variant]
    parts += [f"fold {metric.fold}"] * (metric.fold is not None) + [f"{metric.votes} votes"] * (metric.votes != 1)
    return ", ".join(part for part in parts if part)


def _value(metric: Metric | None) -> float | None:
    return None if metric is None else metric.value


def _equal(before: float | None, after: float | None) -> bool:
    return before == after or (before != before and after != after)  # two NaN count as equal


def _names(*records: RunRecord) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record.predictions))


def _same(first: RunRecord, second: RunRecord, name: str) -> bool:
    a, b = first.predictions.get(name), second.predictions.get(name)
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return False
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
