"""`build_report`: from stored rows to tables on screen and files on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report.html import to_html
from bench.report.model import ReportModel, build_model
from bench.report.summary import Sentence, summarise_report
from bench.report.text import to_csv, to_markdown
from bench.store.publish import write_whole

if TYPE_CHECKING:
    from rich.console import Console

    from bench.report.studies import StudyFacts
    from bench.stats.deviations import Deviations
    from bench.store.queries import MetricRow
    from bench.store.records import RunRecord


@dataclass(frozen=True)
class BuiltReport:
    """Result of `build_report`.

    Attributes:
        model: What the report says.
        summary: The same in plain words.
        html: The page.
        csv: One line per cell.
        markdown: The tables for people.
    """

    model: ReportModel
    summary: tuple[Sentence, ...]
    html: Path
    csv: Path
    markdown: Path


def build_report(
    rows: Iterable[MetricRow],
    runs: Sequence[RunRecord],
    out: Path,
    *,
    console: Console | None = None,
    selection: bool = False,
    studies: Sequence[StudyFacts] = (),
    deviations: Mapping[str, Deviations] | None = None,
) -> BuiltReport:
    """Write ``index.html``, ``results.csv`` and ``results.md``; the same rows give the same bytes.

    Args:
        rows: Metric rows of the store (`bench.store.queries`).
        runs: Records of those runs and of failed ones; predictions may be left out.
        out: Folder for the files, made if need be.
        console: Where to print the tables; nothing is printed without one.
        selection: Print how selection changes the numbers instead of the tables; the files hold both.
        studies: Searches for hyperparameters.
        deviations: By run key, what a run has that its preset would not give it.

    Raises:
        SetupError: The folder cannot be written; one line says why. Earlier reports stay as they were.
    """
    model = replace(build_model(rows, runs, deviations), studies=tuple(studies))
    summary = tuple(summarise_report(model))
    built = BuiltReport(model, summary, out / "index.html", out / "results.csv", out / "results.md")
    for path, text in (
        (built.html, to_html(model, summary)),
        (built.csv, to_csv(model)),
        (built.markdown, to_markdown(model, summary)),
    ):
        write_text(path, text)
    if console is not None:
        from bench.report.terminal import print_report, print_selection

        if selection:
            print_selection(model, console)
        else:
            print_report(model, summary, console)
    return built


def write_text(path: Path, text: str) -> None:
    """Write a file of the report, whole or not at all.

    Raises:
        SetupError: It cannot be written.
    """
    write_whole(path, text, "the report file", "choose a writable folder with --out")
