"""A report as typed blocks, independent of renderers.

Renderers (`bench.report.terminal`, `html`, `markdown`, `latex`, `data`) know these blocks and nothing of what they are
about. A cell of a table carries its text, and beside it the raw number with its interval; a figure is drawn when a
renderer asks for it, so that a renderer of text never imports matplotlib.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Generic, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

Tone: TypeAlias = Literal["", "above", "below", "none", "mixed", "no-comparison", "warning"]
"""Tone of a text, shown by its colour; every text says it in words, too."""
Mark: TypeAlias = Literal["", "best", "level"]
"""Emphasis of a cell among those of its column: the best, or level with it."""
Raw: TypeAlias = float | int | str | bool | None
NOTHING = "–"
MOST_ROWS = 200
"""Most rows of one table that readers are shown; files for programs have all of them."""

ItemT = TypeVar("ItemT")


class Detail(IntEnum):
    """Renderings that show a block."""

    ALWAYS = 0
    """Shown on the terminal, too."""
    FILES = 1
    """Shown in Markdown and on the page."""
    PAGE = 2
    """Shown on the page only, which can fold it away; and in files for programs."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Base of everything in a document.

    Attributes:
        detail: The renderings that show it.
    """

    detail: Detail = Detail.ALWAYS


@dataclass(frozen=True)
class Paragraph(Block):
    """A paragraph of plain text.

    Attributes:
        text: The text.
        look: ``soft`` beside what it explains, ``care`` where a reader has to know it, ``warning`` where all below it
            means nothing without it.
    """

    text: str
    look: Literal["", "soft", "care", "warning"] = ""


@dataclass(frozen=True)
class Prose(Block):
    """Text written by an author in Markdown."""

    markdown: str


@dataclass(frozen=True)
class Item:
    """One entry of a list.

    Attributes:
        text: The text.
        tone: Tone, see `Tone`.
        anchor: Part of the document that it is about; empty for none.
    """

    text: str
    tone: Tone = ""
    anchor: str = ""


@dataclass(frozen=True)
class Findings(Block):
    """Important sentences for the reader, each with a tone.

    Attributes:
        items: The sentences.
        most: Number that a page shows before it folds the others; 0 for all.
    """

    items: tuple[Item, ...]
    most: int = 0


@dataclass(frozen=True)
class Notes(Block):
    """Remarks below a table."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Facts(Block):
    """Terms, each with one or more statements."""

    items: tuple[tuple[str, str], ...]


def list_items(block: Block) -> tuple[tuple[str, str], ...]:
    """Return the term (or nothing) and text of each entry.

    Of `Findings`, `Notes` and `Facts`; no other block is a list.
    """
    if isinstance(block, Findings):
        return tuple(("", item.text) for item in block.items)
    if isinstance(block, Notes):
        return tuple(("", text) for text in block.texts)
    return block.items if isinstance(block, Facts) else ()


