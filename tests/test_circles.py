"""No module imports itself by way of others, not even for its types or inside a function."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import bench

ROOT = Path(bench.__file__).parent


def imported(files: dict[str, Path], name: str) -> set[str]:
    """Modules of this package that one of them imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(files[name].read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports by dots"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for one in names:
            parts = one.split(".")
            found.add(next((m for n in range(len(parts), 0, -1) if (m := ".".join(parts[:n])) in files), ""))
    return found - {"", name}


def test_no_circle() -> None:
    """Modules of a circle can only be understood together, so a stranger would have to read them all."""
    files = {
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in ROOT.rglob("*.py")
    }
    try:
        TopologicalSorter({name: imported(files, name) for name in files}).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(reversed(error.args[1]))}")
