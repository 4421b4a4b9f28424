"""Methods beside ways of judging, the best of each marked.

The best is the highest mean of a column. A method is level with it where their paired difference, corrected after
Holm over all comparisons of the matrix, shows no difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bench.report import quantities, scores, words
from bench.report.document import AnyCell, Mark, Row, Table
from bench.report.document import Cell as Entry
from bench.report.document import Column as Heading
from bench.report.model import ReportRow, Section
from bench.stats.cells import Cell
from bench.stats.comparisons import Comparison, Lost, compare, judge_family
from bench.stats.intervals import CONFIDENCE
from bench.stats.opponents import comparable

LEVEL = round(1 - CONFIDENCE, 6)
SEEN, UNKNOWN, OLDER, LOST = "†", "‡", "§", "*"
"""Signs behind a method or a score that a caption explains."""
Method = tuple[str, str, int]
"""Label, pretraining data, and a number that tells equal ones apart."""


@dataclass(frozen=True)
class Column:
    """A way of judging: a section's setting.

    Attributes:
        section: Section.
        setting: One of its settings.
    """

    section: Section
    setting: str

    @property
    def parts(self) -> tuple[str, ...]:
        """Return its protocol, data set, setting, metric and what sets it apart."""
        one = self.section
        form = "" if one.form == "fair" else f" ({one.form} form)"
        setting = "" if self.setting == "all" else self.setting
        return f"{one.protocol}{form}", f"on {one.dataset}", setting, one.metric.replace("_", " "), one.difference

    @property
    def rows(self) -> list[ReportRow]:
        """Return the rows of the setting."""
        return [row for row in self.section.rows if row.cell.setting == self.setting]


class Matrix:
    """Methods in rows, ways of judging in columns.

    Attributes:
        columns: Ways of judging, all of one preset.
        scores: Row of a report by method and column's place.
        marks: Emphasis by method and column's place.
        tested: Comparisons with the best that have a p value, one family.
        left_out: Number of methods that are not shown.

    Args:
        columns: Ways of judging.
        most: Most methods that are shown; None for all.
    """

    def __init__(self, columns: Sequence[Column], most: int | None = None) -> None:
        self.columns = tuple(columns)
        self.scores: dict[Method, dict[int, ReportRow]] = defaultdict(dict)
        self.left_out = 0
        for at, column in enumerate(self.columns):
            seen: dict[tuple[str, str], int] = defaultdict(int)
            for row in column.rows:
                name = row.cell.label, row.cell.pretrain_data
                self.scores[(*name, seen[name])][at] = row
                seen[name] += 1
        if most is not None:
            self._keep(most)
        self.marks, self.tested = self._marked()

    def _keep(self, most: int) -> None:
        """Keep some methods: a variant of each before a second one of any."""
        variants: dict[str, int] = defaultdict(int)
        ranked: list[tuple[int, int, Method]] = []
        for method, own in self.scores.items():
            name = next(iter(own.values())).cell.name
            ranked.append((variants[name], len(ranked), method))
            variants[name] += 1
        kept = {method for *_, method in sorted(ranked)[:most]}
        self.left_out = len(self.scores) - len(kept)
        self.scores = {method: own for method, own in self.scores.items() if method in kept}

    def _marked(self) -> tuple[dict[tuple[Method, int], Mark], list[Comparison]]:
        best: dict[int, Method] = {}
        pairs: list[tuple[Method, int, Comparison]] = []
        for at, column in enumerate(self.columns):
            whole = {name: own[at].cell for name, own in self.scores.items() if at in own and not own[at].cell.lost}
            if column.section.smoke or not whole:
                continue
            best[at] = max(whole, key=lambda name: whole[name].summary.mean)
            first = whole[best[at]]
            pairs += [
                (name, at, _compared(first, own))
                for name, own in whole.items()
                if name != best[at] and comparable(first, own)
            ]
        judged = judge_family([comparison for *_, comparison in pairs])
        marks: dict[tuple[Method, int], Mark] = {}
        for (name, at, _), found in zip(pairs, judged, strict=True):
            if found.p_holm is not None:
                marks[best[at], at] = "best"
                if not found.survives_holm:
                    marks[name, at] = "level"
        return marks, [found for found in judged if found.p_holm is not None]

    @cached_property
    def common(self) -> tuple[str, ...]:
        """Return what all columns have in common, in words."""
        parts = list(zip(*(column.parts for column in self.columns), strict=True))
        return tuple(own[0] if len(set(own)) == 1 else "" for own in parts)

    @property
    def title(self) -> str:
        """Return what is judged, as far as all columns share it."""
        protocol, data, setting, metric, apart = self.common
        named = " ".join(filter(None, (protocol, data)))
        shown = ", ".join(filter(None, (named, setting, "" if metric == "accuracy" else metric)))
        return f"{shown or 'all protocols'}{f' [{apart}]' if apart else ''}"

    @property
    def headings(self) -> list[str]:
        """Return what sets each column apart."""
        found = []
        for column in self.columns:
            kept = [own for own, shared in zip(column.parts, self.common, strict=True) if own and own != shared]
            if kept and kept[-1] == "accuracy":
                kept.pop()
            found.append(", ".join(kept).replace(", on ", " on ").removeprefix("on ") or column.section.metric)
        return found

    @property
    def several_data(self) -> bool:
        """Whether a method stands here with several pretraining data."""
        labels = [(label, data) for label, data, _ in self.scores]
        return len({label for label, _ in set(labels)}) < len(set(labels))

    def table(self, name: str, *, ranks: bool = False) -> Table:
        """Return the matrix as a table.

        Args:
            name: Name for programs.
            ranks: Whether a cell says its rank, and a last column the mean of a row's ranks.
        """
        placed = [self._ranks(at) for at in range(len(self.columns))] if ranks else []
        heads = [
            Heading("method", "method", whole=True),
            *(Heading(f"score-{at}", text, right=True) for at, text in enumerate(self.headings)),
            *([Heading("rank", "mean rank", right=True)] if ranks else []),
        ]
        rows = []
        for method, own in self.scores.items():
            cells: list[AnyCell] = [self.name(method)]
            cells += [self._entry(method, at, own.get(at), placed) for at in range(len(self.columns))]
            if ranks:
                cells.append(self._mean_rank(method, placed))
            rows.append(Row(tuple(cells), next(iter(own.values())).cell.is_opponent))
        rows.sort(key=lambda row: row.quiet)
        return Table(name, tuple(heads), tuple(rows))

    def name(self, method: Method) -> str:
        """Return a method's name, with signs that a caption explains."""
        label, data, number = method
        cells = [row.cell for row in self.scores[method].values()]
        signs = SEEN * any(cell.seen for cell in cells)
        signs += UNKNOWN * any(cell.seen is None and not cell.is_opponent for cell in cells)
        signs += OLDER * any(cell.older_code for cell in cells)
        told = f"{label} from {data}" if self.several_data and data not in ("", "none") else label
        return f"{told}{f' ({number + 1})' if number else ''}{signs and ' '}{signs}"

    def _entry(self, method: Method, at: int, row: ReportRow | None, placed: Sequence[dict[Method, float]]) -> AnyCell:
        if row is None:
            return quantities.NONE
        rank = f" #{placed[at][method]:g}" if placed and method in placed[at] else ""
        note = LOST * bool(row.cell.lost) + rank
        found = quantities.score(row.cell.summary, smoke=self.columns[at].section.smoke, note=note)
        return Entry(
            found.text,
            found.value,
            found.unit,
            found.low,
            found.high,
            mark=self.marks.get((method, at), ""),
        )

    def _ranks(self, at: int) -> dict[Method, float]:
        """Return ranks of a column by mean; equal means share one.

        None in smoke columns, nor for cells that lost runs.
        """
        if self.columns[at].section.smoke:
            return {}
        means = {name: own[at].cell.summary.mean for name, own in self.scores.items() if at in own}
        means = {name: mean for name, mean in means.items() if not self.scores[name][at].cell.lost}
        return {
            name: 1 + sum(other > mean for other in means.values()) + (sum(o == mean for o in means.values()) - 1) / 2
            for name, mean in means.items()
        }

    def _mean_rank(self, method: Method, placed: Sequence[dict[Method, float]]) -> Entry:
        own = [ranks[method] for ranks in placed if method in ranks]
        if not own or len(own) < len(placed):
            return quantities.NONE
        mean = sum(own) / len(own)
        return Entry(f"{mean:.1f}", mean)

    def explained(self) -> list[str]:
        """Return what marks and signs mean."""
        rows = [row for own in self.scores.values() for row in own.values()]
        cells = [row.cell for row in rows]
        found = []
        if self.tested:
            found.append(
                "Bold: the highest mean of a column. Underlined: not shown to be worse than it at "
                f"{LEVEL:g} after Holm's correction, which is not “equal”. "
                f"{scores.basis(self.tested, 'comparisons with the best of a column')}"
            )
        elif not any(column.section.smoke for column in self.columns):
            found.append("Nothing is marked as best: no two methods have seeds in common that allow a comparison.")
        saw = [cell for cell in cells if cell.seen]
        if saw:
            worst = max(saw, key=lambda cell: len(cell.seen or ()))
            found.append(f"{SEEN}: pretraining saw evaluated class names (up to {words.seen(worst)}).")
        if any(cell.seen is None and not cell.is_opponent for cell in cells):
            found.append(f"{UNKNOWN}: it is unknown whether pretraining saw evaluated class names.")
        if any(cell.older_code for cell in cells):
            found.append(f"{OLDER}: made by code that has changed since.")
        if lost := [cell for cell in cells if cell.lost]:
            told = "; ".join(f"{cell.label} {cell.setting}: {cell.losses.words}" for cell in lost[:6])
            found.append(f"{LOST}: without a mark, as runs were lost ({told}{'; ...' if len(lost) > 6 else ''}).")
        return found

    def judged(self) -> list[str]:
        """Return how scores were measured, and what deviates from the preset.

        Each line once, with the columns it is about where not all share it.
        """
        found: dict[str, list[str]] = {}
        for column, heading in zip(self.columns, self.headings, strict=True):
            section = column.section
            lost = [f"Without a number: {line}." for line in section.lost]
            for line in (*scores.told(section), *scores.changes(section), *lost):
                found.setdefault(f"{line[:1].upper()}{line[1:]}", []).append(heading)
        every = len(self.columns)
        return [
            line if len(where) == every else f"{', '.join(dict.fromkeys(where))}: {line}"
            for line, where in found.items()
        ]


def _compared(first: Cell, second: Cell) -> Comparison:
    lost = [Lost(cell.label, cell.lost, cell.losses.total) for cell in (first, second)]
    means = first.means, second.means
    return compare((first.label, second.label), first.scores, second.scores, lost, means)


def by_preset(sections: Iterable[Section]) -> dict[str, list[Section]]:
    """Group sections with a headline metric by preset and what was changed of it."""
    found: dict[str, list[Section]] = {}
    for section in sections:
        if section.main:
            found.setdefault(section.preset_words, []).append(section)
    return found
