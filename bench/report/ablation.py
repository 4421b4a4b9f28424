"""An ablation as a document: effects, settings, curves, the best setting."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from bench.report import quantities, words
from bench.report.document import (
    Block,
    Cell,
    Detail,
    Document,
    Drawing,
    Field,
    Figure,
    Notes,
    Paragraph,
    Part,
    Table,
)
from bench.report.plots import INK, MARKERS, SERIES, small_multiples
from bench.stats.comparisons import Comparison, Lost
from bench.stats.effects import Best, Effect, Tried, best_setting, effects, level_scores, setting_name
from bench.stats.intervals import run_means, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_MAPS = 6
"""Most heat maps of one table."""
_MOST_TEXTS = 12
"""Values of an axis up to which a heat map writes its numbers."""
HOW = {
    "full": "Every combination of the values was planned. An effect is averaged over the settings of the other axes.",
    "one-at-a-time": "One axis is changed at a time, the others stay at their base: interactions cannot be seen.",
    "fractional": "A balanced part of all combinations (resolution IV): main effects are free of interactions of two "
    "axes, and interactions that share a row cannot be told apart.",
}
EXPLAINED = (
    "Differences in points, paired by seed, with 95 % intervals from variances moderated over the table; p after Holm "
    "over all effects of the table. A x B: by how much the effect of A changes with B, against A's effect beside the "
    "other value of B."
)


@dataclass(frozen=True)
class AblationTable:
    """Settings of one ablation, judged in one way.

    Attributes:
        name: Name of the ablation.
        method: Method.
        preset: Preset.
        design: ``full``, ``one-at-a-time`` or ``fractional``.
        place: Protocol, form, data set and setting.
        metric: Metric of the scores.
        paths: Options, as after ``--set``.
        axes: Their short names.
        reference: Value of each axis that the others are compared with.
        tried: Settings, in order.
        older: Whether a run was made by code that has changed since.
    """

    name: str
    method: str
    preset: str
    design: str
    place: tuple[str, str, str, str]
    metric: str
    paths: tuple[str, ...]
    axes: tuple[str, ...]
    reference: tuple[str, ...]
    tried: tuple[Tried, ...]
    older: bool = False

    @property
    def smoke(self) -> bool:
        """Whether the preset only tests that everything runs."""
        return self.preset == "smoke"

    @property
    def title(self) -> str:
        """Heading: what was varied, and how it was judged."""
        protocol, form, dataset, setting = self.place
        judged = f"{protocol} ({form})" if form != "fair" else protocol
        part = "" if setting == "all" else f", {setting.removeprefix('all, ')}"
        return f"Ablation of {self.method}: {judged} on {dataset}{part}, {self.metric.replace('_', ' ')}"

    @property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """Values of each axis, in order."""
        return tuple(tuple(dict.fromkeys(one.values[at] for one in self.tried)) for at in range(len(self.axes)))

    @cached_property
    def effects(self) -> list[Effect]:
        """Main effects and interactions."""
        return effects(self.axes, self.tried, self.reference, fraction=self.design == "fractional")

    @cached_property
    def best(self) -> Best | None:
        """The best setting by validation."""
        return best_setting(self.axes, self.tried)


EFFECTS: tuple[Field[Effect], ...] = (
    Field("effect", "effect of", lambda one: " x ".join(_settings(one.axes, one.values)), whole=True, wrap=2),
    Field("against", "against", lambda one: _settings(one.axes, one.reference)[-1], drop=1),
    Field("difference", "difference [95 %]", lambda one: quantities.difference(one.comparison), bar=True),
    Field("p", "p", lambda one: quantities.p_value(one.comparison.p), right=True, drop=3),
    Field("p_holm", "p (Holm)", lambda one: quantities.p_value(one.comparison.p_holm), right=True),
    Field("verdict", "verdict", lambda one: _verdict(one), sink=1),
    Field("contexts", "settings averaged", lambda one: quantities.number(one.contexts), right=True, drop=2),
    Field("aliases", "or", lambda one: ", ".join(one.aliases), sink=2),
)
BEST: tuple[Field[tuple[AblationTable, Best]], ...] = (
    Field("setting", "best on validation", lambda one: setting_name(one[0].axes, one[1].values)),
    Field("validation", "validation", lambda one: quantities.score(one[1].validation, smoke=one[0].smoke)),
    Field("test", "test", lambda one: quantities.score(one[1].test, smoke=one[0].smoke)),
    Field("probability", "share of resamples", lambda one: _share(one[1].probability)),
    Field("resamples", "resamples", lambda one: quantities.number(one[1].resamples)),
    Field("seeds", "seeds", lambda one: quantities.number(one[1].seeds)),
    Field("others", "other settings", lambda one: quantities.number(len(one[1].others))),
    Field("apart", "of them told apart", lambda one: quantities.number(len(_apart(one[1])))),
)
_MOST_COLUMNS = 4
"""Axes up to which a table of settings has a column for each."""


def document(tables: Sequence[AblationTable], notes: Sequence[str] = (), left_out: Sequence[str] = ()) -> Document:
    """Return ablations as a document.

    Args:
        tables: What was measured.
        notes: Remarks in front, e.g. on missing runs.
        left_out: Axes of a paper that were not run, and why.
    """
    blocks: list[Block] = [Paragraph(note, "care") for note in notes]
    blocks += [_part(table, f"{table.name}-{at}") for at, table in enumerate(tables, start=1)]
    if left_out:
        blocks.append(Part("Not in this study", tuple(map(Paragraph, left_out))))
    methods = ", ".join(dict.fromkeys(table.method for table in tables))
    return Document(f"Ablation of {methods}", tuple(blocks))


def _part(table: AblationTable, anchor: str) -> Part:
    mark = "SMOKE" if table.smoke else ""
    blocks: list[Block] = [Paragraph(f"{HOW[table.design]} {EXPLAINED}", "soft")]
    if table.smoke:
        blocks.append(Paragraph("Preset smoke proves that everything runs; its numbers mean nothing.", "warning"))
    if table.best is not None and (best := best_words(table)) is not None:
        blocks += map(Paragraph, best)
        blocks.append(replace(Table.of(f"{anchor}-best", BEST, [(table, table.best)]), detail=Detail.PAGE))
    if table.effects:
        blocks.append(Table.of(f"{anchor}-effects", EFFECTS, table.effects))
    blocks.append(Table.of(f"{anchor}-settings", _fields(table), filter(_shown, table.tried)))
    notes = list(dict.fromkeys(note for one in table.effects for note in one.comparison.notes))
    notes = [f"{note[:1].upper()}{note[1:]}." for note in notes[:3]]
    blocks.append(Notes((*words.older([table.title] if table.older else []), *notes)))
    blocks.append(
        Figure(
            f"{anchor}-curves",
            lambda: draw_curves(table),
            "Mean over seeds with its 95 % interval; thin lines: one seed each. The ring is what effects are against.",
        )
    )
    if _pairs(table):
        blocks.append(Figure(f"{anchor}-maps", lambda: draw_maps(table), "Mean over seeds of each pair of values."))
    return Part(table.title, tuple(blocks), anchor, f"preset {table.preset}", mark)


def _fields(table: AblationTable) -> list[Field[Tried]]:
    """Return the columns of a table of settings."""
    if table.design == "one-at-a-time" or len(table.axes) > _MOST_COLUMNS:
        named = [Field[Tried]("setting", "setting", lambda one: _changed(table, one), whole=True, wrap=1)]
    else:
        named = [
            Field[Tried](axis, axis, lambda one, at=at: one.values[at], whole=True)  # type: ignore[misc]
            for at, axis in enumerate(table.axes)
        ]
    return [
        *named,
        Field("validation", "validation", lambda one: _score(table, one, test=False), right=True),
        Field("test", "test", lambda one: _score(table, one, test=True), right=True, bar=True),
        Field("seeds", "seeds", lambda one: quantities.number(len({unit.seed for unit in one.test})), right=True),
        Field("best", "", lambda one: _mark(table, one)),
    ]


def _changed(table: AblationTable, one: Tried) -> str:
    """Name what a setting changes of the base."""
    pairs = zip(_settings(table.axes, one.values), one.values, table.reference, strict=True)
    return ", ".join(name for name, value, base in pairs if value != base) or "base"


def _settings(axes: Sequence[str], values: Sequence[str]) -> list[str]:
    return [f"{axis}={value}" for axis, value in zip(axes, values, strict=True)]


def _shown(one: Tried) -> bool:
    return bool(one.test or one.lost)


def _verdict(effect: Effect) -> Cell:
    found = effect.comparison
    text = effect.words
    if found.shown and not found.survives_holm:
        text += ", not after Holm"
    return Cell(f"{words.SYMBOLS[found.verdict]} {text}", found.verdict, tone=quantities.tone(found.verdict))


def _score(table: AblationTable, one: Tried, *, test: bool) -> Cell:
    scores = one.test if test else one.validation
    return quantities.score(summarise(scores) if scores else None, smoke=table.smoke)


def _mark(table: AblationTable, one: Tried) -> str:
    """Name what is special about a setting."""
    said = ["base"] if one.values == table.reference and table.design != "one-at-a-time" else []
    if table.best is not None and table.best.values == one.values:
        said.append("best on validation")
    elif table.best is not None and one.values in table.best.level:
        said.append("equally high on validation")
    if one.lost:
        said.append(Lost("", one.lost, one.planned).words)
    return ", ".join(said)


def best_words(table: AblationTable) -> list[str] | None:
    """Name the best setting by validation, and how sure it is the best.

    None where no two settings have validation scores of the same seeds.
    """
    best = table.best
    if best is None:
        return None
    score = words.percent if table.smoke else None
    validation = score(best.validation.mean) if score else words.score(best.validation)
    test = ""
    if best.test is not None:
        test = f", test {score(best.test.mean) if score else words.score(best.test)}"
    lines = [f"Best on validation: {setting_name(table.axes, best.values)} (validation {validation}{test})."]
    if best.level:
        others = "; ".join(setting_name(table.axes, values) for values in best.level)
        lines.append(f"Equally high on validation: {others}; the first in order was taken.")
    if best.probability is None:
        return [*lines, "One seed: nothing says how sure that is. Run more with --seeds 3."]
    gone = sum(bool(one.lost) for one in table.tried)
    how = f"all {best.resamples}" if best.exact else f"{best.resamples:,} drawn"
    apart = _apart(best)
    rest = len(best.others) - len(apart)
    rough = f"; {best.seeds} seeds are few for that" if best.seeds < 5 else ""
    lines.append(
        f"It is the best in {100 * best.probability:.0f} % of {how} resamples of its {best.seeds} seeds{rough}. Paired "
        f"on validation, it is shown to be above {len(apart)} of {len(best.others)} other settings after Holm"
        + (f"; not told apart from it: {rest}." if rest else ".")
        + (f" {gone} settings lost a run and are no candidates." if gone else "")
    )
    return lines


def _apart(best: Best) -> list[Comparison]:
    """Return the comparisons that show the best above another setting."""
    return [one for one in best.others if one.verdict == "above" and one.survives_holm]


def _share(value: float | None) -> Cell:
    return quantities.NONE if value is None else quantities.fraction(value)


def _pairs(table: AblationTable) -> list[tuple[int, int]]:
    """Return the pairs of axes that a full grid has heat maps of."""
    if table.design != "full":
        return []
    return list(itertools.combinations(range(len(table.axes)), 2))[:_MOST_MAPS]


def draw_curves(table: AblationTable) -> Drawing:
    """Draw a panel per axis: means over its values, and each seed."""
    figure, grid = small_multiples(len(table.axes), columns=3, width=2.6, height=2.2, margin=0.2)
    told = []
    for at, axes in enumerate(grid):
        told.append(_draw_curve(axes, table, at))
    figure.supylabel(f"{table.metric.replace('_', ' ')}, percent", fontsize=9, color=INK)
    return Drawing(figure, f"{table.title}. {' '.join(told)}")


def _draw_curve(axes: Axes, table: AblationTable, at: int) -> str:
    scores = level_scores(table.tried, at, table.reference, fraction=table.design == "fractional")
    levels = [level for level in table.levels[at] if level in scores]
    places = _places(levels)
    levels = sorted(levels, key=places.__getitem__)
    xs = [places[level] for level in levels]
    means = {level: run_means(scores[level]) for level in levels}
    units = set.intersection(*(set(own) for own in means.values())) if means else set()
    for unit in sorted(units):
        axes.plot(xs, [100 * means[level][unit] for level in levels], color=SERIES[5], linewidth=0.6, alpha=0.6)
    summaries = {level: summarise(scores[level]) for level in levels}
    line = "-" if _numeric(levels) else "none"
    axes.plot(xs, [100 * summaries[level].mean for level in levels], MARKERS[0], color=SERIES[0], linestyle=line)
    for level in levels:
        found, x = summaries[level], places[level]
        if found.low is not None and found.high is not None and not table.smoke:
            axes.plot([x, x], [100 * found.low, 100 * found.high], color=SERIES[0], linewidth=1.2)
        if level == table.reference[at]:
            axes.plot([x], [100 * found.mean], "o", markersize=11, markerfacecolor="none", markeredgecolor=SERIES[1])
    axes.set_xticks(xs, [_short(level) for level in levels], rotation=_tilt(levels))
    axes.margins(x=0.15)
    axes.set_title(table.axes[at])
    values = ", ".join(f"{level} {words.percent(summaries[level].mean)}" for level in levels)
    return f"{table.axes[at]}: {values}."


def _numeric(levels: Sequence[str]) -> bool:
    return all(re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", level) for level in levels)


def _places(levels: Sequence[str]) -> dict[str, float]:
    """Return where values stand: at their number, else one beside the other."""
    if not _numeric(levels):
        return {level: float(at) for at, level in enumerate(levels)}
    numbers = {level: float(level) for level in levels}
    spread = max(numbers.values()) - min(numbers.values()) if numbers else 0
    gaps = [b - a for a, b in itertools.pairwise(sorted(numbers.values()))]
    if gaps and min(gaps) < spread / 12:  # values such as 1e-5 .. 1e-2 would lie on one another
        return {level: float(at) for at, level in enumerate(sorted(levels, key=numbers.__getitem__))}
    return numbers


def _tilt(levels: Sequence[str]) -> int:
    return 30 if max(map(len, levels), default=0) > 6 else 0


def _short(text: str) -> str:
    return text if len(text) <= 14 else f"{text[:13]}…"


def draw_maps(table: AblationTable) -> Drawing:
    """Draw a heat map per pair of axes."""
    pairs = _pairs(table)
    figure, grid = small_multiples(len(pairs), columns=3, width=2.8, height=2.4, margin=0.4)
    told = []
    for (first, second), axes in zip(pairs, grid, strict=True):
        rows, columns = table.levels[first], table.levels[second]
        means = [[_pair_mean(table.tried, (first, row), (second, column)) for column in columns] for row in rows]
        known = [value for line in means for value in line if value is not None]
        shown = [[float("nan") if value is None else value for value in line] for line in means]
        image = axes.imshow(shown, cmap="viridis", aspect="auto")
        axes.grid(visible=False)
        axes.set_xticks(range(len(columns)), [_short(value) for value in columns], rotation=_tilt(columns))
        axes.set_yticks(range(len(rows)), [_short(value) for value in rows])
        axes.set_xlabel(table.axes[second])
        axes.set_ylabel(table.axes[first])
        figure.colorbar(image, ax=axes, shrink=0.8)
        if known and len(rows) * len(columns) <= _MOST_TEXTS:
            middle = (min(known) + max(known)) / 2
            for (y, line), x in itertools.product(enumerate(means), range(len(columns))):
                if (value := line[x]) is not None:
                    dark = "white" if value < middle else "black"
                    axes.text(x, y, f"{value:.1f}", ha="center", va="center", color=dark, fontsize=8)
        if known:
            told.append(f"{table.axes[first]} by {table.axes[second]}: {min(known):.1f} to {max(known):.1f} percent.")
    return Drawing(figure, f"{table.title}. {' '.join(told)}")


def _pair_mean(tried: Iterable[Tried], *wanted: tuple[int, str]) -> float | None:
    """Return the mean percent over settings with some values."""
    means = [
        summarise(one.test).mean for one in tried if one.test and all(one.values[at] == value for at, value in wanted)
    ]
    return 100 * sum(means) / len(means) if means else None
