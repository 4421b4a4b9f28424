"""All methods beside all ways of judging, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bench.report import quantities
from bench.report.document import Block, Detail, Drawing, Figure, Notes, Paragraph, Part, Row, Table
from bench.report.document import Column as Heading
from bench.report.matrix import Column, Matrix, by_preset
from bench.report.plots import INK, MARKERS, PAPER, SERIES, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bench.report.model import ReportModel, ReportRow

TITLE = "Overview"
MOST_COLUMNS = 40
"""Ways of judging of a matrix."""
MOST_METHODS = 100
"""Methods of a matrix, the first variant of each before a second one of any."""
MOST_NAMED = 14
"""Methods whose points a front names."""
EXPLAINED = (
    "Mean accuracy in percent with half of its 95 % interval, and the rank of the mean in its column (#1 is the "
    "highest). Ranks say nothing of what is told apart; bold and underlined do."
)
FRONT = (
    "A method is on the front of a cost where none that costs no more has a higher mean. The mean is over the "
    "columns of the overview, of methods that have all of them. Seconds are those of pretraining one seed on its "
    "device, 0 without pretraining."
)
Costs = Mapping[str, float | None]
KINDS = {
    "seconds": "pretraining, device seconds",
    "flops": "operations of a cloud, FLOP",
    "parameters": "encoder parameters",
}


@dataclass(frozen=True)
class Point:
    """A method's mean score and costs.

    Attributes:
        method: Name.
        mean: Mean over all columns, a fraction.
        costs: Cost by kind; None where it is not recorded.
        fronts: Kinds of cost on whose front it is.
        quiet: Whether it was not pretrained.
    """

    method: str
    mean: float
    costs: Costs
    quiet: bool
    fronts: frozenset[str] = frozenset()


def part(model: ReportModel) -> Part | None:
    """Return the overview; None where there is nothing to look over."""
    blocks: list[Block] = []
    for at, (preset, sections) in enumerate(by_preset(s for s in model.shown if not s.smoke).items(), start=1):
        columns = [Column(section, setting) for section in sections for setting in section.settings]
        matrix = Matrix(columns[:MOST_COLUMNS], MOST_METHODS)
        if len(columns) < 2 or len(matrix.scores) < 2:
            continue
        blocks.append(Part(f"Preset {preset}", tuple(_blocks(matrix, len(columns), at)), f"overview-{at}"))
    return Part(TITLE, tuple(blocks), "overview", detail=Detail.FILES) if blocks else None


def _blocks(matrix: Matrix, columns: int, at: int) -> list[Block]:
    left = [f"{columns - MOST_COLUMNS} more ways of judging are left out."] if columns > MOST_COLUMNS else []
    left += [f"{matrix.left_out} more methods are left out."] if matrix.left_out else []
    points = _points(matrix)
    shown: list[Block] = [
        Paragraph(EXPLAINED, "soft"),
        matrix.table(f"overview-{at}", ranks=True),
        Notes((*matrix.explained(), *left)),
    ]
    # Where all cost the same, as encoders of one size do, there is no front to draw.
    kinds = [kind for kind in KINDS if len({point.costs[kind] for point in points} - {None}) > 1]
    if kinds:
        drawn = [Figure(f"front-{at}-{kind}", lambda kind=kind: draw(points, kind)) for kind in kinds]  # type: ignore[misc]
        drawn[-1] = replace(drawn[-1], caption=_legend(points))
        name = f"front-{at}"
        shown.append(Part("Accuracy and cost", (Paragraph(FRONT, "soft"), *drawn, _table(name, points)), name))
    return shown


def _points(matrix: Matrix) -> list[Point]:
    found = []
    for method, own in matrix.scores.items():
        if len(own) == len(matrix.columns):
            mean = sum(row.cell.summary.mean for row in own.values()) / len(own)
            found.append(Point(matrix.name(method), mean, _costs(own[0]), own[0].cell.is_opponent))
    return [replace(one, fronts=frozenset(kind for kind in KINDS if _is_on_front(kind, one, found))) for one in found]


def _costs(row: ReportRow) -> Costs:
    facts = row.facts
    return {
        "seconds": 0.0 if row.cell.is_opponent else facts.pretrain_seconds,
        "flops": facts.flops,
        "parameters": facts.parameters,
    }


def _is_on_front(kind: str, point: Point, points: Sequence[Point]) -> bool:
    own = point.costs[kind]
    if own is None:
        return False
    known = [(value, other.mean) for other in points if (value := other.costs[kind]) is not None]
    return not any(value <= own and mean >= point.mean and (value < own or mean > point.mean) for value, mean in known)


def _table(name: str, points: Sequence[Point]) -> Table:
    columns = (
        Heading("method", "method", whole=True),
        Heading("mean", "mean %", right=True),
        *(Heading(kind, heading, right=True) for kind, heading in KINDS.items()),
        Heading("front", "on the front of"),
    )
    rows = [
        Row(
            (
                point.method,
                quantities.fraction(point.mean),
                quantities.seconds(point.costs["seconds"]),
                quantities.operations(point.costs["flops"]),
                quantities.count(None if point.costs["parameters"] is None else int(point.costs["parameters"])),
                ", ".join(kind for kind in KINDS if kind in point.fronts),
            ),
            point.quiet,
        )
        for point in sorted(points, key=lambda point: -point.mean)
    ]
    return Table(name, columns, tuple(rows))


def _legend(points: Sequence[Point]) -> str:
    more = f" Named: the {MOST_NAMED} with the highest means." if len(points) > MOST_NAMED else ""
    return f"Filled: pretrained. Hollow: not pretrained. Line: the front.{more}"


def draw(points: Sequence[Point], kind: str) -> Drawing:
    """Draw mean score over a cost, with its front."""
    figure = canvas(3.4, 3.2)
    axes = figure.subplots()
    axes.grid(axis="y")
    _front(axes, points, kind)
    hints: dict[str, str] = {}
    for at, point in enumerate(sorted(points, key=lambda point: -point.mean)):
        if (value := point.costs[kind]) is not None:
            identity = f"point{len(hints)}"
            hints[identity] = f"{point.method}: mean {100 * point.mean:.1f} %, {KINDS[kind]} {value:.4g}"
            _draw(axes, point, value, at, identity)
    axes.set_xlabel(KINDS[kind], fontsize=9, color=INK)
    axes.set_ylabel("mean score in percent", fontsize=9, color=INK)
    axes.margins(x=0.15, y=0.1)
    axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 5))
    figure.legend(loc="outside lower center", ncols=2, fontsize=7, frameon=False, labelcolor=INK)
    return Drawing(figure, f"Mean score over {KINDS[kind]}. {'. '.join(hints.values())}.", hints)


def _front(axes: Axes, points: Sequence[Point], kind: str) -> None:
    ends = sorted((point.costs[kind] or 0.0, 100 * point.mean) for point in points if kind in point.fronts)
    if ends:
        axes.step([x for x, _ in ends], [y for _, y in ends], where="post", color=INK, linewidth=0.8, alpha=0.5)


def _draw(axes: Axes, point: Point, value: float, at: int, identity: str) -> None:
    colour = SERIES[at % len(SERIES)]
    axes.plot(
        [value],
        [100 * point.mean],
        MARKERS[(at + at // len(SERIES)) % len(MARKERS)],
        color=colour,
        markersize=6,
        markeredgewidth=1.5,
        markerfacecolor=PAPER if point.quiet else colour,
        gid=identity,
        label=point.method if at < MOST_NAMED else None,
        linestyle="none",
    )
