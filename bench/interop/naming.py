"""Translate names between released state dicts and ours.

The tables of names are in `bench.interop.names_transformer` and its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Row:
    """Released name and our name of one module or tensor.

    ``#`` stands for a number; numbers on both sides are the same and in the same order.

    Attributes:
        theirs: Released name, without the leaf (``weight``, ``bias``, ...) where it is a module.
        ours: Our name.
        spare: Trailing axes of size 1 that the released weight has and ours lacks (1x1 convolutions: 1 or 2).
        tensor: Whether the names are a free tensor's, without leaf.
    """

    theirs: str
    ours: str
    spare: int = 0
    tensor: bool = False


def prefixed(rows: Iterable[Row], theirs: str, ours: str) -> tuple[Row, ...]:
    """Return rows with a prefix on either side."""
    return tuple(Row(theirs + row.theirs, ours + row.ours, row.spare, row.tensor) for row in rows)


@dataclass(frozen=True)
class Found:
    """A translated name, and the row that translated it."""

    name: str
    row: Row


@dataclass(frozen=True, eq=False)
class Layout:
    """Names of one kind of released file.

    Attributes:
        name: Name for messages, e.g. ``recon pretraining``.
        rows: Every known name. Two released names may lead to one of ours (a module that the release registers
            twice); export writes both.
    """

    name: str
    rows: tuple[Row, ...]

    def to_ours(self, name: str) -> str | None:
        """Translate a released name; None without counterpart.

        A leading ``module.`` is ignored.
        """
        found = self.find(name)
        return None if found is None else found.name

    def find(self, name: str) -> Found | None:
        """Translate a released name and return the row used."""
        return next(iter(self._from_theirs.translate(name.removeprefix("module."))), None)

    def to_released(self, name: str) -> str | None:
        """Translate our name to the first released one.

        None without counterpart.
        """
        return next((found.name for found in self.all_released(name)), None)

    def all_released(self, name: str) -> list[Found]:
        """Return every released name of one of our names."""
        return self._from_ours.translate(name)

    @cached_property
    def _from_theirs(self) -> _Table:
        return _Table(self.rows, to_ours=True)

    @cached_property
    def _from_ours(self) -> _Table:
        return _Table(self.rows, to_ours=False)


class _Table:
    """Rows indexed by the pattern of one side."""

    def __init__(self, rows: Iterable[Row], *, to_ours: bool) -> None:
        self._to_ours = to_ours
        self._rows: dict[tuple[str, bool], list[Row]] = {}
        for row in rows:
            source = row.theirs if to_ours else row.ours
            self._rows.setdefault((source, row.tensor), []).append(row)

    def translate(self, name: str) -> list[Found]:
        stem, _, leaf = name.rpartition(".")
        found = [self._fill(row, name) for row in self._match(name, tensor=True)]
        if leaf in _LEAVES:
            modules = (self._fill(row, stem) for row in self._match(stem, tensor=False))
            found += [Found(f"{module.name}.{leaf}", module.row) for module in modules]
        return found

    def _match(self, name: str, *, tensor: bool) -> list[Row]:
        # A table may give the number of a module in a sequence or leave it open as "#": try every combination.
        parts = name.split(".")
        numeric = [i for i, part in enumerate(parts) if part.isdigit()]
        for choice in range(2 ** len(numeric) - 1, -1, -1):
            pattern = list(parts)
            for bit, position in enumerate(numeric):
                if choice >> bit & 1:
                    pattern[position] = "#"
            if rows := self._rows.get((".".join(pattern), tensor)):
                return rows
        return []

    def _fill(self, row: Row, name: str) -> Found:
        source, target = (row.theirs, row.ours) if self._to_ours else (row.ours, row.theirs)
        numbers = iter(part for part, mark in zip(name.split("."), source.split("."), strict=True) if mark == "#")
        return Found(re.sub("#", lambda _: next(numbers), target), row)


@dataclass(frozen=True)
class Converted:
    """A released state dict in our names.

    Attributes:
        state: Tensors by our name, float32 (integers unchanged), convolutions as linear layers.
        missing: Our names that the released dict lacks.
        unexpected: Released names that have no counterpart in our model.
        mismatched: One line per tensor whose shape or kind of numbers differs.
    """

    state: dict[str, Tensor]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]


def convert_state(released: Mapping[str, Tensor], ours: Mapping[str, Tensor], layout: Layout) -> Converted:
    """Translate a released state dict for one of our models.

    Args:
        released: Tensors by released name.
        ours: State dict of our model (names and shapes).
        layout: Names of the kind of file.

    Returns:
        The translation, with everything that does not fit; the caller decides what may be left over.
    """
    state: dict[str, Tensor] = {}
    unexpected: list[str] = []
    mismatched: dict[str, str] = {}
    for theirs, value in released.items():
        found = layout.find(theirs)
        if found is None or found.name not in ours:
            unexpected.append(theirs)
            continue
        name, tensor = found.name, _without_spare_axes(value, found, theirs)
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        if tensor.shape != ours[name].shape:
            mismatched[name] = f"{theirs} is {tuple(value.shape)}, {name} is {tuple(ours[name].shape)}"
            continue
        if not ours[name].is_floating_point():
            tensor = tensor.round().to(ours[name].dtype) if tensor.is_floating_point() else tensor
        elif not tensor.is_floating_point():
            mismatched[name] = f"{theirs} holds {_kind(value)}, {name} {_kind(ours[name])}"
            continue
        state[name] = tensor
    absent = ours.keys() - state.keys() - mismatched.keys()
    return Converted(state, tuple(sorted(absent)), tuple(unexpected), tuple(mismatched.values()))


def release_state(ours: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Translate our state dict into released names and shapes.

    Names without counterpart are left out.
    """
    released: dict[str, Tensor] = {}
    for name, value in ours.items():
        for found in layout.all_released(name):
            spare = found.row.spare if _has_spare_axes(found.name) else 0
            released[found.name] = value.reshape((*value.shape, *(1,) * spare))
    return released


def _without_spare_axes(value: Tensor, found: Found, theirs: str) -> Tensor:
    spare = found.row.spare
    if not spare or not _has_spare_axes(theirs) or value.shape[-spare:] != (1,) * spare:
        return value
    return value.reshape(value.shape[:-spare])


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _has_spare_axes(released: str) -> bool:
    return released.endswith(".weight")
