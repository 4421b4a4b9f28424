"""Content of a report: sections of rows with their comparisons.

`build_model` is a pure function of the stored rows and run records; terminal, HTML, Markdown and CSV are
four renderings of its result.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from bench.plan.skips import Skipped
from bench.report.apart import set_apart
from bench.report.curves import Panel, curve_panels
from bench.report.floors import ACCURACY, BY_CLASS, Floor, floors, same_scores
from bench.report.grouping import grouping
from bench.report.methods import MethodLine, method_lines
from bench.report.runs import (
    Environment,
    RescoredNumber,
    RunFacts,
    RunLine,
    environment,
    failures,
    rescored_numbers,
    run_lines,
    run_name,
)
from bench.stats.cells import (
    SCRATCH,
    Cell,
    FailedRun,
    cell_digest,
    digest,
    flatten,
    group_cells,
    judging,
    natural,
)
from bench.stats.comparisons import Comparison, Lost, compare, judge_family
from bench.stats.deviations import Deviations, heading, shared
from bench.stats.intervals import Unit
from bench.stats.opponents import judged_alike, opponent
from bench.stats.selection import LedgerLine, headline_lines, selection_ledger

if TYPE_CHECKING:
    from bench.published.verdicts import Judged
    from bench.report.studies import StudyFacts
    from bench.stats.robustness import Robust
    from bench.store.queries import RunNumbers
    from bench.store.records import RunRecord

SMOKE = "smoke"
Counts = npt.NDArray[np.int64]
MOST_COMPARED = 50
"""Pretrained cells of one setting that are compared with each other: their pairs grow with the square."""


@dataclass(frozen=True)
class ReportRow:
    """One row of a table of accuracies.

    Attributes:
        cell: The cell.
        facts: Parameters, feature and seconds of its runs.
        versus: Paired comparison with the scratch cell of the same architecture; None for scratch itself,
            where there is no such cell, and in smoke tables.
        opponent: Method of the cell it is compared with; empty without a comparison.
        deviations: Deviations of its runs from the preset.
    """

    cell: Cell
    facts: RunFacts
    versus: Comparison | None
    opponent: str = ""
    deviations: Deviations = ()

    @property
    def opponents_name(self) -> str:
        """Return the opponent's name."""
        return self.opponent or SCRATCH


@dataclass(frozen=True)
class Pair:
    """Two pretrained methods compared in one setting.

    Attributes:
        setting: Setting.
        comparison: Comparison.
        older_code: Whether a run of either was made by code that has changed since.
    """

    setting: str
    comparison: Comparison
    older_code: bool = False

    @property
    def name(self) -> str:
        """Return the name of the comparison."""
        return f"{self.comparison.first} − {self.comparison.second}"


