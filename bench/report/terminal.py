"""The report in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bench.report import scaling, selection, tables, transfer, tuning
from bench.report.model import ReportModel, Section
from bench.report.plain import TextTable, plain_table
from bench.report.runs import Failure
from bench.report.summary import Sentence
from bench.report.text import EMPTY

_STEPS = (
    ("drop", "size"),
    ("drop", "p_holm"),
    ("drop", "chosen_on"),
    ("drop", "pretrain_seconds"),
    ("drop", "components"),
    ("drop", "span"),
    ("wrap", "verdict"),
    ("wrap", "method"),
    ("drop", "seeds"),
    ("drop", "setting"),
    ("wrap", "difference"),
)
"""What a narrow terminal goes without, in this order; the files always have everything."""
_MOST = {"method": 24, "pretrain_data": 16, "size": 20}
"""Where text longer than this may be broken."""
_STYLES = {
    "above": "green",
    "below": "red",
    "none": "default",
    "mixed": "yellow",
    "no-comparison": "dim",
    "warning": "yellow",
}
_SIGNS = {"above": "▲", "below": "▼", "none": "○", "mixed": "◆", "no-comparison": "–", "warning": "!"}
_WHOLE = frozenset({"setting", "seeds", "score", "difference", "span", "p_holm", "method", "verdict"})
_RIGHT = frozenset({"seeds", "score", "components", "span", "difference", "p_holm", "pretrain_seconds"})


def print_report(model: ReportModel, summary: Sequence[Sentence], console: Console) -> None:
    """Print tables, failures and the summary in plain words."""
    if not model.sections:
        console.print(escape(EMPTY))
    if any(section.smoke for section in model.sections):  # said once; every heading says SMOKE again
        console.print(Text(tables.SMOKE_LINE, style="bold yellow"))
    for section in model.shown:
        _print_section(section, console)
    scaling.print_scaling(model, console)
    transfer.print_transfer(model, console)
    tuning.print_tuning(model.studies, console)
    if model.failures:
        console.print(Text("Runs without a result", style="bold"))
        console.print(_failures(model.failures))
        console.print()
    for sentence in summary:
        line = Text(f"{_SIGNS[sentence.kind]} ", style=_STYLES[sentence.kind])
        console.print(line.append(sentence.text, style="default"))


def print_selection(model: ReportModel, console: Console) -> None:
    """Print the selection rules side by side."""
    if not model.ledger:
        console.print(escape(selection.EMPTY))
        return
    console.print(Text(selection.TITLE, style="bold"))
    if selection.has_smoke(model.ledger):
        console.print(Text(selection.SMOKE_NOTE, style="bold yellow"))
    console.print(plain_table(*selection.table(model.ledger, model.deviations)))
    console.print(Text(selection.EXPLAINED, style="dim"))


def _print_section(section: Section, console: Console) -> None:
    console.print(Text(tables.heading(section), style="bold"))
    for line in tables.changes(section):
        console.print(Text(line, style="yellow"))
    console.print(_scores(section, console.width))
    console.print(Text(" ".join([*tables.told(section), *tables.notes(section)]), style="dim"))
    heads, candidates = tables.candidates(section)
    if candidates:
        console.print(Text("Candidates: validation / test % (seeds it was chosen in)", style="bold"))
        console.print(plain_table(heads, candidates))
    if section.pairs:
        console.print(Text("Pretrained methods against each other", style="bold"))
        console.print(plain_table(tables.PAIR_HEADINGS, map(tables.pair_texts, section.pairs)))
        if notes := tables.pair_notes(section):
            console.print(Text(" ".join(notes), style="dim"))
    console.print()


def _scores(section: Section, width: int) -> Table | TextTable:
    rows = [_short(tables.row_texts(row, section)) for row in section.rows]
    columns = _fitting(tables.columns(section), rows, width)
    if columns is None:
        names = tables.columns(section)
        return TextTable(names.values(), ([row[name] for name in names] for row in rows))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_edge=False)
    for name, (heading, own_width) in columns.items():
        justify: Literal["left", "right"] = "right" if name in _RIGHT else "left"
        table.add_column(Text(heading), justify=justify, overflow="fold", width=own_width)
    previous = ""
    for row, texts in zip(section.rows, rows, strict=True):
        setting = texts["setting"]
        if setting == previous:
            texts["setting"] = ""
        else:
            if previous:
                table.add_section()
            if "setting" not in columns:
                table.add_row(Text(setting, style="bold"))
        previous = setting
        style = "" if row.versus is None or section.smoke else _STYLES.get(row.versus.verdict, "dim")
        table.add_row(*(Text(texts[n], style=style if n in ("verdict", "difference") else "") for n in columns))
    return table


def _short(texts: dict[str, str]) -> dict[str, str]:
    """Say a verdict in fewer words: its column stands beside the difference to scratch."""
    texts["verdict"] = texts["verdict"].removesuffix(": no comparison").replace(" scratch", "", 1)
    return texts


def _fitting(
    headings: Mapping[str, str], rows: Sequence[Mapping[str, str]], width: int
) -> dict[str, tuple[str, int]] | None:
    """Choose the columns that fit.

    Returns:
        Heading and width by column; None where nothing helps. A setting that has no column left gets lines of its own.
    """
    cells = {name: [row[name] for row in rows] for name in headings}
    widths = {n: _least(n, h, cells[n], n in _WHOLE) for n, h in headings.items()}

    def spare() -> int:
        return width - sum(widths.values()) - 2 * (len(widths) - 1)

    for step, name in _STEPS:
        if spare() < 0 and name in widths:
            if step == "drop":
                del widths[name]
            else:
                widths[name] = _least(name, headings[name], cells[name], False)
    if spare() < 0:
        return None
    for wanted in (cells, {name: [heading] for name, heading in headings.items()}):
        for name in widths:
            widths[name] += min(spare(), max(0, max(map(len, wanted[name])) - widths[name]))
    return {name: (headings[name], own) for name, own in widths.items()}


def _least(name: str, heading: str, cells: Sequence[str], whole: bool) -> int:
    """Least width of a column: its longest word, or its longest cell where cells are to stay whole."""
    words = [*heading.split(), *(cells if whole else [word for cell in cells for word in cell.split()])]
    return min(max(map(len, words)), _MOST.get(name, 100))


def _failures(failures: Iterable[Failure]) -> TextTable:
    body = [(f.label, f.seed, f.status, f.reason.splitlines()[0], f.log) for f in failures]
    return TextTable(("run", "seed", "status", "reason", "log"), body, below=("reason", "log"))
