"""Write a leaderboard of many bundles as one static page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.errors import UsageError
from bench.plan.skips import Skipped
from bench.report import quantities, words
from bench.report.apart import set_apart
from bench.report.build import require_writable, write_text
from bench.report.data import to_json
from bench.report.document import (
    NOTHING,
    Block,
    Cell,
    Document,
    Field,
    Findings,
    Fold,
    Item,
    Links,
    Notes,
    Paragraph,
    Part,
    Table,
)
from bench.report.html import to_html
from bench.sharing.board import Board, Collected, Entry, SkippedMethod, collect
from bench.sharing.checking import Examined, Finding
from bench.stats.cells import judging, sizing

_FEW = 6
"""Seeds below which no test without such an assumption shows a difference."""
_ABOUT = (
    "Every score on this page was computed again from the predictions in the bundles. A table ranks entries that were "
    "judged alike: same protocol, options, data, size of network, test objects, labels and seeds. The rank of an entry "
    "is one more than the number of entries that are shown to be above it, by the paired difference over seeds after "
    "Holm's correction over all pairs of the table; entries of equal rank are not told apart. "
    "That predictions came from the network that a run names is not verified: bench rerun does that."
)


@dataclass(frozen=True)
class Site:
    """A written leaderboard.

    Attributes:
        page: The page, which needs no other file.
        data: The same as JSON.
        collected: What it shows.
    """

    page: Path
    data: Path
    collected: Collected


def write_site(bundles: Sequence[Path], out: Path, title: str = "Leaderboard") -> Site:
    """Verify bundles and write their leaderboard.

    The same bundles in the same order give the same page.

    Args:
        bundles: The files; of runs that several hold with different numbers, the first counts.
        out: Folder for ``index.html`` and ``board.json``.
        title: Title of the page.

    Raises:
        UsageError: No bundle is given, or two have the same name.
        DataError: A file is no bundle, or one that is not safe to read.
        SetupError: The folder cannot be written.
    """
    names = [path.name for path in bundles]
    if not names:
        raise UsageError("no bundle is given; name at least one file that bench bundle create wrote")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"two bundles are called {twice[0]}; rename one, since the page names bundles by their files")
    require_writable(out)
    found = collect(bundles)
    document = board_document(found, title)
    site = Site(out / "index.html", out / "board.json", found)
    write_text(site.page, to_html(document, [site.data.name]))
    write_text(site.data, to_json(document))
    return site


def board_document(found: Collected, title: str) -> Document:
    """Return the leaderboard as a document."""
    titles = _titles(found.boards)
    parts = [
        Part(name, tuple(_board(board)), anchor=f"board-{at}", tag=f"preset {board.cell.preset}")
        for at, (board, name) in enumerate(zip(found.boards, titles, strict=True), 1)
    ]
    links = Links("Tables", tuple((part.title, part.anchor, part.tag) for part in parts))
    blocks: list[Block] = [Paragraph(_ABOUT, "soft")]
    if not parts:
        blocks.append(Paragraph("No bundle holds a finished run that can be shown.", "care"))
    warnings = [Item(_wrong(one), "warning") for one in found.bundles if not one.holds]
    blocks += [Findings(tuple(warnings))] if warnings else []
    blocks += [links, *parts] if parts else []
    blocks.append(Part("Bundles", (_bundles(found.bundles),), anchor="bundles"))
    if found.left_out:
        blocks.append(Part("Runs that no table shows", (_left_out(found.left_out),), anchor="left-out"))
    if found.elsewhere:
        blocks.append(Part("Skipped, and in no table", (_elsewhere(found.elsewhere),), anchor="skipped"))
    bundles = f"{len(found.bundles)} bundle{'s' * (len(found.bundles) != 1)}"
    lead = f"{bundles}, {found.runs} finished runs, {sum(one.followed for one in found.bundles):,} numbers"
    return Document(title, tuple(blocks), lead=f"{lead} recomputed from predictions")


def _titles(boards: Sequence[Board]) -> list[str]:
    """Name each board; where names are equal, by what differs."""
    plain = [_title(board) for board in boards]
    found = list(plain)
    for name in {name for name in plain if plain.count(name) > 1}:
        places = [at for at, one in enumerate(plain) if one == name]
        apart = set_apart({at: {**judging(boards[at].cell.spec), **sizing(boards[at].cell.spec)} for at in places})
        for at in places:
            found[at] = f"{name} ({apart[at]})" if apart[at] else name
    return found


def _title(board: Board) -> str:
    cell = board.cell
    form = "" if cell.form == "fair" else f" ({cell.form} form)"
    setting = "" if cell.setting == "all" else f" {cell.setting}"
    metric = "" if cell.metric == "accuracy" else f", {cell.metric.replace('_', ' ')}"
    return f"{cell.protocol}{form}{setting} on {cell.dataset}{metric}"


def _board(board: Board) -> list[Block]:
    ranked = [entry for entry in board.entries if entry.rank is not None]
    others = [entry for entry in board.entries if entry.rank is None]
    blocks: list[Block] = []
    if ranked:
        fields: list[Field[Entry]] = [
            Field("rank", "rank", right=True, cell=lambda one: Cell(str(one.rank), one.rank)),
            Field("method", "method", whole=True, cell=lambda one: one.cell.label),
            Field("pretrain_data", "pretrained on", drop=2, cell=lambda one: _pretrained(one)),
            Field("score", f"{board.cell.metric.replace('_', ' ')} %", right=True, bar=True, cell=_score),
            Field("versus", "to the highest mean", right=True, cell=_behind),
            Field("p_holm", "p (Holm)", right=True, drop=3, cell=_p_holm),
            Field("above", "shown above", right=True, drop=1, cell=lambda one: quantities.number(one.above)),
            Field("bundles", "bundle", drop=4, cell=lambda one: ", ".join(one.bundles)),
        ]
        blocks.append(Table.of("ranking", fields, ranked, lambda one: one.cell.is_opponent))
        seeds = ", ".join(map(str, board.units))
        pairs = f"Holm's correction over {board.pairs} pairs" if board.pairs else "nothing to compare it with"
        notes = [f"Seeds {seeds}; {board.cell.n_objects:,} test objects; {pairs}."]
        if board.pairs and len(board.units) < _FEW:
            notes.append(f"{len(board.units)} seeds: the tests rest on normally distributed differences between runs.")
        blocks.append(Notes(tuple(notes)))
    if others:
        rows: list[Field[Entry]] = [
            Field("method", "not ranked", whole=True, cell=lambda one: one.cell.label),
            Field("pretrain_data", "pretrained on", drop=1, cell=lambda one: _pretrained(one)),
            Field("score", f"{board.cell.metric.replace('_', ' ')} %", right=True, cell=_score),
            Field("seeds", "seeds", right=True, cell=lambda one: words.seeds(one.cell)),
            Field("why", "why", cell=lambda one: Cell(one.why, tone="no-comparison")),
            Field("bundles", "bundle", drop=2, cell=lambda one: ", ".join(one.bundles)),
        ]
        blocks.append(Table.of("unranked", rows, others, lambda one: one.cell.is_opponent))
    if board.skipped:
        blocks.append(Table.of("skipped", SKIPPED_FIELDS, board.skipped))
    return blocks


SKIPPED_FIELDS: tuple[Field[SkippedMethod], ...] = (
    Field("method", "does not apply", whole=True, cell=lambda one: one.method),
    Field("why", "why, as the bundle says", cell=lambda one: Cell(one.why, tone="no-comparison")),
    Field("bundles", "bundle", drop=1, cell=lambda one: ", ".join(one.bundles)),
)


def _pretrained(entry: Entry) -> str:
    return NOTHING if entry.cell.pretrain_data in ("", "none") else entry.cell.pretrain_data


def _score(entry: Entry) -> Cell:
    return quantities.score(entry.summary, smoke=entry.cell.preset == "smoke")


def _behind(entry: Entry) -> Cell:
    """Return the difference to the entry of the highest mean."""
    found = entry.versus
    if found is None or found.difference is None:
        return quantities.NONE
    if found.low is None or found.high is None:
        return quantities.points(-found.difference)
    told = quantities.points(-found.difference, -found.high, -found.low)
    return replace(told, tone="below" if found.verdict == "above" and found.survives_holm else "none")


def _p_holm(entry: Entry) -> Cell:
    return quantities.p_value(None if entry.versus is None else entry.versus.p_holm)


def _bundles(bundles: Sequence[Examined]) -> Table:
    fields: list[Field[Examined]] = [
        Field("bundle", "bundle", whole=True, cell=lambda one: one.path.name),
        Field("runs", "runs", right=True, cell=lambda one: quantities.number(one.done)),
        Field("followed", "recomputed", right=True, cell=lambda one: quantities.number(one.followed)),
        Field("unverified", "not determined", right=True, cell=lambda one: quantities.number(one.unverified.total())),
        Field("findings", "do not hold", right=True, cell=_findings),
        Field("sha256", "sha256", cell=lambda one: Cell(one.sha256[:16], one.sha256, hover=one.sha256)),
    ]
    return Table.of("bundles", fields, bundles)


def _findings(one: Examined) -> Cell:
    return Cell(str(one.wrong), one.wrong, tone="warning" if one.wrong else "")


def _wrong(one: Examined) -> str:
    return f"{one.path.name}: {one.wrong} findings, e.g. {one.findings[0]}"


def _left_out(found: Sequence[Finding]) -> Fold | Table:
    table = Table.plain("left-out", ("run", "why"), ((one.where, one.what) for one in found))
    return _folded(table, "runs")


def _elsewhere(found: Sequence[tuple[str, Skipped]]) -> Fold | Table:
    heads = ("method", "protocol", "data set", "why, as the bundle says", "bundle")
    rows = ((one.method, one.protocol, one.dataset, one.reason, bundle) for bundle, one in found)
    return _folded(Table.plain("skipped-elsewhere", heads, rows), "combinations")


def _folded(table: Table, what: str) -> Fold | Table:
    """Fold a long table away."""
    return table if len(table.rows) <= 10 else Fold(f"{len(table.rows):,} {what}", (table,))
