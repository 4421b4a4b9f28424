"""The plot of a table of accuracies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.report.document import Drawing
from bench.report.model import ReportRow, Section
from bench.report.plots import INK, MARKERS, PAPER, SERIES, canvas, fitted_label, side_by_side
from bench.report.words import percent, spread
from bench.stats.cells import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes


MOST_DRAWN = 24
"""Methods of a table that its plot shows; more are a blur to a reader, and take seconds to draw."""


def accuracy_plot(section: Section) -> Drawing:
    """Draw accuracies with intervals, one panel per setting.

    One line per method; single seeds are small ticks.
    """
    rows = drawn_rows(section)
    labels = list(dict.fromkeys(_row_label(row.cell.label, row.cell.pretrain_data, section) for row in rows))
    colours = _colours(section)
    settings = tuple(dict.fromkeys(row.cell.setting for row in rows))
    names = [fitted_label(label) for label in labels]
    longest = max(len(line) for name in names for line in name.splitlines())
    columns = side_by_side(len(settings), 4, 1.5, 0.3 + 0.065 * longest)
    lines = -(-len(settings) // columns)
    hints: dict[str, str] = {}
    width = 1.2 + 0.075 * longest + (3.2 if columns < 3 else 2.15) * columns
    extra = sum(name.count("\n") for name in names)
    figure = canvas(width, (0.75 + 0.3 * len(labels) + 0.1 * extra) * lines)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, setting in zip(grid.flat, settings, strict=False):
        for row in rows:
            if row.cell.setting == setting:
                label = _row_label(row.cell.label, row.cell.pretrain_data, section)
                colour, marker = colours[row.cell.architecture]
                identity = f"dot{len(hints)}"
                _draw_cell(axes, labels.index(label), row.cell, identity, colour, marker, not section.smoke)
                hints[identity] = f"{label}, {setting}: {_hint(row.cell, section)}"
        axes.set_title(setting)
        axes.grid(axis="x")
    for axes in grid.flat[len(settings) :]:
        axes.set_visible(False)
    grid[0, 0].set_yticks(range(len(labels)), names)
    grid[0, 0].set_ylim(len(labels) - 0.5, -0.5)
    figure.supxlabel(f"{section.metric.replace('_', ' ')} in percent", fontsize=9, color=INK)
    return Drawing(figure, _alt(section, hints), hints)


def drawn_rows(section: Section) -> list[ReportRow]:
    """Return a plot's rows in the table's order.

    One variant of each method comes before a second one of any.
    """
    of_method: dict[str, dict[str, None]] = {}
    for row in section.rows:
        of_method.setdefault(row.cell.name, {})[row.cell.label] = None
    ranked = [(rank, label) for labels in of_method.values() for rank, label in enumerate(labels)]
    kept = {label for _, label in sorted(ranked, key=lambda one: one[0])[:MOST_DRAWN]}
    return [row for row in section.rows if row.cell.label in kept]


def _row_label(label: str, data: str, section: Section) -> str:
    """Return a row's label: method, and pretraining data if needed."""
    several = {row.cell.pretrain_data for row in section.rows if row.cell.label == label}
    return f"{label} from {data}" if len(several) > 1 else label


def _colours(section: Section) -> dict[str, tuple[str, str]]:
    """Return colour and marker by architecture.

    scratch (drawn hollow) then matches its method.
    """
    names = sorted({row.cell.architecture for row in section.rows})
    return {n: (SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]) for i, n in enumerate(names)}


def _draw_cell(axes: Axes, y: int, cell: Cell, identity: str, colour: str, marker: str, with_interval: bool) -> None:
    """Draw interval, seeds and mean of one cell.

    The mean is hollow for scratch.
    """
    summary, seeds = cell.summary, [100 * value for value in cell.means.values()]
    if len(seeds) > 1:
        axes.plot(seeds, [y + 0.27] * len(seeds), "|", color=colour, markersize=4, alpha=0.7)
    if with_interval and summary.low is not None and summary.high is not None:
        axes.plot([100 * summary.low, 100 * summary.high], [y, y], "-", color=colour, linewidth=1.8)
    axes.plot(
        [100 * summary.mean],
        [y],
        marker,
        color=colour,
        markersize=6,
        markeredgewidth=1.6,
        markerfacecolor=PAPER if cell.is_scratch else colour,
        gid=identity,
    )


def _hint(cell: Cell, section: Section) -> str:
    return percent(cell.summary.mean) if section.smoke else spread(cell.summary)


def _alt(section: Section, hints: Mapping[str, str]) -> str:
    return f"Plot of {section.title}, preset {section.preset_words}. " + ". ".join(hints.values()) + "."
