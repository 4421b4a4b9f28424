"""The accuracy gate: has a change of the code made the numbers worse?

`decide` compares a small fixed suite with a stored baseline on the same seeds. Each cell is compared in its accuracy,
and each pretrained cell in its gain over scratch too, paired by seed: a method that stopped learning has lost its gain,
whatever the accuracy of an untrained network is.

========================================================  ===========  =========
accuracy or gain of a cell                                verdict      exit code
========================================================  ===========  =========
missing, other seeds, data, labels, classes or options    broken       4
drop above the margin                                     fail         1
drop above half the margin                                undecided    3
anything else, improvements included                      pass         0
========================================================  ===========  =========

The gate's verdict is the worst of its lines. Margins follow from the deviations over the baseline's seeds.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import SetupError, UsageError
from bench.stats.cells import Cell
from bench.stats.intervals import seed_means
from bench.stats.opponents import opponent
from bench.store.publish import write_whole

GateVerdict = Literal["pass", "fail", "undecided", "broken"]
EXIT_CODES: Mapping[GateVerdict, int] = {"pass": 0, "fail": 1, "undecided": 3, "broken": 4}
SEVERITY: Sequence[GateVerdict] = ("pass", "undecided", "fail", "broken")

BASELINE_VERSION: Literal[2] = 2
MARGIN_FLOOR = 1.0
"""Smallest margin, accuracy points: less than this no reader of a benchmark table acts on."""
MARGIN_DEVIATIONS = 3.0
"""Margin in standard deviations of the difference between two independent means over the same number of seeds."""
SINGLE_SEED_MARGIN = 5.0
"""Margin where nothing is known about the deviation over seeds, accuracy points."""

_CODE_AND_MACHINE = re.compile(r"(.*\.)?(numerics|plugins|manifest|identity|version)(\..*)?")
"""Fields of a spec that follow from code, versions or machine: what the gate lets change, and looks at the numbers.

Manifests of data are among them (a generated set's covers its generator's source): the digests of what was judged on
(`CellResult.content`) say whether clouds and labels really changed.
"""


@dataclass(frozen=True)
class CellResult:
    """Measurement of one cell by the suite.

    Attributes:
        cell: Name of the cell (`bench.stats.cells.Cell.identity`).
        values: Score by seed, fractions (folds averaged).
        scratch: Name of the untrained cell it is compared with; empty for none.
        options: Fields of the spec that must agree with the baseline's: options of method, protocol and data, recipe,
            size.
        content: Digests of what it was judged on, by part (``test labels``, ``classes``, ...).
        splits: Digest of everything that was drawn (validation parts, supports, queries), by seed.
    """

    cell: str
    values: Mapping[int, float]
    scratch: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    content: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """Test data that one run was judged on, as stored with it.

    Attributes:
        content: Digests by part.
        split: Digest of everything that was drawn.
    """

    content: Mapping[str, str]
    split: str


def cell_results(cells: Sequence[Cell], names: Sequence[str], judged: Mapping[str, Judged]) -> list[CellResult]:
    """Turn cells into what `decide` and `make_baseline` take.

    Args:
        cells: Cells of the suite.
        names: A name of its own for each.
        judged: What the runs were judged on, by run key.

    Raises:
        SetupError: Seeds of one cell were judged on different data.
    """
    named = dict(zip(map(id, cells), names, strict=True))
    results = []
    for cell, name in zip(cells, names, strict=True):
        contents = [dict(judged[key].content) for key in cell.runs.values()]
        if any(content != contents[0] for content in contents):
            raise SetupError(f"'{name}': its seeds were judged on different data, so they are no cell of a suite")
        against = None if cell.is_opponent else opponent(cell, cells)
        results.append(
            CellResult(
                cell=name,
                values=seed_means(cell.scores),
                scratch=named[id(against)] if against is not None else "",
                options={k: v for k, v in cell.spec.items() if not _CODE_AND_MACHINE.fullmatch(k)},
                content=contents[0],
                splits=_splits(cell, judged),
            )
        )
    return results


def _splits(cell: Cell, judged: Mapping[str, Judged]) -> dict[int, str]:
    """Return one digest per pretraining seed of everything that was drawn, over all split seeds."""
    drawn: dict[int, list[str]] = {}
    for unit in sorted(cell.runs):
        drawn.setdefault(unit.seed, []).append(judged[cell.runs[unit]].split)
    return {seed: hashlib.sha256("\n".join(digests).encode()).hexdigest() for seed, digests in drawn.items()}


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaselineCell(_Stored):
    """One cell of a baseline; the fields are those of `CellResult`."""

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


class Baseline(_Stored):
    """A stored state of the suite, meant to be kept in the repository and read in a diff."""

    version: Literal[2] = BASELINE_VERSION
    suite: str
    machine: str
    """Machine kind: where it agrees, identical numbers are expected."""
    commit: str
    cells: tuple[BaselineCell, ...] = Field(min_length=1)

    @field_validator("cells")
    @classmethod
    def _sound(cls, cells: tuple[BaselineCell, ...]) -> tuple[BaselineCell, ...]:
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

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of every cell."""
        return tuple(self.cells[0].values)

    def first(self, count: int) -> Baseline:
        """Return the part of it with the first seeds.

        Raises:
            UsageError: It has fewer.
        """
        if count > len(self.seeds):
            raise UsageError(
                f"--seeds {count}: the baseline has {len(self.seeds)}; raise `seeds` in its suite and run --update"
            )
        kept = self.seeds[:count]
        cells = tuple(c.model_copy(update={"values": {s: c.values[s] for s in kept}}) for c in self.cells)
        return self.model_copy(update={"cells": cells})


