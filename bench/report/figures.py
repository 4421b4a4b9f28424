"""Figures of a report as files for a paper: PDF, SVG and PNG."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.report.document import Block, Document, Figure, Fold, Part
from bench.report.forms import WIDTHS, FigureWidth
from bench.report.plots import FAINT, INK, PAPER, STYLE, fitted_to
from bench.store.publish import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

FOLDER = "figures"
KINDS = ("pdf", "svg", "png")
LINE_GREY = "#c4cad2"
POINTS_OF_A_LETTER = 5.2
"""Width that a letter of a title is given."""
PRINTED: Any = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "legend.fontsize": 7.0,
    "axes.edgecolor": LINE_GREY,
    "grid.color": LINE_GREY,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "savefig.dpi": 300,
    "pdf.fonttype": 42,
    "pdf.compression": 9,
    "svg.fonttype": "path",
}
NO_DATES: Mapping[str, dict[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}


def write_figures(document: Document, out: Path, width: FigureWidth, advice: str) -> dict[str, str]:
    """Write every figure of a document as PDF, SVG and PNG.

    The same document gives the same bytes. Fonts are embedded as TrueType (type 42) in PDF, and as outlines in SVG.

    Args:
        document: The document.
        out: Folder of the report; files are written into its `FOLDER`.
        width: Width of all figures: that of a column or of a page.
        advice: What to do where they cannot be written.

    Returns:
        Path of each figure's PDF by name, relative to `out`.

    Raises:
        SetupError: A file cannot be written.
    """
    import matplotlib as mpl

    paths = {}
    for name, title, figure in _figures(document.blocks, ""):
        stem = f"{FOLDER}/{_slug(f'{name} {title}')}"
        with mpl.rc_context({**STYLE, **PRINTED}), fitted_to(WIDTHS[width]):
            canvas = figure.draw().canvas
            _print(canvas)
            for kind in KINDS:
                content = io.BytesIO()
                canvas.savefig(content, format=kind, metadata=NO_DATES[kind])
                write_whole(out / f"{stem}.{kind}", content.getvalue(), "the figure", advice)
        paths[name] = f"{stem}.pdf"
    return paths


def _figures(blocks: Iterable[Block], title: str) -> Iterator[tuple[str, str, Figure]]:
    """Yield figures, each with its name and the title of its part."""
    for block in blocks:
        if isinstance(block, Figure):
            yield block.name, title, block
        elif isinstance(block, Part):
            yield from _figures(block.blocks, block.title)
        elif isinstance(block, Fold):
            yield from _figures(block.blocks, title)


def _slug(text: str) -> str:
    """Return a name for a file that every system and LaTeX takes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-")


def _print(canvas: Canvas) -> None:
    """Give a figure the colours of paper, and fit its legends and titles to its width."""
    from matplotlib.lines import Line2D

    for line in canvas.findobj(Line2D):
        if line.get_color() == FAINT:
            line.set_color(LINE_GREY)
        if line.get_markerfacecolor() == PAPER:
            line.set_markerfacecolor("white")
    width = canvas.get_figwidth()
    for legend in list(canvas.legends):
        labels = [_filled(text.get_text(), int(14 * width)) for text in legend.get_texts()]
        longest = max((len(line) for label in labels for line in label.splitlines()), default=0)
        columns = max(1, int(width // (0.5 + 0.056 * longest)))
        handles = [one for one in legend.legend_handles if one is not None]
        legend.remove()
        canvas.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, labelcolor=INK)
    for axes in canvas.axes:
        place = axes.get_subplotspec()
        columns = 1 if place is None else place.get_gridspec().ncols
        letters = int(72 * width / columns / POINTS_OF_A_LETTER)
        lines = (_filled(line, letters) for line in axes.get_title().splitlines())
        axes.set_title("\n".join(lines), color=INK)


def _filled(text: str, letters: int) -> str:
    return textwrap.fill(text, letters, break_on_hyphens=False)
