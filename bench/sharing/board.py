"""Rank the runs of many bundles where they can be compared.

Only what follows from predictions enters, and only cells that were judged alike, on the same objects and seeds. An
entry's rank is one more than the number of entries that are shown to be above it, so entries that nothing tells apart
share one.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from pydantic import JsonValue

from bench.plan.skips import Skipped, reasons_of
from bench.sharing.archive import digest_of, opened
from bench.sharing.checking import Examined, Finding, checked_head, checked_runs, note_numbers, numbers_of
from bench.sharing.shelf import Shelf
from bench.stats.cells import Cell, FailedRun, RunScores, digest, flatten, group_cells, judging
from bench.stats.comparisons import Comparison, compare, judge_family
from bench.stats.intervals import Summary, Unit, summarise
from bench.stats.opponents import judged_alike
from bench.store.codec import Content
from bench.store.index import IndexedRun
from bench.store.queries import run_numbers
from bench.store.records import RunRecord

_ASKED = ("ids", "query", "fold", "labels", "parts", "offsets")
"""Arrays of predictions that say what was asked, and what is right."""
FEWEST = 2
"""Fewest seeds of an entry that is ranked."""
_ENOUGH = 3
"""Seeds from which on more entries count for more than more seeds."""


@dataclass(frozen=True)
class Shared:
    """A sound run of a bundle.

    Attributes:
        run: Its row.
        bundle: Name of the bundle.
        judge: Digest of how it was judged.
        spec: Its specification.
        asked: Digest of its test objects and their labels.
        metric: Main metric of its protocol; empty where it does not say.
        verified: Metrics whose test scores follow from its predictions.
    """

    run: IndexedRun
    bundle: str
    judge: str
    spec: dict[str, JsonValue]
    asked: str
    metric: str
    verified: frozenset[str]

    @property
    def where(self) -> str:
        """Bundle and folder."""
        return f"{self.bundle}: {self.run.folder}"


@dataclass(frozen=True)
class Entry:
    """A cell on a board.

    Attributes:
        cell: The cell.
        scores: Its scores on the board's seeds.
        bundles: Names of the bundles that its runs come from.
        rank: One more than the number of entries shown above it; None for an entry that is not ranked.
        above: Entries that it is shown to be above.
        versus: Comparison with the entry of the highest mean; None for that one.
        why: Why it is not ranked.
    """

    cell: Cell
    scores: RunScores
    bundles: tuple[str, ...]
    rank: int | None = None
    above: int = 0
    versus: Comparison | None = None
    why: str = ""

    @property
    def summary(self) -> Summary:
        """Mean and interval on the board's seeds."""
        return summarise(self.scores)


@dataclass(frozen=True)
class SkippedMethod:
    """A method without runs, as a bundle says because it does not apply.

    Attributes:
        method: The method.
        why: The reasons.
        bundles: Names of the bundles that say so.
    """

    method: str
    why: str
    bundles: tuple[str, ...]


@dataclass(frozen=True)
class Board:
    """Entries that were judged alike.

    Attributes:
        entries: Ranked entries by rank and mean, then the others.
        units: Seeds (and split seeds) on which they are ranked.
        pairs: Comparisons that Holm's correction is over.
        skipped: Methods without an entry that a bundle says do not apply.
    """

    entries: tuple[Entry, ...]
    units: tuple[Unit, ...]
    pairs: int
    skipped: tuple[SkippedMethod, ...] = ()

    @property
    def cell(self) -> Cell:
        """A cell, for what all have in common."""
        return self.entries[0].cell


@dataclass(frozen=True)
class Collected:
    """Boards of many bundles.

    Attributes:
        bundles: What verifying each bundle found.
        boards: The boards.
        left_out: Runs that no board shows, with the reason.
        elsewhere: Skipped combinations of protocols and data sets without a board, by the bundle that names them.
        runs: Different finished runs, of which several copies count once.
    """

    bundles: tuple[Examined, ...]
    boards: tuple[Board, ...]
    left_out: tuple[Finding, ...]
    elsewhere: tuple[tuple[str, Skipped], ...]
    runs: int


def collect(paths: Sequence[Path]) -> Collected:
    """Verify bundles and rank their runs.

    Raises:
        DataError: A file is no bundle, or one that is not safe to read.
    """
    left_out: list[Finding] = []
    shared: list[Shared] = []
    examined = [_read(path, shared, left_out) for path in paths]
    runs = len({one.run.key for one in shared if one.run.status == "done"})
    sound = _same_objects(_first_of_each(shared, left_out), left_out)
    boards = _boards(sound)
    skipped = [(one.path.name, combination) for one in examined for combination in one.skipped]
    shown = {(board.cell.protocol, board.cell.dataset) for board in boards}
    elsewhere = tuple(pair for pair in skipped if (pair[1].protocol, pair[1].dataset) not in shown)
    marked = tuple(_marked(board, boards, skipped) for board in boards)
    return Collected(tuple(examined), marked, tuple(left_out), elsewhere, runs)


