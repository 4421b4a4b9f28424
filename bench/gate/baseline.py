"""Stored state of a suite, with its history.

It is meant to be kept in the repository: one value a line, so that a diff shows what moved, and every earlier state
with the reason for which it was replaced.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import SetupError, UsageError
from bench.stats.gate import CellResult
from bench.store.publish import write_whole

VERSION: Literal[3] = 3
HISTORY = 20
"""Earlier states that are kept."""


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaselineCell(_Stored):
    """Cell of a baseline, with `bench.stats.gate.CellResult`'s fields."""

    cell: str
    values: dict[int, float] = Field(min_length=1)
    scratch: str = ""
    options: dict[str, str] = {}
    content: dict[str, str] = {}
    splits: dict[int, str] = {}

    @field_validator("values")
    @classmethod
    def _finite(cls, values: dict[int, float]) -> dict[int, float]:
        if not all(map(math.isfinite, values.values())):
            raise ValueError("every value must be a finite number")
        return dict(sorted(values.items()))

    def result(self) -> CellResult:
        """Return it as the statistics take it."""
        return CellResult(self.cell, self.values, self.scratch, self.options, self.content, self.splits)


def _sound(cells: tuple[BaselineCell, ...]) -> tuple[BaselineCell, ...]:
    by_name = {cell.cell: cell for cell in cells}
    twice = [name for name, count in Counter(c.cell for c in cells).items() if count > 1]
    if twice:
        raise ValueError(f"cell '{twice[0]}' occurs twice")
    for cell in cells:
        if cell.scratch and cell.scratch not in by_name:
            raise ValueError(f"cell '{cell.cell}' names '{cell.scratch}', which is no cell")
        if set(cell.values) != set(cells[0].values):
            raise ValueError(f"cell '{cell.cell}' has seeds {list(cell.values)}, others {list(cells[0].values)}")
    return tuple(sorted(cells, key=lambda c: c.cell))


class Earlier(_Stored):
    """Replaced state, kept for the spread of its seeds."""

    suite: str
    machine: str
    commit: str
    replaced_because: str
    cells: tuple[BaselineCell, ...] = Field(min_length=1)

    _check = field_validator("cells")(_sound)


class Baseline(_Stored):
    """A stored state of the suite."""

    version: Literal[3] = VERSION
    suite: str
    machine: str
    """Machine kind: where it agrees, identical numbers are expected."""
    commit: str
    cells: tuple[BaselineCell, ...] = Field(min_length=1)
    history: tuple[Earlier, ...] = ()
    """Earlier states, the latest first."""

    _check = field_validator("cells")(_sound)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of every cell."""
        return tuple(self.cells[0].values)

    def first(self, count: int) -> tuple[int, ...]:
        """Return its first seeds.

        Raises:
            UsageError: It has fewer.
        """
        if count > len(self.seeds):
            raise UsageError(
                f"--seeds {count}: the baseline has {len(self.seeds)}; raise `seeds` in its suite and run --update"
            )
        return self.seeds[:count]

    def results(self) -> list[CellResult]:
        """Return its cells as the statistics take them."""
        return [cell.result() for cell in self.cells]

    def earlier(self) -> list[list[CellResult]]:
        """Return the cells of earlier states of the same suite."""
        return [[cell.result() for cell in old.cells] for old in self.history if old.suite == self.suite]

    def replaced(self, why: str) -> tuple[Earlier, ...]:
        """Return the history of the baseline that replaces this one."""
        cells = tuple(BaselineCell(cell=c.cell, values=c.values, scratch=c.scratch) for c in self.cells)
        state = Earlier(suite=self.suite, machine=self.machine, commit=self.commit, replaced_because=why, cells=cells)
        return (state, *self.history)[:HISTORY]


def make_baseline(
    results: Iterable[CellResult], suite: str, machine: str, commit: str, history: Sequence[Earlier] = ()
) -> Baseline:
    """Build a baseline from the suite's results.

    Raises:
        SetupError: Cells lack seeds or have no finite score.
    """
    try:
        cells = tuple(
            BaselineCell(
                cell=r.cell,
                values=dict(r.values),
                scratch=r.scratch,
                options=dict(sorted(r.options.items())),
                content=dict(sorted(r.content.items())),
                splits=dict(sorted(r.splits.items())),
            )
            for r in results
        )
        return Baseline(suite=suite, machine=machine, commit=commit, cells=cells, history=tuple(history))
    except ValidationError as error:
        raise SetupError(f"the suite's results make no baseline: {error.errors()[0]['msg']}") from error


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline as JSON, a value a line."""
    text = json.dumps(baseline.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(path, text, "the baseline", "give a writable path")


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        SetupError: One line: the file is missing, is no JSON, or is no baseline of a version known here.
    """
    hint = "make one with `bench check --update`"
    try:
        return Baseline.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SetupError(f"no baseline at {path}; {hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"cannot read the baseline {path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise SetupError(f"{path} is no baseline of version {VERSION}: {where}: {first['msg']}; {hint}") from error
