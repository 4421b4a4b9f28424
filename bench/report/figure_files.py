"""Figures of a document as files: PNG, SVG and PDF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from bench.report.document import Document, Figure
from bench.report.plots import FAINT, STYLE
from bench.store.publish import write_whole

FORMATS = ("png", "svg", "pdf")
_LINES = "#c8ccd2"
_PAPER = {
    **STYLE,
    **{name: _LINES for name, value in STYLE.items() if value == FAINT},
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}
"""Style on white paper, where a page would put its own colours."""


def write_figures(document: Document, folder: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Draw every figure of a document into files ``NAME.FORMAT``.

    The same document gives the same bytes.

    Raises:
        SetupError: A file cannot be written.
    """
    import matplotlib as mpl

    written = []
    for figure in document.walk():
        if not isinstance(figure, Figure):
            continue
        with mpl.rc_context(_PAPER):
            canvas = figure.draw().canvas
            for kind in formats:
                metadata = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
                drawn = io.BytesIO()
                canvas.savefig(drawn, format=kind, dpi=200, metadata=metadata)
                write_whole(folder / f"{figure.name}.{kind}", drawn.getvalue(), "the figure")
                written.append(folder / f"{figure.name}.{kind}")
    return written