@dataclass(frozen=True)
class Section:
    """One table: preset, protocol, data set and metric.

    Attributes:
        anchor: Name for links.
        preset: Preset of all its rows.
        protocol: Protocol.
        form: Form of the protocol.
        dataset: Data set.
        metric: Metric.
        options: Options of the protocol: (option, value).
        difference: Difference from a section of the same name; empty if there is none.
        main: Whether its metric is the protocol's headline metric, which sentences are about.
        rows: Rows by setting, pretrained methods before scratch.
        pairs: Pretrained methods against each other.
        lost: Cells of which no run has a number, in words.
        floors: By setting, what needs no encoder; without those that the stored runs do not tell.
        repeats: Anchor of the table of accuracies that has the same numbers, because every class has as many test
            objects; empty where there is none. Such a table is in ``results.csv`` only.
        repeated: Metrics whose tables repeat this one.
        too_many: Settings with more pretrained cells than `MOST_COMPARED`, which are not compared with each other.
    """

    anchor: str
    preset: str
    protocol: str
    form: str
    dataset: str
    metric: str
    options: tuple[tuple[str, str], ...]
    difference: str
    main: bool
    rows: tuple[ReportRow, ...]
    pairs: tuple[Pair, ...]
    lost: tuple[str, ...] = ()
    floors: Mapping[str, Floor] = field(default_factory=dict)
    repeats: str = ""
    repeated: tuple[str, ...] = ()
    too_many: tuple[str, ...] = ()

    @cached_property
    def deviations(self) -> Deviations:
        """Return the deviations from the preset that all rows share."""
        return shared([(not row.cell.is_opponent, row.deviations) for row in self.rows])

    @property
    def preset_words(self) -> str:
        """Preset and common changes: ``nano with recipe.epochs=1``."""
        changed = heading(self.deviations)
        return f"{self.preset} with {changed}" if changed else self.preset

    @property
    def smoke(self) -> bool:
        """Whether the preset only tests that everything runs.

        Then nothing may be compared.
        """
        return self.preset == SMOKE

    @property
    def title(self) -> str:
        """Heading of the table."""
        form = "" if self.form == "fair" else f" ({self.form} form)"
        metric = "" if self.metric == "accuracy" else f", {self.metric.replace('_', ' ')}"
        apart = f" [{self.difference}]" if self.difference else ""
        return f"{self.protocol}{form} on {self.dataset}{metric}{apart}"

    @property
    def settings(self) -> tuple[str, ...]:
        """Settings in the order of the rows."""
        return tuple(dict.fromkeys(row.cell.setting for row in self.rows))

    @property
    def seeds(self) -> tuple[int, ...]:
        """All pretraining seeds, including those of failed runs."""
        return tuple(sorted({unit.seed for unit in self._units}))

    @property
    def splits(self) -> tuple[int, ...]:
        """Every split seed that occurs."""
        return tuple(sorted({unit.split for unit in self._units}))

    @property
    def _units(self) -> set[Unit]:
        return {unit for row in self.rows for unit in (*row.cell.scores, *row.cell.lost)}

    @property
    def folds(self) -> int:
        """Folds averaged per seed (smallest count), or 0."""
        return min(row.cell.summary.folds for row in self.rows)

    @property
    def votes(self) -> int:
        """Votes per object (largest count)."""
        return max(row.cell.votes for row in self.rows)

    @property
    def other_selections(self) -> tuple[str, ...]:
        """Selection rules other than validation, of any row."""
        return tuple(sorted({rule for row in self.rows for rule in row.cell.by_selection}))


@dataclass(frozen=True)
class ClassCounts:
    """Answers of methods in one setting.

    Attributes:
        setting: Setting.
        names: Name of every class.
        methods: Answers by method: true class in rows, named class in columns, and a last column for none
            ``[K, K + 1]``.
        runs: Number of runs read, by method.
        left_out: Number of methods that are not shown.
    """

    setting: str
    names: tuple[str, ...]
    methods: Mapping[str, Counts]
    runs: Mapping[str, int]
    left_out: int


@dataclass(frozen=True)
class RobustLine:
    """One method on clean and corrupted clouds, means over runs.

    Attributes:
        cell: Its cell of corrupted accuracies.
        robust: Accuracies by type.
        levels: By type, accuracy at each level.
        mce: Errors relative to the reference (mCE); None without one.
        rmce: Losses relative to the reference's losses (RmCE).
    """

    cell: Cell
    robust: Robust
    levels: Mapping[str, tuple[float, ...]]
    mce: float | None
    rmce: float | None


@dataclass(frozen=True)
class RobustTable:
    """Methods on the corrupted clouds of one data set, judged alike.

    Attributes:
        section: Table of corrupted accuracies.
        lines: Methods in its order.
        official: Whether the clouds are released files.
    """

    section: Section
    lines: tuple[RobustLine, ...]
    official: bool

    @property
    def title(self) -> str:
        """Return protocol and data."""
        return self.section.title.replace(", corrupted accuracy", "")


