"""Cached answers to questions about built-in units.

Listing stored runs names what each changed of its defaults, and whether its code is today's. Asking a method imports
torch, and asking the code parses 150 modules, which takes longer than all the rest. Answers are therefore kept in the
user's cache (``~/.cache/recon-bench``), and count while no file of this package has changed. Names that plugins
registered are asked every time.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import VERSION as PYDANTIC
from pydantic import JsonValue

from bench.errors import SetupError
from bench.registry import Entry
from bench.store.publish import write_whole

_PACKAGE = Path(__file__).parents[1]


def cached_answer(entries: Sequence[Entry], question: tuple[object, ...], ask: Callable[[], JsonValue]) -> JsonValue:
    """Return a cached answer, or compute and cache it.

    Answers that involve a plugin are never cached.
    """
    kept = _kept()
    if kept is None or any(entry.source != "built in" for entry in entries):
        return ask()
    name = json.dumps(question, sort_keys=True)
    if name not in kept:
        kept[name] = ask()
        with contextlib.suppress(SetupError, RuntimeError):  # The home folder may be missing or read-only.
            write_whole(_place(), json.dumps({"code": _code()[0], "answers": kept}))
    return kept[name]


@cache
def _kept() -> dict[str, JsonValue] | None:
    """Return cached answers of this code; None if uncertain."""
    code, changed = _code()
    if changed > _process_start():
        return None
    try:
        stored = json.loads(_place().read_bytes())
        answers = stored["answers"] if stored["code"] == code else {}
    except (
        OSError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
    ):  # No file yet, no home folder, or a file in another format.
        return {}
    return answers if isinstance(answers, dict) else {}


def _place() -> Path:
    own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) / "recon-bench" / f"defaults-{sha256(str(_PACKAGE).encode()).hexdigest()[:16]}.json"


@cache
def _code() -> tuple[str, float]:
    """Return a digest and newest time of the package's files.

    The digest covers names, sizes and times.
    """
    found = sorted((path.as_posix(), path.stat()) for path in _PACKAGE.rglob("*.py"))
    listing: list[Any] = [(name, state.st_size, state.st_mtime_ns) for name, state in found]
    return sha256(repr((PYDANTIC, listing)).encode()).hexdigest(), max(state.st_mtime for _, state in found)


def _process_start() -> float:
    import psutil

    return float(psutil.Process().create_time())
