"""Store JSON values shared by many runs only once.

A value is cut into parts: mappings, lists and texts of some length are replaced by the name of their own text, which
is the beginning of its SHA-256. Equal parts therefore have one name, and a text that was altered no longer fits its.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from bench.store import jsontext

_LONG = 100
"""Least number of characters of a part that is stored as its own text."""
_NAME = "$text"
_PLAIN = "$json"
"""Key under which a mapping is stored as JSON if it would be mistaken for a name."""
_CUT: dict[bytes, tuple[str, dict[str, str]]] = {}
"""Name and texts of values that were cut before, by a SHA-256 of them: thousands of runs have the same parts."""
_MOST_CUT = 8_000


def digest(text: str) -> str:
    """Return a text's name: 128 bits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def pack(value: Any, into: dict[str, str]) -> str:
    """Split a value into shared texts.

    Args:
        value: Plain data, as `bench.store.jsontext.loads` gives it.
        into: Receives the texts by name.

    Returns:
        Name of the whole.
    """
    whole = hashlib.sha256(jsontext.dump_parsed(value).encode("utf-8", "surrogatepass")).digest()
    return pack_known(whole, lambda: value, into)


def pack_known(token: bytes, value: Callable[[], Any], into: dict[str, str]) -> str:
    """Split a value into texts, or reuse an earlier split.

    See `pack`.

    Args:
        token: Digest that no other value has.
        value: Makes the value where it was not cut before.
        into: Receives the texts by name.
    """
    if token not in _CUT:
        if len(_CUT) >= _MOST_CUT:
            _CUT.clear()
        own: dict[str, str] = {}
        _CUT[token] = _store(jsontext.dump_parsed(_parts(value(), own)), own), own
    name, texts = _CUT[token]
    into |= texts
    return name


class Texts:
    """Texts by name, and the values built from them.

    Equal parts of values are one object, which nobody may change.

    Attributes:
        raw: The texts.
    """

    def __init__(self) -> None:
        self.raw: dict[str, str] = {}
        self._made: dict[str, Any] = {}

    def add(self, name: str, text: str) -> None:
        """Add a text from the database unless it was altered."""
        if isinstance(text, str) and digest(text) == name:
            self.raw[name] = text

    def value(self, name: str) -> Any:
        """Return the value of a name.

        Raises:
            ValueError: A text of it is missing, or is no JSON.
        """
        if name not in self._made:
            if name not in self.raw:
                raise ValueError(f"no text '{name:.40}'")
            self._made[name] = self._whole(jsontext.loads(self.raw[name]))
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self.raw

    def _whole(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._whole(item) for item in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (field, inner), *_ = value.items()
            if field == _NAME:
                return self.value(inner)
            if field == _PLAIN:
                return jsontext.loads(inner)
        return {field: self._whole(inner) for field, inner in value.items()}


def names_in(text: str) -> list[str]:
    """Return the names that a text mentions."""
    mark = f'{{"{_NAME}":"'
    return [part[:32] for part in text.split(mark)[1:]]


def _parts(value: Any, into: dict[str, str]) -> Any:
    """Return a value with long parts replaced by names.

    The value itself stays.
    """
    if isinstance(value, dict):
        if _NAME in value or _PLAIN in value:
            return {_PLAIN: jsontext.dump_parsed(value)}
        return {field: _named(inner, into) for field, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_named(item, into) for item in value]
    return value


def _named(value: Any, into: dict[str, str]) -> Any:
    if isinstance(value, str):
        return value if len(value) < _LONG else {_NAME: _store(jsontext.dump_parsed(value), into)}
    if not isinstance(value, dict | list | tuple):
        return value
    parts = _parts(value, into)
    text = jsontext.dump_parsed(parts)
    return parts if len(text) < _LONG else {_NAME: _store(text, into)}


def _store(text: str, into: dict[str, str]) -> str:
    name = digest(text)
    into[name] = text
    return name
