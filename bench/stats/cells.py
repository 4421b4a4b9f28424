"""Group stored scores into cells whose runs differ by seed.

A cell is identified by the fields of its runs' spec, seeds aside, never by a printed label: two runs whose labels agree
may differ (an option changed with ``--set``), and a user's folder may be called ``toys (25 %)``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING

from pydantic import JsonValue

from bench.stats.comparisons import Lost
from bench.stats.components import Components, variance_components
from bench.stats.intervals import FoldScores, Summary, Unit, run_means, summarise
from bench.stats.naming import TUNED_VALUES, Labels, labelled_suffix, name_encoders, pretrained_suffix

if TYPE_CHECKING:
    from bench.store.queries import RunNumbers
    from bench.store.records import MetricPath

SCRATCH = "scratch"
TEACHER_ALONE = "render-classify"
"""Method that zero-shot cells are compared with: their own teacher, which sees rendered images."""
_SEED = re.compile(r"(encoder\.(first_stage\.)*)?seed|split_seed")
"""Fields that hold seeds: of the run, its encoder and the encoder's first stage (all equal), and of the splits."""
JUDGE_PREFIXES = ("protocol.", "data.", "train_data.", "plugins.protocols.", "plugins.datasets.")
"""Fields of a spec that say how an encoder is judged; encoders judged differently are never compared.

A plugin's code may change under one name and one revision; versions of methods stand in the encoder's numerics.
"""
BESIDE = ("protocol.legacy", "protocol.corruptions")
"""Fields that say what a run stored beside its scores (``--legacy``, ``--corruptions``); they change no score."""
TUNED_JUDGE = frozenset({"tuned.space", "tuned.trials"})
"""Fields of a search that must agree for cells to be comparable; the values it chose may differ."""
BACKBONE_PREFIX = "encoder.backbone."
MATCHED_PREFIX = "matched."
"""Fields of the matched cost; encoders of equal cost are comparable, whatever their widths."""

_JSON = json.JSONEncoder(sort_keys=True).encode
_FLAT: dict[str, Mapping[str, str]] = {}
"""Flat specs by what specs that differ in their seeds only have in common, a digest of their content."""
_MOST_FLAT = 20_000

RunScores = dict[Unit, FoldScores]


@dataclass(frozen=True)
class FailedRun:
    """A run that ended without a result.

    Attributes:
        spec: Its spec.
        outcome: ``diverged`` or ``failed``.
    """

    spec: Mapping[str, JsonValue]
    outcome: str


@dataclass(frozen=True)
class Candidate:
    """A candidate that validation could choose, e.g. a scratch initialisation.

    Attributes:
        variant: Its name.
        validation: Mean of its validation scores, None if they were not stored.
        test: Mean of its test scores, None if they were not stored.
        chosen: Runs in which validation chose it.
    """

    variant: str
    validation: float | None
    test: float | None
    chosen: int


