"""Print the findings of a check, 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from bench.data.base import DatasetCard
from bench.data.files import in_words
from bench.inspection.facts import CheckReport, DiskFacts, SplitFacts, Spread
from bench.report.plain import TextTable, facts_table, plain_table

_NAMED = ("points", "labels", "normals", "parts", "views", "points of a room")


def print_report(report: CheckReport, screen: Console) -> None:
    """Print all findings; problems come last.

    Args:
        report: The findings.
        screen: Console.
    """
    _print_head(report, screen)
    if report.splits:
        screen.print(
            _split_table(report.splits, official=DatasetCard.model_validate(report.card).unstated == "not known")
        )
        _print_coordinates(report, screen)
        screen.print()
        _print_classes(report.splits, screen)
    if report.parts:
        screen.print()
        there = {True: Text("yes", style="green"), False: Text("no", style="yellow")}
        rows = [(part.name, there[part.there], part.note) for part in report.parts]
        screen.print(TextTable(("", " ", "  "), rows, whole=("",)))
    screen.print()
    for note in report.notes:
        screen.print(Text.assemble(("note: ", "yellow"), note))
    for problem in report.problems:
        screen.print(Text.assemble(("wrong: ", "bold red"), problem))
    if report.problems and report.root is not None:
        screen.print(Text.assemble(("to get it: ", "bold"), str(report.card["how_to_get"])))
    if not report.problems:
        screen.print(Text("nothing wrong found", style="green"))


def _print_head(report: CheckReport, screen: Console) -> None:
    card = report.card
    screen.print(Text.assemble((report.name, "bold"), f": {card['summary']}"))
    options = ", ".join(f"{name}={value}" for name, value in report.options.items())
    rows = [("format", report.format), ("folder", report.root or ""), ("options", options)]
    rows += [("manifest", report.manifest[:16] or "cannot be read"), ("licence", str(card["licence"]))]
    rows += [("terms", str(card["terms"])), ("citation", str(card["citation"]))]
    rows += [("files", _disk(report.disk) if report.disk is not None else "")]
    screen.print(facts_table((name, value) for name, value in rows if value))
    screen.print()


def _disk(disk: DiskFacts) -> str:
    kinds = [f"{count:,} {suffix} {in_words(size)}" for suffix, (count, size) in disk.by_suffix.items()]
    more = ", ..." if len(kinds) > 4 else ""
    return f"{disk.files:,}, {in_words(disk.bytes)}: {', '.join(kinds[:4])}{more}"


def _split_table(splits: dict[str, SplitFacts], official: bool) -> TextTable:
    rows: list[list[str | Text]] = []
    facts = list(splits.values())
    rooms = any(s.areas for s in facts)

    def row(name: str, values: Sequence[str]) -> None:
        if any(values):
            rows.append([Text(name, style="dim"), *values])

    row("rooms" if rooms else "objects", [f"{s.objects:,}" for s in facts])
    if official or any(s.known is not None for s in facts):
        row("official release", ["not known" if s.known is None else f"{s.known:,}" for s in facts])
    for name in _NAMED:
        row(name, [s.arrays.get(name, "") for s in facts])
    if rooms:
        row("points", [f"{s.points:,}" for s in facts])
        row("rooms per area", [", ".join(f"{area}: {count}" for area, count in s.areas.items()) for s in facts])
    row("in memory", [in_words(s.bytes) for s in facts])
    row("exact copies", [f"{s.copies:,}" if s.copies else "" for s in facts])
    found = [s.coordinates for s in facts]
    for axis, letter in enumerate("xyz"):
        row(f"{letter} from .. to", ["" if c is None else f"{c.low[axis]:.3g} .. {c.high[axis]:.3g}" for c in found])
    row("mean off the origin", ["" if c is None else _three(c.off_centre) for c in found])
    row("farthest from mean", ["" if c is None else _three(c.radius) for c in found])
    row("distinct points", ["" if c is None else _three(c.distinct) for c in found])
    return plain_table(("", *splits), rows)


def _three(spread: Spread) -> str:
    """Format least, median and most, or their common value."""
    values = [f"{0.0 if abs(v) < 5e-5 else v:.4g}" for v in (spread.least, spread.median, spread.most)]
    return values[0] if len(set(values)) == 1 else f"{values[1]} ({values[0]} .. {values[2]})"


def _print_coordinates(report: CheckReport, screen: Console) -> None:
    verdicts = {split: s.coordinates.verdict for split, s in report.splits.items() if s.coordinates is not None}
    screen.print()
    if len(set(verdicts.values())) == 1:
        screen.print(Text.assemble(("clouds are ", "dim"), next(iter(verdicts.values()))))
    else:
        for split, verdict in verdicts.items():
            screen.print(Text.assemble((f"{split} clouds are ", "dim"), verdict))
    screen.print(Text.assemble(("published methods normalise: ", "dim"), str(report.card["normalisation"])))


def _print_classes(splits: dict[str, SplitFacts], screen: Console) -> None:
    """Print objects per class, in columns that fit the screen."""
    classes = list(next(iter(splits.values())).per_class)
    what = "points" if any(s.areas for s in splits.values()) else "objects"
    shown = {split: [f"{s.per_class.get(name, 0):,}" for name in classes] for split, s in splits.items()}
    widths = [max(map(len, classes), default=5), *(max(len(split), *map(len, v)) for split, v in shown.items())]
    fitting = (screen.width + 3) // (sum(width + 2 for width in widths) + 1)
    columns = max(1, min(fitting, 4, -(-len(classes) // 8)))
    lines = -(-len(classes) // columns)
    screen.print(Text(f"{what} of {len(classes)} classes", style="bold"))
    rows: list[list[str | Text]] = []
    for line in range(lines):
        cells: list[str | Text] = []
        for place in range(line, lines * columns, lines):
            here = place < len(classes)
            cells.append(classes[place] if here else "")
            cells += [_count(values[place]) if here else "" for values in shown.values()]
        rows.append(cells)
    screen.print(TextTable(("class", *splits) * columns, rows, right=tuple(splits)))


def _count(text: str) -> str | Text:
    return Text("0", style="red") if text == "0" else text
