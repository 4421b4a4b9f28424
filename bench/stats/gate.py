"""The accuracy gate: has a change of the code made the numbers worse?

`decide` compares a small fixed suite with a stored baseline, cell by cell, on the same seeds:

======================================================  ===========  =========
cell                                                    verdict      exit code
======================================================  ===========  =========
missing, judged differently, other seeds, not a number  broken       4
drop above the margin                                   fail         1
drop above half the margin                              undecided    3
anything else, gains included                           pass         0
======================================================  ===========  =========

The gate's verdict is the worst of its cells. The margin stands in the baseline, in accuracy points, beside
the deviation over seeds it was derived from.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import SetupError
from bench.stats.cells import Cell
from bench.stats.intervals import seed_means

GateVerdict = Literal["pass", "fail", "undecided", "broken"]
EXIT_CODES: Mapping[GateVerdict, int] = {"pass": 0, "fail": 1, "undecided": 3, "broken": 4}
SEVERITY: Sequence[GateVerdict] = ("pass", "undecided", "fail", "broken")

BASELINE_VERSION: Literal[1] = 1
MARGIN_FLOOR = 1.0
"""Smallest margin, accuracy points: less than this no reader of a benchmark table acts on."""
MARGIN_DEVIATIONS = 3.0
"""Margin in standard deviations of the difference between two independent means over the same number of seeds."""
SINGLE_SEED_MARGIN = 5.0
"""Margin where nothing is known about the deviation over seeds, accuracy points."""


@dataclass(frozen=True)
class CellResult:
    """What the suite measured for one cell.

    Attributes:
        cell: Name of the cell (`bench.stats.cells.Cell.identity`).
        values: Score by seed, fractions (folds averaged).
        protocol_revision: Revision of the protocol that judged it.
        split_digest: Digest of everything the splits and folds consist of.
    """

    cell: str
    values: Mapping[int, float]
    protocol_revision: int
    split_digest: str


def cell_results(cells: Iterable[Cell], split_digests: Mapping[str, str]) -> list[CellResult]:
    """Turn cells into what `decide` and `make_baseline` take.

    Args:
        cells: Cells of the suite.
        split_digests: Digest of splits and folds by run key; a cell none of whose runs has one falls back on
            the digest of how it was judged (protocol, data content, split seed).
    """
    results = []
    for cell in cells:
        digests = [split_digests.get(cell.runs[unit], "") for unit in sorted(cell.runs)]
        digest = hashlib.sha256("\n".join(digests).encode()).hexdigest() if any(digests) else cell.judge
        revision = int(cell.spec.get("protocol.revision", "0"))
        results.append(CellResult(cell.identity, seed_means(cell.scores), revision, digest))
    return results


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BaselineCell(_Stored):
    """One cell of a baseline."""

    cell: str
    values: dict[int, float] = Field(min_length=1)
    """Score by seed, fractions."""
    deviation: float | None
    """Standard deviation over seeds, accuracy points; None with one seed."""
    margin: float = Field(gt=0)
    """Largest drop of the mean that passes as noise, accuracy points."""
    protocol_revision: int
    split_digest: str

    @field_validator("values")
    @classmethod
    def _finite(cls, values: dict[int, float]) -> dict[int, float]:
        if not all(map(math.isfinite, values.values())):
            raise ValueError("every value must be a finite number")
        return dict(sorted(values.items()))


class Baseline(_Stored):
    """A stored state of the suite, meant to be kept in the repository and read in a diff."""

    version: Literal[1] = BASELINE_VERSION
    suite: str
    machine: str
    """Machine kind: where it agrees, identical numbers are expected."""
    commit: str
    margin_reason: str
    cells: tuple[BaselineCell, ...] = Field(min_length=1)

    @field_validator("cells")
    @classmethod
    def _distinct(cls, cells: tuple[BaselineCell, ...]) -> tuple[BaselineCell, ...]:
        twice = [name for name, count in Counter(c.cell for c in cells).items() if count > 1]
        if twice:
            raise ValueError(f"cell '{twice[0]}' occurs twice")
        return tuple(sorted(cells, key=lambda c: c.cell))


@dataclass(frozen=True)
class GateLine:
    """The decision on one cell.

    Attributes:
        cell: Name of the cell.
        verdict: Decision.
        drop: Baseline mean minus current mean, accuracy points; None where they cannot be compared.
        margin: Margin of the cell, accuracy points; None for a cell the baseline does not have.
        reason: Why, in one sentence.
    """

    cell: str
    verdict: GateVerdict
    drop: float | None
    margin: float | None
    reason: str


@dataclass(frozen=True)
class GateReport:
    """The gate's decision.

    Attributes:
        verdict: Worst verdict of the lines.
        lines: One line per cell, in the order of their names.
        notes: What to do besides, e.g. refresh the baseline.
    """

    verdict: GateVerdict
    lines: tuple[GateLine, ...]
    notes: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """Exit code of ``bench check``."""
        return EXIT_CODES[self.verdict]


def decide(baseline: Baseline, current: Sequence[CellResult], same_machine: bool) -> GateReport:
    """Compare the suite's current results with the baseline.

    Args:
        baseline: What was measured when the numbers were last accepted.
        current: What was measured now, in any order.
        same_machine: Whether both were measured on the same kind of machine, where equal code gives equal
            numbers. It decides what a difference means, never how large a drop may be.

    Returns:
        The decision; a larger drop in any cell never leads to a milder one.
    """
    results: dict[str, list[CellResult]] = {}
    for result in current:
        results.setdefault(result.cell, []).append(result)
    lines = [_judge(cell, results.pop(cell.cell, []), same_machine) for cell in baseline.cells]
    notes = _notes(lines, sorted(results), same_machine)
    return GateReport(max((line.verdict for line in lines), key=SEVERITY.index), tuple(lines), notes)


def _judge(cell: BaselineCell, found: Sequence[CellResult], same_machine: bool) -> GateLine:
    broken = _why_broken(cell, found)
    if broken:
        return GateLine(cell.cell, "broken", None, cell.margin, broken)
    now = found[0].values
    drop = 100 * statistics.fmean(cell.values[seed] - now[seed] for seed in sorted(cell.values))
    if all(now[seed] == value for seed, value in cell.values.items()):
        return GateLine(cell.cell, "pass", 0.0, cell.margin, "identical numbers")
    if drop > cell.margin:
        return GateLine(cell.cell, "fail", drop, cell.margin, "the drop exceeds the margin")
    if drop > cell.margin / 2:
        reason = "the drop is above half the margin: too large to wave through, too small to be sure of"
        return GateLine(cell.cell, "undecided", drop, cell.margin, reason)
    if drop < -cell.margin:
        return GateLine(cell.cell, "pass", drop, cell.margin, "better than the baseline by more than the margin")
    cause = "the code changed the numbers" if same_machine else "another kind of machine, or changed numbers"
    return GateLine(cell.cell, "pass", drop, cell.margin, f"within the margin ({cause})")


def _why_broken(cell: BaselineCell, found: Sequence[CellResult]) -> str:
    """Why a cell cannot be compared; empty if it can."""
    if not found:
        return "missing: the suite gave no finished result for this cell"
    if len(found) > 1:
        return f"{len(found)} results for one cell: the suite must run in an empty results folder"
    result = found[0]
    if result.protocol_revision != cell.protocol_revision:
        return f"protocol revision {result.protocol_revision}, the baseline has {cell.protocol_revision}: refresh it"
    if result.split_digest != cell.split_digest:
        return "the splits or folds differ from the baseline's: the data or their seeds changed, refresh it"
    if set(result.values) != set(cell.values):
        return f"seeds {sorted(result.values)}, the baseline has {sorted(cell.values)}"
    if not all(map(math.isfinite, result.values.values())):
        return "a score is not a finite number"
    return ""


def _notes(lines: Sequence[GateLine], extra: Sequence[str], same_machine: bool) -> tuple[str, ...]:
    notes = []
    if any(line.drop is not None and line.margin is not None and line.drop < -line.margin for line in lines):
        notes.append("better than the baseline beyond the margin: refresh it, or a later loss of the gain goes unseen")
    if same_machine and any(line.drop not in (None, 0.0) for line in lines):
        notes.append("same kind of machine, other numbers: if that is intended, refresh the baseline")
    if any(line.verdict == "undecided" for line in lines):
        notes.append("undecided: rerun with more seeds, or look at the change and refresh the baseline")
    if extra:
        notes.append(f"not in the baseline, so not judged: {', '.join(extra)}")
    return tuple(notes)


def make_baseline(results: Iterable[CellResult], suite: str, machine: str, commit: str) -> Baseline:
    """Build a baseline from the suite's results, with margins derived from the deviation over seeds.

    If a code change reshuffled every random draw, the means before and after would differ by a standard
    deviation of sqrt(2 / n) times that over seeds. The margin is three of those, of the cell's own deviation
    or the suite's pooled one where that is larger (few seeds estimate a deviation badly), and at least one
    accuracy point. Cells with one seed borrow the pooled deviation.
    """
    results = list(results)
    own = {r.cell: _deviation_points(r.values) for r in results}
    known = [d for d in own.values() if d is not None]
    pooled = math.sqrt(statistics.fmean(d * d for d in known)) if known else None
    cells = tuple(
        BaselineCell(
            cell=r.cell,
            values=dict(r.values),
            deviation=None if own[r.cell] is None else round(own[r.cell] or 0.0, 3),
            margin=margin_points(own[r.cell], pooled, len(r.values)),
            protocol_revision=r.protocol_revision,
            split_digest=r.split_digest,
        )
        for r in results
    )
    reason = (
        f"accuracy points: {MARGIN_DEVIATIONS:g} x sqrt(2/n) x the deviation over seeds (the cell's or the pooled "
        f"{'unknown' if pooled is None else format(pooled, '.2f')}, the larger), at least {MARGIN_FLOOR:g}; "
        f"{SINGLE_SEED_MARGIN:g} where no cell has two seeds"
    )
    return Baseline(suite=suite, machine=machine, commit=commit, margin_reason=reason, cells=cells)


def margin_points(own: float | None, pooled: float | None, n: int) -> float:
    """Margin of a cell in accuracy points, rounded up to a tenth.

    Args:
        own: Deviation over the cell's seeds, points; None with one seed.
        pooled: Root mean square deviation over the suite's cells, points; None if no cell has two seeds.
        n: Seeds of the cell.
    """
    known = [d for d in (own, pooled) if d is not None]
    if not known:
        return SINGLE_SEED_MARGIN
    noise = MARGIN_DEVIATIONS * math.sqrt(2 / n) * max(known)
    return max(MARGIN_FLOOR, math.ceil(10 * noise - 1e-9) / 10)


def _deviation_points(values: Mapping[int, float]) -> float | None:
    return 100 * statistics.stdev(values.values()) if len(values) > 1 else None


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline as indented JSON, one value a line, so that a diff shows what moved."""
    text = json.dumps(baseline.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise SetupError(f"cannot write the baseline {path}: {error.strerror}; give a writable path") from error


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
        raise SetupError(f"{path} is no baseline: {where}: {first['msg']}; {hint}") from error
