"""Checks shared by all kinds: name, options, import."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import subprocess
import sys
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.conformance.checks import fail, listed, skip, warn
from bench.errors import UsageError
from bench.fingerprint import PLACE_MARK
from bench.plan.presets import PRESETS
from bench.plan.request import validated
from bench.spec import canonical_json

IMPORT_SECONDS = 5.0
"""Processor time that importing a plugin may take, beyond what `bench` and torch take themselves."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def check_name(plugin: type[Any]) -> str:
    """Fail unless a plugin has a name and a summary.

    Returns the summary.
    """
    name = getattr(plugin, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        fail(f"{plugin.__name__}.name is {name!r}: expected lower-case words joined by hyphens, e.g. 'my-method'")
    summary = getattr(plugin, "summary", None) or (plugin.__doc__ or "").strip().partition("\n")[0]
    if not summary:
        fail(f"{plugin.__name__} has no docstring: its first line is what 'bench list' shows")
    return str(summary)


def check_texts(plugin: type[Any]) -> str:
    """Warn if a text is still that of ``bench new``."""
    card = getattr(plugin, "card", None)
    said = {f"card.{name}": value for name, value in (dict(card) if isinstance(card, BaseModel) else {}).items()}
    said["the docstring"] = (plugin.__doc__ or "").strip().partition("\n")[0]
    kept = [name for name, value in said.items() if isinstance(value, str) and value in _template_texts()]
    if kept:
        verb = "says" if len(kept) == 1 else "say"
        warn(f"{' and '.join(kept)} still {verb} what the example of bench new says: write what yours is")
    return "none of the example's"


@cache
def _template_texts() -> frozenset[str]:
    """Return sentences of the ``bench new`` examples to compare with.

    First lines of docstrings, and texts of cards; one-word answers such as a licence, and texts that most methods
    share, are left out.

    Answers in one word, such as a licence, and what most methods say in the same words do not count.
    """
    found = set()
    for file in resources.files("bench.scaffold.examples").iterdir():
        if not file.name.endswith(".py") or file.name == "__init__.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and (text := ast.get_docstring(node)):
                found.add(text.partition("\n")[0])
            elif isinstance(node, ast.keyword) and node.arg in ("paper", "summary", "citation"):
                found.add(str(getattr(node.value, "value", "")))
    return frozenset(text for text in found if " " in text)


def check_options(plugin: type[Any]) -> str:
    """Fail unless options are immutable, strict, and survive JSON."""
    options: type[BaseModel] = plugin.Options
    if not (inspect.isclass(options) and issubclass(options, BaseModel)):
        fail(f"{plugin.__name__}.Options is no pydantic model; derive it from the base class's Options")
    config = options.model_config
    if not config.get("frozen") or config.get("extra") != "forbid" or config.get("allow_inf_nan", True):
        fail(
            f"{plugin.__name__}.Options must be frozen and forbid unknown fields, NaN and infinities; derive it from "
            "the base class's"
        )
    try:
        shipped = {"defaults": options(), **_shipped(plugin)}
    except ValidationError as error:
        first = error.errors()[0]
        fail(f"{plugin.__name__}.Options needs defaults: {'.'.join(map(str, first['loc']))}: {first['msg']}")
    for where, given in shipped.items():
        if not isinstance(given, options):
            fail(f"{where} are a {type(given).__name__}, expected {plugin.__name__}.Options")
        try:
            again = validated(options, json.loads(canonical_json(given)), f"{where}: {plugin.name}")
        except UsageError as error:
            fail(str(error))
        except ValueError as error:
            fail(f"{where} do not survive JSON: {str(error).splitlines()[0]}")
        if again != given:
            lost = [name for name in options.model_fields if getattr(again, name) != getattr(given, name)]
            fail(f"{where} come back changed from JSON: {listed(lost)}")
    count = len(options.model_fields)
    return f"{count} option{'s' * (count != 1)}, the same after JSON"


def _shipped(plugin: type[Any]) -> dict[str, BaseModel]:
    """Return a plugin's options for every preset and form."""
    if not hasattr(plugin, "defaults"):
        return {}
    if not hasattr(plugin, "forms"):
        return {f"defaults of preset {preset}": plugin.defaults(preset) for preset in PRESETS}
    return {
        f"defaults of preset {preset}, form {form}": plugin.defaults(preset, form)
        for preset in PRESETS
        for form in plugin.forms
    }


def plugin_file(plugin: type[Any]) -> Path | None:
    """Return the file that defines a class, or None."""
    module = sys.modules.get(plugin.__module__)
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file)


_CHILD = """
import json, random, sys, time
import numpy, torch
import {baseline}
from bench.plugins import load_plugin_file
from pathlib import Path
import importlib

def settings():
    return {{
        "torch's default dtype": str(torch.get_default_dtype()), "torch's threads": torch.get_num_threads(),
        "torch's gradient mode": torch.is_grad_enabled(), "torch's random state": hash(bytes(torch.get_rng_state())),
        "torch's determinism": torch.are_deterministic_algorithms_enabled(),
        "numpy's random state": hash(numpy.random.get_state()[1].tobytes()), "random's state": hash(random.getstate()),
    }}

before, began = settings(), time.process_time()
{statement}
seconds, after = time.process_time() - began, settings()
changed = [name for name, value in before.items() if after[name] != value]
print(json.dumps({{"seconds": seconds, "changed": changed, "cuda": torch.cuda.is_initialized()}}))
"""


def check_import(plugin: type[Any], baseline: str) -> str:
    """Fail unless a plugin imports quickly, without side effects.

    A fresh process imports it.

    Args:
        plugin: The class.
        baseline: Module whose own import does not count.
    """
    file, name = plugin_file(plugin), plugin.__module__
    if file is None or name == "__main__":
        skip("defined in no file, so there is nothing to import")
    by_file, by_name = f"load_plugin_file(Path({str(file)!r}))", f"importlib.import_module({name!r})"
    return try_import(by_file if PLACE_MARK in name else by_name, baseline)


def try_import(statement: str, baseline: str) -> str:
    """Import in a fresh process; fail on side effects.

    Args:
        statement: Python source in one line; `importlib`, `Path` and `load_plugin_file` are at hand.
        baseline: Module imported before, whose own import does not count.
    """
    code = _CHILD.format(baseline=baseline, statement=statement)
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=place, check=False)
    if done.returncode:
        fail(f"a fresh process cannot import it: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if found["cuda"]:
        fail("importing it starts CUDA, which costs seconds and memory in every process; do that in build()")
    if found["changed"]:
        fail(f"importing it changes {listed(found['changed'])} for everybody; leave global state alone")
    if found["seconds"] > IMPORT_SECONDS:
        fail(f"importing it takes {found['seconds']:.1f} s; move heavy imports and work into the functions")
    return f"{found['seconds']:.2f} s beyond bench itself, no side effects"
