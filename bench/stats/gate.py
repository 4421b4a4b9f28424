"""Decide whether a change made the numbers worse.

`decide` compares a fixed suite with a stored baseline: each cell in its accuracy, each pretrained cell in its gain over
scratch (paired by seed), and the suite in the mean of its accuracies. A method that stopped learning has lost its gain,
whatever the accuracy of an untrained network is; a small loss everywhere shows in the mean.

=============================================================================================  =========  =====
line                                                                                           verdict    exit
=============================================================================================  =========  =====
missing or not finite; other seeds, data, labels, classes or options                           broken     4
drop significant (half of the level for the mean, half for all others, Holm), above a third    fail       1
of the margin; or recorded reference numbers are no longer reproduced
one-sided 95 % bound of the drop below the margin, or numbers identical                        pass       0
anything else: more seeds will tell                                                            undecided  3
=============================================================================================  =========  =====

The gate's verdict is the worst of its lines. A drop is the mean over all seeds of the baseline minus the mean over the
seeds run now. Its standard error comes from the baseline alone (`Scales`): the deviation over seeds, pooled over the
baseline's history and moderated over the suite, as if a change had drawn everything anew. So a few seeds can be judged,
and a change that makes runs erratic cannot hide behind its own scatter.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.errors import SetupError
from bench.stats.cells import Cell
from bench.stats.comparisons import holm
from bench.stats.intervals import seed_means
from bench.stats.moderation import moderate
from bench.stats.opponents import opponent

GateVerdict = Literal["pass", "fail", "undecided", "broken"]
Quantity = Literal["accuracy", "gain", "mean", "numerics"]
EXIT_CODES: Mapping[GateVerdict, int] = {"pass": 0, "fail": 1, "undecided": 3, "broken": 4}
SEVERITY: Sequence[GateVerdict] = ("pass", "undecided", "fail", "broken")

LEVEL = 0.025
"""Chance that an unchanged suite fails. With `UNDECIDED` it leaves 95 % that pass outright."""
BOUND = 0.05
"""One minus the confidence of a line's bound, by which it passes."""
UNDECIDED = 0.025
"""Chance, by the margins, that an unchanged suite has a line that does not pass."""
PLANNED = 3
"""Seeds that margins are made for."""
LOOKS = (3, 5, 8, 10)
"""Seeds that have been run at each look of a check that goes on while it is undecided."""
MARGIN_FLOOR = 1.0
"""Smallest margin, accuracy points: less than this no reader of a benchmark table acts on."""
MEAN_MARGIN = 2.0
"""Largest margin of the suite's mean, accuracy points."""
ASSUMED_DEVIATION, ASSUMED_DF = 2.0, 6.0
"""Deviation of an accuracy over seeds, points, that stands in for the degrees of freedom that a baseline lacks."""
SMALLEST_DEVIATION = 0.1
"""Deviation of a cell whose seeds all agree, accuracy points."""
MEAN_SHARE = 0.5
"""Part of the level that the mean is tested at; the rest goes to the cells, after Holm over accuracies and gains."""
THIRD = 1 / 3
"""Part of the margin above which a significant drop fails: a real loss that is not worth a red build passes."""

SUITE_MEAN = "mean of the suite"
NUMERICS = "recorded reference numbers"

_CODE_AND_MACHINE = re.compile(r"(.*\.)?(numerics|plugins|manifest|identity|version)(\..*)?")
"""Fields of a spec that follow from code, versions or machine: what the gate lets change, and looks at the numbers.

Manifests of data are among them (a generated set's covers its generator's source): the digests of what was judged on
(`CellResult.content`) say whether clouds and labels really changed.
"""

_RENDERED = re.compile(r".*pictures")
"""Parts of the content that are compared on one kind of machine only: matrix products that render round as it does."""

Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CellResult:
    """Measurement of one cell by the suite.

    Attributes:
        cell: Name of the cell (`bench.stats.cells.Cell.identity`).
        values: Score by seed, fractions (folds averaged).
        scratch: Name of the untrained cell it is compared with; empty for none.
        options: Fields of the spec that must agree with the baseline's: options of method, protocol and data, recipe,
            size.
        content: Digests of what it was pretrained and judged on, by part (``pretraining clouds``, ``test labels``).
        splits: Digest of everything that was drawn (validation parts, supports, queries), by seed.
    """

    cell: str
    values: Mapping[int, float]
    scratch: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    content: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """Data that one run was pretrained and judged on.

    Attributes:
        content: Digests by part.
        split: Digest of everything that was drawn.
    """

    content: Mapping[str, str]
    split: str


