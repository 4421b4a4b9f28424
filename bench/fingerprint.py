"""Code fingerprint: which code a result depends on.

The digest covers the syntax trees, without comments and docstrings, of the given modules and of every `bench`
module they import, found by reading the sources (nothing is imported), and of the modules of the user's own that a
plugin imports; installed packages count by their version, in the key. A result is reused only while both its
content key and its fingerprint match.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

PACKAGE = "bench"
IN_THE_KEY = frozenset({"bench.recipes.pretraining", "bench.registry", "bench.summaries"})
"""Modules left out of fingerprints, because they only fill in the specification: the key shows their changes.

The registry turns names of the specification into modules, which a job's fingerprint begins at, and into summaries."""
_INSTALLED = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})
PLACE_MARK = "__at_"
"""Separates, in a plugin's module name, the file's name from a digest of its folder, which does not count."""


class Fingerprint(BaseModel):
    """Digest of a set of modules, and of each module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    modules: dict[str, str]


def fingerprint(roots: Iterable[str]) -> Fingerprint:
    """Fingerprint modules and everything they import.

    Of `bench` and of the user's own code.

    Args:
        roots: Dotted module names: the plugin's module, the protocol's, the job's.

    Returns:
        The digest over all modules, with one digest per module; equal modules share it.
    """
    return _fingerprint(frozenset(roots))


@cache
def _fingerprint(roots: frozenset[str]) -> Fingerprint:
    modules: dict[str, str] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in modules or name in IN_THE_KEY:
            continue
        modules[name], imported = _read(name)
        waiting.extend(imported)
        parent = name.rpartition(".")[0]
        if parent.startswith(f"{PACKAGE}."):
            waiting.append(parent)
    modules = {name.partition(PLACE_MARK)[0]: digest for name, digest in sorted(modules.items())}
    listing = "\n".join(f"{name} {digest}" for name, digest in modules.items())
    return Fingerprint(digest=hashlib.sha256(listing.encode()).hexdigest(), modules=modules)


@cache
def _read(name: str) -> tuple[str, tuple[str, ...]]:
    """Return a module's digest and its relevant imports."""
    path = _source(name)
    tree = ast.parse(path.read_bytes())
    is_package = path.name == "__init__.py"
    return syntax_digest(tree), tuple(dict.fromkeys(_imports(tree, name, is_package)))


def _source(name: str) -> Path:
    if (own := _file(name)) is not None:
        return own
    module = sys.modules.get(name)  # plugin files are not on the import path
    spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source for module {name}")
    return Path(spec.origin)


@cache
def _file(name: str) -> Path | None:
    """Return the file of one of this package's modules.

    The import system would import its parents first.
    """
    package, *inner = name.split(".")
    path = Path(__file__).parent.joinpath(*inner)
    found = (one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file())
    return next(found, None) if package == PACKAGE else None


@cache
def _is_users(name: str) -> bool:
    """Whether a module is the user's own source file.

    No package manager installed it.
    """
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return False
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return False
    path = Path(spec.origin)
    if rest:
        inner = path.parent.joinpath(*rest)
        path = next((p for p in (inner.with_suffix(".py"), inner / "__init__.py") if p.is_file()), Path())
        if path == Path() or (path.parent == Path(spec.origin).parent and Path(spec.origin).name != "__init__.py"):
            return False
    return not any(path.is_relative_to(place) for place in _INSTALLED)


def _imports(tree: ast.Module, name: str, is_package: bool) -> Iterator[str]:
    """Yield relevant modules imported by a syntax tree.

    At run time, parents included.

    Modules of `bench` import nothing of the user's by name, so only plugins are searched for that.
    """
    for node in _runtime_statements(tree):
        if isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = name.split(".") if is_package else name.split(".")[:-1]
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            candidates = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for candidate in candidates:
            parts = candidate.split(".")
            if parts[0] == PACKAGE:
                for length in range(2, len(parts) + 1):
                    module = ".".join(parts[:length])
                    if _file(module) is not None:
                        yield module
            elif name.partition(".")[0] != PACKAGE:
                yield from (m for m in map(".".join, _beginnings(parts)) if _is_users(m))


def _beginnings(parts: list[str]) -> list[list[str]]:
    return [parts[:length] for length in range(1, len(parts) + 1)]


def _runtime_statements(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree's statements except bodies of ``if TYPE_CHECKING:``."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            continue  # an expression imports nothing
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            for other in child.orelse:
                yield from _runtime_statements(other)
            continue
        yield child
        yield from _runtime_statements(child)


def syntax_digest(tree: ast.AST) -> str:
    """Return the SHA-256 of a syntax tree without docstrings.

    Comments and layout never enter a tree.

    Empty fields are left out, so that Python releases which add optional fields agree.
    """
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


def _dump(node: object) -> str:
    if isinstance(node, ast.AST):
        fields = []
        for field in node._fields:
            value = getattr(node, field, None)
            if field == "body" and isinstance(value, list):
                value = _without_docstring(node, value)
            if value is not None and value != []:
                fields.append(f"{field}={_dump(value)}")
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(_dump(item) for item in node)}]"
    return repr(node)


def _without_docstring(node: ast.AST, body: list[ast.stmt]) -> list[ast.stmt]:
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    if documented and body and isinstance(body[0], ast.Expr):
        value = body[0].value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return body[1:]
    return body
