"""Parts of a report on where scores vary, and how far they hold.

Sources of variation, and intervals over seeds and test objects, need the answers of runs. A report of many runs goes
without them (`MOST_RUNS`): they lie in the run folders, one file each.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.data.splits import object_groups
from bench.report import quantities, words
from bench.report.document import AnyCell, Cell, Detail, Field, Notes, Part, Table
from bench.report.model import ReportModel, ReportRow, Section
from bench.stats.anatomy import NOT_VARIED, Anatomy, Source, anatomy, of_objects, of_teachers
from bench.stats.answers import Answers, read_answers
from bench.stats.cells import digest
from bench.stats.comparisons import holm
from bench.stats.intervals import Unit
from bench.stats.object_pairs import align
from bench.stats.objects import FEWEST_SEEDS, Crossed, cross
from bench.stats.opponents import opponent

if TYPE_CHECKING:
    from bench.stats.cells import Cell as StatsCell
    from bench.store.records import RunRecord

MOST_RUNS = 300
"""Runs of a report whose answers are read."""
MOST_LINES = 1000
"""Rows whose sources of variation are told."""
SOURCES_TITLE = "Sources of variation"
CROSSED_TITLE = "Over seeds and objects"
_TEACHER_SEED = re.compile(r"encoder\.(first_stage\.)*(text_)?teacher\.(options\.seed|identity)")
"""Fields of a spec that another seed of a teacher changes."""
SOURCES_NOTE = (
    "Standard deviation of one run's score, in points, if this source alone were drawn anew, with its 95 % interval: "
    "of two crossed random effects (Williams 1962), else chi-square; effects are assumed to be normal. Folds: of the "
    "mean over folds. Split seeds draw validation parts and folds: theirs contains that of folds. Test objects: "
    "of one run, from its answers. “Not varied”: the stored runs have one level of it, and what it does is in no "
    "interval."
)
CROSSED_NOTE = (
    "Intervals of 95 % that hold for other pretraining seeds and other test objects: answers by seed and object are a "
    "two-way table of random effects with Satterthwaite's degrees of freedom, as in bench compare. Intervals of the "
    "tables above hold for other seeds and these objects; they can be the wider ones where few seeds alone have to "
    "tell the spread. Needs three seeds with stored answers. p after Holm over the comparisons of one table."
)


def parts(model: ReportModel) -> list[Part]:
    """Return both parts, as far as the stored runs allow them."""
    shown = [section for section in model.shown if section.main and not section.smoke]
    read = _Reader(model)
    found = [_sources(shown, read), _crossed(shown, read)]
    return [part for part in found if part is not None]


class _Reader:
    """Reads answers of runs, each once.

    None of a report with more than `MOST_RUNS` runs.
    """

    def __init__(self, model: ReportModel) -> None:
        self._runs: dict[str, RunRecord] = (
            {line.run.key: line.run for line in model.runs} if model.environment.runs <= MOST_RUNS else {}
        )
        self._known: dict[str, Answers | None] = {}

    def of(self, key: str) -> Answers | None:
        """Return a run's answers; None if it stored none."""
        if key not in self._known:
            self._known[key] = self._read(key)
        return self._known[key]

    def _read(self, key: str) -> Answers | None:
        run = self._runs.get(key)
        if run is None or not run.predictions:
            return None
        try:
            return read_answers(run.predictions)
        except ValueError:  # it labels points or ranks matches: no answers about objects
            return None

    def table(self, cell: StatsCell) -> _Answered | None:
        """Return the answers of a cell's seeds.

        None where it has no accuracy, split seeds too, or a run without answers.
        """
        if cell.metric not in ("accuracy", "instance_miou") or len({unit.split for unit in cell.runs}) > 1:
            return None
        found: dict[Unit, Answers] = {}
        for unit, key in sorted(cell.runs.items()):
            if (answers := self.of(key)) is None:
                return None
            try:
                found[unit] = align(next(iter(found.values()), answers), answers)
            except ValueError:  # the seeds were asked about different objects
                return None
        return _Answered(found)