def cell_results(cells: Sequence[Cell], names: Sequence[str], judged: Mapping[str, Judged]) -> list[CellResult]:
    """Turn cells into what `decide` and a baseline take.

    Args:
        cells: Cells of the suite.
        names: A name of its own for each.
        judged: What the runs were judged on, by run key.

    Raises:
        SetupError: Seeds of one cell were judged on different data.
    """
    named = dict(zip(map(id, cells), names, strict=True))
    results = []
    for cell, name in zip(cells, names, strict=True):
        contents = [dict(judged[key].content) for key in cell.runs.values()]
        if any(content != contents[0] for content in contents):
            raise SetupError(f"'{name}': its seeds were judged on different data, so they are no cell of a suite")
        against = None if cell.is_opponent else opponent(cell, cells)
        results.append(
            CellResult(
                cell=name,
                values=seed_means(cell.scores),
                scratch=named[id(against)] if against is not None else "",
                options={k: v for k, v in cell.spec.items() if not _CODE_AND_MACHINE.fullmatch(k)},
                content=contents[0],
                splits=_splits(cell, judged),
            )
        )
    return results


def _splits(cell: Cell, judged: Mapping[str, Judged]) -> dict[int, str]:
    """Return a digest per pretraining seed of all splits."""
    drawn: dict[int, list[str]] = {}
    for unit in sorted(cell.runs):
        drawn.setdefault(unit.seed, []).append(judged[cell.runs[unit]].split)
    return {seed: hashlib.sha256("\n".join(digests).encode()).hexdigest() for seed, digests in drawn.items()}


@dataclass(frozen=True)
class Lines:
    """Everything that the gate compares, in points by seed.

    Attributes:
        names: Cell and quantity of each line: accuracies, gains, then the mean of the accuracies.
        points: ``[lines, seeds]``.
    """

    names: tuple[tuple[str, Quantity], ...]
    points: Points

    @classmethod
    def of(cls, cells: Mapping[str, Mapping[int, float]], scratch: Mapping[str, str], seeds: Sequence[int]) -> Lines:
        """Form the lines of a suite.

        Args:
            cells: Scores by cell and seed, fractions.
            scratch: Name of the untrained cell, for every cell that has one.
            seeds: Seeds to take, in this order.
        """
        order = sorted(cells)
        accuracy = 100 * np.array([[cells[name][seed] for seed in seeds] for name in order])
        row = {name: i for i, name in enumerate(order)}
        gained = [name for name in order if scratch.get(name)]
        gains = [accuracy[row[name]] - accuracy[row[scratch[name]]] for name in gained]
        names: list[tuple[str, Quantity]] = [(name, "accuracy") for name in order]
        names += [(name, "gain") for name in gained]
        return cls((*names, (SUITE_MEAN, "mean")), np.vstack([accuracy, *gains, accuracy.mean(0)]))


@dataclass(frozen=True)
class Scales:
    """Deviations over seeds of a baseline's lines, and margins.

    Attributes:
        deviation: Of one seed, points ``[lines]``.
        df: Degrees of freedom of each ``[lines]``.
        seeds: Seeds of the baseline.
        margin: Largest drop that passes, points ``[lines]``, rounded up to a tenth.
    """

    deviation: Points
    df: Points
    seeds: int
    margin: Points

    @classmethod
    def of(cls, lines: Lines, history: Sequence[Lines] = ()) -> Scales:
        """Estimate the scales of a baseline.

        Args:
            lines: Lines of the baseline.
            history: Lines of earlier baselines of the same suite; they add to the variances only.
        """
        seeds = lines.points.shape[1]
        parts = [x.points - x.points.mean(1, keepdims=True) for x in (lines, *history) if x.points.shape[1] > 1]
        kinds = [kind for _, kind in lines.names]
        known = _deviations(np.hstack(parts), kinds, len(parts)) if parts else (np.zeros(len(kinds)),) * 2
        deviation, df = _filled(*known, kinds)
        return cls(deviation, df, seeds, _margins(deviation, df, seeds, lines.names))

    def error(self, n: int) -> Points:
        """Return standard errors of the lines' drops, in points."""
        return _error(self.deviation, self.seeds, n)


def _deviations(residuals: Points, kinds: Sequence[Quantity], means: int) -> tuple[Points, Points]:
    """Moderate deviations of accuracies and of gains, each among themselves."""
    deviation = np.full(len(kinds), SMALLEST_DEVIATION)
    df = np.full(len(kinds), float(residuals.shape[1] - means))
    moves = residuals.std(1) > 1e-9
    for kind in sorted(set(kinds)):
        rows = [i for i, own in enumerate(kinds) if own == kind and moves[i]]
        if rows:
            for i, moderated in zip(rows, moderate(residuals[rows], means), strict=True):
                deviation[i], df[i] = max(SMALLEST_DEVIATION, math.sqrt(moderated.variance)), moderated.df
    return deviation, df


