"""Copy an example plugin and its test under another name."""

from __future__ import annotations

import keyword
import re
import sys
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from bench.errors import UsageError, unknown_name
from bench.registry import REGISTRIES

Kind = Literal["method", "encoder", "protocol", "dataset", "teacher", "block"]
Style = Literal["masked", "contrastive"]

_CONFORMANCE = {
    "method": "MethodConformance",
    "encoder": "EncoderConformance",
    "protocol": "ProtocolConformance",
    "dataset": "DatasetConformance",
    "teacher": "TeacherConformance",
    "block": "PartConformance",
}
_ATTRIBUTE = {"block": "part"}
"""Attribute of a conformance class that holds the plugin, by kind, if not named like the kind."""
_TEST = '''"""Conformance of `{name}`: one test per part of the contract."""

from bench.conformance import {conformance}
from {module} import {cls}


class Test{cls}({conformance}):
    """Checks of `{name}`."""

    {kind} = {cls}
'''


def scaffold(kind: Kind, name: str, style: Style = "masked", out: Path | None = None) -> tuple[Path, Path]:
    """Write a plugin file and its test.

    Args:
        kind: Kind of plugin.
        name: Its name on the command line, as ``my-method``.
        style: For a method, which example it starts from.
        out: File to write; None for the name with underscores, in this folder.

    Returns:
        The plugin file, and the test beside it.

    Raises:
        UsageError: The name or the file's name cannot be used, or one of the files exists.
    """
    for what, value, known in (("kind", kind, get_args(Kind)), ("style", style, get_args(Style))):
        if value not in known:
            raise unknown_name(what, value, known)
    check_name(kind, name)
    file = out or Path(f"{name.replace('-', '_')}.py")
    module = file.stem
    if file.suffix != ".py" or not _importable(module):
        raise UsageError(
            f"--out {file}: the file's name has to be one that Python imports, such as {name.replace('-', '_')}.py "
            "(letters, digits and underscores; not the name of a module of Python's own)"
        )
    if not file.parent.is_dir():
        raise UsageError(f"--out {file}: folder '{file.parent}' does not exist; make it first")
    test = file.with_name(f"test_{module}.py")
    cls = "".join(part.capitalize() for part in name.split("-"))
    conformance = _CONFORMANCE[kind]
    written = {
        file: example(kind, style, name),
        test: _TEST.format(name=name, conformance=conformance, module=module, cls=cls, kind=_ATTRIBUTE.get(kind, kind)),
    }
    if existing := [str(path) for path in written if path.exists()]:
        raise UsageError(f"{' and '.join(existing)} exists already; choose another name, or another file with --out")
    for path, text in written.items():
        path.write_text(text, encoding="utf-8")
    return file, test


def example(kind: Kind, style: Style, name: str) -> str:
    """Return an example's source under a new name.

    >>> "class MyMethod(Method[MyMethodOptions]):" in example("method", "masked", "my-method")
    True
    """
    source = style if kind == "method" else kind
    text = resources.files("bench.scaffold.examples").joinpath(f"{source}.py").read_text(encoding="utf-8")
    cls = "".join(part.capitalize() for part in name.split("-"))
    return text.replace(f"{source}-example", name).replace(f"{source.capitalize()}Example", cls)


def check_name(kind: Kind, name: str) -> None:
    """Refuse a name that cannot be registered or imported.

    Raises:
        UsageError: It cannot, or is taken.
    """
    if len(name) > 60 or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(
            f"name {name[:80]!r} of a {kind}: expected at most 60 lower-case letters, digits and single hyphens, a "
            f"letter first, such as my-{kind}"
        )
    if name in REGISTRIES[f"{kind}s"] or name in {"all", "method", "protocol"} or _shared(kind, name):
        raise UsageError(f"the name '{name}' of a {kind} is taken; choose another (bench list {kind}s)")
    if not _importable(name.replace("-", "_")):
        raise UsageError(f"name '{name}' of a {kind}: it is a Python keyword or standard module; choose another")


def _shared(kind: Kind, name: str) -> bool:
    """Whether a kind that shares its names with this one has the name."""
    return kind in ("method", "encoder") and any(name in REGISTRIES[one] for one in ("methods", "encoders"))


def _importable(module: str) -> bool:
    return (
        bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", module))
        and not keyword.iskeyword(module)
        and module not in sys.stdlib_module_names
        and module not in {"bench", "torch", "numpy", "pydantic", "pytest"}
    )
