"""Assemble the parts of a report in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.report import (
    claims,
    cost,
    curves,
    ladder,
    literature,
    methods,
    overview,
    provenance,
    ranking,
    robustness,
    scaling,
    scores,
    selection,
    sensitivity,
    transfer,
    tuning,
    variation,
    words,
)
from bench.report.accuracy_plot import drawn_rows
from bench.report.document import Block, Detail, Document, Facts, Findings, Fold, Item, Links, Paragraph, Part
from bench.report.model import ReportModel
from bench.report.summary import Sentence, summarise_report

TITLE = "Benchmark report"
EMPTY = "No finished runs yet. Start with: bench run --method recon --protocol fewshot"
MOST_FINDINGS = 5
"""Most findings on a page; nobody reads a page full of sentences."""
MOST_MARKS = 250
"""Scores that the plots of a page show together: more take minutes to draw, and a browser as long to show."""
READING = (
    (
        "mean ± half-width",
        "Mean over pretraining seeds with its 95 % Student-t interval. Folds are averaged within a seed first: they "
        "are draws from one encoder, not independent pretrainings.",
    ),
    (
        "folds of one encoder",
        "With one seed there is no interval. The standard deviation over folds tells how much the draw of classes and "
        "objects matters, and nothing about another pretraining.",
    ),
    (
        "difference to scratch",
        "Paired by seed and fold with the untrained encoder of the same architecture and backbone, judged in the same "
        "way; points of accuracy with the 95 % interval of the paired difference.",
    ),
    (
        "▲ above, ▼ below, ○ no difference shown",
        "“Above” means that the interval of the paired difference lies above 0. “Not after Holm” marks a difference "
        "that does not hold once all comparisons of its table are taken together (Holm’s correction at 0.05). “No "
        "difference shown” is not “equal”.",
    ),
    (
        "saw evaluated class names",
        "How many of the class names it is evaluated on pretraining has seen: in captions, through a teacher, or as "
        "supervision. A claim that pretraining helps rests on rows that saw none.",
    ),
    (
        "chosen on",
        "“val”: everything that was chosen (epoch, regularisation, initialisation of scratch) was chosen on validation "
        "objects carved from the training split. The test split was scored once.",
    ),
)


def report(
    model: ReportModel, summary: Sequence[Sentence] | None = None, title: str = "", *, published: bool = False
) -> Document:
    """Build the document of a report.

    Args:
        model: Content of the report.
        summary: The same in plain words; made from the model by default.
        title: Title of the document; `TITLE` by default.
        published: Whether published figures stand beside the runs.
    """
    told = summarise_report(model) if summary is None else summary
    shown = model.shown
    blocks: list[Block] = [_summary(told)] if told else []
    if shown:
        blocks += [
            Fold("How to read the numbers", (Facts(READING),), detail=Detail.PAGE),
            Links(
                f"{len(shown)} table{'s' * (len(shown) != 1)}",
                tuple((one.title, one.anchor, f"preset {one.preset_words}") for one in shown),
                detail=Detail.PAGE,
            ),
        ]
    blocks += [found] if (found := overview.part(model)) else []
    marks = 0
    for section in shown:
        marks += len(drawn_rows(section))
        plot = marks <= MOST_MARKS or section is shown[0]
        blocks.append(scores.part(section, plot=plot, classes=model.classes.get(section.anchor)))
    blocks += robustness.parts(model.robust)
    blocks += ladder.parts(model)
    blocks += ranking.parts(model)
    blocks += [claims.part(model.claims)] if model.claims else []
    blocks += [literature.part(model)] if published else []
    blocks += [selection.part(model)] if model.ledger else []
    blocks += scaling.parts(model)
    blocks += [transfer.part(sets)] if (sets := transfer.matrices(model)) else []
    blocks += [tuning.part(group) for group in tuning.groups(model.studies)]
    blocks += curves.parts(model.panels)
    blocks += [cost.part(shown)] if shown else []
    blocks += sensitivity.part(model, sensitivity.Question(0.01))
    blocks += variation.parts(model)
    blocks += [methods.part(model.methods)] if model.methods else []
    blocks += provenance.without_result(model)
    blocks += [provenance.part(model)] if model.runs else []
    return Document(title or TITLE, tuple(blocks), lead(model))


def rules(model: ReportModel) -> Document:
    """Build the document of ``bench report --selection``.

    It shows how selection changes the numbers.
    """
    shown = replace(selection.part(model), detail=Detail.ALWAYS) if model.ledger else Paragraph(selection.EMPTY)
    return Document("Rules of selection", (shown,))


def lead(model: ReportModel) -> str:
    """Count runs, computation and failures in a line."""
    if not model.sections:
        return EMPTY
    made, lost = model.environment, len(model.failures)
    parts = [f"{made.runs:,} finished run{'s' * (made.runs != 1)}"]
    parts += [] if made.seconds is None else [f"{words.seconds(made.seconds)} of computation"]
    parts += [f"{lost:,} without a result"] if lost else []
    return f"{', '.join(parts)}."


def _summary(told: Sequence[Sentence]) -> Part:
    items = [Item(one.text, one.kind, one.anchor) for one in told]
    warnings = tuple(item for item in items if item.tone == "warning")
    findings = tuple(item for item in items if item.tone != "warning")
    blocks: tuple[Block, ...] = (Findings(warnings),) if warnings else ()
    blocks += (Findings(findings, MOST_FINDINGS),) if findings else ()
    return Part("In short", blocks, "summary", closing=True)
