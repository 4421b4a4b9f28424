"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.texts import visible


def table(heads: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; bars and line breaks in the cells are escaped."""
    lines = ["| " + " | ".join(map(escape, heads)) + " |", "|" + "---|" * len(heads)]
    return lines + ["| " + " | ".join(map(escape, row)) + " |" for row in body]


def escape(text: str) -> str:
    """Keep a user's text from becoming markup or breaking a table."""
    for sign in "\\`*<|":
        text = text.replace(sign, f"\\{sign}")
    return visible(" ".join(text.replace("](", "]\\(").split()))
