"""How often the statistics of reports are wrong, and what they find.

``python -m tests.stats.simulate [PART] [TABLES]`` prints one part: ``family`` (comparisons of a table, their variance
moderated or not), ``crossed`` (intervals over seeds and split seeds) or ``objects`` (`bench compare`). Everything is
drawn with fixed seeds; the tests run the same functions on fewer draws, and `docs/statistics.md` has their figures.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from bench.stats.comparisons import compare, holm, holm_family, judge_family
from bench.stats.intervals import Unit, mean_error
from bench.stats.objects import cross, pair_answers

Table = npt.NDArray[np.float64]
DEVIATION = 0.03
GAIN = 0.15


def differences(
    rng: np.random.Generator, comparisons: int, seeds: int, spread: float = 0.0, shared: float = 0.0
) -> Table:
    """Draw paired differences ``[comparisons, seeds]`` of methods that are equal.

    Args:
        rng: Where draws come from.
        comparisons: Rows.
        seeds: Columns.
        spread: Standard deviation of the logarithm of the rows' deviations.
        shared: Correlation of the rows: they share their seeds.
    """
    own = DEVIATION * np.exp(rng.normal(0, spread, comparisons))
    common = rng.normal(size=seeds)
    noise = rng.normal(size=(comparisons, seeds))
    return own[:, None] * (np.sqrt(shared) * common + np.sqrt(1 - shared) * noise)


def family(
    tables: int, comparisons: int, seeds: int, spread: float = 0.0, shared: float = 0.0, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Judge tables of equal methods, and again with a gain of 15 points in half of their comparisons.

    Returns:
        By rule (``own``, ``pooled``, ``moderated``): intervals that exclude 0 although nothing differs (``alarms``),
        tables with a verdict that survives Holm although nothing differs (``family``), gains found (``power``).
    """
    rng = np.random.default_rng(seed)
    found = {rule: {"alarms": 0.0, "family": 0.0, "power": 0.0} for rule in ("own", "pooled", "moderated")}
    gained = max(1, comparisons // 2)
    for _ in range(tables):
        null = differences(rng, comparisons, seeds, spread, shared)
        gain = null + GAIN * (np.arange(comparisons) < gained)[:, None]
        for rule, counts in found.items():
            raw, corrected = _judged(rule, null)
            counts["alarms"] += float((raw < 0.05).mean()) / tables
            counts["family"] += float((corrected <= 0.05).any()) / tables
            counts["power"] += float((_judged(rule, gain)[1][:gained] <= 0.05).mean()) / tables
    return found


def _judged(rule: str, table: Table) -> tuple[Table, Table]:
    """p values and those after Holm."""
    m, n = table.shape
    if rule == "pooled":
        t = table.mean(1) / np.sqrt(table.var(1, ddof=1).mean() / n)
        raw = 2 * stats.t.sf(np.abs(t), m * (n - 1))
        return raw, np.array(holm(list(raw)))
    sides = [
        ({Unit(s): {None: float(v)} for s, v in enumerate(row)}, {Unit(s): {None: 0.0} for s in range(n)})
        for row in table
    ]
    compared = [compare(("a", "b"), first, second) for first, second in sides]
    judged = judge_family(compared) if rule == "moderated" else holm_family(compared)
    return np.array([c.p for c in judged], float), np.array([c.p_holm for c in judged], float)


def coverage(
    tables: int, seeds: int, splits: int, of_seeds: float, of_splits: float, rest: float, seed: int = 0
) -> float:
    """Share of intervals over seeds and split seeds that hold the true mean."""
    rng = np.random.default_rng(seed)
    held = []
    for _ in range(tables):
        values = (
            rng.normal(0, of_seeds, (seeds, 1))
            + rng.normal(0, of_splits, (1, splits))
            + rng.normal(0, rest, (seeds, splits))
        )
        units = {Unit(s, p): float(values[s, p]) for s in range(seeds) for p in range(splits)}
        half = mean_error(units).half_width()
        assert half is not None
        held.append(abs(statistics.fmean(units.values())) <= half)
    return statistics.fmean(held)


def same_method(
    draws: int, seeds: int, objects: int, of_seeds: float, of_both: float, seed: int = 0
) -> dict[str, float]:
    """Compare seeds of a method with other seeds of the same method.

    Args:
        draws: Comparisons.
        seeds: Seeds of each side.
        objects: Test objects.
        of_seeds: Deviation over seeds of the log odds of a right answer.
        of_both: Deviation of what a seed does to a single object.
        seed: Of the draws.

    Returns:
        Share of p values below 0.05: of ``methods`` and of ``objects``.
    """
    rng = np.random.default_rng(seed)
    names, found = [str(at) for at in range(objects)], {"methods": 0.0, "objects": 0.0}
    weights = np.full(objects, 1 / objects)
    for _ in range(draws):
        ease = rng.normal(0.5, 1.5, objects)

        def side(ease: Table = ease) -> npt.NDArray[Any]:
            odds = ease + rng.normal(0, of_seeds, (seeds, 1)) + rng.normal(0, of_both, (seeds, objects))
            right: npt.NDArray[Any] = rng.random((seeds, objects)) < 1 / (1 + np.exp(-odds))
            return right

        first, second = side(), side()
        crossed = cross(first, second, names, weights)
        found["methods"] += (crossed is not None and crossed.p is not None and crossed.p < 0.05) / draws
        found["objects"] += (pair_answers(first, second, names).test.p < 0.05) / draws
    return found


def main(part: str, tables: int) -> None:
    """Print one part."""
    if part == "family":
        print("comparisons seeds spread correlation | rule: alarms / family / power, percent")
        for seeds in (3, 5):
            for m in (4, 10, 20):
                for spread, shared in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.5, 0.6)):
                    found = family(tables, m, seeds, spread, shared)
                    told = [f"{r}: {' / '.join(f'{100 * v:.0f}' for v in c.values())}" for r, c in found.items()]
                    print(m, seeds, spread, shared, "|", "  ".join(told), flush=True)
    elif part == "crossed":
        print("seeds splits deviations (seeds, splits, rest) | coverage, percent")
        for seeds, splits in ((2, 2), (3, 3), (3, 6), (5, 3), (5, 5)):
            for spreads in ((1, 1, 1), (2, 0, 1), (0, 2, 1), (0, 0, 1)):
                print(seeds, splits, spreads, "|", f"{100 * coverage(tables, seeds, splits, *spreads):.1f}", flush=True)
    else:
        print("seeds objects deviations (seeds, both) | p < 0.05, percent: methods, objects")
        for seeds in (3, 5):
            for objects in (60, 300, 1000):
                for spreads in ((0.0, 1.0), (0.1, 1.0), (0.3, 0.5)):
                    found = same_method(tables, seeds, objects, *spreads)
                    print(seeds, objects, spreads, "|", *(f"{100 * v:.0f}" for v in found.values()), flush=True)


if __name__ == "__main__":
    main(*(sys.argv[1:2] or ["family"]), int((sys.argv[2:3] or ["1000"])[0]))
