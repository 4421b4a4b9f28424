"""Published figures as tables, and stored runs beside them."""

from __future__ import annotations

from collections.abc import Sequence

from bench.published.figures import STANDING_WORDS, Figure
from bench.report.document import Cell, Document, Field, Notes, Part, Table

_FIELDS: tuple[Field[Figure], ...] = (
    Field("dataset", "data set", wrap=1, cell=lambda one: one.where),
    Field("protocol", "protocol", wrap=2, cell=lambda one: ", ".join(filter(None, (one.protocol, one.setting)))),
    Field("variant", "variant", wrap=3, sink=4, cell=lambda one: one.variant),
    Field("metric", "metric", cell=lambda one: one.metric),
    Field("value", "value", right=True, cell=lambda one: Cell(one.shown, one.value)),
    Field("told", "source", below=True, cell=lambda one: told(one)),
)


def told(figure: Figure) -> str:
    """Say how a figure was chosen, who stands behind it, and where it was read."""
    doubt = "DOUBTFUL: " if figure.doubtful else ""
    said = f"{doubt}chosen: {figure.chosen}; {STANDING_WORDS[figure.standing]}: {figure.source}"
    return f"{said} ({figure.note})" if figure.note else said


def figures_document(figures: Sequence[Figure]) -> Document:
    """Build the document of ``bench published show``: one table per method."""
    parts = []
    for name in dict.fromkeys(figure.method for figure in figures):
        own = [figure for figure in figures if figure.method == name]
        parts.append(Part(name, (Table.of("published", _FIELDS, own),), anchor=name))
    count = f"{len(figures)} published figure{'s' * (len(figures) != 1)}"
    return Document(
        "Published figures",
        (*parts, Notes((f"{count}. Percent, ± standard deviation as printed; each as its source has it.",))),
    )