@dataclass(frozen=True)
class ReportModel:
    """Everything that a report says.

    Attributes:
        sections: Tables, comparable presets first.
        failures: Runs without a result, with the reason.
        runs: The newest finished runs.
        environment: Software and machines of the finished runs.
        panels: Training curves.
        methods: What the methods declare about themselves; empty where no run carries it.
        ledger: Cells reported under more than one selection rule.
        studies: Searches for hyperparameters.
        deviations: Deviations from the preset, by key.
        broken: Finished runs with a score left out because it, or one of its folds, is NaN.
        classes: Answers by class, by the anchor of their table.
        claims: Claims of papers that the runs answer.
        robust: Accuracies on corrupted clouds.
        rescored: Numbers that newer metric code computed anew.
        skipped: Combinations that plans skipped, with the reason.
    """

    sections: tuple[Section, ...]
    failures: tuple[RunLine, ...]
    runs: tuple[RunLine, ...]
    environment: Environment
    panels: tuple[Panel, ...]
    methods: tuple[MethodLine, ...] = ()
    ledger: tuple[LedgerLine, ...] = ()
    studies: tuple[StudyFacts, ...] = ()
    deviations: Mapping[str, Deviations] = field(default_factory=dict)
    broken: int = 0
    classes: Mapping[str, ClassCounts] = field(default_factory=dict)
    claims: tuple[Judged, ...] = ()
    robust: tuple[RobustTable, ...] = ()
    rescored: tuple[RescoredNumber, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    @property
    def shown(self) -> tuple[Section, ...]:
        """Tables, without those that repeat another's numbers."""
        return tuple(section for section in self.sections if not section.repeats)


class _Specs(Mapping[str, Mapping[str, JsonValue]]):
    """Specs of runs by key; runs that differ in their seeds only share one."""

    def __init__(self, runs: Mapping[str, RunRecord]) -> None:
        self._runs = runs
        self._made: dict[str, Mapping[str, JsonValue]] = {}

    def __getitem__(self, key: str) -> Mapping[str, JsonValue]:
        run = self._runs[key]
        if not run.alike:
            return run.spec
        if run.alike not in self._made:
            self._made[run.alike] = run.spec
        return self._made[run.alike]

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)


def build_model(
    numbers: Iterable[RunNumbers],
    runs: Sequence[RunRecord],
    deviations: Mapping[str, Deviations] | None = None,
    group_by: str = "",
) -> ReportModel:
    """Arrange stored results as the content of a report.

    Args:
        numbers: Numbers of the runs, of failed ones too.
        runs: Records of the runs the numbers come from, and of failed ones; of predictions, those of one run per
            setting of a table of accuracies are looked at.
        deviations: Deviations from the preset, by run key.
        group_by: Field of the specification whose values have tables of their own; empty for none.

    Raises:
        UsageError: No run has such a field, or runs of one cell differ in it.
    """
    numbers, deviations = list(numbers), deviations or {}
    done = {run.key: run for run in runs if run.status == "done"}
    failed = [run for run in runs if run.status != "done" and run.key not in done]
    lost = [FailedRun(run.spec, run.failure or "failed") for run in failed]
    cells = group_cells(numbers, _Specs(done), lost)
    grouped: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
    labels: dict[tuple[str, str], tuple[str, ...]] = {}
    groups = grouping(cells, group_by)
    apart: dict[tuple[str, ...], str] = {}
    for cell in cells:
        # Runs judged alike stand in one table, whatever their data set was called when they were made.
        label = labels.setdefault((cell.preset, cell.judge), (cell.preset, cell.protocol, cell.form, cell.dataset))
        for group in groups(cell):
            key = (str(cell.preset == SMOKE), *label, cell.metric, cell.judge + group)
            grouped[key].append(cell)
            apart[key] = group
    differences = _differences(grouped)
    names = {key: ", ".join(filter(None, (own, apart[key]))) for key, own in differences.items()}
    kinds = {id(run.paths): any(path.split == "val" for path in run.paths) for run in numbers}
    facts = _Facts(done, frozenset(run.run_key for run in numbers if kinds[id(run.paths)]))
    main = {key: _is_main(own, done) for key, own in grouped.items()}
    # The metric comes last but one in a key: what the protocol is about stands before its other metrics.
    table = {name: index for index, name in enumerate(dict.fromkeys(key[:-2] for key in grouped))}
    shown = sorted(grouped, key=lambda key: (table[key[:-2]], not main[key]))
    place = {name: index for index, name in enumerate(dict.fromkeys(key[:-1] for key in shown))}
    ordered = sorted(grouped, key=lambda key: (key[0] == "True", place[key[:-1]], natural(names[key])))
    without = _without_number(failed)
    sections = [
        _section(index, grouped[key], names[key], main[key], facts, deviations, without)
        for index, key in enumerate(ordered, start=1)
    ]
    older = {run.run_key for run in numbers if run.older_code}
    return ReportModel(
        sections=_repetitions({key[:-2] + key[-1:] + key[-2:-1]: s for key, s in zip(ordered, sections, strict=True)}),
        failures=failures(runs),
        runs=run_lines(done.values(), older),
        rescored=rescored_numbers(done.values()),
        environment=environment(done.values()),
        panels=curve_panels(done.values()),
        methods=method_lines(done.values()),
        ledger=headline_lines(selection_ledger(cells, numbers)),
        deviations=deviations,
        broken=sum(run.status == "done" and not all(map(math.isfinite, run.values)) for run in numbers),
    )


