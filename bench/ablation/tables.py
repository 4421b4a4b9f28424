"""Scores of an ablation's settings, read from stored runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from bench.ablation.stored import StoredAblation
from bench.paths import Workspace
from bench.report.ablation import AblationTable
from bench.reporting import read_results
from bench.stats.cells import RunScores, run_unit, whole_runs
from bench.stats.effects import Tried
from bench.stats.intervals import Unit
from bench.store.queries import RunNumbers
from bench.tuning.objective import validation_score

Place = tuple[str, str, str, str]
"""Protocol, form, data set and setting: what a table is of."""


def read_tables(
    ablation: StoredAblation, workspace: Workspace, store_url: str | None, *, verify: bool = False
) -> tuple[list[AblationTable], list[str]]:
    """Return an ablation's tables: one per protocol, data set and setting.

    Args:
        ablation: The study.
        workspace: Results folder.
        store_url: Database URL, or None.
        verify: Believe nothing of the index.

    Returns:
        The tables, and remarks on runs that are missing or failed.
    """
    keys = {key for setting in ablation.settings for key in setting.runs}
    numbers, records = read_results(workspace, store_url, keys, verify=verify)
    runs = {run.run_key: run for run in whole_runs(numbers) if run.status == "done"}
    failed = {record.key: record for record in records if record.status == "failed" and record.key not in runs}
    places: dict[Place, dict[str, None]] = defaultdict(dict)
    for run in runs.values():
        places[_place(run)] |= dict.fromkeys(_metrics(run)[:1])
    found = []
    for place, metrics in sorted(places.items()):
        for metric in metrics:
            tried, older = [], False
            for setting in ablation.settings:
                own = [runs[key] for key in setting.runs if key in runs and _place(runs[key]) == place]
                gone = {
                    run_unit(failed[key].spec): str(failed[key].failure or "failed")
                    for key in setting.runs
                    if key in failed and _failed_place(failed[key].label) == place
                }
                older |= any(run.older_code for run in own)
                tried.append(_tried(setting.values, own, gone, metric))
            found.append(
                AblationTable(
                    name=ablation.name,
                    method=ablation.method,
                    preset=ablation.preset,
                    design=ablation.design,
                    place=place,
                    metric=metric,
                    paths=tuple(axis.path for axis in ablation.axes),
                    axes=tuple(axis.label for axis in ablation.axes),
                    reference=ablation.reference,
                    tried=tuple(tried),
                    older=older,
                )
            )
    notes = []
    if missing := len(keys - runs.keys() - failed.keys()):
        notes.append(f"{missing} of {len(keys)} runs of {ablation.name} are not stored; bench ablate makes them.")
    if failed:
        notes.append(f"{len(failed)} of {len(keys)} runs of {ablation.name} failed; bench runs --failed lists them.")
    return found, notes


def _place(run: RunNumbers) -> Place:
    return run.protocol, run.form, run.dataset, run.setting


def _failed_place(label: Mapping[str, str]) -> Place:
    protocol, form, dataset, setting = (label.get(name, "") for name in ("protocol", "form", "dataset", "setting"))
    return protocol, form, dataset, setting


def _metrics(run: RunNumbers) -> list[str]:
    """Return the names of a run's results, the main one first."""
    own = [path.name for path in run.paths if path.split == "test" and path.headline and path.selection == "val"]
    return list(dict.fromkeys(own))


def _tried(values: tuple[str, ...], runs: list[RunNumbers], lost: Mapping[Unit, str], metric: str) -> Tried:
    test: RunScores = {}
    validation: RunScores = {}
    gone = dict(lost)
    for run in runs:
        unit = Unit(run.seed, run.split_seed)
        scores = {
            path.fold: value
            for path, value in zip(run.paths, run.values, strict=True)
            if path.name == metric and path.split == "test" and path.headline and path.selection == "val"
        }
        if not scores:
            gone[unit] = "without a number"
            continue
        test[unit] = scores
        held = validation_score(run, metric)
        if held is not None:
            validation[unit] = {None: held.value}
    lost = {unit: gone[unit] for unit in sorted(gone) if unit not in test}
    return Tried(values, test, validation, lost, len(test) + len(lost))
