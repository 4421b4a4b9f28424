"""A document as JSON, with raw numbers."""

from __future__ import annotations

import dataclasses
import json
import math

from bench.report.document import AnyCell, Block, Document, Figure, Fold, Item, Part, Raw, Table

VERSION = 1
"""Version of the JSON; it rises when a field changes its meaning or goes."""


def to_json(document: Document) -> str:
    """Return a document as JSON (see docs/report.md)."""
    head = json.dumps({"version": VERSION, "title": document.title, "lead": document.lead}, allow_nan=False)
    # Block by block: as objects all of a large report takes ten times its text.
    blocks = ", ".join(json.dumps(_block(block), allow_nan=False) for block in document.blocks)
    return f'{head[:-1]}, "blocks": [{blocks}]}}\n'


def _block(block: Block) -> dict[str, object]:
    found: dict[str, object] = {"type": type(block).__name__.lower()}
    if isinstance(block, Table):
        names = [column.name for column in block.columns]
        columns = [
            {"name": one.name, "heading": one.heading, "unit": block.unit(at)} for at, one in enumerate(block.columns)
        ]
        rows = [dict(zip(names, map(_cell, row.cells), strict=True)) for row in block.rows]
        caption = {"caption": block.caption} if block.caption else {}
        return found | {"name": block.name, "columns": columns, "rows": rows} | caption
    if isinstance(block, Figure):
        return found | {"name": block.name, "caption": block.caption}
    own = {field.name: getattr(block, field.name) for field in dataclasses.fields(block)}
    if isinstance(block, Part | Fold):
        own["blocks"] = [_block(one) for one in block.blocks]
    elif isinstance(items := own.get("items"), tuple):
        own["items"] = [dataclasses.asdict(one) if isinstance(one, Item) else one for one in items]
    return found | {name: value for name, value in own.items() if name not in ("detail", "closing", "most", "look")}


def _cell(cell: AnyCell) -> object:
    """Return a text, or an object with the raw value."""
    if isinstance(cell, str):
        return cell
    told = {"value": _finite(cell.value), "low": cell.low, "high": cell.high, "tone": cell.tone, "hover": cell.hover}
    told["mark"] = cell.mark
    return {"text": cell.text} | {name: value for name, value in told.items() if value not in (None, "")}


def _finite(value: Raw) -> Raw:
    return None if isinstance(value, float) and not math.isfinite(value) else value
