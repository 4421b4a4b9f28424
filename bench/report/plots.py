"""Plots as inline SVG: real text, the page's own colours and fonts, hover texts, no dates and no random names.

matplotlib draws; afterwards its fixed colours become CSS variables (so that the plot follows light and dark
pages), its identifiers get a prefix (several plots share one page) and marks get ``<title>`` hover texts.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from bench.report.curves import Panel
from bench.report.model import Section
from bench.report.words import percent, spread
from bench.stats.cells import Cell
from bench.stats.intervals import run_means

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, PAPER = "#010203", "#040506", "#070809"
"""Stand-ins for the page's text, line and background colours."""
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6000", "#5e3c99")
"""Okabe and Ito's palette (told apart by colour-blind readers), extended by two; CSS variables ``--s0`` ..."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
STYLE: Any = {
    "text.parse_math": False,
    "svg.hashsalt": "bench",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 9.5,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Plot:
    """A plot to put into a page.

    Attributes:
        svg: The ``<svg>`` element.
        alt: What it shows, for those who do not see it.
    """

    svg: str
    alt: str


def accuracy_plot(section: Section, name: str) -> Plot:
    """Dots with intervals, one panel per setting, one line per method; single seeds as small ticks.

    Args:
        section: Table to draw.
        name: Prefix of the identifiers, unique in the page.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(_row_label(row.cell.label, row.cell.pretrain_data, section) for row in section.rows))
    colours = _colours(section)
    settings = section.settings
    columns = min(len(settings), 4)
    lines = -(-len(settings) // columns)
    longest = max(map(len, labels))
    hints: dict[str, str] = {}
    with mpl.rc_context(STYLE):
        size = (1.2 + 0.075 * longest + (3.2 if columns < 3 else 2.15) * columns, (0.75 + 0.3 * len(labels)) * lines)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes, setting in zip(grid.flat, settings, strict=False):
            for row in section.rows:
                if row.cell.setting == setting:
                    label = _row_label(row.cell.label, row.cell.pretrain_data, section)
                    colour, marker = colours[row.cell.architecture]
                    identity = f"dot{len(hints)}"
                    _draw_cell(axes, labels.index(label), row.cell, identity, colour, marker, not section.smoke)
                    hints[identity] = f"{label}, {setting}: {_hint(row.cell, section)}"
            axes.set_title(setting)
            axes.grid(axis="x")
            axes.set_axisbelow(True)
            axes.tick_params(length=0)
        for axes in grid.flat[len(settings) :]:
            axes.set_visible(False)
        grid[0, 0].set_yticks(range(len(labels)), labels)
        grid[0, 0].set_ylim(len(labels) - 0.5, -0.5)
        figure.supxlabel(f"{section.metric.replace('_', ' ')} in percent", fontsize=9, color=INK)
        svg = as_svg(figure, name, hints)
    return Plot(svg, _alt(section, hints))


def _row_label(label: str, data: str, section: Section) -> str:
    """Method, with the pretraining data only where methods of the same name were pretrained on several sets."""
    several = {row.cell.pretrain_data for row in section.rows if row.cell.label == label}
    return f"{label} from {data}" if len(several) > 1 else label


def _colours(section: Section) -> dict[str, tuple[str, str]]:
    """Colour and marker by architecture, so that scratch (drawn hollow) matches its method."""
    names = sorted({row.cell.architecture for row in section.rows})
    return {n: (SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]) for i, n in enumerate(names)}


def _draw_cell(axes: Axes, y: int, cell: Cell, identity: str, colour: str, marker: str, with_interval: bool) -> None:
    """Draw one line of a panel: interval, seeds as ticks below it, the mean on top (hollow for scratch)."""
    summary, seeds = cell.summary, [100 * value for value in run_means(cell.scores).values()]
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


def _alt(section: Section, hints: dict[str, str]) -> str:
    return f"Plot of {section.title}, preset {section.preset_words}. " + ". ".join(hints.values()) + "."


def curve_plot(panels: Sequence[Panel], name: str) -> Plot:
    """Small multiples of training curves, one thin line per seed, every panel with its own scale.

    Args:
        panels: Panels of one preset.
        name: Prefix of the identifiers, unique in the page.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = min(len(panels), 5)
    lines = -(-len(panels) // columns)
    owners = sorted({panel.method for panel in panels})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.75 * columns + 0.3, 2.0 * lines + 0.3), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            colour = SERIES[owners.index(panel.method) % len(SERIES)]
            for _, points in panel.lines:
                axes.plot([x for x, _ in points], [y for _, y in points], color=colour, linewidth=1.0, alpha=0.75)
            axes.set_title(panel_title(panel.method, panel.name))
            axes.grid(axis="y")
            axes.tick_params(length=0)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        figure.supxlabel("epoch", fontsize=9, color=INK)
        svg = as_svg(figure, name, {})
    return Plot(svg, "Training curves. " + " ".join(_curve_words(panel) for panel in panels))


def panel_title(method: str, series: str) -> str:
    """Title of a panel of curves; what sets the method apart has a line of its own."""
    return method.replace(" [", "\n[", 1) + f"\n{series}"


def _curve_words(panel: Panel) -> str:
    ends = [points[-1][1] for _, points in panel.lines]
    starts = [points[0][1] for _, points in panel.lines]
    return (
        f"{panel.method}, {panel.name}: {len(panel.lines)} line(s), from about {sum(starts) / len(starts):.3g} "
        f"to about {sum(ends) / len(ends):.3g}."
    )


def as_svg(figure: Figure, prefix: str, hints: dict[str, str]) -> str:
    """Save a figure as an ``<svg>`` element fit for a page that holds several (see the module's text)."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(href="|url\()#', rf"\g<1>#{prefix}-", text)
    for identity, hint in hints.items():
        text = text.replace(f'<g id="{prefix}-{identity}">', f"<g><title>{escape(hint)}</title>", 1)
    for colour, variable in (
        (INK, "--ink"),
        (FAINT, "--line"),
        (PAPER, "--card"),
        *((c, f"--s{i}") for i, c in enumerate(SERIES)),
    ):
        text = text.replace(colour, f"var({variable})")
    text = text.replace("'DejaVu Sans'", "var(--font)")
    width, height = re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2]
    px = round(float(width) * 4 / 3)
    head = f'<svg class="plot" style="width:{px}px;min-width:{min(px, 620)}px" width="{width}" height="{height}"'
    return re.sub(r"<svg[^>]*?(?= viewBox=)", head, text, count=1)