def _filled(deviation: Points, df: Points, kinds: Sequence[Quantity]) -> tuple[Points, Points]:
    """Fill up few degrees of freedom with an assumed deviation.

    Two seeds may agree or differ by chance; a drop of 50 points is one all the same.
    """
    cells = kinds.count("accuracy")
    factor = {"accuracy": 1.0, "gain": math.sqrt(2), "mean": 1 / math.sqrt(cells)}
    assumed = ASSUMED_DEVIATION * np.array([factor[kind] for kind in kinds])
    lacking = np.maximum(0.0, ASSUMED_DF - df)
    whole = df + lacking
    return np.sqrt((df * deviation**2 + lacking * assumed**2) / whole), whole


def _error(deviation: Points, base: int, n: int) -> Points:
    return deviation * math.sqrt(1 / base + 1 / n)


def _margins(deviation: Points, df: Points, seeds: int, names: Sequence[tuple[str, Quantity]]) -> Points:
    """Set margins with which 95 % of unchanged suites pass.

    All lines pass together at the planned seeds, whatever their correlation.
    """
    from scipy import stats

    error = _error(deviation, seeds, min(PLANNED, seeds))
    margin = (stats.t.ppf(1 - BOUND, df) + stats.t.ppf(1 - UNDECIDED / len(names), df)) * error
    margin = np.maximum(MARGIN_FLOOR, np.ceil(10 * margin - 1e-9) / 10)
    mean = np.array([kind == "mean" for _, kind in names])
    return np.where(mean, np.minimum(margin, MEAN_MARGIN), margin)


def spent(looks: Sequence[int], look: int) -> float:
    """Return a look's share of `LEVEL`, by seeds added.

    The levels of all looks sum to `LEVEL`, so that together they fail an unchanged suite no more often, however the
    looks depend on each other (Bonferroni).

    Args:
        looks: Seeds that have been run at each look.
        look: Index of this one.
    """
    before = looks[look - 1] if look else 0
    return LEVEL * (looks[look] - before) / looks[-1]


def judge(drops: Points, n: int, scales: Scales, level: float = LEVEL) -> tuple[list[GateVerdict], Points]:
    """Decide each line.

    Args:
        drops: Mean of the baseline minus mean now, points ``[lines]``.
        n: Seeds run now.
        scales: Of the baseline.
        level: Chance of failing an unchanged suite at this look.

    Returns:
        A verdict per line, and its one-sided p value, adjusted so that it is compared with `level`.
    """
    from scipy import stats

    error = scales.error(n)
    adjusted = _adjusted(np.asarray(stats.t.sf(drops / error, scales.df), dtype=np.float64))
    fails = (adjusted < level) & (drops > THIRD * scales.margin)
    passes = drops + stats.t.ppf(1 - BOUND, scales.df) * error < scales.margin
    return [
        "fail" if bad else "pass" if good else "undecided" for bad, good in zip(fails, passes, strict=True)
    ], adjusted


def _adjusted(p_values: Points) -> Points:
    """Adjust p values: Holm over cells, the mean by itself."""
    *cells, mean = p_values.tolist()
    found = np.array([*(p / (1 - MEAN_SHARE) for p in holm(cells)), mean / MEAN_SHARE], dtype=np.float64)
    return np.minimum(found, 1.0)


@dataclass(frozen=True)
class GateLine:
    """The decision on one line.

    Attributes:
        cell: Name of the cell; `SUITE_MEAN` for the whole suite.
        quantity: ``accuracy`` (whatever the headline metric is), ``gain`` over scratch, ``mean`` of the accuracies, or
            ``numerics`` (files of reference numbers, not points).
        verdict: Decision.
        base: Mean of the baseline over all its seeds, points; of numerics, the number of files.
        now: Mean measured now, points; None where they cannot be compared. Of numerics, the files reproduced.
        margin: Largest drop that passes, points.
        p: One-sided p value of the drop, adjusted so that it is compared with the level; None where not tested.
        reason: Why, in one sentence.
    """

    cell: str
    quantity: Quantity
    verdict: GateVerdict
    base: float
    now: float | None
    margin: float
    p: float | None
    reason: str

    @property
    def drop(self) -> float | None:
        """Baseline minus now, points; None where they cannot be compared."""
        return None if self.now is None else self.base - self.now