@dataclass(frozen=True)
class Cell:
    """Runs that differ in their seeds only.

    Attributes:
        preset: Preset of the runs.
        protocol: Protocol name.
        form: ``fair`` or ``published``.
        dataset: Data set judged on.
        setting: Setting of the protocol, e.g. ``5w10s``.
        metric: Name of the metric.
        method: Method name.
        architecture: Architecture the encoder has (for `scratch`: that of the method it is compared with).
        pretrain_data: Pretraining data of the encoder.
        difference: Difference from other cells with the same labels; empty if there is none.
        scores: Test scores by run and fold, of the candidate validation chose.
        by_selection: Scores of the same runs under the other selection rules (``last``, ``test``), of the seeds that
            have them: only runs with ``--legacy`` know the last.
        candidates: Candidates, when there was more than one.
        seen: Evaluated class names pretraining saw; None if unknown.
        seen_total: Evaluated class names.
        older_code: Whether a run was made by code that has changed since.
        n_objects: Test objects scored per seed.
        votes: Votes per object.
        runs: Run keys by seed and split seed.
        lost: Runs that ended without a number, and what became of them.
        spec: The runs' spec, flattened, without its seeds and without `BESIDE`, which changes no score; of runs
            whose spec is not known, what their labels say.
    """

    preset: str
    protocol: str
    form: str
    dataset: str
    setting: str
    metric: str
    method: str
    architecture: str
    pretrain_data: str
    difference: str
    scores: RunScores
    by_selection: Mapping[str, RunScores]
    candidates: tuple[Candidate, ...]
    seen: tuple[str, ...] | None
    seen_total: int | None
    older_code: bool
    n_objects: int
    votes: int
    runs: Mapping[Unit, str]
    lost: Mapping[Unit, str]
    spec: Mapping[str, str] = field(repr=False)

    @property
    def is_scratch(self) -> bool:
        """Whether the encoder was not pretrained."""
        return self.method == SCRATCH

    @property
    def is_single(self) -> bool:
        """Whether its encoder is one pretraining: weights or features from elsewhere."""
        return self.spec.get("encoder.imported", "null") != "null"

    @property
    def is_opponent(self) -> bool:
        """Whether the cell is a baseline.

        An encoder without pretraining, or a teacher alone.
        """
        return self.is_scratch or self.method == TEACHER_ALONE

    @property
    def name(self) -> str:
        """Name of the method; for scratch, its architecture too."""
        return f"{SCRATCH} ({self.architecture})" if self.is_scratch and self.architecture else self.method

    @property
    def label(self) -> str:
        """Name of the cell in a table."""
        return f"{self.name} [{self.difference}]" if self.difference else self.name

    @property
    def fraction(self) -> float:
        """Part of the pretraining data that was used."""
        return float(self.spec.get("encoder.fraction", "1"))

    @property
    def at(self) -> float:
        """Share of its pretraining after which the encoder was kept."""
        return float(self.spec.get("encoder.at", "1"))

    @cached_property
    def course(self) -> str:
        """Digest of the spec without the share after which the encoder was kept."""
        return digest({name: value for name, value in self.spec.items() if name != "encoder.at"})

    @property
    def budget(self) -> str:
        """Quantity kept equal between parts: ``steps`` or ``epochs``."""
        return self.spec.get("encoder.budget", "steps")

    @property
    def whole_pretrain_data(self) -> str:
        """Return the pretraining data's name without the part."""
        return self.pretrain_data.removesuffix(pretrained_suffix(self.fraction, self.budget))

    @property
    def label_fraction(self) -> float:
        """Part of the labelled objects that the protocol got."""
        return float(self.spec.get("label_fraction", "1"))

    @property
    def whole_setting(self) -> str:
        """Setting without the part of the labels."""
        return self.setting.removesuffix(labelled_suffix(self.label_fraction))

    @property
    def identity(self) -> str:
        """Stable one-line name of the cell, for files."""
        judged = f"{self.protocol}:{self.form}" if self.form != "fair" else self.protocol
        return " | ".join((self.label, judged, self.dataset, self.setting, self.metric, self.preset))

    @property
    def losses(self) -> Lost:
        """Return the runs that ended without a score."""
        return Lost(self.label, self.lost, len(self.scores) + len(self.lost))

    @cached_property
    def summary(self) -> Summary:
        """Mean, interval and range of the test scores."""
        return summarise(self.scores, means=self.means)

    @cached_property
    def means(self) -> Mapping[Unit, float]:
        """Mean of each run over its folds, sorted by seed."""
        return run_means(self.scores)

    @cached_property
    def components(self) -> Components:
        """Spread of the test scores by source."""
        return variance_components(self.scores, self.means)

    @cached_property
    def judge(self) -> str:
        """Digest of how the encoder was judged.

        Protocol, its options and revision, data content.
        """
        return digest(judging(self.spec))

    @cached_property
    def backbone(self) -> str:
        """Digest of the backbone's size, or of the matched cost."""
        return digest(sizing(self.spec))


