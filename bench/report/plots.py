"""Plots as inline SVG that follow the page's style.

matplotlib draws; afterwards its fixed colours become CSS variables (so that the plot follows light and dark
pages), its identifiers get a prefix (several plots share one page) and marks get ``<title>`` hover texts.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from bench.report.document import Drawing

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
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "xtick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.major.size": 0.0,
    "ytick.minor.size": 0.0,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}


_WIDTH: ContextVar[float | None] = ContextVar("_WIDTH", default=None)


@contextmanager
def fitted_to(width: float) -> Iterator[None]:
    """Give all figures that are drawn a width, in inches."""
    before = _WIDTH.set(width)
    try:
        yield
    finally:
        _WIDTH.reset(before)


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches.

    Its width is that of `fitted_to`, if it is given one.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(_WIDTH.get() or width, height), layout="constrained")


def side_by_side(panels: int, most: int, least: float, margin: float) -> int:
    """Return the plots that stand side by side.

    Args:
        panels: Number of plots.
        most: Most of them.
        least: Least width of each in inches, where `fitted_to` gives the figure a width.
        margin: Width beside them.
    """
    fit = most if (width := _WIDTH.get()) is None else max(1, int((width - margin) // least))
    return max(1, min(panels, most, fit))


def fitted_label(text: str) -> str:
    """Return a label in lines that leave room for the plot beside it."""
    if (width := _WIDTH.get()) is None:
        return text
    return textwrap.fill(text, max(16, int(5 * width)), break_on_hyphens=False)


def small_multiples(
    panels: int, *, columns: int, width: float, height: float, margin: float
) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of small plots, and their axes.

    Args:
        panels: Number of plots.
        columns: Most of them side by side.
        width: Width of each, in inches.
        height: Height of each.
        margin: Width beside them.
    """
    columns = side_by_side(panels, columns, 1.6, 0.0)
    lines = -(-panels // columns)
    figure = canvas(width * columns + margin, height * lines + 0.3)
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in grid[panels:]:
        axes.set_visible(False)
    for axes in grid:
        axes.grid(axis="y")
    return figure, grid[:panels]


def _lay_out(figure: Figure) -> Any:
    """Lay a figure out at the resolution of SVG.

    Returns:
        A canvas of it, ``FigureCanvasSVG``, which has no types.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    made = FigureCanvasSVG(figure)
    own, figure.dpi = figure.dpi, 72
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")
    figure.dpi = own
    return made


def svg(draw: Callable[[], Drawing], prefix: str) -> tuple[str, str]:
    """Draw a figure as ``<svg>`` with unique identifiers.

    Args:
        draw: Draws it.
        prefix: Prefix of its identifiers, unique in the page.

    Returns:
        The element, and what it shows in words.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        drawing = draw()
        # Without `savefig`, which draws everything once more to no purpose.
        _lay_out(drawing.canvas).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(href="|url\()#', rf"\g<1>#{prefix}-", text)
    for identity, hint in drawing.hints.items():
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
    return re.sub(r"<svg[^>]*?(?= viewBox=)", head, text, count=1), drawing.alt
