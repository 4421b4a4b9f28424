"""Accuracy on corrupted test clouds, by type and level."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.data.corruptions import CLEAN
from bench.protocols.robustness import METRIC
from bench.report import quantities
from bench.report.accuracy_plot import drawn_rows
from bench.report.document import AnyCell, Block, Column, Drawing, Figure, Notes, Paragraph, Part, Row, Table
from bench.report.document import Cell as DocumentCell
from bench.report.model import RobustLine, RobustTable, Section
from bench.report.plots import INK, MARKERS, SERIES, small_multiples
from bench.stats.cells import Cell
from bench.stats.opponents import opponent
from bench.stats.robustness import DGCNN, Robust, mean_corruption_error, relative_corruption_error

if TYPE_CHECKING:
    from bench.store.queries import RunNumbers

TITLE = "Corrupted test clouds"
OFFICIAL = f"{METRIC}[{CLEAN}]"
"""Number that only runs on ModelNet-C's files have: accuracy on its own clean clouds."""
EXPLAINED = (
    "The heads are those of the clean evaluation: nothing is trained or chosen on corrupted clouds. mOA is the mean "
    "over types of the mean over levels."
)
_SEEN = {
    "jitter": ("jitter",),
    "scale": ("scale_axes", "scale_translate", "isotropic_scale", "scale_half_to_double"),
    "rotate": ("rotate_y", "rotate_so3"),
    "dropout_global": ("drop_to_first",),
}
"""Augmentations of pretraining that a type of corruption resembles."""


def robust_tables(sections: Iterable[Section], numbers: Iterable[RunNumbers]) -> tuple[RobustTable, ...]:
    """Collect what runs say about corrupted clouds."""
    wanted = [section for section in sections if section.metric == METRIC]
    if not wanted:
        return ()
    keys = {key for section in wanted for row in section.rows for key in row.cell.runs.values()}
    known = {run.run_key: _numbers(run) for run in numbers if run.run_key in keys}
    return tuple(_table(section, known) for section in wanted)


def _numbers(run: RunNumbers) -> dict[str, float]:
    """Return a run's own test numbers of clean and corrupted clouds, by name."""
    return {
        path.name: value
        for path, value in zip(run.paths, run.values, strict=True)
        if path.split == "test"
        and path.selection == "val"
        and path.fold is None
        and (path.name.startswith(f"{METRIC}[") or (path.name == "accuracy" and path.headline and path.votes == 1))
    }


def _table(section: Section, known: Mapping[str, Mapping[str, float]]) -> RobustTable:
    cells = [row.cell for row in section.rows]
    official = any(OFFICIAL in run for cell in cells for run in (known[key] for key in cell.runs.values()))
    found = {id(cell): _robust(cell, known) for cell in cells}
    lines = []
    for cell in cells:
        robust, levels = found[id(cell)]
        scratch = opponent(cell, cells)
        reference = DGCNN if official else found[id(scratch)][0] if scratch is not None else None
        errors = (mean_corruption_error, relative_corruption_error)
        mce, rmce = (None if reference is None else error(robust, reference) for error in errors)
        lines.append(RobustLine(cell, robust, levels, mce, rmce))
    return RobustTable(section, tuple(lines), official)


def _robust(cell: Cell, known: Mapping[str, Mapping[str, float]]) -> tuple[Robust, dict[str, tuple[float, ...]]]:
    """Return a cell's mean accuracies: by type, and by type and level."""
    runs = [known[key] for key in cell.runs.values()]
    mean = {name: statistics.fmean(run[name] for run in runs if name in run) for run in runs[:1] for name in run}
    kinds: dict[str, float] = {}
    levels: dict[str, dict[int, float]] = {}
    for name, value in list(mean.items()):
        kind, _, level = name.removeprefix(f"{METRIC}[").removesuffix("]").rpartition("-")
        if name == OFFICIAL:
            mean["accuracy"] = value
        elif kind:
            levels.setdefault(kind, {})[int(level)] = value
        elif name != "accuracy":
            kinds[level] = value
    return Robust(mean["accuracy"], kinds), {kind: tuple(own[at] for at in sorted(own)) for kind, own in levels.items()}


def seen(cell: Cell) -> str:
    """Name the types of corruption that pretraining augmented with, as far as its recipe says."""
    augmentations = json.loads(cell.spec.get("encoder.recipe.augmentation", "[]"))
    if cell.spec.get("encoder.imported", "null") != "null":
        return "unknown"
    return ", ".join(kind for kind, names in _SEEN.items() if set(names) & set(augmentations)) or "none"


