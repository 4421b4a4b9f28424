"""Numbers as table cells: text, raw value and interval."""

from __future__ import annotations

from bench.report import words
from bench.report.document import NOTHING, Cell, Tone
from bench.stats.comparisons import Comparison, Verdict
from bench.stats.intervals import Summary

NONE = Cell(NOTHING)


def tone(verdict: Verdict) -> Tone:
    """Return the tone of a verdict.

    A comparison that could not be made has none.
    """
    return verdict if verdict in ("above", "below", "none") else "no-comparison"


def score(summary: Summary | None, *, smoke: bool = False, note: str = "") -> Cell:
    """Return a mean with its interval.

    Smoke scores have no interval.

    Args:
        summary: The scores; None for a dash.
        smoke: Whether the scores prove paths only.
        note: Text behind the number.
    """
    if summary is None:
        return NONE
    if smoke:
        return Cell(words.percent(summary.mean) + note, summary.mean, "fraction")
    return Cell(words.score(summary) + note, summary.mean, "fraction", summary.low, summary.high)


def fraction(value: float) -> Cell:
    """Return a fraction, in percent."""
    return Cell(words.percent(value), value, "fraction")


def number(value: int) -> Cell:
    """Return a count."""
    return Cell(str(value), value)


def points(value: float, low: float | None = None, high: float | None = None) -> Cell:
    """Return a difference of fractions with its interval, in points."""
    ends = "" if low is None or high is None else f" [{words.signed(low)}, {words.signed(high)}]"
    return Cell(f"{words.signed(value)}{ends}", value, "fraction", low, high)


def difference(comparison: Comparison | None) -> Cell:
    """Return a paired difference with its interval, in points."""
    if comparison is None:
        return NONE
    text = words.difference(comparison)
    return Cell(text, comparison.difference, "fraction", comparison.low, comparison.high, tone(comparison.verdict))


def p_value(p: float | None) -> Cell:
    """Return a p value."""
    return Cell(words.p_value(p), p)


def seconds(value: float | None) -> Cell:
    """Return a duration."""
    return Cell(words.seconds(value), value, "s")


def count(value: int | None) -> Cell:
    """Return a network's number of parameters or operations."""
    return Cell(words.count(value), value)


def operations(value: float | None) -> Cell:
    """Return floating-point operations."""
    return Cell(words.operations(value), value, "FLOP")
