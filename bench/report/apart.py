"""Tell apart tables, lines and matrices of equal names."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def set_apart(specs: Mapping[Key, Mapping[str, str]]) -> dict[Key, str]:
    """Name the fields in which flat specs differ.

    Empty where nothing does.

    Args:
        specs: Fields by whatever is to be named, e.g. how the encoders of each table were judged.
    """
    fields = sorted({name for spec in specs.values() for name in spec})
    differing = [name for name in fields if len({spec.get(name) for spec in specs.values()}) > 1]
    return {
        key: ", ".join(filter(None, (_word(name, spec, specs.values()) for name in differing)))
        for key, spec in specs.items()
    }


def _word(field: str, spec: Mapping[str, str], others: Iterable[Mapping[str, str]]) -> str:
    """Return a field as a word, or nothing if redundant."""
    value = spec.get(field)
    if field == "tuned.trials":
        return "as shipped" if value is None else f"tuned in {value} trials"
    if field == "tuned.space":  # named only if two searches had different spaces
        spaces = {other[field] for other in others if field in other}
        return f"space {value[:8]}" if value is not None and len(spaces) > 1 else ""
    if value is None and "tuned.space" in spec and field.startswith("protocol.options."):
        return ""  # tuned values differ between methods by design
    if value is None:  # a spec leaves out options at their default, and parts that an encoder does not have
        value = "default" if field.startswith("protocol.options.") else "none"
    return f"{field.removeprefix('protocol.options.').removeprefix('encoder.')}={value[:12]}"
