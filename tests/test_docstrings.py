"""Docstrings say in their first line what a thing is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import bench

PACKAGE = Path(bench.__file__).parent
RIDDLES = ("What", "Which", "Who", "Whose", "How", "Where")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def first_lines(source: str) -> Iterator[tuple[int, str]]:
    """Yield line number and first line of every docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and (text := ast.get_docstring(node)):
            yield getattr(node, "lineno", 1), text.partition("\n")[0]


def test_no_docstring_is_a_riddle() -> None:
    """A line such as "What is judged." says nothing to a reader who does not know the code already."""
    found = [
        f"{path.relative_to(PACKAGE.parent)}:{number}: {line}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for number, line in first_lines(path.read_text(encoding="utf-8"))
        if line.partition(" ")[0].rstrip(",:") in RIDDLES
    ]
    assert found == []


def test_the_check_reads_modules_classes_and_functions() -> None:
    source = '"""A."""\nclass B:\n    """What it is."""\n    async def c(self):\n        """Do.\n\n        More."""\n'
    assert sorted(first_lines(source)) == [(1, "A."), (2, "What it is."), (4, "Do.")]
