"""Strict, deterministic JSON that also holds NaN and infinities.

Strict JSON has no NaN and no infinities, yet the curve of a run that diverged has both. They are written as
``{"$float": "nan"}`` (or ``inf``, ``-inf``), so any JSON reader opens the files and nothing is rounded away.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

DEPTH = 40
"""Levels of nesting that a stored specification or provenance may have; those of bench have fewer than ten."""

_PARSED = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_TAG = "$float"
_NON_FINITE = {"nan", "inf", "-inf"}


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Serialise plain data as strict JSON.

    Mappings, sequences, NumPy scalars and arrays, text, numbers, booleans, None.

    Args:
        value: Plain data; mapping keys must be text.
        indent: Spaces per level for files that people read, None for one line.

    Raises:
        TypeError: The value holds something that has no JSON form; the message names its type.
    """
    text = json.dumps(
        _plain(value),
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
        indent=indent,
        separators=(",", ":") if indent is None else None,
    )
    return text if _encodable(text) else json.dumps(json.loads(text), sort_keys=True, ensure_ascii=True, indent=indent)


def dump_parsed(value: Any) -> str:
    """Serialise what `loads` returned, in one line, fast.

    Its keys are known to be text.
    """
    try:
        text = _PARSED.encode(value)
    except ValueError:  # Not a finite number.
        return dumps(value)
    return text if _encodable(text) else dumps(value)


def dump_bytes(value: Any) -> bytes:
    """Serialise for a file: UTF-8, indented, final newline."""
    return (dumps(value, indent=2) + "\n").encode()


def loads(text: str | bytes) -> Any:
    """Parse what `dumps` wrote.

    Raises:
        ValueError: The text is not JSON, names a field twice, or is nested too deep to be read.
    """
    try:
        return _PARSER.decode(text.decode("utf-8", "surrogatepass") if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("nested too deep") from None


def loads_verified(text: str) -> Any:
    """Parse what `dump_parsed` wrote and a digest vouches for, fast.

    No field of it stands twice.

    Raises:
        ValueError: The text is not JSON.
    """
    return loads(text) if _TAG in text else json.loads(text)


def flat_enough(value: Any) -> Any:
    """Return a value unless it is nested deeper than `DEPTH`.

    It can then be compared and written again.

    Raises:
        ValueError: It is nested deeper.
    """
    level = [value]
    for _ in range(DEPTH):
        level = [
            item
            for group in level
            if isinstance(group, dict | list)
            for item in (group.values() if isinstance(group, dict) else group)
        ]
        if not level:
            return value
    raise ValueError(f"nested more than {DEPTH} deep")


def storable(text: str) -> str:
    """Return text that any database accepts.

    Lone surrogates and NUL become U+FFFD.

    Paths that are not UTF-8 reach us as lone surrogates inside exception texts; SQLite's driver refuses them
    and PostgreSQL refuses NUL. Only the index is simplified; the run folder keeps the text as it was.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_TAG: str(float(value))}
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise TypeError(f"a stored mapping needs text keys, got {type(name).__name__} {name!r}")
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise TypeError(f"cannot store a {type(value).__name__} as JSON: {value!r}")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a field stands twice in one object")
    if len(mapping) == 1 and mapping.get(_TAG) in _NON_FINITE:
        return float(mapping[_TAG])
    return mapping


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_PARSER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse)
