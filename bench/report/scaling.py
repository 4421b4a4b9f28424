"""Accuracy over the amount of pretraining, of its data, or of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bench.report import quantities, words
from bench.report.curves import Panel, Series, panel_title
from bench.report.document import AnyCell, Block, Detail, Drawing, Figure, Paragraph, Part, Table
from bench.report.plots import INK, MARKERS, SERIES, canvas, small_multiples
from bench.stats.cells import Cell, digest, natural
from bench.stats.deviations import Deviations, heading, shared
from bench.stats.intervals import Summary
from bench.stats.naming import percent
from bench.stats.opponents import opponent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bench.report.model import ReportModel

TITLE = "Scaling with data"
COURSE = (
    "Encoders that one training kept on its way, each judged like the last. An encoder before the end was trained with "
    "the schedule of the whole. A share chosen by these test scores would be selected on test."
)
NESTED = "Parts are nested: the objects of a smaller one are among those of every larger one of the same seed."
LOSSES = (
    "Mean over seeds against the share of training done. Every panel has its own scale: losses of different methods "
    "are different quantities."
)
INTERVALS = "Scores are means over seeds with their 95 % interval."
_LEVEL = "#6b7280"
_DASHES = (":", "--", "-.")
_LEAST_SPAN = 2.0
"""Least span of the axis of accuracy, in percentage points."""
_ASIDE = 1.015
"""Factor by which methods are shifted along the axis, so that intervals do not cover each other."""
_STEPS = "as many optimiser steps on a part as on all of it"
_EPOCHS = "as many epochs on a part as on all of it"

Axis = Literal["pretraining data", "labels", "steps of pretraining"]


@dataclass(frozen=True)
class Line:
    """One method's scores over parts of the data.

    Attributes:
        label: Name in the legend.
        architecture: Architecture of its encoder.
        points: Summary by part, ascending.
        opponent: What it is compared with where parts are of the pretraining data: the untrained encoder, or the
            teacher alone; None for none.
        untrained: Whether nothing was pretrained.
    """

    label: str
    architecture: str
    points: tuple[tuple[float, Summary], ...]
    opponent: Cell | None = None
    untrained: bool = False


@dataclass(frozen=True)
class Curve:
    """Methods over parts of the same data, judged alike.

    Attributes:
        axis: Quantity on the axis: parts of pretraining data, of labels, or of the steps of one pretraining.
        title: Protocol and data.
        preset: Preset of the runs.
        changed: Deviations from the preset shared by all runs, in words.
        metric: Metric.
        how: Quantity kept equal between parts, in words; empty for labels.
        lines: Pretrained methods before scratch.
        counts: Number of labelled objects by part, in words; empty for pretraining data.
        older: Points with a run of older code, in words.
    """

    axis: Axis
    title: str
    preset: str
    changed: str
    metric: str
    how: str
    lines: tuple[Line, ...]
    counts: tuple[str, ...] = ()
    older: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[float, ...]:
        """All parts that occur, ascending."""
        return tuple(sorted({part for line in self.lines for part, _ in line.points}))

    @property
    def smoke(self) -> bool:
        """Whether the preset only tests that everything runs."""
        return self.preset == "smoke"

    @property
    def heading(self) -> str:
        """Heading of the table."""
        over = "Course of pretraining" if self.along else TITLE
        return f"{over}: {self.title}, over {self.axis}"

    @property
    def along(self) -> bool:
        """Whether the points of a line are encoders of one pretraining."""
        return self.axis == "steps of pretraining"

    @property
    def explained(self) -> str:
        """Explain a figure in sentences.

        They say what is kept equal, how many objects a part is, and what is drawn.
        """
        how = [f"Pretrained on {self.how}."] if self.how else []
        summaries = [summary for line in self.lines for _, summary in line.points]
        drawn = [INTERVALS] if not self.smoke and any(summary.low is not None for summary in summaries) else []
        return " ".join(
            [
                COURSE if self.along else NESTED,
                *how,
                *(f"{count}." for count in self.counts),
                *drawn,
                *words.older(self.older),
            ]
        )


@dataclass(frozen=True)
class LossPanel:
    """Losses of one method on parts of the pretraining data.

    Attributes:
        preset: Preset.
        method: Method.
        name: Name of the series, e.g. ``pretrain/total``.
        lines: (part, mean over seeds), ascending; the first number of a point is the share of training done.
    """

    preset: str
    method: str
    name: str
    lines: tuple[tuple[float, Series], ...]


def figures(model: ReportModel) -> tuple[Curve, ...]:
    """Collect figures of headline metrics with several parts.

    A method needs two parts or more.
    """
    shown = [(section.title, row) for section in model.sections if section.main for row in section.rows]
    changed = {id(row.cell): row.deviations for _, row in shown}
    cells = [row.cell for _, row in shown]
    titles = {id(row.cell): title for title, row in shown}
    counts = {id(row.cell): row.facts.labelled for _, row in shown}
    found = (
        *_along_pretraining(cells, titles),
        *_over_pretraining(cells, titles),
        *_over_labels(cells, titles, counts),
    )
    return tuple(replace(figure, changed=_changed(own, changed)) for figure, own in found)


def _changed(cells: Sequence[Cell], deviations: Mapping[int, Deviations]) -> str:
    """Return deviations shared by a figure, without the part."""
    told = shared([(not cell.is_opponent, deviations[id(cell)]) for cell in cells])
    words = heading([one for one in told if one.field not in ("pretrain_fraction", "label_fraction", "evaluate_at")])
    return f" with {words}" if words else ""


Drawn = tuple[Curve, list[Cell]]
"""A figure, and the cells in it."""


def _along_pretraining(cells: Sequence[Cell], titles: dict[int, str]) -> list[Drawn]:
    """Collect methods with encoders of several shares of their pretraining."""
    groups: dict[tuple[str, ...], dict[str, list[tuple[float, Cell]]]] = {}
    for cell in cells:
        if not cell.is_opponent:
            key = (cell.preset, titles[id(cell)], cell.setting, cell.metric)
            groups.setdefault(key, {}).setdefault(cell.course, []).append((cell.at, cell))
    found = []
    for (preset, title, setting, metric), courses in groups.items():
        lines, older, drawn = [], [], []
        for points in courses.values():
            own = sorted(points, key=lambda point: point[0])
            if len(own) > 1:
                last = own[-1][1]
                words = ", ".join(word for word in last.difference.split(", ") if word and not word.startswith("at="))
                label, beside = f"{last.name} [{words}]" if words else last.name, opponent(last, cells)
                summaries = tuple((at, cell.summary) for at, cell in own)
                lines.append(Line(label, last.architecture, summaries, beside))
                drawn += [cell for _, cell in own]
                older += [cell.label for _, cell in own if cell.older_code]
        if lines:
            name = f"{title}, {setting}" if setting != "all" else title
            figure = Curve("steps of pretraining", name, preset, "", metric, "", tuple(lines), older=tuple(older))
            found.append((figure, drawn))
    return found


def _over_pretraining(cells: Sequence[Cell], titles: dict[int, str]) -> list[Drawn]:
    groups: dict[tuple[str, ...], dict[tuple[str, str], list[tuple[float, str, Cell]]]] = {}
    names: dict[str, str] = {}
    for cell in cells:
        if not cell.is_opponent:
            part, budget = cell.fraction, cell.budget if cell.fraction < 1 else ""
            data = digest({n: v for n, v in cell.spec.items() if n.startswith("encoder.data.")})
            names.setdefault(data, cell.whole_pretrain_data)
            key = (cell.preset, titles[id(cell)], cell.setting, cell.metric, data)
            groups.setdefault(key, {}).setdefault((cell.label, cell.backbone), []).append((part, budget, cell))
    found = []
    for (preset, title, setting, metric, data), methods in groups.items():
        for budget in ("steps", "epochs"):
            lines, older, drawn = [], [], []
            for (label, _), parts in methods.items():
                own = sorted((p for p in parts if p[1] in (budget, "")), key=lambda p: p[0])
                if len(own) > 1:
                    beside = opponent(own[-1][2], cells)
                    points = tuple((part, cell.summary) for part, _, cell in own)
                    lines.append(Line(label, own[0][2].architecture, points, beside))
                    drawn += [cell for _, _, cell in own]
                    older += _older([(part, cell) for part, _, cell in own])
                    older += [beside.label] if beside is not None and beside.older_code else []
            if lines:
                name = f"{title}, {setting.removeprefix('all, ')}" if setting != "all" else title
                how = f"{names[data]}; {_STEPS if budget == 'steps' else _EPOCHS}"
                figure = Curve("pretraining data", name, preset, "", metric, how, tuple(lines), older=tuple(older))
                found.append((figure, drawn))
    return found


def _over_labels(cells: Sequence[Cell], titles: dict[int, str], counts: dict[int, str]) -> list[Drawn]:
    groups: dict[tuple[str, ...], dict[tuple[str, str, str], list[tuple[float, Cell]]]] = {}
    for cell in cells:
        part = cell.label_fraction
        key = (cell.preset, titles[id(cell)], cell.whole_setting, cell.metric)
        own = (cell.label, cell.pretrain_data, cell.backbone)
        groups.setdefault(key, {}).setdefault(own, []).append((part, cell))
    found = []
    for (preset, title, base, metric), methods in groups.items():
        several = len({data for (_, data, _), parts in methods.items() if not parts[0][1].is_opponent}) > 1
        lines, older, drawn = [], [], []
        for (label, data, _), parts in methods.items():
            if len(parts) > 1:
                ordered = sorted(parts, key=lambda p: p[0])
                shown = f"{label} from {data}" if several and not parts[0][1].is_opponent else label
                points = tuple((part, cell.summary) for part, cell in ordered)
                scratch = parts[0][1].is_scratch
                lines.append((scratch, Line(shown, parts[0][1].architecture, points, untrained=scratch)))
                drawn += [cell for _, cell in ordered]
                older += _older(ordered)
        if lines:
            name = f"{title}, {base}" if base != "all" else title
            ordered_lines = tuple(line for _, line in sorted(lines, key=lambda item: (item[0], natural(item[1].label))))
            told = {part: counts[id(cell)] for parts in methods.values() for part, cell in parts if counts[id(cell)]}
            notes = tuple(told[part] for part in sorted(told))
            figure = Curve("labels", name, preset, "", metric, "", ordered_lines, notes, tuple(older))
            found.append((figure, drawn))
    return found


def _older(points: Iterable[tuple[float, Cell]]) -> list[str]:
    """Name points with a run of older code."""
    return [f"{cell.label} at {percent(part)}" for part, cell in points if cell.older_code]


def loss_panels(panels: Iterable[Panel]) -> tuple[LossPanel, ...]:
    """Collect losses of methods pretrained on several parts.

    Total and held-out losses.
    """
    groups: dict[tuple[str, str, str, str, str], dict[float, list[Series]]] = {}
    for panel in panels:
        if panel.name.startswith("pretrain") and ("total" in panel.name or "held" in panel.name):
            for own in (panel.budget,) if panel.fraction < 1 else ("steps", "epochs"):
                key = (panel.preset, panel.method, panel.name, panel.pretrain_data, own)
                groups.setdefault(key, {}).setdefault(panel.fraction, []).extend(points for _, points in panel.lines)
    return tuple(
        LossPanel(preset, method, name, tuple((part, _mean(parts[part])) for part in sorted(parts)))
        for (preset, method, name, _, _), parts in groups.items()
        if len(parts) > 1
    )


def _mean(lines: Sequence[Series]) -> Series:
    """Average losses over seeds, against the share of training."""
    length = min(len(line) for line in lines)
    last = lines[0][length - 1][0] or 1.0
    return tuple((lines[0][at][0] / last, sum(line[at][1] for line in lines) / len(lines)) for at in range(length))


def _opponents(figure: Curve) -> str:
    """Return the name of the figure's opponent.

    It is ``scratch``, the one other name there is, or ``opponent`` for several.
    """
    names = {line.opponent.method for line in figure.lines if line.opponent is not None}
    return names.pop() if len(names) == 1 else "opponent" if names else "scratch"


def table(figure: Curve, name: str) -> Table:
    """Return a figure's table, in percent.

    One row per method, one column per part.
    """
    over = figure.axis != "labels"
    rows: list[list[AnyCell]] = []
    for line in figure.lines:
        points = dict(line.points)
        levels = [None if line.opponent is None else line.opponent.summary] if over else []
        summaries = [*levels, *(points.get(part) for part in figure.parts)]
        rows.append([line.label, *(quantities.score(summary, smoke=figure.smoke) for summary in summaries)])
    parts = [f"{100 * part:.6g} %" for part in figure.parts]
    return Table.plain(name, ["method", *([_opponents(figure)] if over else []), *parts], rows)


def parts(model: ReportModel) -> list[Part]:
    """Return figures of scores and losses as document parts."""
    found = []
    for at, figure in enumerate(figures(model), start=1):
        name = f"parts-{at}"
        drawn = Figure(name, lambda figure=figure: draw(figure))  # type: ignore[misc]
        blocks: tuple[Block, ...] = (Paragraph(figure.explained, "soft"), drawn, table(figure, f"{name}-table"))
        mark = "SMOKE" if figure.smoke else ""
        found.append(Part(figure.heading, blocks, name, f"preset {figure.preset}{figure.changed}", mark))
    by_preset: dict[str, list[LossPanel]] = {}
    for panel in loss_panels(model.panels):
        by_preset.setdefault(panel.preset, []).append(panel)
    for at, (preset, panels) in enumerate(by_preset.items(), start=1):
        drawn = Figure(f"part-losses-{at}", lambda panels=panels: draw_losses(panels))  # type: ignore[misc]
        blocks = (Paragraph(LOSSES, "soft"), drawn)
        title = "Losses over parts of the pretraining data"
        found.append(Part(title, blocks, f"part-losses-{at}", f"preset {preset}", detail=Detail.PAGE))
    return found


def draw(figure: Curve) -> Drawing:
    """Draw accuracy over parts, one line per method.

    The axis is logarithmic; scratch is dashed where it is level.
    """
    from matplotlib.ticker import NullLocator

    hints: dict[str, str] = {}
    drawing = canvas(7.2, 3.4)
    axes = drawing.subplots()
    axes.set_xscale("log")
    for index, line in enumerate(figure.lines):
        aside = _ASIDE ** (index - (len(figure.lines) - 1) / 2)
        _draw(axes, figure, line, (SERIES[index % len(SERIES)], MARKERS[index % len(MARKERS)]), aside, hints)
    levels = {line.opponent.label: line.opponent.summary for line in figure.lines if line.opponent is not None}
    for index, (label, level) in enumerate(levels.items()):
        _draw_level(axes, figure, label, level, _DASHES[index % len(_DASHES)])
    axes.set_xticks([100 * part for part in figure.parts], [f"{100 * part:.6g}" for part in figure.parts])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"{figure.axis}, percent")
    axes.set_ylabel(f"{figure.metric.replace('_', ' ')}, percent")
    low, high = axes.get_ylim()
    if high - low < _LEAST_SPAN:  # differences of a hundredth of a point would fill the figure
        axes.set_ylim((low + high - _LEAST_SPAN) / 2, (low + high + _LEAST_SPAN) / 2)
    axes.grid(axis="y")
    drawing.legend(loc="outside right upper", frameon=False, labelcolor=INK)
    return Drawing(drawing, f"{figure.heading}. {'. '.join(hints.values())}.", hints)


def _draw(axes: Axes, figure: Curve, line: Line, look: tuple[str, str], aside: float, hints: dict[str, str]) -> None:
    """Draw one method's line, shifted by `aside`.

    Its colour and marker are given; the factor `aside` moves it along the axis.
    """
    colour, marker = look
    style = "--" if line.untrained else "-"
    axes.plot(
        [100 * part * aside for part, _ in line.points],
        [100 * summary.mean for _, summary in line.points],
        style,
        color=colour,
        linewidth=1.4,
        label=line.label,
    )
    for part, summary in line.points:
        if not figure.smoke and summary.low is not None and summary.high is not None:
            axes.plot(
                [100 * part * aside] * 2, [100 * summary.low, 100 * summary.high], "-", color=colour, linewidth=1.2
            )
        identity = f"part{len(hints)}"
        shown = words.percent(summary.mean) if figure.smoke else words.spread(summary)
        hints[identity] = f"{line.label}, {100 * part:.6g} percent: {shown}"
        axes.plot([100 * part * aside], [100 * summary.mean], marker, color=colour, markersize=5.5, gid=identity)


def _draw_level(axes: Axes, figure: Curve, name: str, level: Summary, dashes: str) -> None:
    """Draw a level line for an untrained network or teacher.

    Methods of one network share it.
    """
    ends = [100 * figure.parts[0], 100 * figure.parts[-1]]
    axes.plot(ends, [100 * level.mean] * 2, dashes, color=_LEVEL, linewidth=1.2, label=name, zorder=1)
    if not figure.smoke and level.low is not None and level.high is not None:
        axes.fill_between(ends, 100 * level.low, 100 * level.high, color=_LEVEL, alpha=0.1, linewidth=0, zorder=0)


def draw_losses(panels: Sequence[LossPanel]) -> Drawing:
    """Draw losses: a panel per method, a line per part.

    Over the share of training done.
    """
    parts = sorted({part for panel in panels for part, _ in panel.lines})
    drawing, grid = small_multiples(len(panels), columns=4, width=2.75, height=2.1, margin=1.2)
    shown: dict[float, object] = {}
    for axes, panel in zip(grid, panels, strict=True):
        for part, points in panel.lines:
            colour = SERIES[parts.index(part) % len(SERIES)]
            xs, ys = [100 * x for x, _ in points], [y for _, y in points]
            shown[part] = axes.plot(xs, ys, color=colour, linewidth=1.1, label=f"{100 * part:.6g} %")[0]
        axes.set_title(panel_title(panel.method, panel.name))
    drawing.supxlabel("training done, percent", fontsize=9, color=INK)
    handles = [shown[part] for part in sorted(shown)]
    drawing.legend(handles=handles, loc="outside right upper", frameon=False, labelcolor=INK)
    ends = [
        f"{panel.method}, {panel.name}: "
        + ", ".join(f"{100 * part:.6g} percent of the data ends at {points[-1][1]:.3g}" for part, points in panel.lines)
        for panel in panels
    ]
    return Drawing(drawing, f"Losses over parts of the pretraining data. {'. '.join(ends)}.")
