"""Tables on the terminal: one look for all pages of a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def empty_table() -> Table:
    """A table without columns, in the report's look."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)


def plain_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    """A table of texts, taken as they are; long cells go on in the next line."""
    from rich.text import Text

    table = empty_table()
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
