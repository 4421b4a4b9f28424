"""Data frames that print their most important columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import pandas as pd

WIDTH = 80
"""Characters of a line."""


class ShortFrame(pd.DataFrame):
    """Data frame that prints some columns and names the others.

    What is selected from it is an ordinary data frame.

    Attributes:
        shown: Columns to show, the most telling first.
    """

    _metadata: ClassVar[list[str]] = ["shown"]
    shown: tuple[str, ...]

    @classmethod
    def of(
        cls, rows: Iterable[Mapping[str, object]], shown: Sequence[str], columns: Sequence[str] | None = None
    ) -> ShortFrame:
        """Build a frame from rows.

        Args:
            rows: One mapping per row.
            shown: Columns to print.
            columns: All columns in order; None for those of the rows.
        """
        frame = cls(list(rows), columns=None if columns is None else list(columns))
        frame.shown = tuple(shown)
        return frame

    def __repr__(self) -> str:
        """Show important columns in 80 characters, then name others."""
        plain = pd.DataFrame(self)
        if plain.empty:
            return "no rows"
        kept = [name for name in self.shown if name in plain and plain[name].replace("", None).notna().any()]
        text = _text(plain[kept])
        while len(kept) > 1 and max(map(len, text.splitlines())) > WIDTH:
            kept.pop()
            text = _text(plain[kept])
        others = ", ".join(str(name) for name in plain if name not in kept)
        count = f"{len(plain)} row{'s' * (len(plain) != 1)}"
        return f"{text}\n{textwrap.fill(f'{count}; further columns: {others}', WIDTH)}"

    __str__ = __repr__


def _text(frame: pd.DataFrame) -> str:
    short = {name: frame[name].str[:12] for name in ("key",) if name in frame}
    return frame.assign(**short).to_string(
        index=False, na_rep="", max_rows=60, max_colwidth=48, float_format=lambda value: f"{value:.4g}"
    )