@dataclass(frozen=True)
class Links(Block):
    """Table of contents.

    A page also lets the reader filter the rows of its tables.

    Attributes:
        title: Title.
        items: Title, anchor and tag of each part.
    """

    title: str
    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Drawing:
    """A drawn figure.

    Attributes:
        canvas: The figure.
        alt: Description for those who do not see it.
        hints: Text for a pointer by the identity (``gid``) of a mark.
    """

    canvas: Canvas
    alt: str
    hints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure(Block):
    """A figure.

    Attributes:
        name: Name, unique in the document.
        draw: Draws it (within `bench.report.plots.svg`, which sets the style).
        caption: Caption: how to read the figure.
    """

    name: str
    draw: Callable[[], Drawing]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: Text shown.
        value: The raw value, at full precision; accuracies are fractions.
        unit: Its unit, e.g. ``fraction``, ``s``, ``FLOP``.
        low: Lower end of its 95 % interval.
        high: Upper end.
        tone: Tone, see `Tone`.
        hover: More of it, for a pointer.
        items: The text in pieces, which a page lists below one another.
        mark: Emphasis, see `Mark`.
    """

    text: str
    value: Raw = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    tone: Tone = ""
    hover: str = ""
    items: tuple[str, ...] = ()
    mark: Mark = ""

    def __str__(self) -> str:
        """Return the text."""
        return self.text


AnyCell: TypeAlias = Cell | str


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Name for programs; it stays when headings change.
        heading: Heading.
        right: Whether it is aligned to the right.
        whole: Whether its cells are names, which are not broken.
        drop: A narrow screen goes without it: place in the order of such steps, from 1; 0 for never.
        wrap: Its cells, whole else, are broken then.
        sink: Its cells stand below their row then.
        below: Its cells always stand below their row.
        bar: Whether a page draws its values and intervals, on one scale with zero.
    """

    name: str
    heading: str
    _: KW_ONLY
    right: bool = False
    whole: bool = False
    drop: int = 0
    wrap: int = 0
    sink: int = 0
    below: bool = False
    bar: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: One per column.
        quiet: Whether it is printed dim, as a baseline.
    """

    cells: tuple[AnyCell, ...]
    quiet: bool = False


@dataclass(frozen=True)
class Field(Column, Generic[ItemT]):
    """A column, and how to make its cells from items."""

    cell: Callable[[ItemT], AnyCell]


@dataclass(frozen=True)
class Table(Block):
    """A table.

    Attributes:
        name: Name for programs.
        columns: Columns.
        rows: All rows, of which a reader is shown `most`.
        group: Name of the column whose equal values, one below the other, belong together; empty for none.
        most: Most rows that are shown.
        caption: What it shows, with all that a reader needs who sees nothing else; empty for none.
    """

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    group: str = ""
    most: int = MOST_ROWS
    caption: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        fields: Sequence[Field[ItemT]],
        items: Iterable[ItemT],
        quiet: Callable[[ItemT], bool] = lambda _: False,
        group: str = "",
    ) -> Table:
        """Build a table from items; drop columns without content.

        Args:
            name: Name for programs.
            fields: Columns.
            items: One item per row.
            quiet: Whether a row stands back.
            group: Column of rows that belong together.
        """
        rows = tuple(Row(tuple(one.cell(item) for one in fields), quiet(item)) for item in items)
        kept = [
            at for at in range(len(fields)) if not rows or any(str(row.cells[at]) not in ("", NOTHING) for row in rows)
        ]
        return cls(
            name,
            tuple(fields[at] for at in kept),
            rows if len(kept) == len(fields) else tuple(_only(row, kept) for row in rows),
            group,
        )

    @classmethod
    def plain(cls, name: str, headings: Sequence[str], rows: Iterable[Sequence[AnyCell]]) -> Table:
        """Build a table of texts; first-column cells stay whole."""
        columns = tuple(Column(heading, heading, whole=at == 0) for at, heading in enumerate(headings))
        return cls(name, columns, tuple(Row(tuple(row)) for row in rows))

    def unit(self, at: int) -> str:
        """Return the unit of a column's values, if any."""
        cells = (row.cells[at] for row in self.rows)
        return next((cell.unit for cell in cells if isinstance(cell, Cell) and cell.unit), "")

    @property
    def headings(self) -> list[str]:
        """Headings of the columns."""
        return [column.heading for column in self.columns]

    @property
    def shown(self) -> tuple[Row, ...]:
        """Rows shown to a reader."""
        return self.rows[: self.most]

    @property
    def left_out(self) -> str:
        """Say how many rows are not shown; empty for none."""
        rest = len(self.rows) - self.most
        return f"{rest:,} more rows are left out; the JSON file holds all {len(self.rows):,}." if rest > 0 else ""

    def texts(self) -> list[dict[str, str]]:
        """Return the texts of all rows, by column."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, map(str, row.cells), strict=True)) for row in self.rows]

    def only(self, names: Sequence[str]) -> Table:
        """Return the table with columns `names`, in that order."""
        places = {column.name: at for at, column in enumerate(self.columns)}
        return self.at([places[name] for name in names if name in places])

    def at(self, kept: Sequence[int]) -> Table:
        """Return the table with the columns of some places, in that order."""
        rows = tuple(_only(row, kept) for row in self.rows)
        return replace(self, columns=tuple(self.columns[at] for at in kept), rows=rows)


def _only(row: Row, kept: Sequence[int]) -> Row:
    return Row(tuple(row.cells[at] for at in kept), row.quiet)


@dataclass(frozen=True)
class Fold(Block):
    """Blocks that a page shows on demand."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Part(Block):
    """A heading with the blocks below it.

    Attributes:
        title: Heading.
        blocks: Blocks below the heading.
        anchor: Name for links; empty for a part that nothing links to.
        tag: Addition to the title, e.g. ``preset nano``.
        mark: A word of warning before the title.
        closing: Whether it stands last on a terminal, where the last lines are read first.
    """

    title: str
    blocks: tuple[Block, ...]
    anchor: str = ""
    tag: str = ""
    mark: str = ""
    closing: bool = False

    @property
    def heading(self) -> str:
        """Title with mark and tag, in one line."""
        mark = f"{self.mark}: " if self.mark else ""
        return f"{mark}{self.title}{', ' if self.tag else ''}{self.tag}"


@dataclass(frozen=True)
class Document:
    """A whole document.

    Attributes:
        title: Title.
        blocks: Its blocks.
        lead: A line below the title.
        made: Command that writes the file, for those who would edit it; empty for none.
    """

    title: str
    blocks: tuple[Block, ...]
    lead: str = ""
    made: str = ""

    def walk(self) -> Iterator[Block]:
        """Yield every block, also inside parts and folds."""
        left: list[Block] = list(reversed(self.blocks))
        while left:
            block = left.pop()
            yield block
            if isinstance(block, Part | Fold):
                left.extend(reversed(block.blocks))