def flatten(spec: Mapping[str, JsonValue]) -> Mapping[str, str]:
    """Flatten a spec to dotted names, without seeds.

    Values are JSON text.

    Specs that are known to differ in their seeds only (`bench.store.index.SeededSpec`) are flattened once.
    """
    alike = getattr(spec, "alike", "")
    if alike not in _FLAT:
        if len(_FLAT) >= _MOST_FLAT:
            _FLAT.clear()
        flat = dict(_flat(dict(spec)))
        if not alike:
            return flat
        _FLAT[alike] = flat
    return _FLAT[alike]


def _flat(value: JsonValue, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else key)
    elif _SEED.fullmatch(prefix) is None:
        # Thousands of specs have the same fields, and mostly the same values.
        yield sys.intern(prefix), sys.intern(value if isinstance(value, str) else _text(value))


def _text(value: JsonValue) -> str:
    """Return a value as JSON; the encoder takes long for a number alone."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value) if type(value) is int or (type(value) is float and math.isfinite(value)) else _JSON(value)


def judging(spec: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that say how an encoder is judged.

    What a search chose is left out: methods that were tuned alike, in the same space for as many trials, are judged
    alike, although each came out with values of its own.
    """
    searched = f"{TUNED_VALUES}{spec.get('protocol.name', '')}."  # a search may also choose values of pretraining
    chosen = {f"protocol.options.{name.removeprefix(searched)}" for name in spec if name.startswith(searched)}
    return {
        name: value
        for name, value in spec.items()
        if (name.startswith(JUDGE_PREFIXES) or name in TUNED_JUDGE) and name not in chosen
    }


def sizing(spec: Mapping[str, str]) -> dict[str, str]:
    """Return the fields for backbone size or matched cost."""
    matched = {name: value for name, value in spec.items() if name.startswith(MATCHED_PREFIX)}
    return matched or {name: value for name, value in spec.items() if name.startswith(BACKBONE_PREFIX)}


def digest(content: Mapping[str, str]) -> str:
    """Return the digest of some fields; empty without fields."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest() if content else ""


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts ``5w10s`` before ``10w10s``."""
    parts = re.findall(r"\d+|\D+", text)
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts)


def group_cells(
    runs: Iterable[RunNumbers],
    specs: Mapping[str, Mapping[str, JsonValue]] | None = None,
    failed: Iterable[FailedRun] = (),
) -> list[Cell]:
    """Group finished runs into cells.

    Args:
        runs: Runs with numbers of any split and selection; the cells' scores are those of the test split, selected on
            validation, of the candidate validation chose.
        specs: Specs by run key. Without a spec, runs are told apart by their labels only.
        failed: Runs without a result; those of a cell are among its outcomes.

    Returns:
        Cells in the order of tables: preset, data set, protocol, setting, pretrained methods before `scratch`.
    """
    runs = [run for run in runs if run.status == "done"]
    flat, fuller = _flat_specs(specs or {})
    known = frozenset(flat)
    _add_labels(flat, runs)
    made: dict[int, str] = {}
    digests = {key: made.get(id(spec)) or made.setdefault(id(spec), digest(spec)) for key, spec in flat.items()}
    groups: dict[tuple[str, str], list[RunNumbers]] = defaultdict(list)
    whole = whole_runs(runs)
    shown: dict[int, list[str]] = {}
    for run in whole:
        if id(run.paths) not in shown:
            shown[id(run.paths)] = list(dict.fromkeys(path.name for path in run.paths if _is_result(path)))
        for name in shown[id(run.paths)]:
            groups[name, digests[run.run_key]].append(run)
    spec_of = {key: flat[members[0].run_key] for key, members in groups.items()}
    newest = {key: max(members, key=lambda run: (str(run.created_at), run.run_key)) for key, members in groups.items()}
    keys = {key: (_labels(key[0], newest[key], spec_of[key]), key[1]) for key in groups}
    names = name_encoders(
        {keys[key]: _encoding(spec) if groups[key][0].run_key in known else {} for key, spec in spec_of.items()}
    )
    lost = _lost(failed, runs, whole, digests)
    cells = []
    for key, members in groups.items():
        single = spec_of[key].get("encoder.imported", "null") != "null"
        kept = _newest(members, fuller, single)
        gone = {} if single else {**lost.get(key, {}), **lost.get(("", key[1]), {})}
        cells.append(_cell(key[0], kept, newest[key], names[keys[key]], spec_of[key], gone))
    return sorted(cells, key=_order)