@dataclass(frozen=True)
class _Answered:
    """Answers of a cell's runs to the same questions."""

    runs: Mapping[Unit, Answers]

    @cached_property
    def first(self) -> Answers:
        return next(iter(self.runs.values()))

    @cached_property
    def objects(self) -> list[str]:
        return list(object_groups(self.first.ids.tolist()))

    def scores(self, units: Sequence[Unit]) -> npt.NDArray[np.float64]:
        return np.stack([self.runs[unit].score.astype(np.float64) for unit in units])

    def alone(self) -> Crossed | None:
        """Return the accuracy over other seeds and objects."""
        right = self.scores(list(self.runs))
        return cross(right, np.zeros_like(right), self.objects, self.first.weights)

    def against(self, other: _Answered) -> Crossed | None:
        """Return the difference over other seeds and objects."""
        units = sorted(self.runs.keys() & other.runs.keys())
        try:
            theirs = {unit: align(self.first, other.runs[unit]) for unit in units}
        except ValueError:
            return None
        if not units:
            return None
        return cross(self.scores(units), _Answered(theirs).scores(units), self.objects, self.first.weights)

    def of_objects(self) -> Source:
        """Return what the draw of objects does to a run's score."""
        _, unit = np.unique(np.asarray(self.objects), return_inverse=True)
        right = self.scores(list(self.runs)[:1])[0]
        return of_objects(right, unit.astype(np.int64), self.first.weights)


@dataclass(frozen=True)
class _Line:
    """Sources of variation of one row of a table."""

    section: Section
    row: ReportRow
    found: Anatomy
    objects: Source | None
    teacher: Source


def _sources(shown: Sequence[Section], read: _Reader) -> Part | None:
    lines: list[_Line] = []
    for section in shown:
        teachers = _teachers(section)
        for row in section.rows[: MOST_LINES - len(lines)]:
            key = next(iter(row.cell.runs.values()))
            answered = None if read.of(key) is None else read.table(row.cell)
            objects = None if answered is None else answered.of_objects()
            lines.append(_Line(section, row, anatomy(row.cell.scores), objects, teachers.get(id(row.cell), NOT_VARIED)))
    if not any(source.deviation is not None for line in lines for source in _seeded(line)):
        return None
    table = Table.of("sources", _SOURCES, lines, lambda line: line.row.cell.is_opponent)
    every = sum(len(section.rows) for section in shown)
    cut = [f"The first {MOST_LINES:,} of {every:,} rows; choose others with --method, --protocol or --dataset."]
    notes = Notes((SOURCES_NOTE, *(cut if every > MOST_LINES else [])))
    return Part(SOURCES_TITLE, (table, notes), "sources", detail=Detail.FILES)


def _seeded(line: _Line) -> Iterator[Source]:
    yield from (line.found.seeds, line.found.splits, line.found.folds, line.teacher)


def _teachers(section: Section) -> dict[int, Source]:
    """Return what the teacher's seed does, by the identity of a cell.

    Of cells that differ in nothing else.
    """
    alike: dict[str, list[StatsCell]] = defaultdict(list)
    for row in section.rows:
        spec = row.cell.spec
        if any(_TEACHER_SEED.fullmatch(name) for name in spec):
            alike[digest({n: v for n, v in spec.items() if not _TEACHER_SEED.fullmatch(n)})].append(row.cell)
    found: dict[int, Source] = {}
    for cells in alike.values():
        source = of_teachers(dict(enumerate(cell.scores for cell in cells)))
        found |= {id(cell): source for cell in cells}
    return found


def _source(source: Source | None) -> Cell:
    if source is None:
        return quantities.NONE
    if source.deviation is None or source.low is None or source.high is None:
        return Cell("not varied")
    high = "∞" if source.high > 1 else words.percent(source.high)
    text = f"{words.percent(source.deviation)} [{words.percent(source.low)}, {high}]"
    return Cell(text, source.deviation, "fraction", source.low, None if source.high > 1 else source.high)


