"""Audit results as table, CSV, JSON and picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console
from rich.text import Text

from bench.data.duplicates import turned
from bench.inspection.auditing import Audit, AuditReport, Pair, Side
from bench.inspection.pictures import ASLANT, FAINT, STYLE, draw_cloud, plain, save
from bench.report.plain import TextTable
from bench.store.publish import write_whole
from bench.texts import csv_text

LISTED = 10
"""Most pairs in the table on the screen."""
_PER_LINE = 2


def explain(report: AuditReport) -> str:
    """Explain the numbers of a report."""
    return (
        f"near: at most {report.threshold:g} times as far apart (Chamfer, best turn about y) as two samples of one "
        "surface; exact: the same points up to order, centring and scale"
    )


def print_audit(report: AuditReport, screen: Console) -> None:
    """Print the closest pairs and the summary, 80 columns wide."""
    what = "with itself" if report.within else f"against {report.b} {report.b_split} ({report.b_objects:,})"
    screen.print(Text.assemble((f"{report.a} {report.a_split} ({report.a_objects:,})", "bold"), f" {what}"))
    screen.print(Text(explain(report), style="dim"))
    if report.pairs:
        screen.print()
        rows = [
            (
                "exact" if pair.kind == "exact" else f"{pair.ratio:.2f}",
                f"{pair.a} {pair.a_class}, {pair.a_split}",
                f"{pair.b} {pair.b_class}, {pair.b_split}",
            )
            for pair in report.pairs[:LISTED]
        ]
        headings = ("ratio", report.a, "the same as" if report.within else report.b)
        screen.print(TextTable(headings, rows, right=("ratio",)))
        if len(report.pairs) > LISTED:
            screen.print(Text(f"and {len(report.pairs) - LISTED:,} more pairs (--out DIR lists all)", style="dim"))
        named = sum(pair.same_name for pair in report.pairs)
        if named:
            screen.print(Text(f"{named:,} of the pairs are clouds of one object by their names", style="dim"))
    screen.print()
    screen.print(Text(report.summary(), style="bold"))


def write_audit(found: Audit, folder: Path, pictured: int) -> list[Path]:
    """Write ``pairs.csv``, ``audit.json`` and, for any pairs, ``pairs.png``.

    Args:
        found: The audit.
        folder: Folder for the files; made if absent.
        pictured: Pairs in the picture, the closest first.

    Returns:
        The files.

    Raises:
        SetupError: They cannot be written.
    """
    columns = list(Pair.model_fields)
    rows = [[getattr(pair, name) for name in columns] for pair in found.report.pairs]
    files = [folder / "pairs.csv", folder / "audit.json"]
    write_whole(files[0], csv_text(columns, rows))
    write_whole(files[1], found.report.model_dump_json(indent=2) + "\n")
    if found.report.pairs and pictured > 0:
        files.append(folder / "pairs.png")
        draw_pairs(found, files[2], pictured)
    return files


def draw_pairs(found: Audit, path: Path, count: int) -> None:
    """Draw the closest pairs side by side.

    The second of a pair is turned onto the first.

    Raises:
        SetupError: The picture cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    report, shown = found.report, list(zip(found.report.pairs, found.matches, strict=True))[:count]
    columns = min(_PER_LINE, len(shown))
    lines = -(-len(shown) // columns)
    cell, gap = 1.9, 0.25
    pair_width = 2 * cell + gap
    width, height = columns * pair_width + 0.2, lines * (cell + 0.62) + 0.5
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        what = "within itself" if report.within else f"(left) and {report.b} (right)"
        figure.text(0.15 / width, 1 - 0.22 / height, f"{report.a} {what}", fontsize=10, weight="bold", va="center")
        for place, (pair, match) in enumerate(shown):
            line, column = divmod(place, columns)
            bottom, left = height - 0.5 - (line + 1) * (cell + 0.62), 0.15 + column * pair_width
            _draw_side(figure, found.a, match.a, 0.0, left / width, bottom / height, cell)
            _draw_side(figure, found.b, match.b, match.turn, (left + cell) / width, bottom / height, cell)
            top = (bottom + cell + 0.36) / height
            words = "exact" if pair.kind == "exact" else f"ratio {pair.ratio:.2f}, turned by {pair.turn:.0f}°"
            figure.text(left / width, top, words, fontsize=8.5, weight="bold", va="center")
            for name, class_name, split, shift in (
                (pair.a, pair.a_class, pair.a_split, 0.0),
                (pair.b, pair.b_class, pair.b_split, cell),
            ):
                label = f"{_short(name)}\n{class_name}, {split}"
                at = ((left + shift) / width, (bottom + cell + 0.11) / height)
                figure.text(*at, label, fontsize=6, color=FAINT, va="center", linespacing=1.2)
        save(figure, path)


def _draw_side(figure: object, side: Side, row: int, turn: float, left: float, bottom: float, cell: float) -> None:
    from matplotlib.figure import Figure

    assert isinstance(figure, Figure)
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left, bottom, cell / width, cell / height))
    points = turned(np.asarray(side.points[row], dtype=np.float32), float(np.radians(turn)))
    draw_cloud(axes, points, plain(len(points)), ASLANT)


def _short(name: str, most: int = 34) -> str:
    return name if len(name) <= most else f"…{name[-most + 1 :]}"