def _repetitions(sections: Mapping[tuple[str, ...], Section]) -> tuple[Section, ...]:
    """Mark tables of mean class accuracy that repeat accuracies.

    A section's metric is last in its key.
    """
    found = dict(sections)
    for key, section in sections.items():
        first = sections.get((*key[:-1], ACCURACY))
        if section.metric != BY_CLASS or section.main or first is None:
            continue
        balanced = len(first.floors) == len(first.settings) and all(one.balanced for one in first.floors.values())
        if balanced and same_scores((row.cell for row in section.rows), (row.cell for row in first.rows)):
            found[key] = replace(section, repeats=first.anchor)
            found[(*key[:-1], ACCURACY)] = replace(first, repeated=(BY_CLASS,))
    return tuple(found.values())


_Without = Mapping[tuple[str, str], Mapping[str, tuple[str, dict[Unit, str]]]]
"""Cells with runs that failed: by preset and judge, by the cell's digest its name, and what became of its runs."""


def _without_number(failed: Iterable[RunRecord]) -> _Without:
    found: dict[tuple[str, str], dict[str, tuple[str, dict[Unit, str]]]] = defaultdict(dict)
    for run in failed:
        own = found[run.label.get("preset", ""), digest(judging(flatten(run.spec)))]
        own.setdefault(cell_digest(run.spec), (run_name(run.label), {}))[1][Unit(*run.seeds)] = run.failure or "failed"
    return found


def _section(
    index: int,
    cells: Sequence[Cell],
    difference: str,
    main: bool,
    facts: _Facts,
    deviations: Mapping[str, Deviations],
    without: _Without,
) -> Section:
    first, known = cells[0], {digest(cell.spec) for cell in cells}
    lost = [own for key, own in without.get((first.preset, first.judge), {}).items() if key not in known]
    smoke = first.preset == SMOKE
    versus = {} if smoke else _against_scratch(cells)
    return Section(
        anchor=f"table-{index}",
        preset=first.preset,
        protocol=first.protocol,
        form=first.form,
        dataset=first.dataset,
        metric=first.metric,
        options=_options(first),
        difference=difference,
        main=main,
        rows=tuple(
            ReportRow(
                cell=cell,
                facts=facts.of(cell),
                versus=versus[id(cell)][0] if id(cell) in versus else None,
                opponent=versus[id(cell)][1] if id(cell) in versus else "",
                deviations=deviations.get(next(iter(cell.runs.values())), ()),
            )
            for cell in cells
        ),
        pairs=() if smoke else _pairs(cells),
        lost=tuple(f"{name}: {Lost(name, runs, len(runs)).words}" for name, runs in lost),
        floors=floors(cells, facts.runs),
        too_many=_too_many(cells),
    )


class _Facts:
    """Facts of runs by cell, computed once for shared runs.

    Cells of one encoder and several metrics have the same runs.

    Attributes:
        runs: Records by key.
    """

    def __init__(self, runs: Mapping[str, RunRecord], validated: frozenset[str]) -> None:
        self.runs = runs
        self._validated = validated
        self._known: dict[tuple[str, ...], RunFacts] = {}

    def of(self, cell: Cell) -> RunFacts:
        keys = tuple(cell.runs.values())
        if keys not in self._known:
            own = [self.runs[key] for key in keys if key in self.runs]
            self._known[keys] = RunFacts.of(own, chosen=not self._validated.isdisjoint(keys))
        return self._known[keys]