_SOURCES: tuple[Field[_Line], ...] = (
    Field("table", "table", lambda line: f"{line.section.title}, {line.section.preset_words}", sink=1),
    Field("setting", "setting", lambda line: line.row.cell.setting),
    Field("method", "method", lambda line: line.row.cell.label, whole=True),
    Field("seeds", "pretraining seed", lambda line: _source(line.found.seeds), right=True),
    Field("splits", "split seed", lambda line: _source(line.found.splits), right=True),
    Field("folds", "folds", lambda line: _source(line.found.folds), right=True),
    Field("objects", "test objects", lambda line: _source(line.objects), right=True),
    Field("teacher", "teacher seed", lambda line: _source(line.teacher), right=True),
    Field("rest", "rest", lambda line: _source(line.found.rest), right=True),
)


@dataclass(frozen=True)
class _CrossedLine:
    """One row of a table, over seeds and objects."""

    section: Section
    row: ReportRow
    score: Crossed
    versus: Crossed | None
    p_holm: float | None = None


def _crossed(shown: Sequence[Section], read: _Reader) -> Part | None:
    lines: list[_CrossedLine] = []
    for section in shown:
        if any(len(row.cell.runs) >= FEWEST_SEEDS for row in section.rows):
            lines += _crossed_lines(section, read)
    if not lines:
        return None
    table = Table.of("seeds-and-objects", _CROSSED, lines, lambda line: line.row.cell.is_opponent)
    return Part(CROSSED_TITLE, (table, Notes((CROSSED_NOTE,))), "seeds-and-objects", detail=Detail.FILES)


def _crossed_lines(section: Section, read: _Reader) -> list[_CrossedLine]:
    answered = {id(row.cell): read.table(row.cell) for row in section.rows}
    cells = [row.cell for row in section.rows]
    lines = []
    for row in section.rows:
        own = answered[id(row.cell)]
        if own is None or (score := own.alone()) is None:
            continue
        other = None if row.cell.is_opponent or row.cell.lost else opponent(row.cell, cells)
        theirs = None if other is None or other.lost else answered[id(other)]
        lines.append(_CrossedLine(section, row, score, None if theirs is None else own.against(theirs)))
    tested = [line.versus.p for line in lines if line.versus is not None and line.versus.p is not None]
    corrected = iter(holm(tested))
    return [
        replace(line, p_holm=next(corrected)) if line.versus is not None and line.versus.p is not None else line
        for line in lines
    ]


def _over_seeds(line: _CrossedLine) -> AnyCell:
    return quantities.score(line.row.cell.summary)


def _over_both(line: _CrossedLine) -> AnyCell:
    found = line.score
    half = "" if found.low is None or found.high is None else f" ± {words.percent((found.high - found.low) / 2)}"
    return Cell(f"{words.percent(found.difference)}{half}", found.difference, "fraction", found.low, found.high)


def _difference(line: _CrossedLine) -> AnyCell:
    found = line.versus
    return quantities.NONE if found is None else quantities.points(found.difference, found.low, found.high)


_CROSSED: tuple[Field[_CrossedLine], ...] = (
    Field("table", "table", lambda line: f"{line.section.title}, {line.section.preset_words}", sink=1),
    Field("setting", "setting", lambda line: line.row.cell.setting),
    Field("method", "method", lambda line: line.row.cell.label, whole=True),
    Field("size", "seeds × objects", lambda line: f"{line.score.seeds} × {line.score.objects}", right=True),
    Field("seeds", "over seeds", _over_seeds, right=True),
    Field("both", "over seeds and objects", _over_both, right=True),
    Field("difference", "difference to scratch, over both", _difference, right=True),
    Field("p_holm", "p (Holm)", lambda line: quantities.p_value(line.p_holm), right=True),
)
