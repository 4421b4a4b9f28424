"""Average ranks over many cells, as parts of a report.

Only where `bench.stats.ranks.FEWEST_CELLS` cells have the same methods; every number is marked with what it assumes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bench.report import quantities, words
from bench.report.document import AnyCell, Block, Cell, Detail, Drawing, Field, Figure, Notes, Paragraph, Part, Table
from bench.report.model import ReportModel, Section
from bench.report.plots import INK, SERIES, canvas
from bench.stats.cells import Cell as StatsCell
from bench.stats.intervals import seed_means
from bench.stats.ranks import (
    FEWEST_CELLS,
    FEWEST_METHODS,
    FEWEST_SEEDS,
    Friedman,
    Improvement,
    Numbers,
    Stability,
    against_best,
    cliques,
    critical_difference,
    friedman,
    improvement,
    ranks,
    stability,
)

TITLE = "Average ranks"
MOST_METHODS = 30
"""Most methods that are ranked: the critical difference grows with them, until it says nothing. Of more there is no
ranking; a report of chosen methods (``--method``) has one."""
MOST_IMPROVED = 6
"""Methods of the best ranks that are compared by the probability of improvement."""
Name = tuple[str, str]
"""A method: label and pretraining data."""
CellName = tuple[str, str]
"""Where methods are ranked: table and setting."""


@dataclass(frozen=True)
class Ranking:
    """Methods ranked over the cells that all of them have.

    Attributes:
        preset: Preset of the cells.
        methods: Names, best average rank first.
        cells: The cells.
        scores: By the common seeds, ``[methods, cells, seeds]``.
        average: Average ranks of the means over all of a cell's seeds.
        test: Friedman's test.
        difference: Nemenyi's critical difference.
    """

    preset: str
    methods: tuple[str, ...]
    cells: tuple[CellName, ...]
    scores: Numbers
    average: tuple[float, ...]
    test: Friedman
    difference: float


def rankings(model: ReportModel) -> list[Ranking]:
    """Return one ranking per preset with enough cells."""
    presets: dict[str, list[Section]] = {}
    for section in model.shown:
        if section.main and not section.smoke:
            presets.setdefault(section.preset_words, []).append(section)
    found = [_ranking(preset, sections) for preset, sections in presets.items()]
    return [one for one in found if one is not None]


def _ranking(preset: str, sections: Sequence[Section]) -> Ranking | None:
    """Rank the methods of a preset.

    None with too few cells, or with more than `MOST_METHODS`.
    """
    held: dict[Name, dict[CellName, StatsCell]] = {}
    for section in sections:
        for row in section.rows:
            if not row.cell.lost:  # what is left of a cell that lost runs is a choice nobody made
                name = row.cell.label, row.cell.pretrain_data
                held.setdefault(name, {})[section.anchor, row.cell.setting] = row.cell
    held = {name: own for name, own in held.items() if len(own) >= FEWEST_CELLS}
    if len(held) > MOST_METHODS:
        return None
    while len(held) >= FEWEST_METHODS:
        shared = sorted(set.intersection(*(set(own) for own in held.values())))
        if len(shared) >= FEWEST_CELLS:
            return _ranked(preset, held, shared)
        del held[min(held, key=lambda name: (len(held[name]), name))]
    return None


def _ranked(preset: str, held: Mapping[Name, Mapping[CellName, StatsCell]], cells: Sequence[CellName]) -> Ranking:
    values = {name: [seed_means(own[cell].scores) for cell in cells] for name, own in held.items()}
    seeds = sorted(set.intersection(*(set(one) for own in values.values() for one in own)))
    means = np.array([[np.mean(list(one.values())) for one in own] for own in values.values()]).round(12)
    average = ranks(means).mean(1)
    order = np.argsort(average, kind="stable")
    scores = np.array([[[one[seed] for seed in seeds] for one in own] for own in values.values()], np.float64)
    labels = [name[0] for name in values]
    names = [f"{label} on {data}" if labels.count(label) > 1 else label for label, data in values]
    return Ranking(
        preset=preset,
        methods=tuple(names[at] for at in order),
        cells=tuple(cells),
        scores=scores[order],
        average=tuple(float(average[at]) for at in order),
        test=friedman(ranks(means)),
        difference=critical_difference(len(names), len(cells)),
    )


@dataclass(frozen=True)
class _Line:
    method: str
    average: float
    stable: Stability | None
    p: float | None


@dataclass(frozen=True)
class _Pair:
    name: str
    found: Improvement


_RANKS: tuple[Field[_Line], ...] = (
    Field("method", "method", lambda line: line.method, whole=True),
    Field("rank", "average rank", lambda line: Cell(f"{line.average:.2f}", line.average), right=True),
    Field("resampled", "with resampled seeds [95 %]", lambda line: _resampled(line.stable), right=True),
    Field("best", "best in %", lambda line: _best(line.stable), right=True),
    Field("p_holm", "p against the best (Holm)", lambda line: quantities.p_value(line.p), right=True),
)
_PAIRS: tuple[Field[_Pair], ...] = (
    Field("pair", "a run of A beats one of B", lambda pair: pair.name, whole=True),
    Field("probability", "probability in % [95 %]", lambda pair: _probability(pair.found), right=True),
)


def _resampled(found: Stability | None) -> AnyCell:
    if found is None:
        return quantities.NONE
    return Cell(f"{found.low:.2f}–{found.high:.2f}", None, "", found.low, found.high)


def _best(found: Stability | None) -> AnyCell:
    return quantities.NONE if found is None else Cell(f"{100 * found.best:.0f}", found.best, "fraction")


def _probability(found: Improvement) -> Cell:
    text = f"{100 * found.value:.0f} [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    return Cell(text, found.value, "fraction", found.low, found.high)


def parts(model: ReportModel) -> list[Part]:
    """Return a part per preset with enough cells."""
    return [_part(one, at) for at, one in enumerate(rankings(model), start=1)]


def _part(one: Ranking, at: int) -> Part:
    seeds = one.scores.shape[2]
    stable: Sequence[Stability | None] = stability(one.scores) if seeds > 1 else [None] * len(one.methods)
    p = against_best(one.average, len(one.cells))
    lines = [_Line(*line) for line in zip(one.methods, one.average, stable, p, strict=True)]
    blocks: list[Block] = [
        Paragraph(_friedman(one), "soft"),
        Table.of(f"ranks-{at}", _RANKS, lines),
        Figure(f"ranks-{at}", lambda: critical_difference_diagram(one), _caption(one)),
    ]
    notes = [_assumed(one)]
    if seeds >= FEWEST_SEEDS:
        best = range(min(MOST_IMPROVED, len(one.methods)))
        pairs = [
            _Pair(f"{one.methods[a]} over {one.methods[b]}", improvement(one.scores[a], one.scores[b]))
            for a, b in combinations(best, 2)
        ]
        blocks.append(Table.of(f"improvement-{at}", _PAIRS, pairs))
        notes.append(
            "Probability of improvement (Agarwal et al. 2021): a run of each method is drawn in a cell drawn at "
            f"random; equal scores count half. Over the {seeds} seeds that all cells have, each method's resampled for "
            "all cells together, because a seed is one encoder. 50 is no better than chance, and an interval that "
            f"holds 50 shows no improvement. Of the {len(best)} best average ranks."
        )
    else:
        notes.append(f"Probability of improvement: not shown, it takes {FEWEST_SEEDS} seeds that all cells have.")
    blocks.append(Notes(tuple(notes)))
    return Part(TITLE, tuple(blocks), f"ranks-{at}", f"preset {one.preset}", detail=Detail.FILES)


def _friedman(one: Ranking) -> str:
    test = one.test
    f = "∞" if test.f == float("inf") else f"{test.f:.2f}"
    degrees = f"{test.methods - 1}, {(test.methods - 1) * (test.cells - 1)}"
    return (
        f"{test.methods} methods in {test.cells} cells (protocol, data set, setting). Friedman: chi-square "
        f"{test.chi_square:.2f}; Iman and Davenport: F({degrees}) = {f}, "
        f"p {_p(test.p)}. Critical difference (Nemenyi, 5 %): {one.difference:.2f}."
    )


def _p(value: float) -> str:
    text = words.p_value(value)
    return text if text.startswith("<") else f"= {text}"


def _assumed(one: Ranking) -> str:
    seeds = one.scores.shape[2]
    resampled = (
        f"“With resampled seeds”: the {seeds} common seeds drawn with replacement, for all methods and cells together; "
        "few seeds make it too narrow. "
        if seeds > 1
        else ""
    )
    return (
        "Ranks of means over seeds (Demsar 2006). Assumed: cells are independent and weigh alike. Where one encoder is "
        "judged in several cells they are not independent: these p values and the critical difference are too small. "
        f"{resampled}Ranks drop the size of differences, and change with the methods that take part; p against the "
        "best is a guide, as the best was chosen after looking. Methods that are not told apart are not shown to be "
        "equal."
    )


def _caption(one: Ranking) -> str:
    return (
        f"Average ranks, best on the left. A bar joins methods that are not told apart: their average ranks are within "
        f"the critical difference of {one.difference:.2f}."
    )


_SCALE = 3.4
"""Width of the scale of ranks, in inches."""


def critical_difference_diagram(one: Ranking) -> Drawing:
    """Draw average ranks with bars over what is not told apart."""
    k = len(one.methods)
    groups = cliques(one.average, one.difference)
    lines = -(-k // 2)
    height = 0.9 + 0.22 * (lines + 0.6 * len(groups))
    beside = 0.35 + 0.066 * (max(map(len, one.methods)) + 5)
    figure = canvas(_SCALE + 2 * beside, height)
    axes = figure.subplots()
    margin = beside / _SCALE * (k - 1)
    axes.set_xlim(1 - margin, k + margin)
    bottom = -(1.0 + 0.6 * len(groups) + lines)
    axes.set_ylim(bottom, 1.6)
    axes.set_axis_off()
    axes.plot([1, k], [0, 0], "-", color=INK, linewidth=1)
    for rank in range(1, k + 1):
        axes.plot([rank, rank], [0, 0.18], "-", color=INK, linewidth=0.8)
        axes.text(rank, 0.3, str(rank), ha="center", va="bottom", fontsize=8, color=INK)
    axes.plot([1, min(k, 1 + one.difference)], [1.25, 1.25], "|-", color=INK, linewidth=1.2, markersize=6)
    axes.text(1, 1.35, f"critical difference {one.difference:.2f}", fontsize=8, va="bottom", color=INK)
    for at, group in enumerate(groups):
        ends = [one.average[group[0]] - 0.04, one.average[group[-1]] + 0.04]
        axes.plot(ends, [-0.4 - 0.6 * at] * 2, "-", color=SERIES[0], linewidth=3, solid_capstyle="round")
    for at, (method, average) in enumerate(zip(one.methods, one.average, strict=True)):
        left = at < lines
        y = -(0.8 + 0.6 * len(groups) + (at if left else k - 1 - at))
        end = 1 - 0.06 * (k - 1) if left else k + 0.06 * (k - 1)
        axes.plot([average, average, end], [0, y, y], "-", color=INK, linewidth=0.8)
        text = f"{method} {average:.2f}"
        axes.text(end, y, f"{text} " if left else f" {text}", ha="right" if left else "left", va="center", fontsize=8)
    told = "; ".join(f"{m} {a:.2f}" for m, a in zip(one.methods, one.average, strict=True))
    joined = "; ".join(", ".join(one.methods[at] for at in group) for group in groups) or "none"
    return Drawing(figure, f"Average ranks: {told}. Not told apart: {joined}.")