def parts(tables: Sequence[RobustTable]) -> list[Block]:
    """Return the part of a report; empty without corrupted clouds."""
    if not tables:
        return []
    blocks: list[Block] = [Paragraph(EXPLAINED, "soft")]
    for table in tables:
        blocks.append(_part(table))
    return [Part(TITLE, tuple(blocks), "robustness")]


def _part(table: RobustTable) -> Part:
    reference = "DGCNN's on ModelNet-C" if table.official else "those of the untrained encoder"
    notes = [
        f"mCE divides a method's errors by {reference}, RmCE its losses by the reference's losses: below 1 is more "
        "robust. Both are ratios of means; intervals stand in the table of corrupted accuracies.",
        "“Pretraining saw” names types that its augmentation resembles; none of them was in the training of heads.",
    ]
    if not table.official:
        notes.append("These clouds were corrupted here with the published amounts. They are not ModelNet-C.")
    kinds = tuple(table.lines[0].robust.kinds)
    columns = (
        Column("setting", "setting", whole=True),
        Column("method", "method", whole=True),
        Column("clean", "clean %", right=True),
        Column("corrupted", "mOA %", right=True),
        Column("mce", "mCE", right=True),
        Column("rmce", "RmCE", right=True),
        *(Column(kind, f"{kind.replace('_', ' ')} %", right=True, drop=2 + at) for at, kind in enumerate(kinds)),
        Column("seen", "pretraining saw", wrap=18, drop=1),
    )
    rows = tuple(_row(line) for line in table.lines)
    anchor = table.section.anchor
    found: list[Block] = [Table(f"{anchor}-corruptions", columns, rows, group="setting"), Notes(tuple(notes))]
    if not table.section.smoke:
        found.append(Figure(f"{anchor}-levels", lambda: draw(table), "Accuracy by level of corruption; 0 is clean."))
    return Part(f"{TITLE}: {table.title}", tuple(found), f"{anchor}-robust")


def _row(line: RobustLine) -> Row:
    def ratio(value: float | None) -> AnyCell:
        return quantities.NONE if value is None else DocumentCell(f"{value:.2f}", value)

    cells: list[AnyCell] = [line.cell.setting, line.cell.label, quantities.fraction(line.robust.clean)]
    cells += [quantities.fraction(line.robust.overall), ratio(line.mce), ratio(line.rmce)]
    cells += [quantities.fraction(value) for value in line.robust.kinds.values()]
    return Row((*cells, seen(line.cell)))


def draw(table: RobustTable) -> Drawing:
    """Draw accuracy over level, one panel per type, of the first setting."""
    setting = table.lines[0].cell.setting
    drawn = {id(row.cell) for row in drawn_rows(table.section)}
    lines = [line for line in table.lines if line.cell.setting == setting and id(line.cell) in drawn]
    kinds = tuple(lines[0].robust.kinds)
    figure, grid = small_multiples(len(kinds), columns=4, width=2.1, height=1.9, margin=0.3)
    looks = {name: at for at, name in enumerate(dict.fromkeys(line.cell.architecture for line in lines))}
    for axes, kind in zip(grid, kinds, strict=True):
        for line in lines:
            at = looks[line.cell.architecture] % len(SERIES)
            accuracies = [100 * value for value in (line.robust.clean, *line.levels[kind])]
            axes.plot(
                range(len(accuracies)),
                accuracies,
                color=SERIES[at],
                marker=MARKERS[at],
                markersize=3.5,
                linewidth=1.2,
                linestyle=":" if line.cell.is_scratch else "-",
                markerfacecolor="none" if line.cell.is_scratch else SERIES[at],
                label=line.cell.label,
            )
        axes.set_title(kind.replace("_", " "))
        axes.set_xticks(range(len(line.levels[kind]) + 1))
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, labelcolor=INK)
    for axes in grid[-4:]:
        axes.set_xlabel("level")
    figure.supylabel("accuracy in percent", fontsize=9, color=INK)
    told = "; ".join(f"{line.cell.label}: mean over corruptions {100 * line.robust.overall:.1f} %" for line in lines)
    return Drawing(figure, f"Accuracy by level of seven corruptions, {table.title}. {told}.")
