"""Read stored answers, check them, and compare runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.comparing.groups import Shelf, StoredCell, parse_group
from bench.comparing.matching import Match, is_opponent, match_cells
from bench.comparing.naming import class_names
from bench.data.splits import object_groups
from bench.errors import NotComparableError, UsageError
from bench.paths import Workspace
from bench.stats.answers import Answers, Average, read_answers
from bench.stats.object_pairs import (
    ObjectPair,
    Side,
    align,
    holm_pairs,
    join,
    judge_equivalence,
    pair_ensembles,
    pair_sides,
)
from bench.stats.recomputed import recompute
from bench.store.records import RunRecord


@dataclass(frozen=True)
class Compared:
    """Result of a comparison.

    Attributes:
        pairs: The comparisons, in the order of tables.
        left_out: Cells that could not be compared, with reasons, one line each.
        runs: Runs that were read.
        checked: Stored numbers that follow from the stored answers.
        wrong: Stored numbers that do not, one line each.
    """

    pairs: tuple[ObjectPair, ...]
    left_out: tuple[str, ...]
    runs: int
    checked: int
    wrong: tuple[str, ...]


class Comparer:
    """Compares groups of stored runs.

    Args:
        place: Results folder.
        shelf: Its runs.
        average: Way to average an ensemble; None for no ensembles.
        margin: Largest difference of two methods that counts as none, a fraction; None asks for no equivalence.
    """

    def __init__(self, place: Workspace, shelf: Shelf, average: Average | None, margin: float | None = None) -> None:
        self.place, self.shelf, self.average, self.margin = place, shelf, average, margin
        self._answers: dict[str, Answers] = {}
        self._checked = 0
        self._wrong: list[str] = []
        self._without: list[str] = []

    def compare(self, first: str, second: str | None) -> Compared:
        """Compare two groups, or join one.

        Raises:
            UsageError: A group names nothing, or something that cannot be compared.
        """
        groups = [parse_group(text) for text in (first, second) if text is not None]
        if self.margin is not None and (second is None or any(len(members) > 1 for members in groups)):
            raise UsageError("a margin needs two methods, paired by seed: ensembles of several have no seeds to pair")
        if self.average is None:
            if second is None:
                raise UsageError(f"name B, which '{first}' is compared with, or add --ensemble to see '{first}' alone")
            for members in groups:
                if len(members) > 1:
                    raise UsageError(
                        f"'{'+'.join(m.text for m in members)}' names several methods; add --ensemble to join them"
                    )
        parts = [[(member, self.shelf.cells(member)) for member in members] for members in groups]
        matches, left_out = match_cells(parts[0], parts[1] if len(parts) > 1 else [])
        pairs, reasons = [], []
        for match in matches:
            try:
                pairs.append(self._pair(match))
            except NotComparableError as reason:
                left_out.append(f"{match.where}: {reason}")
                reasons.append(str(reason))
        if not pairs:
            more = f" (and {len(matches) - 1} more)" if len(matches) > 1 else ""
            raise NotComparableError(f"{matches[0].where}: {reasons[0]}{more}")
        read = len(self._answers)
        judged = holm_pairs(pairs)
        judged = judged if self.margin is None else judge_equivalence(judged, self.margin)
        return Compared(tuple(judged), tuple(left_out), read, self._checked, tuple(self._wrong))

    def _pair(self, match: Match) -> ObjectPair:
        cells = [cell for side in (match.first, match.second) for cell in side]
        labels = {name: getattr(cells[0].row, name) for name in ("preset", "protocol", "form", "dataset", "setting")}
        notes = [*match.notes, *_notes(cells)]
        if self._first_answers(cells).positions and len({cell.spec.get("data.manifest") for cell in cells}) > 1:
            raise NotComparableError("only positions of objects are stored, and the data sets differ in content")
        if len(cells) == 2 and match.second:
            return self._pair_cells(match, labels, notes)
        reference = self._first_answers(cells)
        sides = tuple(self._joined(self._side(side, reference)) for side in (match.first, match.second) if side)
        return pair_ensembles(match.where, labels, sides, object_groups(reference.ids.tolist()), notes)

    def _pair_cells(self, match: Match, labels: dict[str, str], notes: list[str]) -> ObjectPair:
        """Compare two cells seed by seed."""
        (a,), (b,) = match.first, match.second
        seeds = [(seed, seed) for seed in a.records if seed in b.records]
        if not seeds and len(a.records) == len(b.records) == 1:
            seeds = [(next(iter(a.records)), next(iter(b.records)))]
        if not seeds:
            raise NotComparableError(
                f"no seed in common ({a.label}: {_listed(a.records)}; {b.label}: {_listed(b.records)})"
            )
        if all(a.records[i].key == b.records[j].key and a.rows[i].stored == b.rows[j].stored for i, j in seeds):
            raise UsageError(f"A and B are the same runs ({a.label}, {a.where})")
        lone = set(a.records) ^ set(b.records)
        if lone and len(seeds) < max(len(a.records), len(b.records)):
            notes.append(f"seeds {_listed(sorted(lone))} left out: not in both")
        reference = self._first_answers([a, b])
        names = _names(a, b)
        sides = (
            self._side((a,), reference, names[0], [pair[0] for pair in seeds]),
            self._side((b,), reference, names[1], [pair[1] for pair in seeds]),
        )
        if self.average is not None:
            sides = (self._joined(sides[0]), self._joined(sides[1]))
        known = class_names(self.place, a.records[seeds[0][0]])
        lost = "; ".join(f"{one.cell}: {one.words}" for one in map(self.shelf.lost, (a, b)) if one.runs)
        objects = object_groups(reference.ids.tolist())
        return pair_sides(match.where, labels, sides, objects, seeds, known, notes, lost)

    def _first_answers(self, cells: Sequence[StoredCell]) -> Answers:
        return self._read(cells[0], next(iter(cells[0].records)))

    def _side(
        self, cells: Sequence[StoredCell], reference: Answers, name: str = "", seeds: Sequence[int] | None = None
    ) -> Side:
        titles, runs = [], []
        for cell in cells:
            for seed in cell.records if seeds is None else seeds:
                own = self._read(cell, seed)
                try:
                    runs.append(align(reference, own))
                except ValueError as reason:
                    raise NotComparableError(
                        f"{cell.label} seed {seed} was tested on other objects: {reason}"
                    ) from None
                titles.append(f"{name or cell.label} seed {seed}")
        return Side(name or " + ".join(cell.label for cell in cells), tuple(titles), tuple(runs))

    def _joined(self, side: Side) -> Side:
        assert self.average is not None
        try:
            return join(side, self.average)
        except ValueError as reason:
            raise NotComparableError(f"no ensemble of {side.name}: {reason}") from None

    def _read(self, cell: StoredCell, seed: int) -> Answers:
        """Read and check a run's answers, once."""
        record, row = cell.records[seed], cell.rows[seed]
        place = str(row.stored.folder)
        if place not in self._answers:
            try:
                found = read_answers(record.predictions)
                checks = recompute(record.predictions, record.metrics)
            except ValueError as reason:
                raise NotComparableError(f"{row.protocol} cannot be compared object by object: {reason}") from None
            self._answers[place] = found
            self._checked += sum(check.holds and check.at is not None for check in checks)
            self._wrong += [
                f"run {record.key[:12]} ({cell.label} seed {seed}, {cell.where}): "
                f"{check.title} is stored as {check.stored:.6f}, but the "
                f"stored answers give {check.recomputed:.6f}"
                for check in checks
                if not check.holds
            ]
        return self._answers[place]


