"""A document as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.report.document import (
    AnyCell,
    Block,
    Cell,
    Detail,
    Document,
    Fold,
    Mark,
    Paragraph,
    Part,
    Prose,
    Table,
    list_items,
)
from bench.texts import visible

_MARKS: Mapping[Mark, str] = {"": "", "best": "**", "level": "_"}


def to_markdown(document: Document) -> str:
    """Render a document without figures and folded details."""
    lines = [f"<!-- {document.made} -->", ""] if document.made else []
    lines += [f"# {escape(document.title)}", ""]
    lines += [escape(document.lead), ""] if document.lead else []
    lines += _blocks(document.blocks, 2)
    return "\n".join(lines).rstrip("\n") + "\n"


def _blocks(blocks: Iterable[Block], level: int) -> list[str]:
    return [line for block in blocks if block.detail <= Detail.FILES for line in _block(block, level)]


def _block(block: Block, level: int) -> list[str]:
    if isinstance(block, Part):
        return [f"{'#' * level} {escape(block.heading)}", "", *_blocks(block.blocks, level + 1)]
    if isinstance(block, Fold):
        return [f"{escape(block.title)}:", "", *_blocks(block.blocks, level)]
    if isinstance(block, Paragraph):
        text = escape(block.text)
        return [f"**{text}**" if block.look == "warning" else text, ""]
    if isinstance(block, Prose):
        return [block.markdown.strip(), ""]
    if isinstance(block, Table):
        rows = table(block.headings, [row.cells for row in block.shown])
        told = [block.left_out, escape(block.caption)]
        return [*rows, "", *(line for text in told if text for line in (text, ""))]
    return _list(block)


def _list(block: Block) -> list[str]:
    texts = [(f"**{escape(term)}**: " if term else "") + escape(text) for term, text in list_items(block)]
    return [*(f"- {text}" for text in texts), ""] if texts else []


def table(heads: Sequence[str], body: Iterable[Sequence[AnyCell]]) -> list[str]:
    """Return a Markdown table's lines, cells escaped."""
    lines = ["| " + " | ".join(map(escape, heads)) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(map(_entry, row)) + " |" for row in body]


def _entry(cell: AnyCell) -> str:
    text = escape(str(cell))
    sign = _MARKS[cell.mark] if isinstance(cell, Cell) else ""
    return f"{sign}{text}{sign}"


def escape(text: str) -> str:
    """Escape text that would become markup or break tables."""
    for sign in "\\`*<|":
        text = text.replace(sign, f"\\{sign}")
    return visible(" ".join(text.replace("](", "]\\(").split()))
