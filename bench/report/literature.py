"""Published figures as tables, and stored runs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.published.correspondence import corresponding, corresponds
from bench.published.figures import METHODS, STANDING_WORDS, Figure, figures
from bench.report import quantities
from bench.report.document import Block, Cell, Document, Field, Notes, Paragraph, Part, Table
from bench.report.model import ReportModel
from bench.stats.cells import Cell as ScoredCell
from bench.stats.selection import LedgerLine

_FIELDS: tuple[Field[Figure], ...] = (
    Field("dataset", "data set", wrap=1, cell=lambda one: one.where),
    Field("protocol", "protocol", wrap=2, cell=lambda one: _protocol(one)),
    Field("variant", "variant", wrap=3, sink=4, cell=lambda one: one.variant),
    Field("metric", "metric", cell=lambda one: one.metric),
    Field("value", "value", right=True, cell=lambda one: Cell(one.shown, one.value)),
    Field("told", "source", below=True, cell=lambda one: told(one)),
)
TITLE = "Beside the literature"
EXPLAINED = (
    "Published figures beside stored runs of the same method, size, official data set, protocol, setting and metric. "
    "“Chosen” is what the source says of its figure; ours are chosen on validation, test scored once, as mean over "
    "seeds with its 95 % interval. Inflation is what choosing the epoch on test adds to our own runs, “all habits” "
    "what the best seed under the most flattering rule adds. A figure within our interval is not reproduced by that, "
    "and one outside is not refuted: the two were chosen differently."
)


def told(figure: Figure) -> str:
    """Say how a figure was chosen, who stands behind it, and where it was read."""
    doubt = "DOUBTFUL: " if figure.doubtful else ""
    said = f"{doubt}chosen: {figure.chosen}; {STANDING_WORDS[figure.standing]}: {figure.source}"
    return f"{said} ({figure.note})" if figure.note else said


def figures_document(found: Sequence[Figure]) -> Document:
    """Build the document of ``bench published show``: one table per method."""
    parts = []
    for name in dict.fromkeys(figure.method for figure in found):
        own = [figure for figure in found if figure.method == name]
        parts.append(Part(name, (Table.of("published", _FIELDS, own),), anchor=name))
    count = f"{len(found)} published figure{'s' * (len(found) != 1)}"
    return Document(
        "Published figures",
        (*parts, Notes((f"{count}. Percent, ± standard deviation as printed; each as its source has it.",))),
    )


@dataclass(frozen=True)
class Beside:
    """A published figure with our cells of the same question.

    Attributes:
        figure: The figure.
        fair: Our cell of the fair form; None if none is stored.
        published: Our cell of the published form; None likewise.
        line: How selection changes our cell of the published form, else of the fair one; None if not stored.
    """

    figure: Figure
    fair: ScoredCell | None
    published: ScoredCell | None
    line: LedgerLine | None

    @property
    def cell(self) -> ScoredCell:
        """Our cell that is nearest to the figure: of the published form where it is stored."""
        found = self.published or self.fair
        assert found is not None
        return found

    @property
    def inside(self) -> bool | None:
        """Whether the figure lies in our 95 % interval; None without an interval."""
        summary = self.cell.summary
        if summary.low is None or summary.high is None:
            return None
        return summary.low <= self.figure.value / 100 <= summary.high


def beside(model: ReportModel) -> list[Beside]:
    """Return the published figures that stored runs correspond to, doubtful ones left out."""
    cells = [row.cell for section in model.sections if not section.smoke for row in section.rows]
    lines = {id(line.cell): line for line in model.ledger}
    found = []
    for figure in figures():
        if figure.doubtful or not corresponding(figure):
            continue
        own = [cell for cell in cells if corresponds(figure, cell)]
        if not own:
            continue
        forms = {form: _newest([cell for cell in own if cell.form == form]) for form in ("fair", "published")}
        best = forms["published"] or forms["fair"]
        found.append(Beside(figure, forms["fair"], forms["published"], lines.get(id(best))))
    return found


def _newest(cells: Sequence[ScoredCell]) -> ScoredCell | None:
    """Choose a cell: most seeds, then the code of today."""
    return min(cells, key=lambda cell: (-len(cell.scores), cell.older_code, cell.label), default=None)


_BESIDE: tuple[Field[Beside], ...] = (
    Field("method", "method", whole=True, cell=lambda one: one.cell.label),
    Field("judged", "judged by", cell=lambda one: f"{one.figure.where}, {_protocol(one.figure)}, {one.figure.metric}"),
    Field("value", "published", right=True, cell=lambda one: Cell(one.figure.shown, one.figure.value)),
    Field("chosen", "chosen", cell=lambda one: str(one.figure.chosen)),
    Field("fair", "ours, fair", cell=lambda one: _ours(one.fair)),
    Field("form", "ours, published form", cell=lambda one: _ours(one.published)),
    Field("inflation", "inflation", cell=lambda one: _inflation(one.line)),
    Field("together", "all habits", cell=lambda one: _together(one.line)),
    Field("inside", "within our interval", cell=lambda one: _inside(one)),
    Field("source", "source", below=True, cell=lambda one: told(one.figure)),
)


def part(model: ReportModel) -> Part:
    """Return stored runs beside published figures, as a part of the report."""
    found = beside(model)
    stored = {row.cell.method for section in model.sections for row in section.rows}
    ran = {METHODS[name] for name in stored & METHODS.keys()}
    others = [figure for figure in figures() if figure.method in ran and not any(one.figure is figure for one in found)]
    names = ", ".join(sorted(ran))
    blocks: list[Block] = []
    if found:
        blocks += [Paragraph(EXPLAINED, "soft"), Table.of("literature", _BESIDE, found)]
        left = f"{len(others)} further published figures of {names} have no stored run that corresponds."
        blocks.append(Notes((left,)))
    else:
        blocks.append(
            Paragraph(
                f"No stored run corresponds to a published figure{f' of {names}' if names else ''}: that takes the "
                "official data set, the published size (384 wide, 12 blocks) and the same protocol and setting. "
                "bench published show lists the figures."
            )
        )
    return Part(TITLE, tuple(blocks), "literature")


def _protocol(figure: Figure) -> str:
    return ", ".join(filter(None, (figure.protocol, figure.setting)))


def _ours(cell: ScoredCell | None) -> Cell:
    if cell is None:
        return quantities.NONE
    seeds = f" ({cell.summary.n} seed{'s' * (cell.summary.n != 1)})"
    return quantities.score(cell.summary, note=seeds)


def _inflation(line: LedgerLine | None) -> Cell:
    found = None if line is None else line.inflation
    return quantities.NONE if found is None else quantities.points(found.mean, found.low, found.high)


def _together(line: LedgerLine | None) -> Cell:
    return quantities.NONE if line is None else quantities.points(line.together)


def _inside(one: Beside) -> Cell:
    if one.inside is None:
        return Cell("no interval")
    return Cell("yes" if one.inside else "no", one.inside)
