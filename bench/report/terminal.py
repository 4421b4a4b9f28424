"""The report in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bench.report import tables
from bench.report.model import ReportModel, Section
from bench.report.runs import Failure
from bench.report.summary import Sentence
from bench.report.text import EMPTY

WIDE = 150
"""Columns of a terminal from which on everything is shown; the files always have everything."""
_ONLY_WIDE = frozenset({"span", "p_holm", "pretrain_seconds", "size", "chosen_on"})
_STYLES = {
    "above": "green",
    "below": "red",
    "none": "default",
    "mixed": "yellow",
    "no-comparison": "dim",
    "warning": "yellow",
}
_SIGNS = {"above": "▲", "below": "▼", "none": "○", "mixed": "◆", "no-comparison": "–", "warning": "!"}
_RIGHT = frozenset({"seeds", "score", "span", "difference", "p_holm", "pretrain_seconds"})


def print_report(model: ReportModel, summary: Sequence[Sentence], console: Console) -> None:
    """Print tables, failures and the summary in plain words."""
    if not model.sections:
        console.print(escape(EMPTY))
    for section in model.sections:
        _print_section(section, console)
    if model.failures:
        console.print(_failures(model.failures))
    for sentence in summary:
        line = Text(f"{_SIGNS[sentence.kind]} ", style=_STYLES[sentence.kind])
        console.print(line.append(sentence.text, style="default"))


def _print_section(section: Section, console: Console) -> None:
    if section.smoke:
        console.print(Text(tables.SMOKE_LINE, style="bold yellow"))
    console.print(_scores(section, wide=console.width >= WIDE))
    candidates = tables.candidate_rows(section)
    if candidates:
        console.print(_plain("Candidates of scratch", tables.CANDIDATE_HEADINGS, candidates))
    if section.pairs:
        body = [tables.pair_texts(pair) for pair in section.pairs]
        console.print(_plain("Pretrained methods against each other", tables.PAIR_HEADINGS, body))
    console.print()


def _scores(section: Section, wide: bool) -> Table:
    found = {n: h for n, h in tables.columns(section).items() if wide or n not in _ONLY_WIDE}
    caption = " ".join([f"{tables.how_measured(section)}.", *tables.notes(section)])
    table = Table(
        title=escape(tables.heading(section)),
        title_justify="left",
        title_style="bold",
        caption=escape(caption),
        caption_justify="left",
    )
    for name, text in found.items():
        table.add_column(escape(text), justify="right" if name in _RIGHT else "left")
    previous = ""
    for row in section.rows:
        if previous and row.cell.setting != previous:
            table.add_section()
        texts = tables.row_texts(row, section)
        if row.cell.setting == previous:
            texts["setting"] = ""
        previous = row.cell.setting
        style = "" if row.versus is None or section.smoke else _STYLES.get(row.versus.verdict, "dim")
        cells = [Text(texts[n], style=style if n in ("verdict", "difference") else "") for n in found]
        table.add_row(*cells)
    return table


def _failures(failures: Iterable[Failure]) -> Table:
    body = [(f.label, f.seed, f.status, f.reason.splitlines()[0], f.log) for f in failures]
    return _plain("Runs without a result", ("run", "seed", "status", "reason", "log"), body)


def _plain(title: str, heads: Sequence[str], body: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for head in heads:
        table.add_column(head)
    for row in body:
        table.add_row(*map(Text, row))
    return table
