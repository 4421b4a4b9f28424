"""A document on a terminal, fitted to its width."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from bench.report.document import (
    AnyCell,
    Block,
    Cell,
    Detail,
    Document,
    Facts,
    Findings,
    Fold,
    Notes,
    Paragraph,
    Part,
    Prose,
    Table,
    Tone,
)
from bench.report.plain import TextTable, facts_table

STYLES: dict[Tone, str] = {
    "above": "green",
    "below": "red",
    "none": "default",
    "mixed": "yellow",
    "no-comparison": "dim",
    "warning": "yellow",
}
SIGNS: dict[Tone, str] = {"above": "▲", "below": "▼", "none": "○", "mixed": "◆", "no-comparison": "–", "warning": "!"}
MOST_FINDINGS = 60
"""Findings of one list that are printed."""
MOST_LINES = 400
"""Rows of all tables together from which on each table shows its first ones only."""
MOST_ROWS = 20
"""Rows of a table that are printed then."""
_LOOKS = {"": "", "soft": "dim", "care": "yellow", "warning": "bold yellow"}


def render_terminal(document: Document, console: Console) -> None:
    """Print a document; closing parts come last.

    Args:
        document: The document; its title is not printed.
        console: Console.
    """
    if document.lead:
        console.print(Text(document.lead, style="dim" if document.blocks else ""))
    tables = [block for block in document.walk() if isinstance(block, Table) and block.detail == Detail.ALWAYS]
    if sum(len(table.shown) for table in tables) > MOST_LINES:
        document = _shortened(document)
    _print((block for block in document.blocks if not _closes(block)), console)
    for block in document.blocks:
        if isinstance(block, Part) and _closes(block):
            _print(block.blocks, console)


_BlocksT = TypeVar("_BlocksT", Document, Part)


def _shortened(parent: _BlocksT) -> _BlocksT:
    """Return a document whose tables show their first rows."""
    blocks: list[Block] = []
    for block in parent.blocks:
        if isinstance(block, Table):
            block = replace(block, most=min(block.most, MOST_ROWS))
        elif isinstance(block, Part):
            block = _shortened(block)
        blocks.append(block)
    return replace(parent, blocks=tuple(blocks))


def _closes(block: Block) -> bool:
    return isinstance(block, Part) and block.closing


def _print(blocks: Iterable[Block], console: Console) -> None:
    soft: list[str] = []
    for block in blocks:
        if block.detail > Detail.ALWAYS:
            continue
        if isinstance(block, Notes) or (isinstance(block, Paragraph) and block.look == "soft"):
            soft += block.texts if isinstance(block, Notes) else [block.text]
            continue
        _print_soft(soft, console)
        _print_block(block, console)
    _print_soft(soft, console)


def _print_soft(texts: list[str], console: Console) -> None:
    """Print remarks as one paragraph."""
    if texts:
        console.print(Text(" ".join(texts), style="dim"))
        texts.clear()


def _print_block(block: Block, console: Console) -> None:
    if isinstance(block, Part):
        console.print(Text(block.heading, style="bold"))
        _print(block.blocks, console)
        if block.anchor:
            console.print()
    elif isinstance(block, Fold):
        console.print(Text(block.title, style="bold"))
        _print(block.blocks, console)
    elif isinstance(block, Paragraph):
        console.print(Text(block.text, style=_LOOKS[block.look]))
    elif isinstance(block, Prose):
        console.print(Text(block.markdown))
    elif isinstance(block, Findings):
        for item in block.items[:MOST_FINDINGS]:
            sign = f"{SIGNS[item.tone]} " if item.tone else ""
            console.print(Text(sign, style=STYLES.get(item.tone, "")).append(item.text, style="default"))
        if (rest := len(block.items) - MOST_FINDINGS) > 0:
            console.print(Text(f"{rest:,} more: see index.html", style="yellow"))
    elif isinstance(block, Facts):
        console.print(facts_table(block.items))
    elif isinstance(block, Table):
        console.print(text_table(block))
        if block.left_out:
            console.print(Text(block.left_out, style="yellow"))


def text_table(table: Table) -> TextTable:
    """Return a table that fits any width."""
    columns = table.columns
    steps = sorted(
        (order, step, at)
        for at, one in enumerate(columns)
        for step, order in (("drop", one.drop), ("wrap", one.wrap), ("sink", one.sink))
        if order
    )
    return TextTable(
        table.headings,
        (map(_styled, row.cells) for row in table.shown),
        whole=[at for at, one in enumerate(columns) if one.whole],
        steps=[(step, at) for _, step, at in steps],
        below=[at for at, one in enumerate(columns) if one.below],
        right=[at for at, one in enumerate(columns) if one.right],
        group=next((at for at, one in enumerate(columns) if one.name == table.group), None),
    )


def _styled(cell: AnyCell) -> str | Text:
    if isinstance(cell, Cell) and cell.tone:
        return Text(cell.text, style=STYLES[cell.tone])
    return str(cell)
