"""Operating characteristics of a gate: detections, misses, false alarms.

Simulated with the baseline's own variances: scores of a cell are its mean plus normal noise of its deviation, cells
independent of each other, all drawn anew in the baseline and in the change. `redraws` checks that against real seeds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bench.errors import UsageError
from bench.gate.baseline import Baseline
from bench.gate.output import brief
from bench.stats.gate import LOOKS, PLANNED, GateVerdict, Lines, Scales, judge, spent, suite_lines

SMALL_DROP, LARGE_DROP = 2.0, 5.0
"""Points lost in every cell, and in one."""


FALSE_ALARMS, UNCHANGED_PASSES = 0.05, 0.95
"""Largest share of unchanged suites that may fail, and smallest that has to pass."""
EVERYWHERE, DESTROYED, ONE_CELL = 0.9, 0.99, 0.8
"""Shares of such changes that a suite should fail: a small drop in every cell, a pretraining that does nothing, a large
drop in one cell."""


@dataclass(frozen=True)
class Scenario:
    """A change of the code.

    Attributes:
        name: What changed.
        lost: Points that each cell loses; 0 for those that are not named.
        target: Share of such changes that a suite should fail, or None if it need not see them.
    """

    name: str
    lost: Mapping[str, float]
    target: float | None = None


@dataclass(frozen=True)
class Outcome:
    """Shares of verdicts that a scenario ends in.

    Attributes:
        scenario: What changed, and the share that should fail.
        first: Share of verdicts after the first seeds alone.
        last: Share of verdicts where an undecided check goes on to more seeds.
        seeds: Mean seeds that the latter runs.
    """

    scenario: Scenario
    first: Mapping[GateVerdict, float]
    last: Mapping[GateVerdict, float]
    seeds: float


def scenarios(baseline: Baseline) -> list[Scenario]:
    """Return what is simulated.

    A destroyed method falls to its untrained network, where it stood above it. It has to be seen if its gain
    exceeds the margin of its accuracy, which is the narrower one.
    """
    truth = Suite.of(baseline)
    names = brief(truth.means)[1]
    margins = {name: truth.scales.margin[i] for i, (name, kind) in enumerate(truth.stored.names) if kind == "accuracy"}
    found = [
        Scenario("nothing", {}),
        Scenario(f"every cell loses {SMALL_DROP:g} points", dict.fromkeys(truth.means, SMALL_DROP), EVERYWHERE),
    ]
    for cell, scratch in truth.scratch.items():
        gain = truth.means[cell] - truth.means[scratch]
        if gain > 0:
            name = f"pretraining of {names[cell]} does nothing (gain {gain:.1f})"
            found.append(Scenario(name, {cell: gain}, DESTROYED if gain > margins[cell] else None))
    return found + [
        Scenario(f"{names[cell]} loses {LARGE_DROP:g} points", {cell: LARGE_DROP}, ONE_CELL) for cell in truth.means
    ]


def simulate(baseline: Baseline, draws: int, seed: int = 0, redraw: bool = True, first: int = PLANNED) -> list[Outcome]:
    """Simulate every scenario.

    Args:
        baseline: Its means and variances are taken for the truth.
        draws: Changes per scenario.
        seed: Of the draws.
        redraw: Draw the baseline anew each time; otherwise it is the stored one, which is taken for the truth.
        first: Seeds that a check runs first.

    Raises:
        UsageError: The baseline has a single seed.
    """
    if len(baseline.seeds) < 2:
        raise UsageError("a baseline of one seed has no variance to simulate with; raise `seeds` and run --update")
    truth = Suite.of(baseline)
    return [
        _outcome(scenario, truth, draws, np.random.default_rng(seed), redraw, first) for scenario in scenarios(baseline)
    ]


@dataclass(frozen=True)
class Suite:
    """Simulated suite: input of `Lines.of`, and its truth."""

    means: Mapping[str, float]
    deviations: Mapping[str, float]
    scratch: Mapping[str, str]
    stored: Lines
    earlier: Sequence[Lines]
    scales: Scales

    @classmethod
    def of(cls, baseline: Baseline) -> Suite:
        """Take a baseline's means and deviations for the truth."""
        scratch = {cell.cell: cell.scratch for cell in baseline.cells if cell.scratch}
        lines, earlier = suite_lines(baseline.results(), baseline.earlier())
        scales = Scales.of(lines, earlier)
        row = {name: i for i, (name, kind) in enumerate(lines.names) if kind == "accuracy"}
        return cls(
            {name: float(lines.points[i].mean()) for name, i in row.items()},
            {name: float(scales.deviation[i]) for name, i in row.items()},
            scratch,
            lines,
            earlier,
            scales,
        )

    def draw(self, rng: np.random.Generator, seeds: int, lost: Mapping[str, float]) -> Lines:
        """Draw the scores of so many seeds."""
        cells = {
            name: dict(enumerate((rng.normal(mean - lost.get(name, 0.0), self.deviations[name], seeds) / 100).tolist()))
            for name, mean in self.means.items()
        }
        return Lines.of(cells, self.scratch, range(seeds))