def _marked(board: Board, boards: Sequence[Board], skipped: Sequence[tuple[str, Skipped]]) -> Board:
    """Add the methods that bundles say a board is not about."""
    place = board.cell.protocol, board.cell.dataset
    settings = {one.cell.setting for one in boards if (one.cell.protocol, one.cell.dataset) == place}
    there = {entry.cell.method for entry in board.entries}
    told: dict[tuple[str, str], list[str]] = defaultdict(list)
    for bundle in dict.fromkeys(bundle for bundle, _ in skipped):
        own = [one for name, one in skipped if name == bundle and (one.protocol, one.dataset) == place]
        for method in {one.method for one in own} - there:
            if why := reasons_of(own, (method, *place), board.cell.setting, settings):
                told[method, why].append(bundle)
    methods = (SkippedMethod(method, why, tuple(bundles)) for (method, why), bundles in sorted(told.items()))
    return replace(board, skipped=tuple(methods))


def _read(path: Path, shared: list[Shared], left_out: list[Finding]) -> Examined:
    """Verify a bundle; add its sound runs."""
    found = Examined(path)
    with opened(path) as archive:
        found.sha256, found.size = digest_of(path), path.stat().st_size
        checked_head(archive, found)
        for name, run, content in checked_runs(archive, found):
            numbers, before = numbers_of(content), found.wrong
            note_numbers(found, name, numbers)
            verified = frozenset(check.name for check in numbers.checks if check.at is not None)
            metric = content.provenance.value.get("metric")
            one = Shared(
                run=run,
                bundle=path.name,
                judge=digest(judging(flatten(content.spec))),
                spec=content.spec,
                asked=_asked(content),
                metric=metric if isinstance(metric, str) else "",
                verified=verified,
            )
            if found.wrong > before:
                left_out.append(Finding(one.where, "its numbers do not follow from its predictions"))
            elif run.row.trial:
                left_out.append(Finding(one.where, "a trial of a search, whose test score may not be used"))
            else:
                shared.append(one)
    return found


def _asked(content: Content) -> str:
    """Return a digest of a run's test objects and labels."""
    sha = hashlib.sha256()
    for name in _ASKED:
        values = content.predictions.get(name)
        if values is None:
            continue
        if values.dtype.kind in "iub":  # The width of an integer is no difference, nor is that of a text.
            told = values.astype("<i8").tobytes()
        else:
            told = "\0".join(map(str, values.ravel().tolist())).encode("utf-8", "surrogatepass")
        sha.update(f"{name}{values.shape}".encode() + told)
    return sha.hexdigest()


def _first_of_each(shared: list[Shared], left_out: list[Finding]) -> list[Shared]:
    """Keep one run of each key, from the bundle that is named first.

    Nobody can push a run out by sending other numbers under its key.
    """
    first: dict[tuple[str, str], Shared] = {}
    for one in shared:
        known = first.setdefault((one.run.key, one.run.status), one)
        if known is not one and list(known.run.values or ()) != list(one.run.values or ()):
            left_out.append(Finding(one.where, f"{known.bundle} has the same run with other numbers, which count"))
    done = {key for key, status in first if status == "done"}
    return [one for (key, status), one in first.items() if status == "done" or key not in done]


def _same_objects(shared: list[Shared], left_out: list[Finding]) -> list[Shared]:
    """Keep runs that were tested on the same objects and labels.

    The digest of data that a run names is not believed; what most bundles asked counts.
    """
    groups: dict[tuple[str, str, int], list[Shared]] = defaultdict(list)
    for one in shared:
        if one.run.status == "done" and one.verified:
            groups[one.judge, one.run.row.setting, one.run.row.split_seed].append(one)
    other: set[str] = set()
    for members in groups.values():
        votes = Counter(asked for asked, _ in {(one.asked, one.bundle) for one in members})
        runs = Counter(one.asked for one in members)
        right = max(votes, key=lambda asked: (votes[asked], runs[asked], asked))
        other |= {one.where for one in members if one.asked != right}
    words = "tested on other objects or labels than the others, though it names the same data"
    left_out += [Finding(one.where, words) for one in shared if one.where in other]
    return [one for one in shared if one.where not in other]


