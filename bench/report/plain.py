"""Terminal tables that fit any width without breaking words.

Lines break between words only, and never within a number, a key or a name: a table that is too wide first wraps prose,
then goes without the columns that it can spare, puts others below their row, and at last all cells below one another.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.segment import Segment
    from rich.text import Text

Name = str | int
"""A column, given by its heading or its place."""
Line = list[tuple[str, str]]
"""Pieces of a line, each with its style."""

_GAP = 2
_NUMBER = re.compile(r"[~<>+−–\-(\[]*\s?\d")
_LONGEST_NUMBER = 28
"""Longest number; longer cells that begin with a digit are prose, and longer words may be split."""
_UNGLUED = re.compile(r"\s+(?!%(?:\s|$))")
"""Places where a line may break: not between a number, or a heading, and its percent sign."""
_PART = re.compile(r"[^/,]*[/,]+|[^/,]+")


class TextTable:
    """A table of texts, fitted to the screen's width.

    Args:
        headings: Headings; all empty for a table without a head. The other arguments name columns by heading or place.
        rows: Cells as they are to be shown; the style of a `rich.text.Text` counts as a whole.
        whole: Columns whose cells are never wrapped: keys, names of methods.
        drop: Columns that a narrow screen goes without, the first first.
        below: Columns whose cells stand below their row, across the whole width.
        sink: Columns that a narrow screen puts there, too, the first first.
        right: Columns that are aligned to the right.
        steps: What a narrow screen does, the first first: ``drop`` or ``sink`` a column, or ``wrap`` cells that else
            stay whole.
        group: Column of rows that belong together: equal cells below one another are shown once; where the screen has
            no room for it, on a line of their own.
    """

    def __init__(
        self,
        headings: Iterable[str],
        rows: Iterable[Iterable[str | Text]],
        *,
        whole: Collection[Name] = (),
        drop: Sequence[Name] = (),
        below: Collection[Name] = (),
        sink: Sequence[Name] = (),
        right: Collection[Name] = (),
        steps: Sequence[tuple[str, Name]] = (),
        group: Name | None = None,
    ) -> None:
        self._headings = list(headings)
        parted = [[_parted(cell) for cell in row] for row in rows]
        self._cells = [[text for text, _ in row] for row in parted]
        self._styles = [[style for _, style in row] for row in parted]
        self._below, self._right, whole = (self._places(names) for names in (below, right, whole))
        told = [*(("drop", name) for name in drop), *(("sink", name) for name in sink), *steps]
        self._steps = [(step, at) for step, name in told for at in self._places([name])]
        self._group = next(iter(self._places([] if group is None else [group])), None)
        columns = [at for at in range(len(self._headings)) if at not in self._below]
        self._longest = {at: max((_width(row[at]) for row in self._cells), default=0) for at in columns}
        self._least = {at: self._least_width(at, at in whole) for at in columns}

    def _places(self, names: Collection[Name]) -> list[int]:
        return [at for at, heading in enumerate(self._headings) if at in names or heading in names]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Yield the table at the current width."""
        from rich.segment import Segment

        width = options.max_width
        widths = self._fitting(width)
        for line in self._lined(widths, width) if widths else self._stacked(width):
            for text, style in line:
                yield Segment(text, console.get_style(style) if style else None)
            yield Segment.line()

    def _least_width(self, at: int, whole: bool) -> int:
        """Return a column's least width.

        Its longest word, or its longest cell where cells stay whole.
        """
        return max(_longest_word(self._headings[at]), *(_least(row[at], whole) for row in self._cells), 0)

    def _fitting(self, width: int) -> dict[int, int]:
        """Choose columns and widths.

        Empty if the columns that must be there do not fit.
        """
        widths = dict(self._least)
        for step, at in self._steps:
            if _spare(widths, width) < 0 and at in widths:
                if step == "wrap":
                    widths[at] = max(
                        _longest_word(text) for text in (self._headings[at], *(r[at] for r in self._cells))
                    )
                else:
                    del widths[at]
        if _spare(widths, width) < 0:
            return {}
        for wanted in (self._longest, {at: _width(heading) for at, heading in enumerate(self._headings)}):
            short = sorted((at for at in widths if wanted[at] > widths[at]), key=lambda at: wanted[at] - widths[at])
            for place, at in enumerate(short):  # columns that need least are widened first, the others share the rest
                share = _spare(widths, width) // (len(short) - place)
                widths[at] += min(share, wanted[at] - widths[at])
        return widths

    def _lined(self, widths: dict[int, int], width: int) -> Iterator[Line]:
        if any(self._headings):
            heads = {at: wrapped(self._headings[at], own) for at, own in widths.items()}
            most = max(map(len, heads.values()))  # headings end where their columns begin
            heads = {at: [""] * (most - len(lines)) + lines for at, lines in heads.items()}
            yield from self._side_by_side(heads, widths, dict.fromkeys(widths, "bold"))
            yield [("─" * min(sum(widths.values()) + _GAP * (len(widths) - 1), width), "dim")]
        sunk = [at for step, at in self._steps if step == "sink" and at not in widths]
        previous = None
        for cells, styles in zip(self._cells, self._styles, strict=True):
            lines = {at: wrapped(cells[at], own) for at, own in widths.items()}
            if self._group is not None:
                if self._group in lines and cells[self._group] == previous:
                    lines[self._group] = [""]
                elif self._group not in lines and cells[self._group] != previous:
                    yield [(cells[self._group], "bold")]
                previous = cells[self._group]
            yield from self._side_by_side(lines, widths, dict(enumerate(styles)))
            for at in (*sunk, *self._below):
                yield from ([("  ", ""), (line, styles[at])] for line in wrapped(cells[at], width - 2) if line)

    def _side_by_side(
        self, lines: dict[int, list[str]], widths: dict[int, int], styles: dict[int, str]
    ) -> Iterator[Line]:
        last = max(widths)
        for number in range(max(map(len, lines.values()))):
            line: Line = []
            for at, own in widths.items():
                text = lines[at][number] if number < len(lines[at]) else ""
                blank = " " * (own - _width(text))
                shown = blank + text if at in self._right else text if at == last else text + blank
                line += [(shown, styles[at]), ("" if at == last else " " * _GAP, "")]
            while line and not line[-1][0].strip():
                line.pop()
            yield line

    def _stacked(self, width: int) -> Iterator[Line]:
        """Put a row's cells below one another, with headings."""
        head = min(max(map(_width, self._headings)), max(width // 3, 1))
        for cells, styles in zip(self._cells, self._styles, strict=True):
            first, *rest = range(len(cells))
            yield [(cells[first] or self._headings[first], styles[first] or "bold")]
            for at in rest:
                for number, text in enumerate(wrapped(cells[at], width - head - 4) if cells[at].strip() else []):
                    heading = self._headings[at] if number == 0 else ""
                    pad = " " * max(head - _width(heading), 0)
                    yield [("  ", ""), (heading + pad, "dim"), ("  ", ""), (text, styles[at])]


def plain_table(headings: Iterable[str], rows: Iterable[Iterable[str | Text]]) -> TextTable:
    """Return a table of texts whose first column stays whole."""
    headings = list(headings)
    return TextTable(headings, rows, whole=headings[:1])


def facts_table(facts: Iterable[tuple[str, str | Text]], indent: int = 2) -> TextTable:
    """Return names with wrapped texts beside them."""
    from rich.text import Text

    return TextTable(("", " "), ((Text(" " * indent + name, style="dim"), text) for name, text in facts), whole=("",))


def wrapped(text: str, width: int) -> list[str]:
    """Break a text between words; split only too long words."""
    width = max(width, 1)
    if _width(text) <= width and "\n" not in text:
        return [text]
    lines = []
    for paragraph in text.splitlines() or [""]:
        indent = paragraph[: len(paragraph) - len(paragraph.lstrip(" "))]
        line = ""
        for word, glue in _words(paragraph, width):
            if line and _width(line) + len(glue) + _width(word) > width:
                lines.append(line)
                line = indent + word
            else:
                line = line + glue + word if line else indent + word
        lines.append(line)
    return lines


def _parted(cell: str | Text) -> tuple[str, str]:
    """Return a cell's text and style."""
    text = cell if isinstance(cell, str) else cell.plain
    return text.expandtabs(2).rstrip(), "" if isinstance(cell, str) else str(cell.style)


def _words(text: str, width: int | None = None) -> Iterator[tuple[str, str]]:
    """Yield words, each with the character before it.

    Very long ones, such as paths, come in parts that end with / or a comma, and those longer than `width` in pieces.
    """
    for word in _UNGLUED.split(text.strip()):
        parts = _PART.findall(word) if len(word) > _LONGEST_NUMBER else [word]
        if width is not None:
            parts = [piece for part in parts for piece in _pieces(part, width)]
        for number, part in enumerate(parts):
            yield part, "" if number else " "


def _pieces(word: str, width: int) -> list[str]:
    """Split a word that is wider than a line."""
    from rich.cells import chop_cells

    return [word] if _width(word) <= width else chop_cells(word, width)


def _least(text: str, whole: bool) -> int:
    number = len(text) <= _LONGEST_NUMBER and _NUMBER.match(text) is not None
    return _width(text) if whole or number else _longest_word(text)


def _longest_word(text: str) -> int:
    indent = len(text) - len(text.lstrip(" "))
    return indent + max((_width(word) for word, _ in _words(text)), default=0)


def _spare(widths: dict[int, int], width: int) -> int:
    return width - sum(widths.values()) - _GAP * (len(widths) - 1)


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
