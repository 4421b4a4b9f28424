"""Group stored scores into cells whose runs differ by seed.

A cell is identified by the fields of its runs' spec, seeds aside, never by a printed label: two runs whose labels agree
may differ (an option changed with ``--set``), and a user's folder may be called ``toys (25 %)``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import JsonValue

from bench.stats.comparisons import Lost
from bench.stats.intervals import FoldScores, Summary, Unit, summarise
from bench.stats.naming import TUNED_VALUES, Labels, labelled_suffix, name_encoders, pretrained_suffix

if TYPE_CHECKING:
    from bench.store.queries import MetricRow

SCRATCH = "scratch"
TEACHER_ALONE = "render-classify"
"""Method that zero-shot cells are compared with: their own teacher, which sees rendered images."""
_SEED = re.compile(r"(encoder\.(first_stage\.)*)?seed|split_seed")
"""Fields that hold seeds: of the run, its encoder and the encoder's first stage (all equal), and of the splits."""
JUDGE_PREFIXES = ("protocol.", "data.", "train_data.", "plugins.protocols.", "plugins.datasets.")
"""Fields of a spec that say how an encoder is judged; encoders judged differently are never compared.

A plugin's code may change under one name and one revision; versions of methods stand in the encoder's numerics.
"""
LEGACY = "protocol.legacy"
"""Field that says whether a run also stored scores chosen on the test split; it changes no other score."""
TUNED_JUDGE = frozenset({"tuned.space", "tuned.trials"})
"""Fields of a search that must agree for cells to be comparable; the values it chose may differ."""
BACKBONE_PREFIX = "encoder.backbone."
MATCHED_PREFIX = "matched."
"""Fields of the matched cost; encoders of equal cost are comparable, whatever their widths."""

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
        validation: Summary of its validation scores, None if they were not stored.
        test: Summary of its test scores, None if they were not stored.
        chosen: Runs in which validation chose it.
    """

    variant: str
    validation: Summary | None
    test: Summary | None
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
        spec: The runs' spec, flattened, without its seeds and without ``--legacy``, which changes no score; of runs
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
        return summarise(self.scores)

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


def flatten(spec: Mapping[str, JsonValue]) -> dict[str, str]:
    """Flatten a spec to dotted field names and JSON text, leaving the seeds out."""
    flat: dict[str, str] = {}

    def walk(prefix: str, value: JsonValue) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        elif _SEED.fullmatch(prefix) is None:
            flat[prefix] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)

    walk("", dict(spec))
    return flat


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
    rows: Iterable[MetricRow],
    specs: Mapping[str, Mapping[str, JsonValue]] | None = None,
    failed: Iterable[FailedRun] = (),
) -> list[Cell]:
    """Group metric rows of finished runs into cells.

    Args:
        rows: Rows of any split and selection; the cells' scores are those of the test split, selected on
            validation, of the candidate validation chose.
        specs: Specs by run key. Without a spec, runs are told apart by their labels only.
        failed: Runs without a result; those of a cell are among its outcomes.

    Returns:
        Cells in the order of tables: preset, data set, protocol, setting, pretrained methods before `scratch`.
    """
    rows = list(rows)
    flat, legacy = _flat_specs(specs or {})
    known = frozenset(flat)
    _add_labels(flat, rows)
    made: dict[int, str] = {}
    digests = {key: made.get(id(spec)) or made.setdefault(id(spec), digest(spec)) for key, spec in flat.items()}
    groups: dict[tuple[str, str], list[MetricRow]] = defaultdict(list)
    whole = whole_rows(rows)
    for row in whole:
        groups[row.name, digests[row.run_key]].append(row)
    spec_of = {key: flat[members[0].run_key] for key, members in groups.items()}
    newest = {key: max(members, key=lambda row: (str(row.created_at), row.run_key)) for key, members in groups.items()}
    keys = {key: (_labels(newest[key], spec_of[key]), key[1]) for key in groups}
    names = name_encoders(
        {keys[key]: _encoding(spec) if groups[key][0].run_key in known else {} for key, spec in spec_of.items()}
    )
    lost = _lost(failed, rows, whole, digests)
    cells = []
    for key, members in groups.items():
        single = spec_of[key].get("encoder.imported", "null") != "null"
        kept = _newest(members, legacy, single)
        gone = {} if single else {**lost.get(key, {}), **lost.get(("", key[1]), {})}
        cells.append(_cell(kept, newest[key], names[keys[key]], spec_of[key], gone))
    return sorted((cell for cell in cells if cell is not None), key=_order)


def _flat_specs(specs: Mapping[str, Mapping[str, JsonValue]]) -> tuple[dict[str, dict[str, str]], set[str]]:
    """Flatten specs and find runs with ``--legacy``.

    Specs that differ in their seeds only become one object.
    """
    made: dict[str, tuple[dict[str, str], bool]] = {}
    flat, legacy = {}, set()
    for key, spec in specs.items():
        alike = getattr(spec, "alike", "") or key
        if alike not in made:
            own = flatten(spec)
            # A run with --legacy repeats one without and says more: they are seeds of one cell, not two tables.
            made[alike] = own, own.pop(LEGACY, None) == "true"
        flat[key], had = made[alike]
        if had:
            legacy.add(key)
    return flat, legacy


def _add_labels(flat: dict[str, dict[str, str]], rows: Iterable[MetricRow]) -> None:
    """Add to each flat spec what the labels of its run say besides."""
    known, done = frozenset(flat), set()
    made: dict[tuple[object, ...], tuple[dict[str, str], dict[str, str]]] = {}
    for row in rows:
        if row.run_key in done:
            continue
        done.add(row.run_key)
        own = flat.get(row.run_key, {})
        told = _told_by_labels(row, row.run_key in known)
        same = (id(own) if own else row.run_key, *told.values())
        if same not in made:
            made[same] = own, told | own  # `own` is kept, so that nothing else gets its identity
        flat[row.run_key] = made[same][1]


def run_unit(spec: Mapping[str, JsonValue]) -> Unit:
    """Return the pretraining seed and split seed of a spec."""
    seed, split = spec.get("seed", 0), spec.get("split_seed", 0)
    return Unit(seed if isinstance(seed, int) else 0, split if isinstance(split, int) else 0)


def cell_digest(spec: Mapping[str, JsonValue]) -> str:
    """Digest that runs of one cell have in common."""
    flat = flatten(spec)
    flat.pop(LEGACY, None)
    return digest(flat)


def _told_by_labels(row: MetricRow, known: bool) -> dict[str, str]:
    """Return fields of a spec read from a row's labels.

    For runs whose spec is not known.
    """
    told = {
        "preset": row.preset,
        "setting": row.setting,
        "protocol.name": row.protocol,
        "protocol.form": row.form,
        "data.name": row.dataset,
        "encoder.method": row.method,
    }
    if not known:
        told |= {"encoder.options.architecture": row.architecture, "encoder.data.name": row.pretrain_data}
    return told


def _lost(
    failed: Iterable[FailedRun], rows: Iterable[MetricRow], whole: Iterable[MetricRow], digests: Mapping[str, str]
) -> dict[tuple[str, str], dict[Unit, str]]:
    """Return runs without a score.

    By metric (empty for all metrics) and digest of the spec.
    """
    found: dict[tuple[str, str], dict[Unit, str]] = defaultdict(dict)
    for run in failed:
        found["", cell_digest(run.spec)][run_unit(run.spec)] = run.outcome
    kept = {(row.name, row.run_key) for row in whole if _is_result(row)}
    for row in rows:
        if _is_result(row) and row.status == "done" and (row.name, row.run_key) not in kept:
            found[row.name, digests[row.run_key]][_unit(row)] = "without a number"
    return found


def _is_result(row: MetricRow) -> bool:
    return row.split == "test" and row.headline and row.selection == "val"


def _unit(row: MetricRow) -> Unit:
    return Unit(row.seed, row.split_seed)


def whole_rows(rows: Iterable[MetricRow]) -> list[MetricRow]:
    """Return rows of finished runs, without scores with a NaN in any fold.

    A mean over the folds that are left would be about other, easier folds than everyone else's.
    """
    done = [row for row in rows if row.status == "done"]
    broken = {_measured(row) for row in done if not math.isfinite(row.value)}
    return [row for row in done if _measured(row) not in broken]


def _measured(row: MetricRow) -> tuple[str, ...]:
    """Return the scores that a run measured once per fold."""
    return row.run_key, row.fingerprint, row.name, row.split, row.selection, row.variant, str(row.votes)


def _labels(row: MetricRow, spec: Mapping[str, str]) -> Labels:
    part, budget = float(spec.get("encoder.fraction", "1")), spec.get("encoder.budget", "steps")
    return Labels(
        preset=row.preset,
        protocol=row.protocol,
        form=row.form,
        dataset=row.dataset,
        setting=row.setting,
        metric=row.name,
        method=row.method,
        architecture=row.architecture,
        pretrain_data=row.pretrain_data.removesuffix(pretrained_suffix(part, budget)),
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


def _newest(rows: Sequence[MetricRow], legacy: Collection[str], single: bool) -> list[MetricRow]:
    """Keep one run of each seed.

    The current code's, then one with ``--legacy``, then the newest.

    A single encoder (imported weights) has one seed, whatever its runs say: the lowest, the current code's first.
    """

    def rank(row: MetricRow) -> tuple[bool, bool, str, str]:
        return (not row.older_code, row.run_key in legacy, str(row.created_at), row.fingerprint)

    best: dict[Unit, tuple[bool, bool, str, str]] = {}
    for row in rows:
        best[_unit(row)] = max(best.get(_unit(row), rank(row)), rank(row))
    only = min(best, key=lambda unit: (not best[unit][0], unit)).seed if single else None
    return [row for row in rows if only in (None, row.seed) and rank(row) == best[_unit(row)]]


def _cell(
    rows: Sequence[MetricRow], first: MetricRow, difference: str, spec: Mapping[str, str], lost: Mapping[Unit, str]
) -> Cell | None:
    test = [row for row in rows if row.split == "test"]
    chosen = [row for row in test if row.headline and row.selection == "val"]
    if not chosen:
        return None
    others = {row.selection for row in test if row.headline} - {"val"}
    whole = {_unit(row): row.n_objects for row in chosen if row.fold is None}
    runs = {_unit(row): row.run_key for row in sorted(chosen, key=_unit)}
    return Cell(
        preset=first.preset,
        protocol=first.protocol,
        form=first.form,
        dataset=first.dataset,
        setting=first.setting,
        metric=first.name,
        method=first.method,
        architecture=first.architecture,
        pretrain_data=first.pretrain_data,
        difference=difference,
        scores=_scores(chosen),
        by_selection={
            rule: _scores([row for row in test if row.headline and row.selection == rule]) for rule in sorted(others)
        },
        candidates=_candidates(rows),
        seen=first.seen,
        seen_total=first.seen_total,
        older_code=any(row.older_code for row in chosen),
        n_objects=min(whole.values()) if whole else sum(r.n_objects for r in chosen if _unit(r) == _unit(chosen[0])),
        votes=chosen[0].votes,
        runs=runs,
        lost={unit: lost[unit] for unit in sorted(lost) if unit not in runs},
        spec=spec,
    )


def _scores(rows: Iterable[MetricRow]) -> RunScores:
    scores: RunScores = defaultdict(dict)
    for row in rows:
        scores[_unit(row)][row.fold] = row.value
    return {unit: scores[unit] for unit in sorted(scores)}


def _candidates(rows: Sequence[MetricRow]) -> tuple[Candidate, ...]:
    """Summaries of every variant, when there is more than one."""
    variants = sorted({row.variant for row in rows})
    if len(variants) < 2:
        return ()
    votes = min(row.votes for row in rows)  # voted rows stand beside the plain ones
    found = []
    for variant in variants:
        own = [row for row in rows if row.variant == variant and row.selection == "val" and row.votes == votes]
        test = _scores(row for row in own if row.split == "test")
        validation = _scores(row for row in own if row.split == "val")
        chosen = {_unit(row) for row in own if row.headline}
        found.append(
            Candidate(
                variant=variant,
                validation=summarise(validation) if validation else None,
                test=summarise(test) if test else None,
                chosen=len(chosen),
            )
        )
    return tuple(found)
