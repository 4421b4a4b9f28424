"""Forms of a report's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Format = Literal["html", "markdown", "csv", "json", "latex", "latex-report"]
NAMES: Mapping[Format, str] = {
    "html": "index.html",
    "csv": "results.csv",
    "markdown": "results.md",
    "json": "report.json",
    "latex": "results.tex",
    "latex-report": "report.tex",
}
"""Name of the file in each form."""
ALWAYS: tuple[Format, ...] = ("html", "csv", "markdown", "json")
"""Forms that are written where none is asked for."""
PageFormat = Literal["markdown", "html", "latex", "json"]
"""Forms of a single page."""
FigureWidth = Literal["column", "page"]
WIDTHS: Mapping[FigureWidth, float] = {"column": 3.35, "page": 6.9}
"""Inches of figures as files: 85 and 175 mm."""