def _flat_specs(specs: Mapping[str, Mapping[str, JsonValue]]) -> tuple[dict[str, dict[str, str]], dict[str, int]]:
    """Flatten specs; count what runs store beside their scores.

    Specs that differ in their seeds only become one object.
    """
    made: dict[str, tuple[dict[str, str], int]] = {}
    flat, fuller = {}, {}
    for key, spec in specs.items():
        alike = getattr(spec, "alike", "") or key
        if alike not in made:
            own = dict(flatten(spec))
            # A run with --legacy repeats one without and says more: they are seeds of one cell, not two tables.
            made[alike] = own, stored_beside(own)
            for name in BESIDE:
                own.pop(name, None)
        flat[key], fuller[key] = made[alike]
    return flat, fuller


def stored_beside(spec: Mapping[str, str]) -> int:
    """Count what a run stored beside its scores, by its flat spec."""
    return sum(spec.get(name, "false") not in ("false", "") for name in BESIDE)


def _add_labels(flat: dict[str, dict[str, str]], runs: Iterable[RunNumbers]) -> None:
    """Add to each flat spec the labels of its run."""
    known, done = frozenset(flat), set()
    made: dict[tuple[object, ...], tuple[dict[str, str], dict[str, str]]] = {}
    for run in runs:
        if run.run_key in done:
            continue
        done.add(run.run_key)
        own = flat.get(run.run_key, {})
        same = (id(own) if own else run.run_key, *_labels_of(run))
        if same not in made:
            told = _told_by_labels(run, run.run_key in known)
            made[same] = own, told | own  # `own` is kept, so that nothing else gets its identity
        flat[run.run_key] = made[same][1]


def run_unit(spec: Mapping[str, JsonValue]) -> Unit:
    """Return the pretraining seed and split seed of a spec."""
    seed, split = spec.get("seed", 0), spec.get("split_seed", 0)
    return Unit(seed if isinstance(seed, int) else 0, split if isinstance(split, int) else 0)


def cell_digest(spec: Mapping[str, JsonValue]) -> str:
    """Return a digest that only runs of one cell share."""
    return digest({name: value for name, value in flatten(spec).items() if name not in BESIDE})


_labels_of = attrgetter("preset", "setting", "protocol", "form", "dataset", "method", "architecture", "pretrain_data")
"""Labels that `_told_by_labels` reads."""


def _told_by_labels(run: RunNumbers, known: bool) -> dict[str, str]:
    """Return fields of a spec read from a run's labels.

    For runs whose spec is not known.
    """
    told = {
        "preset": run.preset,
        "setting": run.setting,
        "protocol.name": run.protocol,
        "protocol.form": run.form,
        "data.name": run.dataset,
        "encoder.method": run.method,
    }
    if not known:
        told |= {"encoder.options.architecture": run.architecture, "encoder.data.name": run.pretrain_data}
    return told


def _lost(
    failed: Iterable[FailedRun], runs: Iterable[RunNumbers], whole: Iterable[RunNumbers], digests: Mapping[str, str]
) -> dict[tuple[str, str], dict[Unit, str]]:
    """Return runs without a score.

    By metric (empty for all metrics) and digest of the spec.
    """
    found: dict[tuple[str, str], dict[Unit, str]] = defaultdict(dict)
    for attempt in failed:
        found["", cell_digest(attempt.spec)][run_unit(attempt.spec)] = attempt.outcome
    for run, left in zip(runs, whole, strict=True):
        if left is not run:
            kept = {path.name for path in left.paths if _is_result(path)}
            for name in {path.name for path in run.paths if _is_result(path)} - kept:
                found[name, digests[run.run_key]][_unit(run)] = "without a number"
    return found