def _outcome(
    scenario: Scenario, truth: Suite, draws: int, rng: np.random.Generator, redraw: bool, planned: int
) -> Outcome:
    seeds = truth.stored.points.shape[1]
    single, looks = min(planned, seeds), planned_looks(seeds, planned)
    first: Counter[GateVerdict] = Counter()
    last: Counter[GateVerdict] = Counter()
    run = 0
    for _ in range(draws):
        base = truth.draw(rng, seeds, {}) if redraw else truth.stored
        scales = Scales.of(base, truth.earlier) if redraw else truth.scales
        now = truth.draw(rng, seeds, scenario.lost)
        first[_verdict(base, now, single, scales)] += 1
        for look, n in enumerate(looks):
            verdict = _verdict(base, now, n, scales, spent(looks, look))
            if verdict != "undecided" or n == looks[-1]:
                last[verdict] += 1
                run += n
                break
    return Outcome(scenario, _shares(first), _shares(last), run / draws)


def planned_looks(seeds: int, first: int = PLANNED) -> tuple[int, ...]:
    """Return the seeds of each test of an undecided check."""
    return tuple(sorted({min(first, seeds), *(n for n in LOOKS if first < n < seeds), seeds}))


def _verdict(base: Lines, now: Lines, n: int, scales: Scales, level: float | None = None) -> GateVerdict:
    drops = base.points.mean(1) - now.points[:, :n].mean(1)
    verdicts, _ = judge(drops, n, scales) if level is None else judge(drops, n, scales, level)
    return "fail" if "fail" in verdicts else "undecided" if "undecided" in verdicts else "pass"


def _shares(counts: Counter[GateVerdict]) -> dict[GateVerdict, float]:
    total = sum(counts.values())
    return {verdict: counts[verdict] / total for verdict in ("pass", "undecided", "fail")}


@dataclass(frozen=True)
class Redraws:
    """Assumptions of the simulation against the baseline's real seeds.

    Attributes:
        alarms: Share of splits of the seeds into a baseline and a change that fail although nothing changed.
        splits: Splits tried.
        correlation: Largest absolute correlation between two cells over seeds, and that which independent cells
            exceed in 5 %.
        normal: Smallest Shapiro-Wilk p value of a cell, after Holm over the cells.
    """

    alarms: float
    splits: int
    correlation: tuple[float, float]
    normal: float


def redraws(baseline: Baseline, splits: int = 500, seed: int = 0) -> Redraws:
    """Check the assumptions on the seeds of the baseline itself.

    Its seeds are real redraws of an unchanged suite: again and again some of them play the change, the rest the
    baseline.

    Raises:
        UsageError: The baseline has too few seeds to split.
    """
    from scipy import stats

    from bench.stats.comparisons import holm

    truth = Suite.of(baseline)
    points, seeds = truth.stored.points, truth.stored.points.shape[1]
    if seeds < 2 * PLANNED:
        raise UsageError(f"the baseline has {seeds} seeds; {2 * PLANNED} or more are needed to split them")
    rng = np.random.default_rng(seed)
    scales = replace(truth.scales, seeds=seeds - PLANNED)
    alarms = 0
    for _ in range(splits):
        order = rng.permutation(seeds)
        base = Lines(truth.stored.names, points[:, order[PLANNED:]])
        now = Lines(truth.stored.names, points[:, order[:PLANNED]])
        alarms += _verdict(base, now, PLANNED, scales) == "fail"
    cells = points[[kind == "accuracy" for _, kind in truth.stored.names]]
    cells = cells[cells.std(1) > 1e-9]
    normal = min(holm([float(stats.shapiro(row).pvalue) for row in cells]), default=1.0)
    return Redraws(alarms / splits, splits, _correlations(cells, rng), normal)


def _correlations(cells: npt.NDArray[np.float64], rng: np.random.Generator) -> tuple[float, float]:
    """Return two rows' largest correlation, and its 95th percentile under independence."""

    def largest(rows: npt.NDArray[np.float64]) -> float:
        found = np.abs(np.corrcoef(rows))[np.triu_indices(len(rows), 1)]
        return float(found.max())

    if len(cells) < 2:
        return 0.0, 1.0
    null = [largest(rng.normal(size=cells.shape)) for _ in range(500)]
    return largest(cells), float(np.quantile(null, 0.95))


def rows(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Return table rows: scenario, verdicts first and last in percent."""
    return [
        [
            o.scenario.name,
            *(f"{100 * o.first[verdict]:.1f}" for verdict in ("pass", "undecided", "fail")),
            *(f"{100 * o.last[verdict]:.1f}" for verdict in ("pass", "undecided", "fail")),
            f"{o.seeds:.1f}",
        ]
        for o in outcomes
    ]
