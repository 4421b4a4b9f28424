"""Read summaries of built-in units from source, without importing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).parent
_BLOCK = re.MULTILINE | re.DOTALL


@cache
def summary_of(target: str) -> str:
    """Return a built-in class's one-line summary.

    It is the text of its `summary` or that of its base, the summary of its `card`, or its docstring's first line.

    Args:
        target: ``module:attribute`` of a class of this package, written out in that module.
    """
    node, source = _class(target)
    documented = (ast.get_docstring(node) or "").partition("\n")[0].removesuffix(".")
    return next(_summaries(node), "") or _inherited(node, source) or documented


def _class(target: str) -> tuple[ast.ClassDef, str]:
    """Return a class up to its first method, and source."""
    module, _, name = target.partition(":")
    source = _ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py").read_text(encoding="utf-8")
    # Only the head is parsed: parsing whole modules would make `bench list` too slow.
    found = re.search(rf"^class {name}\b.*?(?=^(?:    )?(?:@|def |class )|^\w|\Z)", source, _BLOCK)
    if found is None:
        raise LookupError(f"{target}: no such class")
    (node,) = ast.parse(found[0]).body
    assert isinstance(node, ast.ClassDef)
    return node, source


def _inherited(node: ast.ClassDef, source: str) -> str:
    """Return an imported base class's summary, or an empty text."""
    for base in node.bases:
        found = re.search(rf"^from (bench[\w.]*) import .*\b{re.escape(ast.unparse(base))}$", source, re.MULTILINE)
        if found is not None and (summary := next(_summaries(_class(f"{found[1]}:{ast.unparse(base)}")[0]), "")):
            return summary
    return ""


def _summaries(node: ast.ClassDef) -> Iterator[str]:
    """Yield summaries assigned in a class body.

    ``summary = ...``, ``card = DatasetCard(summary=...)`` and ``card = _card(...)``.
    """
    for line in node.body:
        if not isinstance(line, ast.AnnAssign | ast.Assign):
            continue
        name = ast.unparse(line.target if isinstance(line, ast.AnnAssign) else line.targets[0])
        value = line.value
        if name == "card" and isinstance(value, ast.Call):
            named = [keyword.value for keyword in value.keywords if keyword.arg == "summary"]
            value = next(iter([*named, *value.args]), None)
        elif name != "summary":
            continue
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value