@dataclass(frozen=True)
class GateReport:
    """The gate's decision.

    Attributes:
        verdict: Worst verdict of the lines.
        lines: Accuracies in the order of the cells' names, then gains, the mean, and numerics if they were verified.
        seeds: Seeds that were compared.
        level: Chance of failing an unchanged suite at this look.
        notes: What to do besides, e.g. refresh the baseline.
    """

    verdict: GateVerdict
    lines: tuple[GateLine, ...]
    seeds: tuple[int, ...]
    level: float
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """Exit code of ``bench check``."""
        return EXIT_CODES[self.verdict]

    def with_line(self, line: GateLine) -> GateReport:
        """Return the decision with one more line; its verdict counts."""
        worst = max(self.verdict, line.verdict, key=SEVERITY.index)
        return replace(self, verdict=worst, lines=(*self.lines, line))


def numerics_line(names: Sequence[str], failed: Mapping[str, str]) -> GateLine:
    """Judge which recorded reference numbers are still reproduced.

    Args:
        names: Names of all files.
        failed: What is wrong with those that are not, by name.
    """
    told = "; ".join(f"{name}: {why}" if why else name for name, why in list(failed.items())[:3])
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    reason = f"no longer reproduced: {told}{more}" if failed else "every file is reproduced"
    reproduced = len(names) - len(failed)
    verdict: GateVerdict = "fail" if failed else "pass"
    return GateLine(NUMERICS, "numerics", verdict, float(len(names)), float(reproduced), 0.0, None, reason)


def decide(
    base: Sequence[CellResult],
    current: Sequence[CellResult],
    same_machine: bool,
    *,
    seeds: Sequence[int] | None = None,
    history: Sequence[Sequence[CellResult]] = (),
    level: float = LEVEL,
) -> GateReport:
    """Compare the suite's current results with the baseline.

    Args:
        base: What was measured when the numbers were last accepted; every cell on the same seeds.
        current: What was measured now, in any order.
        same_machine: Whether both were measured on the same kind of machine, where equal code gives equal
            numbers. It decides what a difference means, never how large a drop may be.
        seeds: Seeds that were to be run now, among the baseline's; None for all.
        history: Earlier baselines; those of other cells are left out.
        level: Chance of failing an unchanged suite at this look.

    Returns:
        The decision; a larger drop in any cell never leads to a milder one.
    """
    stored = {cell.cell: cell for cell in sorted(base, key=lambda cell: cell.cell)}
    all_seeds = tuple(next(iter(stored.values())).values)
    seeds = all_seeds if seeds is None else tuple(seeds)
    results: dict[str, list[CellResult]] = {}
    for result in current:
        results.setdefault(result.cell, []).append(result)
    broken = {name: _why_broken(cell, results.get(name, []), seeds, same_machine) for name, cell in stored.items()}

    lines, earlier = suite_lines(base, history)
    scales = Scales.of(lines, earlier)
    sound = {name: results[name][0].values for name, why in broken.items() if not why}
    # A broken cell stands in with its own baseline: the others are judged all the same.
    values = {name: sound.get(name, cell.values) for name, cell in stored.items()}
    now = Lines.of(values, _scratch(base), seeds).points
    same = Lines.of({name: cell.values for name, cell in stored.items()}, _scratch(base), seeds).points == now
    identical = same.all(1)
    drops = np.where(identical, 0.0, lines.points.mean(1) - now.mean(1))
    verdicts, adjusted = judge(drops, len(seeds), scales, level)

    decided = []
    for i, (name, quantity) in enumerate(lines.names):
        why = _broken_line(name, quantity, broken, stored)
        before, margin = float(lines.points[i].mean()), float(scales.margin[i])
        if why:
            decided.append(GateLine(name, quantity, "broken", before, None, margin, None, why))
        elif identical[i]:
            decided.append(GateLine(name, quantity, "pass", before, before, margin, None, "identical numbers"))
        else:
            reason = _reason(verdicts[i], drops[i], margin, same_machine)
            after = float(before - drops[i])
            decided.append(GateLine(name, quantity, verdicts[i], before, after, margin, float(adjusted[i]), reason))
    extra = sorted(set(results) - set(stored))
    notes = _notes(decided, extra, same_machine, len(all_seeds) > len(seeds))
    worst = max((line.verdict for line in decided), key=SEVERITY.index)
    return GateReport(worst, tuple(decided), tuple(seeds), level, notes)