def _names(a: StoredCell, b: StoredCell) -> tuple[str, str]:
    """Return names that tell two cells apart.

    The method, with what differs where it is the same.
    """
    if a.label != b.label:
        return a.label, b.label
    for name in ("form", "protocol", "setting", "dataset", "pretrain_data", "preset"):
        values = getattr(a.row, name), getattr(b.row, name)
        if values[0] != values[1]:
            return f"{a.label} ({values[0]})", f"{b.label} ({values[1]})"
    return f"{a.label} {a.row.stored.key[:8]}", f"{b.label} {b.row.stored.key[:8]}"


def _notes(cells: Sequence[StoredCell]) -> list[str]:
    notes = []
    if len({cell.spec.get("data.manifest") for cell in cells}) > 1:
        notes.append("the data sets differ in content: the same names may stand for other clouds")
    if any(cell.row.preset == "smoke" for cell in cells):
        notes.append("smoke runs prove that every path works; their numbers mean nothing")
    pretrained = {cell.label: cell.row.pretrain_data for cell in cells if not is_opponent(cell)}
    if len(set(pretrained.values())) > 1:
        notes.append(f"pretrained on different data: {', '.join(f'{name} on {on}' for name, on in pretrained.items())}")
    changed = _changed_modules([record for cell in cells for record in cell.records.values()])
    if changed:
        more = f" and {len(changed) - 1} more modules" if len(changed) > 1 else ""
        notes.append(f"the runs were made by different versions of the code: {changed[0]}{more} changed in between")
    return notes


def _changed_modules(records: Iterable[RunRecord]) -> list[str]:
    """Name modules of which runs had different versions.

    Runs of two methods never have all their modules in common.
    """
    versions: dict[str, set[object]] = {}
    for record in records:
        modules = record.provenance.get("modules")
        for name, digest in modules.items() if isinstance(modules, dict) else ():
            versions.setdefault(name, set()).add(digest)
    return sorted(name for name, digests in versions.items() if len(digests) > 1)


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))
