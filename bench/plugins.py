"""Load plugins: entry points of packages, and plugin files.

Third parties register through the entry-point group ``bench.plugins`` (entry name ``KIND.NAME``, e.g.
``methods.my-method``) or with ``--plugin path.py`` (every class of a method, encoder, protocol, data set, teacher,
part of the backbone or engine that is defined in that file).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from bench.errors import UsageError
from bench.fingerprint import PLACE_MARK
from bench.registry import REGISTRIES, Entry

PLUGIN_MODULE = "bench_plugin_"
"""Beginning of the names of modules that are plugin files."""

_BASES = {
    "encoders": "bench.encoders.base:FrozenEncoder",  # before methods, which encoders are, too
    "methods": "bench.methods.base:Method",
    "protocols": "bench.protocols.base:Protocol",
    "datasets": "bench.data.base:Dataset",
    "teachers": "bench.teachers.base:Teacher",
    "blocks": "bench.models.parts:Block",
    "norms": "bench.models.parts:Norm",
    "tokenizers": "bench.models.parts:Tokenizer",
    "engines": "bench.execution.engines:Engine",
}


def load_entry_points() -> None:
    """Register entry points of installed distributions, without importing them."""
    for point in _entry_points(tuple(sys.path)):
        kind, _, name = point.name.partition(".")
        distribution = point.dist
        source = f"package {distribution.name}" if distribution is not None else "an installed package"
        if kind not in REGISTRIES or not name:
            raise UsageError(
                f"{source} declares the entry point '{point.name}' in bench.plugins; "
                f"expected KIND.NAME with KIND one of {', '.join(REGISTRIES)}"
            )
        version = distribution.version if distribution is not None else "unknown"
        REGISTRIES[kind].add(Entry(kind, name, point.value, f"from {source}", source=source, version=version))


@cache
def _entry_points(path: tuple[str, ...]) -> tuple[importlib.metadata.EntryPoint, ...]:
    """Return the entry points of installed packages for bench.

    Once per path: reading all packages takes 10 ms.
    """
    return tuple(importlib.metadata.entry_points(group="bench.plugins"))


def load_plugin_file(path: Path) -> tuple[Entry, ...]:
    """Import a plugin file and register its classes.

    Modules that lie beside the file can be imported from it, behind all others.

    Args:
        path: A Python file.

    Returns:
        The entries registered.

    Raises:
        UsageError: The file is missing, fails to import, or defines no plugin class.
    """
    path = path.resolve()
    if not path.is_file():
        raise UsageError(f"plugin file '{path}' does not exist; --plugin takes the path of a Python file")
    module_name = f"{PLUGIN_MODULE}{path.stem}{PLACE_MARK}{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"plugin file '{path}' is not a Python file (expected a name ending in .py)")
        module = importlib.util.module_from_spec(spec)
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise UsageError(f"plugin file '{path}' fails to import: {_in_one_line(error)}") from error
    found = tuple(_plugin_entries(module_name, path))
    if not found:
        *others, last = (target.partition(":")[2] for target in _BASES.values())
        raise UsageError(f"plugin file '{path}' defines no {', '.join(others)} or {last} subclass with a name")
    for entry in found:
        REGISTRIES[entry.kind].add(entry)
    return found


def _in_one_line(error: Exception) -> str:
    """Return an import error in one line.

    Of a model's fields the first that is wrong.
    """
    if isinstance(error, ValidationError):
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, (error.title, *problem["loc"])))
        return f"{field}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{changed(error)}"


def changed(error: Exception) -> str:
    """Return the new name of something renamed in `bench`.

    Empty for other errors.

    Args:
        error: Exception raised by a plugin's code.
    """
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "bench":
        wanted = re.search(r"cannot import name '(\w+)'", str(error))
        places = _places(wanted[1]) if wanted else []
        now = f"; it is {' or '.join(places)} now" if places else ""
        return f"{now}; docs/building-blocks.md lists what there is"
    found = re.match(r"(\w+)\.__init__\(\) (got|takes|missing)", str(error)) if isinstance(error, TypeError) else None
    if found is None or len(places := _places(found[1])) != 1:
        return ""
    module, _, name = places[0].rpartition(".")
    return (
        f"; it is called as {name}{inspect.signature(getattr(sys.modules[module], name))} now (docs/building-blocks.md)"
    )


def line_in_plugin(error: BaseException) -> str:
    """Return the last plugin line in an error's traceback.

    As `` (my_method.py, line 35)``; empty if it passed none.
    """
    found = [
        f" ({Path(frame.f_code.co_filename).name}, line {line})"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith(PLUGIN_MODULE)
    ]
    return found[-1] if found else ""


def _places(name: str) -> list[str]:
    """Return where loaded modules of `bench` define a name."""
    loaded = [module for module in sys.modules if module.partition(".")[0] == "bench"]
    own = [module for module in loaded if getattr(getattr(sys.modules[module], name, None), "__module__", "") == module]
    return [f"{module}.{name}" for module in sorted(own)]


def _plugin_entries(module_name: str, path: Path) -> Iterator[Entry]:
    module = sys.modules[module_name]
    taken = set[str]()
    for kind, target in _BASES.items():
        base_module, _, base_name = target.partition(":")
        if base_module not in sys.modules:  # a subclass cannot exist where its base was never imported
            continue
        base = getattr(sys.modules[base_module], base_name)
        for attribute, value in vars(module).items():
            own = inspect.isclass(value) and issubclass(value, base) and value.__module__ == module_name
            if not own or attribute in taken:
                continue
            name = getattr(value, "name", None)
            if isinstance(name, str):
                taken.add(attribute)
                summary = (inspect.getdoc(value) or "").partition("\n")[0]
                version = str(getattr(module, "__version__", "file"))
                yield Entry(kind, name, f"{module_name}:{attribute}", summary, source=f"file {path}", version=version)