def _is_result(path: MetricPath) -> bool:
    return path.split == "test" and path.headline and path.selection == "val"


def _unit(run: RunNumbers) -> Unit:
    return Unit(run.seed, run.split_seed)


def whole_runs(runs: Iterable[RunNumbers]) -> list[RunNumbers]:
    """Drop scores with NaN in any fold.

    Runs without such scores are returned as they are.

    A mean over the folds that are left would be about other, easier folds than everyone else's.
    """
    return [run if all(map(math.isfinite, run.values)) else _whole(run) for run in runs]


def _whole(run: RunNumbers) -> RunNumbers:
    numbers = list(zip(run.paths, run.values, strict=True))
    broken = {_measured(path) for path, value in numbers if not math.isfinite(value)}
    kept = [(path, value) for path, value in numbers if _measured(path) not in broken]
    return replace(run, paths=[path for path, _ in kept], values=[value for _, value in kept])


def _measured(path: MetricPath) -> tuple[str, str, str, str, int]:
    """Return the identity that a score's folds share."""
    return path.name, path.split, path.selection, path.variant, path.votes


def _labels(metric: str, run: RunNumbers, spec: Mapping[str, str]) -> Labels:
    part, budget = float(spec.get("encoder.fraction", "1")), spec.get("encoder.budget", "steps")
    return Labels(
        preset=run.preset,
        protocol=run.protocol,
        form=run.form,
        dataset=run.dataset,
        setting=run.setting,
        metric=metric,
        method=run.method,
        architecture=run.architecture,
        pretrain_data=run.pretrain_data.removesuffix(pretrained_suffix(part, budget)),
        fraction=part,
        budget=budget,
    )


def _order(cell: Cell) -> tuple[object, ...]:
    return (
        cell.preset,
        natural(cell.dataset),
        cell.protocol,
        cell.form,
        cell.metric != "accuracy",
        cell.metric,
        natural(cell.setting),
        cell.is_scratch,
        cell.label,
        cell.pretrain_data,
        cell.judge,
    )


def _encoding(spec: Mapping[str, str]) -> dict[str, str]:
    """Return the fields that may tell encoders apart.

    How they are judged is in the name of their table.

    Of a search its values count; that there was one is in the name of the table, too, and its own name says nothing to
    a reader.
    """
    told = (*JUDGE_PREFIXES, "plugins", "tuned.")
    return {n: value for n, value in spec.items() if not n.startswith(told) or n.startswith(TUNED_VALUES)}


def _newest(runs: Sequence[RunNumbers], fuller: Mapping[str, int], single: bool) -> list[RunNumbers]:
    """Keep one run of each seed.

    The current code's, then one that stored most (`BESIDE`), then the newest.

    A single encoder (imported weights) has one seed, whatever its runs say: the lowest, the current code's first.
    """
    ranked: dict[Unit, tuple[tuple[bool, int, str, str], RunNumbers]] = {}
    for run in runs:
        rank = (not run.older_code, fuller.get(run.run_key, 0), str(run.created_at), run.fingerprint)
        if (unit := _unit(run)) not in ranked or rank >= ranked[unit][0]:
            ranked[unit] = rank, run
    only = min(ranked, key=lambda unit: (not ranked[unit][0][0], unit)).seed if single else None
    return [ranked[unit][1] for unit in sorted(ranked) if only in (None, unit.seed)]


