"""Numbers and verdicts as text, alike in all renderings.

Accuracies are shown in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.stats.cells import Cell
from bench.stats.comparisons import Comparison, Verdict
from bench.stats.components import Components
from bench.stats.intervals import Summary

FOLDS_LABEL = "folds of one encoder"
SYMBOLS: Mapping[Verdict, str] = {
    "above": "▲",
    "below": "▼",
    "none": "○",
    **dict.fromkeys(("no-spread", "one-seed", "unpaired", "gaps", "lost"), "–"),
}


def older(names: Iterable[str], every: str = "") -> list[str]:
    """Name results of older code in a line.

    For tables without a column that marks them.

    Args:
        names: The results.
        every: What to say instead of the names, because all results of the table are older.
    """
    found = "; ".join(dict.fromkeys(names))
    return [f"Made by code that has changed since (older): {every or found}."] if found else []


def percent(value: float) -> str:
    """Format a fraction in percent with one decimal."""
    return f"{100 * value:.1f}"


def signed(value: float) -> str:
    """Format a difference of fractions in points, with sign."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def score(summary: Summary) -> str:
    """Format a mean with its interval: ``81.3 ± 1.2``.

    With one seed just the number.
    """
    if summary.half_width is None:
        return percent(summary.mean)
    return f"{percent(summary.mean)} ± {percent(summary.half_width)}"


def fold_deviation(summary: Summary) -> str:
    """Return the deviation over the folds of one encoder.

    Empty with several seeds or without folds.
    """
    return "" if summary.fold_deviation is None else percent(summary.fold_deviation)


def components(found: Components) -> str:
    """Return standard deviations by source: ``3.1 / 0.8 / 2.0``.

    Over folds, pretraining seeds, split seeds and the rest.

    Empty where there is not more than one; those that cannot be told are left out at the end, and a dash elsewhere.
    """
    known = [found.folds, found.seeds, found.splits, found.rest]
    while known and known[-1] is None:
        known.pop()
    if sum(value is not None for value in known) < 2:
        return ""
    return " / ".join("–" if value is None else percent(value) for value in known)


def spread(summary: Summary) -> str:
    """Return mean and spread, for hover texts."""
    if summary.fold_deviation is not None:
        return f"{score(summary)}, one seed ({FOLDS_LABEL}: s.d. {fold_deviation(summary)})"
    seeds = "one seed" if summary.n == 1 else f"{summary.n} seeds"
    return f"{score(summary)}, {seeds}" + (f", {summary.splits} split seeds" if summary.splits > 1 else "")


def span(summary: Summary) -> str:
    """Return the smallest and largest seed value."""
    several = summary.n > 1 or summary.splits > 1
    return f"{percent(summary.minimum)}–{percent(summary.maximum)}" if several else "–"


def seeds(cell: Cell) -> str:
    """Count runs by outcome: ``3 of 5 (2 diverged)``.

    ``3 × 6`` with split seeds.
    """
    summary = cell.summary
    shown = str(summary.n) if summary.splits == 1 else f"{summary.n} × {summary.splits}"
    if summary.error.missing:
        shown = f"{len(cell.scores)} of {shown}"
    if not cell.lost:
        return shown
    lost = ", ".join(f"{n} {what}" for what, n in cell.losses.counts)
    return f"{len(cell.scores)} of {cell.losses.total} ({lost})"


def difference(comparison: Comparison | None) -> str:
    """Format a paired difference with interval, in points."""
    if comparison is None or comparison.difference is None:
        return "–"
    if comparison.low is None or comparison.high is None:
        return signed(comparison.difference)
    return f"{signed(comparison.difference)} [{signed(comparison.low)}, {signed(comparison.high)}]"


def p_value(p: float | None) -> str:
    """Format a p value."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def seen(cell: Cell) -> str:
    """Return the cell "saw evaluated class names"."""
    if cell.seen is None:
        return "unknown"
    total = cell.seen_total if cell.seen_total is not None else len(cell.seen)
    return f"{len(cell.seen)} of {total}" if cell.seen else "none"


def seconds(value: float | None) -> str:
    """Format a duration."""
    if value is None:
        return "–"
    if value < 60:
        return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def count(value: int | None) -> str:
    """Format a number of parameters."""
    if value is None:
        return "–"
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}" if value < 100 * size else f"{value / size:.0f} {unit}"
    return str(value)


def operations(value: float | None) -> str:
    """Format floating-point operations."""
    if value is None:
        return "–"
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}FLOP"
    return f"{value:.0f} FLOP"


def numbers(values: tuple[int, ...]) -> str:
    """Format seeds, with ranges: ``0–4, 7``."""
    parts: list[list[int]] = []
    for value in values:
        if parts and value == parts[-1][-1] + 1:
            parts[-1].append(value)
        else:
            parts.append([value])
    texts = [f"{p[0]}–{p[-1]}" if len(p) > 2 else ", ".join(map(str, p)) for p in parts]
    return ", ".join(texts)