def suite_lines(base: Sequence[CellResult], history: Sequence[Sequence[CellResult]]) -> tuple[Lines, list[Lines]]:
    """Return a baseline's lines and comparable earlier ones."""

    def lines(cells: Sequence[CellResult]) -> Lines:
        return Lines.of({cell.cell: cell.values for cell in cells}, _scratch(cells), list(cells[0].values))

    return lines(base), [lines(old) for old in history if _same_cells(old, base)]


def _scratch(cells: Sequence[CellResult]) -> dict[str, str]:
    return {cell.cell: cell.scratch for cell in cells if cell.scratch}


def _same_cells(one: Sequence[CellResult], other: Sequence[CellResult]) -> bool:
    return {(cell.cell, cell.scratch) for cell in one} == {(cell.cell, cell.scratch) for cell in other}


def _broken_line(name: str, quantity: Quantity, broken: Mapping[str, str], stored: Mapping[str, CellResult]) -> str:
    """Say why a line cannot be compared, or nothing."""
    if quantity == "mean":
        count = sum(map(bool, broken.values()))
        return f"{count} of its {len(broken)} cells cannot be compared" if count else ""
    scratch = stored[name].scratch
    if broken[name] or quantity == "accuracy" or not broken[scratch]:
        return broken[name]
    return f"{scratch}: {broken[scratch]}"


def _reason(verdict: GateVerdict, drop: float, margin: float, same_machine: bool) -> str:
    if verdict == "fail":
        return f"lower by {drop:.1f}, more than draws explain"
    if verdict == "undecided":
        return f"lower by {drop:.1f}: neither within the margin nor beyond chance"
    if drop < -margin:
        return "better than the baseline by more than the margin"
    cause = "the code changed the numbers" if same_machine else "another kind of machine, or changed numbers"
    return f"within the margin ({cause})"


def _why_broken(cell: CellResult, found: Sequence[CellResult], seeds: Sequence[int], same_machine: bool) -> str:
    """Say why a cell cannot be compared, or nothing."""
    if not found:
        return "missing: the suite gave no finished result for this cell"
    if len(found) > 1:
        return f"{len(found)} results for one cell: the suite must run in an empty results folder"
    result = found[0]
    changed = _changed(cell.options, result.options)
    if changed:
        return f"other options, so no comparison: {changed}; if that is intended, refresh the baseline"
    # A part that the baseline lacks, because it is older than its recording, is not compared.
    compared = {part: d for part, d in cell.content.items() if same_machine or not _RENDERED.fullmatch(part)}
    other = [part for part, digest in sorted(compared.items()) if result.content.get(part) != digest]
    if other:
        return f"other {', '.join(other)} than the baseline's: the data changed; if that is intended, refresh it"
    if set(result.values) != set(seeds):
        return f"seeds {sorted(result.values)}, expected {sorted(seeds)} as in the baseline"
    if any(result.splits.get(seed, "") != cell.splits.get(seed, "") for seed in seeds):
        return "the splits or folds differ from the baseline's; if that is intended, refresh it"
    if result.scratch != cell.scratch:
        return f"compared with '{result.scratch}', in the baseline with '{cell.scratch}'"
    if not all(map(math.isfinite, result.values.values())):
        return "a score is not a finite number"
    swapped = [seed for seed in seeds if result.values[seed] != cell.values[seed]]
    stored = sorted(cell.values[seed] for seed in swapped)
    if len(set(stored)) > 1 and stored == sorted(result.values[seed] for seed in swapped):
        return f"the baseline's numbers under other seeds ({', '.join(map(str, sorted(swapped)))}): seeds are swapped"
    return ""


def _changed(before: Mapping[str, str], after: Mapping[str, str], most: int = 3) -> str:
    fields = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    told = [f"{name} {before.get(name, '(none)')} -> {after.get(name, '(none)')}" for name in fields[:most]]
    return ", ".join(told) + (f" and {len(fields) - most} more" if len(fields) > most else "")


def _notes(lines: Sequence[GateLine], extra: Sequence[str], same_machine: bool, more: bool) -> tuple[str, ...]:
    notes = []
    if any(line.drop is not None and line.drop < -line.margin for line in lines):
        notes.append("better than the baseline beyond the margin: refresh it, or a later loss of it goes unseen")
    if same_machine and any(line.verdict != "broken" and line.reason != "identical numbers" for line in lines):
        notes.append("same kind of machine, other numbers: if that is intended, refresh the baseline")
    if any(line.verdict == "undecided" for line in lines):
        advice = "run with --more-seeds" if more else "all seeds of the baseline were compared"
        notes.append(f"undecided: {advice}, or look at the change and refresh the baseline")
    if extra:
        notes.append(f"not in the baseline, so not judged: {', '.join(extra)}")
    return tuple(notes)
