"""`build_report`: turn stored rows into tables and files."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import contents, paper
from bench.report.claims import evidence_of, stored_claims
from bench.report.classes import count_classes
from bench.report.data import to_json
from bench.report.document import Document
from bench.report.figures import write_figures
from bench.report.forms import ALWAYS, NAMES, FigureWidth, Format
from bench.report.html import to_html
from bench.report.latex import to_latex
from bench.report.markdown import to_markdown
from bench.report.model import ReportModel, build_model
from bench.report.records import to_csv
from bench.report.robustness import robust_tables
from bench.store.publish import cannot_write, write_whole

if TYPE_CHECKING:
    from rich.console import Console

    from bench.plan.skips import Skipped
    from bench.report.studies import StudyFacts
    from bench.stats.deviations import Deviations
    from bench.store.queries import RunNumbers
    from bench.store.records import RunRecord


ADVICE = "choose a writable folder with --out"


@dataclass(frozen=True)
class BuiltReport:
    """Model, document and files of a report.

    Attributes:
        model: Content of the report.
        document: The same as a document.
        out: Folder of the files.
        figures: Path of each figure's PDF by name, relative to `out`; empty if none were asked for.
    """

    model: ReportModel
    document: Document
    out: Path
    figures: Mapping[str, str] = field(default_factory=dict)

    def file(self, form: Format) -> Path:
        """Return the path of the file in a form."""
        return self.out / NAMES[form]

    @property
    def html(self) -> Path:
        """The page."""
        return self.file("html")

    @property
    def csv(self) -> Path:
        """One line per cell."""
        return self.file("csv")

    @property
    def markdown(self) -> Path:
        """The tables for people."""
        return self.file("markdown")

    @property
    def json(self) -> Path:
        """All of the document for programs."""
        return self.file("json")


def build_report(
    numbers: Iterable[RunNumbers],
    runs: Sequence[RunRecord],
    out: Path,
    *,
    console: Console | None = None,
    selection: bool = False,
    studies: Sequence[StudyFacts] = (),
    skipped: Sequence[Skipped] = (),
    deviations: Mapping[str, Deviations] | None = None,
    forms: Sequence[Format] = ALWAYS,
    title: str = "",
    group_by: str = "",
    class_names: Callable[[RunRecord], Sequence[str]] = lambda _: (),
    figures: FigureWidth | None = None,
    published: bool = False,
) -> BuiltReport:
    """Write a report's files from stored numbers.

    ``index.html``, ``results.csv``, ``results.md`` and ``report.json``; the same runs give the same bytes.

    Args:
        numbers: Numbers of runs (`bench.store.queries`).
        runs: Records of those runs and of failed ones; predictions may be left out.
        out: Folder for the files, made if need be.
        console: Console for the tables; None prints nothing.
        selection: Print how selection changes the numbers instead of the tables; the files hold both.
        studies: Searches for hyperparameters.
        skipped: Combinations that plans skipped.
        deviations: Deviations from the preset, by run key.
        forms: Files to write.
        title: Title; `contents.TITLE` by default.
        group_by: Field whose values have tables of their own.
        class_names: Returns the names of the classes of a run's data set; empty where they are not known.
        figures: Width of figures that are written as files; None writes none, which saves the time of drawing them.
        published: Whether published figures stand beside the runs.

    Raises:
        UsageError: No run has the field `group_by`, or runs of one cell differ in it.
        SetupError: The folder cannot be written; one line says why. Earlier reports stay as they were.
    """
    model = report_model(numbers, runs, deviations, forms=forms, group_by=group_by, class_names=class_names)
    model = replace(model, studies=tuple(studies), skipped=tuple(skipped))
    return write_model(
        model,
        out,
        console=console,
        selection=selection,
        forms=forms,
        title=title,
        figures=figures,
        published=published,
    )


def report_model(
    numbers: Iterable[RunNumbers],
    runs: Sequence[RunRecord],
    deviations: Mapping[str, Deviations] | None = None,
    *,
    forms: Sequence[Format] = ALWAYS,
    group_by: str = "",
    class_names: Callable[[RunRecord], Sequence[str]] = lambda _: (),
) -> ReportModel:
    """Return what the files of a report say, searches aside; see `build_report`.

    Nothing of it needs the runs any more.
    """
    numbers = list(numbers)
    model = build_model(numbers, runs, deviations, group_by)
    claims = stored_claims(evidence_of(model, numbers, runs))
    model = replace(model, claims=claims, robust=robust_tables(model.sections, numbers))
    if {"html", "json", "latex-report"}.isdisjoint(forms):
        return model
    done = {run.key: run for run in runs if run.status == "done"}
    return replace(model, classes=count_classes(model.shown, done, class_names))


def write_model(
    model: ReportModel,
    out: Path,
    *,
    console: Console | None = None,
    selection: bool = False,
    forms: Sequence[Format] = ALWAYS,
    title: str = "",
    figures: FigureWidth | None = None,
    published: bool = False,
) -> BuiltReport:
    """Write a report's files from its content, see `build_report`."""
    document = contents.report(model, title=title, published=published)
    render: Mapping[Format, Callable[[], str]] = {
        "html": lambda: to_html(document, [NAMES[form] for form in forms if form != "html"]),
        "csv": lambda: to_csv(model),
        "markdown": lambda: to_markdown(document),
        "json": lambda: to_json(document),
        "latex": lambda: to_latex(paper.document(model, title), drawn),
        "latex-report": lambda: to_latex(document, drawn, whole=True),
    }
    drawn = {} if figures is None else write_figures(document, out, figures, ADVICE)
    built = BuiltReport(model, document, out, drawn)
    for form in forms:
        write_text(built.file(form), render[form]())
    if console is not None:
        from bench.report.terminal import render_terminal

        render_terminal(contents.rules(model) if selection else document, console)
    return built


def require_writable(out: Path) -> None:
    """Refuse a report folder that cannot be written.

    Called before anything is read or drawn.

    Raises:
        SetupError: It cannot be.
    """
    place = next(one for one in (out.absolute(), *out.absolute().parents) if os.path.lexists(one))
    code = errno.EACCES if place.is_dir() else errno.ENOTDIR
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise cannot_write(out / "index.html", OSError(code, os.strerror(code)), "the report file", ADVICE)


def write_text(path: Path, text: str) -> None:
    """Write a report's file, whole or not at all.

    Raises:
        SetupError: It cannot be written.
    """
    write_whole(path, text, "the report file", ADVICE)