@dataclass(frozen=True)
class _Numbers:
    """Numbers of one metric in the runs of a cell.

    Attributes:
        runs: The runs, by seed and split seed.
        places: By the identity of a run's paths, those of the metric with their places.
    """

    runs: Sequence[RunNumbers]
    places: Mapping[int, Sequence[tuple[int, MetricPath]]]

    @classmethod
    def of(cls, runs: Sequence[RunNumbers], metric: str) -> _Numbers:
        paths = {id(run.paths): run.paths for run in runs}
        own = {at: [(n, path) for n, path in enumerate(one) if path.name == metric] for at, one in paths.items()}
        return cls(runs, own)

    @property
    def paths(self) -> Iterator[MetricPath]:
        return (path for own in self.places.values() for _, path in own)

    def scores(self, wanted: Callable[[MetricPath], bool]) -> RunScores:
        """Return the wanted numbers by run and fold.

        Runs without any are left out.
        """
        taken = {at: [(n, path.fold) for n, path in own if wanted(path)] for at, own in self.places.items()}
        return {
            _unit(run): {fold: run.values[n] for n, fold in taken[id(run.paths)]}
            for run in self.runs
            if taken[id(run.paths)]
        }

    def mean(self, wanted: Callable[[MetricPath], bool]) -> float | None:
        """Return the mean of the wanted numbers over runs, folds averaged first.

        None without any.
        """
        places: dict[int, list[int]] = {}
        for at, own in self.places.items():
            folds = {path.fold: n for n, path in own if wanted(path)}
            places[at] = [n for fold, n in folds.items() if fold is not None] or list(folds.values())
        runs = [(run, places[id(run.paths)]) for run in self.runs]
        means = [statistics.fmean([run.values[n] for n in found]) for run, found in runs if found]
        return statistics.fmean(means) if means else None

    def count(self, wanted: Callable[[MetricPath], bool]) -> int:
        """Return how many runs have any of the wanted numbers."""
        having = {at for at, own in self.places.items() if any(wanted(path) for _, path in own)}
        return sum(id(run.paths) in having for run in self.runs)


def _cell(
    metric: str,
    runs: Sequence[RunNumbers],
    first: RunNumbers,
    difference: str,
    spec: Mapping[str, str],
    lost: Mapping[Unit, str],
) -> Cell:
    numbers = _Numbers.of(runs, metric)
    others = {path.selection for path in numbers.paths if path.split == "test" and path.headline} - {"val"}
    keys = {_unit(run): run.run_key for run in runs}
    chosen = [[path for _, path in own if _is_result(path)] for own in numbers.places.values()]
    whole = [path.n_objects for own in chosen for path in own if path.fold is None]
    return Cell(
        preset=first.preset,
        protocol=first.protocol,
        form=first.form,
        dataset=first.dataset,
        setting=first.setting,
        metric=metric,
        method=first.method,
        architecture=first.architecture,
        pretrain_data=first.pretrain_data,
        difference=difference,
        scores=numbers.scores(_is_result),
        by_selection={rule: numbers.scores(_chosen_by(rule)) for rule in sorted(others)},
        candidates=_candidates(numbers),
        seen=first.seen,
        seen_total=first.seen_total,
        older_code=any(run.older_code for run in runs),
        n_objects=min(whole) if whole else sum(path.n_objects for path in chosen[0]),
        votes=chosen[0][0].votes,
        runs=keys,
        lost={unit: lost[unit] for unit in sorted(lost) if unit not in keys},
        spec=spec,
    )


def _chosen_by(rule: str) -> Callable[[MetricPath], bool]:
    return lambda path: path.split == "test" and path.headline and path.selection == rule


def _candidates(numbers: _Numbers) -> tuple[Candidate, ...]:
    """Summarise every candidate, if there are several."""
    variants = sorted({path.variant for path in numbers.paths})
    if len(variants) < 2:
        return ()
    votes = min(path.votes for path in numbers.paths)  # voted numbers stand beside the plain ones

    def of(variant: str, *splits: str, chosen: bool = False) -> Callable[[MetricPath], bool]:
        return lambda path: (
            (path.variant == variant and path.selection == "val" and path.votes == votes)
            and (path.split in splits and (path.headline or not chosen))
        )

    return tuple(
        Candidate(
            variant=one,
            validation=numbers.mean(of(one, "val")),
            test=numbers.mean(of(one, "test")),
            chosen=numbers.count(of(one, "val", "test", chosen=True)),
        )
        for one in variants
    )
