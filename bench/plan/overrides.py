"""Assignments of ``--set``, handed out by group."""

from __future__ import annotations

from typing import Any

from pydantic import JsonValue

from bench.errors import UsageError, unknown_name

Assignments = dict[str, JsonValue]


class Overrides:
    """Assignments of ``--set``; those that no group takes are errors."""

    def __init__(self, assignments: Assignments, groups: frozenset[str]) -> None:
        self._assignments = assignments
        self._taken: set[str] = set()
        for path in assignments:
            group = path.partition(".")[0]
            if group not in groups:
                raise unknown_name("--set group", group, groups)

    def merge(self, values: dict[str, Any], *groups: str, known: frozenset[str] | None = None) -> dict[str, Any]:
        """Return `values` with the groups' assignments applied, last wins.

        Args:
            values: Fields as they stand.
            groups: Group names, e.g. ``("method", "recon")``.
            known: With it, assignments in the first group to other fields are left for somebody else.
        """
        merged = dict(values)
        for group in groups:
            for path, value in self._assignments.items():
                first, _, rest = path.partition(".")
                if first != group or (known is not None and group == groups[0] and rest.split(".")[0] not in known):
                    continue
                self._taken.add(path)
                _assign(merged, rest.split("."), value)
        return merged

    def check_all_taken(self) -> None:
        """Raise a `UsageError` for the first unused assignment."""
        for path in self._assignments:
            if path not in self._taken:
                raise UsageError(f"--set {path}: nothing in this request has that field; see bench list methods -v")


def _assign(values: dict[str, Any], path: list[str], value: JsonValue) -> None:
    for part in path[:-1]:
        inner = values.get(part)
        values[part] = dict(inner) if isinstance(inner, dict) else {}
        values = values[part]
    values[path[-1]] = value