def _boards(shared: Sequence[Shared]) -> list[Board]:
    """Return a board for each way of judging.

    Runs whose scores are not verified make up entries of their own, so that they cannot spoil those of others.
    """
    failed = [one for one in shared if one.run.status == "failed"]
    lost = [FailedRun(one.spec, one.run.row.failure or "failed") for one in failed]
    done = [one for one in shared if one.run.status == "done"]
    sure = [one for one in done if one.verified]
    cells = [(cell, "") for cell in _cells(sure, lost)]
    words = "its scores cannot be computed from what the bundle holds"
    cells += [(cell, words) for cell in _cells([one for one in done if not one.verified], [])]
    of_run = {one.run.key: one for one in done}
    known = {id(cell): why or _unverified(cell, of_run) for cell, why in cells}
    boards = []
    for group in judged_alike(cell for cell, _ in cells):
        metrics = {of_run[key].metric for cell in group for key in cell.runs.values()} - {""}
        if not metrics or group[0].metric in metrics:
            boards.append(_board(group, {id(cell): known[id(cell)] for cell in group}, of_run))
    return boards


def _cells(shared: Sequence[Shared], lost: Sequence[FailedRun]) -> list[Cell]:
    shelf = Shelf([one.run for one in shared], _never)
    numbers = run_numbers(shelf, [one.run for one in shared], {})
    return group_cells(numbers, {one.run.key: one.spec for one in shared}, lost)


def _never(name: str) -> RunRecord:
    raise AssertionError(f"{name} was read already")


def _unverified(cell: Cell, of_run: Mapping[str, Shared]) -> str:
    """Return why a cell's scores are not verified; empty if they are."""
    missing = [key for key in cell.runs.values() if cell.metric not in of_run[key].verified]
    return f"{cell.metric} does not follow from what the bundle holds" if missing else ""


def _board(cells: Sequence[Cell], known: Mapping[int, str], of_run: Mapping[str, Shared]) -> Board:
    """Rank the cells of a board on the seeds they have in common."""
    units = _units([cell for cell in cells if not known[id(cell)]])
    ranked, others = [], []
    for cell in cells:
        bundles = tuple(sorted({of_run[key].bundle for key in cell.runs.values()}))
        why = known[id(cell)] or _not_ranked(cell, units)
        if why:
            others.append(Entry(cell, cell.scores, bundles, why=why))
        else:
            ranked.append(Entry(cell, {unit: cell.scores[unit] for unit in units}, bundles))
    ranked.sort(key=lambda entry: (-entry.summary.mean, entry.cell.identity))
    labels = [str(at) for at in range(len(ranked))]
    pairs = list(combinations(range(len(ranked)), 2))
    family = judge_family([compare((labels[a], labels[b]), ranked[a].scores, ranked[b].scores) for a, b in pairs])
    above = Counter(_winner(a, b, one) for (a, b), one in zip(pairs, family, strict=True))
    below = Counter(_loser(a, b, one) for (a, b), one in zip(pairs, family, strict=True))
    versus = {b: one for (a, b), one in zip(pairs, family, strict=True) if a == 0}
    placed = [
        replace(entry, rank=1 + below[at], above=above[at], versus=versus.get(at)) for at, entry in enumerate(ranked)
    ]
    placed.sort(key=lambda entry: (entry.rank or 0, -entry.summary.mean))
    others.sort(key=lambda entry: entry.cell.identity)
    return Board((*placed, *others), tuple(units), len(pairs))


def _winner(a: int, b: int, one: Comparison) -> int | None:
    if not (one.shown and one.survives_holm):
        return None
    return a if one.verdict == "above" else b


def _loser(a: int, b: int, one: Comparison) -> int | None:
    winner = _winner(a, b, one)
    return None if winner is None else a + b - winner


def _units(cells: Sequence[Cell]) -> list[Unit]:
    """Return the seeds that most cells have.

    At least `FEWEST`; three or more where a cell has them.
    """
    sets = {frozenset(cell.scores) for cell in cells if len(cell.scores) >= FEWEST and not cell.lost}
    if not sets:
        return []

    def suits(units: frozenset[Unit]) -> tuple[int, int, int, list[Unit]]:
        having = sum(units <= cell.scores.keys() and not cell.lost for cell in cells)
        return min(len(units), _ENOUGH), having, len(units), sorted(units)

    return sorted(sorted(sets, key=suits)[-1])


def _not_ranked(cell: Cell, units: Sequence[Unit]) -> str:
    """Return why a cell cannot be ranked; empty if it can."""
    if cell.lost:  # What is left is a choice that nobody made.
        return cell.losses.words
    if len(cell.scores) < FEWEST:
        return "one seed"
    missing = [str(unit) for unit in units if unit not in cell.scores]
    return f"lacks seeds {', '.join(missing)}" if missing else ""
