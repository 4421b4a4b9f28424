"""Render the decision for terminal, Markdown, JUnit XML and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.text import Text

from bench.errors import SetupError
from bench.report.markdown import table
from bench.report.plain import TextTable
from bench.stats.gate import GateLine, GateReport, GateVerdict
from bench.store.publish import write_whole
from bench.texts import visible

_COLOURS: Mapping[GateVerdict, str] = {"pass": "green", "fail": "red", "undecided": "yellow", "broken": "red"}
_HEADINGS = ("cell", "verdict", "baseline", "now", "margin", "why")


SEPARATOR = " | "
"""Between the parts of a cell's name."""


def brief(names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Shorten names of cells by the parts they share.

    Returns:
        The shared parts, and the rest of each name. Nothing is shared by names of different numbers of parts.
    """
    parts = {name: name.split(SEPARATOR) for name in names}
    if len(parts) < 2 or len({len(split) for split in parts.values()}) > 1:
        return "", {name: name for name in parts}
    columns = list(zip(*parts.values(), strict=True))
    shared = [len(set(column)) == 1 for column in columns]
    rest = {
        name: SEPARATOR.join(part for part, same in zip(split, shared, strict=True) if not same)
        for name, split in parts.items()
    }
    return SEPARATOR.join(column[0] for column, same in zip(columns, shared, strict=True) if same), rest


def title(line: GateLine, names: Mapping[str, str] | None = None) -> str:
    """Return a line's title: its cell, and "gain" for gains.

    Args:
        line: The line.
        names: Shorter names of cells; None keeps the full ones.
    """
    name = (names or {}).get(line.cell, line.cell)
    return f"{name}: gain over scratch" if line.quantity == "gain" else name


def _brief(report: GateReport) -> tuple[str, dict[str, str]]:
    return brief(line.cell for line in report.lines if line.quantity == "accuracy")


def _row(line: GateLine, names: Mapping[str, str] | None = None) -> list[str]:
    now = "" if line.now is None else _number(line, line.now)
    return [title(line, names), line.verdict, _number(line, line.base), now, _number(line, line.margin), line.reason]


def _number(line: GateLine, value: float) -> str:
    """Format points, or a number of files."""
    return f"{value:.0f}" if line.quantity == "numerics" else f"{value:.1f}"


def print_report(report: GateReport, screen: Console) -> None:
    """Print the lines, the notes and the verdict."""
    shared, names = _brief(report)
    rows: list[list[str | Text]] = []
    for line in report.lines:
        cell, verdict, *rest = _row(line, names)
        rows.append([cell, Text(verdict, style=_COLOURS[line.verdict]), *rest])
    if shared:
        screen.print(shared, highlight=False, markup=False)
    screen.print(TextTable(_HEADINGS, rows, whole=("verdict",), right=("baseline", "now", "margin")))
    for note in report.notes:
        screen.print(f"note: {note}", highlight=False, markup=False)
    colour = _COLOURS[report.verdict]
    screen.print(f"accuracy check: [bold {colour}]{report.verdict}[/bold {colour}] (points)", highlight=False)


def markdown(report: GateReport, heading: str) -> str:
    """Return the decision as Markdown.

    Args:
        report: The decision.
        heading: What was checked, e.g. the name of the baseline.
    """
    seeds = ", ".join(map(str, report.seeds))
    shared, names = _brief(report)
    said = "; ".join(filter(None, (heading, shared, f"seeds {seeds}", "points")))
    lines = [f"## Accuracy check: {report.verdict}", "", f"{visible(said)}.", ""]
    lines += table(_HEADINGS, (_row(line, names) for line in report.lines))
    lines += ["", *(f"- {visible(note)}" for note in report.notes)] if report.notes else []
    return "\n".join(lines) + "\n"


def as_json(report: GateReport) -> dict[str, object]:
    """Return the decision with fields that stay (docs/ci.md)."""
    return {
        "verdict": report.verdict,
        "exit_code": report.exit_code,
        "seeds": list(report.seeds),
        "level": report.level,
        "lines": [
            {
                "cell": line.cell,
                "quantity": line.quantity,
                "verdict": line.verdict,
                "baseline": line.base,
                "now": line.now,
                "drop": line.drop,
                "margin": line.margin,
                "p_holm": line.p,
                "reason": line.reason,
            }
            for line in report.lines
        ],
        "notes": list(report.notes),
    }


def write_junit(report: GateReport, path: Path, name: str, *, undecided_passes: bool) -> None:
    """Write JUnit XML: a test case per line.

    Args:
        report: The decision.
        path: File to write.
        name: Name of the test suite, e.g. of the baseline.
        undecided_passes: Whether an undecided line is a skipped test; otherwise it is a failure.
    """
    suite = ElementTree.Element("testsuite", name=visible(name), tests=str(len(report.lines)))
    counts = dict.fromkeys(("failure", "error", "skipped"), 0)
    kinds: dict[GateVerdict, str] = {
        "fail": "failure",
        "broken": "error",
        "undecided": "skipped" if undecided_passes else "failure",
    }
    for line in report.lines:
        case = ElementTree.SubElement(suite, "testcase", classname=visible(name), name=visible(title(line)))
        if (kind := kinds.get(line.verdict)) is not None:
            counts[kind] += 1
            ElementTree.SubElement(case, kind, message=visible(f"{line.verdict}: {line.reason}"), type=line.verdict)
        base, now, margin = _row(line)[2:5]
        measured = f", now {now}" if now else ""
        ElementTree.SubElement(case, "system-out").text = visible(
            f"baseline {base}{measured}, margin {margin}: {line.reason}"
        )
    suite.set("failures", str(counts["failure"]))
    suite.set("errors", str(counts["error"]))
    suite.set("skipped", str(counts["skipped"]))
    tree = ElementTree.ElementTree(suite)
    ElementTree.indent(tree)
    text = ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
    write_whole(path, text, "the JUnit file", "give a writable path")


def append_summary(report: GateReport, path: Path, heading: str) -> None:
    """Append Markdown to a file such as GitHub's step summary."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(markdown(report, heading) + "\n")
    except OSError as error:
        raise SetupError(f"cannot write the summary {path}: {error.strerror}; give a writable path") from error