@dataclass(frozen=True)
class GateLine:
    """The decision on one cell's accuracy or gain.

    Attributes:
        cell: Name of the cell.
        quantity: ``accuracy`` (whatever the headline metric is) or ``gain`` over scratch.
        verdict: Decision.
        base: Mean of the baseline, points.
        now: Mean measured now, points; None where they cannot be compared.
        margin: Largest drop that passes as noise, points.
        reason: Why, in one sentence.
    """

    cell: str
    quantity: Literal["accuracy", "gain"]
    verdict: GateVerdict
    base: float
    now: float | None
    margin: float
    reason: str

    @property
    def drop(self) -> float | None:
        """Baseline minus now, points; None where they cannot be compared."""
        return None if self.now is None else self.base - self.now


@dataclass(frozen=True)
class GateReport:
    """The gate's decision.

    Attributes:
        verdict: Worst verdict of the lines.
        lines: Accuracy of each cell and gain of each pretrained one, in the order of their names.
        notes: What to do besides, e.g. refresh the baseline.
    """

    verdict: GateVerdict
    lines: tuple[GateLine, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """Exit code of ``bench check``."""
        return EXIT_CODES[self.verdict]


def decide(
    baseline: Baseline, current: Sequence[CellResult], same_machine: bool, seeds: int | None = None
) -> GateReport:
    """Compare the suite's current results with the baseline.

    Args:
        baseline: What was measured when the numbers were last accepted.
        current: What was measured now, in any order.
        same_machine: Whether both were measured on the same kind of machine, where equal code gives equal
            numbers. It decides what a difference means, never how large a drop may be.
        seeds: Compare the baseline's first seeds only; None compares all.

    Returns:
        The decision; a larger drop in any cell never leads to a milder one.

    Raises:
        UsageError: The baseline has fewer seeds.
    """
    margins = _Margins(baseline)
    stored = baseline if seeds is None else baseline.first(seeds)
    results: dict[str, list[CellResult]] = {}
    for result in current:
        results.setdefault(result.cell, []).append(result)
    base = {cell.cell: cell for cell in stored.cells}
    broken = {name: _why_broken(cell, results.get(name, [])) for name, cell in base.items()}
    lines = []
    for name, cell in base.items():
        why, margin = broken[name], margins.accuracy(name, len(cell.values))
        now = {} if why else results[name][0].values
        lines.append(_line(name, "accuracy", why, cell.values, now, margin, same_machine))
        if cell.scratch:
            why = why or (f"{cell.scratch}: {broken[cell.scratch]}" if broken[cell.scratch] else "")
            gains = {} if why else _gains(now, results[cell.scratch][0].values)
            was, margin = _gains(cell.values, base[cell.scratch].values), margins.gain(name, len(cell.values))
            lines.append(_line(name, "gain", why, was, gains, margin, same_machine))
    extra = sorted(set(results) - set(base))
    notes = _notes(lines, extra, same_machine, len(baseline.seeds) > len(stored.seeds))
    return GateReport(max((line.verdict for line in lines), key=SEVERITY.index), tuple(lines), notes)


class _Margins:
    """Margins of accuracies and gains, from the deviations over all seeds of the baseline."""

    def __init__(self, baseline: Baseline) -> None:
        values = {cell.cell: cell.values for cell in baseline.cells}
        self._accuracy = {name: _deviation_points(own) for name, own in values.items()}
        self._gain = {
            cell.cell: _deviation_points(_gains(cell.values, values[cell.scratch]))
            for cell in baseline.cells
            if cell.scratch
        }

    def accuracy(self, cell: str, n: int) -> float:
        return margin_points(self._accuracy[cell], _pooled(self._accuracy), n)

    def gain(self, cell: str, n: int) -> float:
        return margin_points(self._gain[cell], _pooled(self._gain), n)


def margin_points(own: float | None, pooled: float | None, n: int) -> float:
    """Largest drop of a mean that passes as noise, accuracy points, rounded up to a tenth.

    If a change of the code reshuffled every random draw, the means before and after would differ by a standard
    deviation of sqrt(2 / n) times that over seeds. The margin is three of those, and at least one point. A cell's own
    deviation counts where it is larger than the pooled one: few seeds estimate a deviation badly.

    Args:
        own: Deviation over the cell's seeds, points; None with one seed.
        pooled: Root mean square deviation over the suite's cells, points; None if no cell has two seeds.
        n: Seeds that are compared.
    """
    known = [d for d in (own, pooled) if d is not None]
    if not known:
        return SINGLE_SEED_MARGIN
    noise = MARGIN_DEVIATIONS * math.sqrt(2 / n) * max(known)
    return max(MARGIN_FLOOR, math.ceil(10 * noise - 1e-9) / 10)


def _pooled(deviations: Mapping[str, float | None]) -> float | None:
    known = [d for d in deviations.values() if d is not None]
    return math.sqrt(statistics.fmean(d * d for d in known)) if known else None


def _deviation_points(values: Mapping[int, float]) -> float | None:
    return 100 * statistics.stdev(values.values()) if len(values) > 1 else None


def _gains(values: Mapping[int, float], scratch: Mapping[int, float]) -> dict[int, float]:
    return {seed: values[seed] - scratch[seed] for seed in values}


def _line(
    cell: str,
    quantity: Literal["accuracy", "gain"],
    broken: str,
    base: Mapping[int, float],
    now: Mapping[int, float],
    margin: float,
    same_machine: bool,
) -> GateLine:
    before = 100 * statistics.fmean(base.values())
    if broken:
        return GateLine(cell, quantity, "broken", before, None, margin, broken)
    after = 100 * statistics.fmean(now[seed] for seed in sorted(base))
    drop = 100 * statistics.fmean(base[seed] - now[seed] for seed in sorted(base))
    verdict: GateVerdict = "pass"
    if all(now[seed] == value for seed, value in base.items()):
        reason = "identical numbers"
    elif drop > margin:
        verdict, reason = "fail", "the drop exceeds the margin"
    elif drop > margin / 2:
        verdict = "undecided"
        reason = "the drop is above half the margin: too large to wave through, too small to be sure of"
    elif drop < -margin:
        reason = "better than the baseline by more than the margin"
    else:
        cause = "the code changed the numbers" if same_machine else "another kind of machine, or changed numbers"
        reason = f"within the margin ({cause})"
    return GateLine(cell, quantity, verdict, before, after, margin, reason)


def _why_broken(cell: BaselineCell, found: Sequence[CellResult]) -> str:
    """Why a cell cannot be compared; empty if it can."""
    if not found:
        return "missing: the suite gave no finished result for this cell"
    if len(found) > 1:
        return f"{len(found)} results for one cell: the suite must run in an empty results folder"
    result = found[0]
    changed = _changed(cell.options, result.options)
    if changed:
        return f"other options, so no comparison: {changed}; if that is intended, refresh the baseline"
    other = [
        part for part in sorted({*cell.content, *result.content}) if cell.content.get(part) != result.content.get(part)
    ]
    if other:
        return f"other {', '.join(other)} than the baseline's: the data changed; if that is intended, refresh it"
    if set(result.values) != set(cell.values):
        return f"seeds {sorted(result.values)}, the baseline has {sorted(cell.values)}"
    if any(result.splits.get(seed, "") != cell.splits.get(seed, "") for seed in cell.values):
        return "the splits or folds differ from the baseline's; if that is intended, refresh it"
    if not all(map(math.isfinite, result.values.values())):
        return "a score is not a finite number"
    return ""


def _changed(before: Mapping[str, str], after: Mapping[str, str], most: int = 3) -> str:
    fields = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    told = [f"{name} {before.get(name, '(none)')} -> {after.get(name, '(none)')}" for name in fields[:most]]
    return ", ".join(told) + (f" and {len(fields) - most} more" if len(fields) > most else "")


def _notes(lines: Sequence[GateLine], extra: Sequence[str], same_machine: bool, more: bool) -> tuple[str, ...]:
    notes = []
    if any(line.drop is not None and line.drop < -line.margin for line in lines):
        notes.append("better than the baseline beyond the margin: refresh it, or a later loss of it goes unseen")
    if same_machine and any(line.verdict != "broken" and line.reason != "identical numbers" for line in lines):
        notes.append("same kind of machine, other numbers: if that is intended, refresh the baseline")
    if any(line.verdict == "undecided" for line in lines):
        with_more = "rerun with more --seeds" if more else "all seeds of the baseline were compared: raise `seeds`"
        notes.append(f"undecided: {with_more}, or look at the change and refresh the baseline")
    if extra:
        notes.append(f"not in the baseline, so not judged: {', '.join(extra)}")
    return tuple(notes)


def make_baseline(results: Iterable[CellResult], suite: str, machine: str, commit: str) -> Baseline:
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
        return Baseline(suite=suite, machine=machine, commit=commit, cells=cells)
    except ValidationError as error:
        raise SetupError(f"the suite's results make no baseline: {error.errors()[0]['msg']}") from error


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline as indented JSON, one value a line, so that a diff shows what moved."""
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
        raise SetupError(
            f"{path} is no baseline of version {BASELINE_VERSION}: {where}: {first['msg']}; {hint}"
        ) from error