def _is_main(cells: Sequence[Cell], runs: Mapping[str, RunRecord]) -> bool:
    """Whether cells show their protocol's headline metric.

    Records of older code name none.
    """
    named = {runs[key].recorded("metric") for cell in cells for key in cell.runs.values() if key in runs}
    return cells[0].metric in {metric or "accuracy" for metric in named or {None}}


def _options(cell: Cell) -> tuple[tuple[str, str], ...]:
    prefix = "protocol.options."
    how = judging(cell.spec)
    options = [(k.removeprefix(prefix), v) for k, v in sorted(how.items()) if k.startswith(prefix)]
    tuned = [("tuned trials", how["tuned.trials"])] if "tuned.trials" in how else []
    return (*tuned, *options)


def _against_scratch(cells: Sequence[Cell]) -> dict[int, tuple[Comparison, str]]:
    """Compare every pretrained cell with its opponent.

    All comparisons are one family.
    """
    found = [(cell, opponent(cell, own)) for own in judged_alike(cells) for cell in own if not cell.is_opponent]
    paired = [(cell, other) for cell, other in found if other is not None]
    family = judge_family([_compare((c.label, o.label), c, o) for c, o in paired])
    return {id(cell): (comparison, other.method) for (cell, other), comparison in zip(paired, family, strict=True)}


def _compare(names: tuple[str, str], first: Cell, second: Cell) -> Comparison:
    lost = [Lost(name, cell.lost, cell.losses.total) for name, cell in zip(names, (first, second), strict=True)]
    return compare(names, first.scores, second.scores, lost, (first.means, second.means))


def _pairs(cells: Sequence[Cell]) -> tuple[Pair, ...]:
    """Compare pretrained cells with each other.

    The higher mean is first; a second family.

    Pairs that one seed or none allows no verdict on are left out: the table above already says so.
    """
    pretrained = [cell for cell in cells if not cell.is_opponent]
    groups = [own for own in judged_alike(pretrained) if len(own) <= MOST_COMPARED]
    found = [(a, b) for own in groups for a, b in combinations(own, 2) if _differ_in_one(a, b)]
    ranked = [(a, b) if a.summary.mean >= b.summary.mean else (b, a) for a, b in found]
    several = len({cell.pretrain_data for cell in pretrained}) > 1
    names = [_distinct_names(a, b, several) for a, b in ranked]
    family = judge_family([_compare(n, a, b) for n, (a, b) in zip(names, ranked, strict=True)])
    tested = zip(ranked, family, strict=True)
    return tuple(
        Pair(a.setting, c, a.older_code or b.older_code)
        for (a, b), c in tested
        if c.verdict not in ("one-seed", "unpaired")
    )


def _too_many(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Return settings with too many cells to compare all pairs."""
    groups = judged_alike(cell for cell in cells if not cell.is_opponent)
    return tuple(dict.fromkeys(own[0].setting for own in groups if len(own) > MOST_COMPARED))


def _differ_in_one(a: Cell, b: Cell) -> bool:
    """Whether cells differ in method, data part or share of pretraining alone."""
    if a.at != b.at:
        return a.course == b.course
    return a.label == b.label or a.fraction == b.fraction


def _distinct_names(a: Cell, b: Cell, several: bool) -> tuple[str, str]:
    """Return labels with pretraining data where needed.

    Where labels would be the same, or where the table has `several`.
    """
    if a.label != b.label and not several:
        return a.label, b.label
    return f"{a.label} on {a.pretrain_data}", f"{b.label} on {b.pretrain_data}"


def _differences(grouped: Mapping[tuple[str, ...], Sequence[Cell]]) -> dict[tuple[str, ...], str]:
    """Name what differs between sections of equal name.

    Another protocol option or revision, other data, another split.
    """
    same: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for key in grouped:
        same[key[:-1]].append(key)
    names: dict[tuple[str, ...], str] = {}
    for keys in same.values():
        names |= set_apart({key: judging(grouped[key][0].spec) for key in keys})
    return names
