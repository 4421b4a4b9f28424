"""Training curves: a panel per encoder and series.

One line per pretraining seed.

Losses of different methods are different quantities, so no two methods ever share a panel.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING

from bench.report.document import Detail, Drawing, Figure, Paragraph, Part
from bench.report.plots import FAINT, SERIES, canvas, side_by_side
from bench.report.runs import encoder_name, seed_of
from bench.stats.cells import flatten
from bench.stats.naming import Key, Labels, name_encoders, pretrained_suffix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bench.store.records import RunRecord

MAX_PANELS_PER_METHOD = 4
MOST_PANELS = 24
"""Panels of a preset from which on no further encoder is read."""
MOST_LINES = 10
"""Lines of a panel: runs of one encoder and one way of judging whose curves are read."""
MOST_JUDGEMENTS = 8
"""Ways of judging one encoder of which runs are opened."""
_WIDE, _HIGH = 2.75, 2.0
"""Size of a panel, in inches."""
_LETTER = 0.072
"""Width that a letter of a title is given, in inches."""
EXPLAINED = (
    "One line per pretraining seed. Every panel has its own scale: losses of different methods are different "
    "quantities."
)
Series = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """One small plot of training curves.

    Attributes:
        preset: Preset of the runs.
        method: Method (with the architecture for `scratch`), and what sets its encoder apart from others of that name.
        pretrain_data: Pretraining data, without the part.
        fraction: The part.
        budget: Quantity kept equal between parts, ``steps`` or ``epochs``.
        name: Name of the series, e.g. ``pretrain/total``.
        lines: (seed, points) in the order of the seeds.
        hidden: Whether the method may have further series, which were left out of the plot.
        left_out: Whether the preset has more encoders, whose curves are not shown.
    """

    preset: str
    method: str
    pretrain_data: str
    fraction: float
    budget: str
    name: str
    lines: tuple[tuple[str, Series], ...]
    hidden: bool
    left_out: bool = False


Runs = dict[tuple[str, str], "RunRecord"]
"""Runs by seed and split seed."""


def curve_panels(runs: Iterable[RunRecord]) -> tuple[Panel, ...]:
    """Collect the training curves of finished runs.

    Those of encoders that differ in more than the seed are kept apart.

    Runs that share a pretraining carry the same curve, which is taken once. The learning rate is no result and
    is left out; a series needs two points to be a curve. Curves lie in the run folders: of many runs only the first
    ones are opened, of many encoders one of each method before a second one of any.
    """
    owned: dict[Key, dict[str, Runs]] = defaultdict(lambda: defaultdict(dict))
    known: dict[str, str] = {}
    told: dict[tuple[int, str], Labels] = {}
    for run in sorted(runs, key=lambda run: run.key):
        tags, encoder = run.label, encoder_name(run, known)
        if (alike := (id(tags), encoder)) not in told:  # Runs of one cell share their labels.
            told[alike] = _labels(tags, flatten(run.spec))
        owner = told[alike], encoder
        owned[owner][_judged(tags)].setdefault((seed_of(run), str(run.seeds[1])), run)
    waiting: dict[str, list[tuple[int, Key]]] = defaultdict(list)
    of_method: Counter[tuple[str, str]] = Counter()
    for owner in sorted(owned, key=lambda owner: (-sum(map(len, owned[owner].values())), owner)):
        same = owner[0].preset, owner[0].method
        of_method[same] += 1
        waiting[owner[0].preset].append((of_method[same], owner))
    found: dict[Key, dict[str, set[tuple[str, Series]]]] = {}
    left: set[str] = set()
    for preset, queue in waiting.items():
        panels = 0
        for _, owner in sorted(queue):
            if panels >= MOST_PANELS:
                left.add(preset)
                break
            if lines := _read(owned[owner]):
                found[owner] = lines
                panels += min(len(lines), MAX_PANELS_PER_METHOD)
    differences = name_encoders({owner: json.loads(owner[1]) for owner in found})
    made = []
    for owner, by_series in sorted(found.items(), key=lambda item: (item[0][0], differences[item[0]])):
        names = _ordered(by_series)
        label = owner[0]
        method = f"{label.method} [{differences[owner]}]" if differences[owner] else label.method
        hidden = len(names) > MAX_PANELS_PER_METHOD or len(owned[owner]) > MOST_JUDGEMENTS
        for series in names[:MAX_PANELS_PER_METHOD]:
            drawn = sorted(by_series[series], key=lambda line: (line[0].zfill(12), line[1]))[:MOST_LINES]
            data = label[-3:]
            made.append(Panel(label.preset, method, *data, series, tuple(drawn), hidden, label.preset in left))
    return tuple(made)


def _read(by_judgement: Mapping[str, Runs]) -> dict[str, set[tuple[str, Series]]]:
    """Read curves of one encoder's runs, as many as shown.

    Every seed of the pretraining is read once. Ways of judging that train nothing have no curves of their own, which
    their first run tells.
    """
    found: dict[str, set[tuple[str, Series]]] = defaultdict(set)
    seeds: set[str] = set()
    for judged in sorted(by_judgement):
        own = by_judgement[judged]
        trains = judged in sorted(by_judgement)[:MOST_JUDGEMENTS]
        for at in sorted(own, key=lambda at: (at[0].zfill(12), at))[:MOST_LINES]:
            if not trains and at[0] in seeds:
                continue
            shown = {name: points for name, points in own[at].curves.items() if _is_shown(name) and len(points) > 1}
            trains = trains and any(not name.startswith("pretrain") for name in shown)
            if len(seeds) < MOST_LINES:
                seeds.add(at[0])
            for series, points in shown.items():
                name = series if series.startswith("pretrain") else f"{series}, {judged}"
                found[name].add((at[0], tuple((float(x), float(y)) for x, y in points)))
    return found


def _ordered(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda s: (not s.startswith("pretrain"), "total" not in s, s))


def parts(panels: Sequence[Panel]) -> list[Part]:
    """Return training curves as document parts, one per preset."""
    found = []
    for at, (preset, group) in enumerate(groupby(panels, key=lambda panel: panel.preset)):
        own = list(group)
        told = [EXPLAINED]
        if any(panel.hidden for panel in own):
            told.append(f"Series beyond the first {MAX_PANELS_PER_METHOD} of a method are in the run folders only.")
        if any(len(panel.lines) == MOST_LINES for panel in own):
            told.append(f"At most {MOST_LINES} runs of an encoder are drawn.")
        if own[0].left_out:
            told.append("Further encoders are left out; choose some with --method.")
        figure = Figure(f"curves{at}", lambda own=own: draw(own))  # type: ignore[misc]
        blocks = (Paragraph(" ".join(told), "soft"), figure)
        found.append(Part("Training curves", blocks, f"curves-{at + 1}", f"preset {preset}", detail=Detail.PAGE))
    return found


def draw(panels: Sequence[Panel]) -> Drawing:
    """Draw small multiples of training curves.

    One thin line per seed; every panel has its own scale. All share one `Axes`, in inches: two dozen of them, with
    ticks and a layout that looks at each twice, take seconds to draw.
    """
    columns = side_by_side(len(panels), 5, 1.6, 0.0)
    lines = -(-len(panels) // columns)
    figure = canvas(_WIDE * columns + 0.3, _HIGH * lines + 0.3)
    figure.set_layout_engine("none")
    width, height = figure.get_size_inches()
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    owners = sorted({panel.method for panel in panels})
    for at, panel in enumerate(panels):
        colour = SERIES[owners.index(panel.method) % len(SERIES)]
        _draw_panel(axes, panel, colour, at % columns * width / columns, at // columns * _HIGH, width / columns)
    axes.text(width / 2, height - 0.05, "epoch", ha="center", va="bottom", fontsize=9)
    return Drawing(figure, "Training curves. " + " ".join(map(_curve_words, panels)))


def _draw_panel(axes: Axes, panel: Panel, colour: str, left: float, top: float, width: float) -> None:
    """Draw one panel.

    Args:
        axes: Axes whose units are inches, downwards.
        panel: The panel.
        colour: Colour of its lines.
        left: Left edge.
        top: Upper edge.
        width: Width.
    """
    from matplotlib.ticker import MaxNLocator

    letters = int((width - 0.1) / _LETTER)
    title = [part for line in panel_title(panel.method, panel.name).splitlines() for part in wrap(line, letters)]
    axes.text(left + width / 2, top + 0.05, "\n".join(title), ha="center", va="top", fontsize=9)
    shown = [(x, y) for _, points in panel.lines for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not shown:
        return
    across = _Scale([x for x, _ in shown], left + 0.52, left + width - 0.12)
    up = _Scale([y for _, y in shown], top + _HIGH - 0.3, top + 0.15 + 0.16 * len(title))
    for value in MaxNLocator(nbins=4, steps=[1, 2, 5, 10]).tick_values(*up.ends):
        if up.low <= value <= up.high:
            axes.plot((across.start, across.end), [up(value)] * 2, color=FAINT, linewidth=0.6)
            axes.text(across.start - 0.05, up(value), _number(value), ha="right", va="center", fontsize=8)
    for value in MaxNLocator(nbins=5, integer=True).tick_values(*across.ends):
        if across.low <= value <= across.high:
            axes.text(across(value), up.start + 0.06, _number(value), ha="center", va="top", fontsize=8)
    for _, points in panel.lines:  # That of a run that diverged has a gap.
        places = [
            (across(x), up(y)) if math.isfinite(x) and math.isfinite(y) else (math.nan, math.nan) for x, y in points
        ]
        axes.plot(*zip(*places, strict=True), color=colour, linewidth=1.0, alpha=0.75)


class _Scale:
    """Places of numbers between two places, with a margin around them."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.ends = low, high = min(values), max(values)
        margin = 0.04 * (high - low) or 0.04 * abs(low) or 1.0
        self.low, self.high, self.start, self.end = low - margin, high + margin, start, end

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)


def _number(value: float) -> str:
    return f"{value + 0.0:g}".replace("-", "−")


def panel_title(method: str, series: str) -> str:
    """Return a panel's title; differences have their own line."""
    return method.replace(" [", "\n[", 1) + f"\n{series}"


def _curve_words(panel: Panel) -> str:
    ends = [points[-1][1] for _, points in panel.lines]
    starts = [points[0][1] for _, points in panel.lines]
    return (
        f"{panel.method}, {panel.name}: {len(panel.lines)} line(s), from about {sum(starts) / len(starts):.3g} "
        f"to about {sum(ends) / len(ends):.3g}."
    )


def _labels(label: Mapping[str, str], spec: Mapping[str, str]) -> Labels:
    """Return the labels of a run's curves."""
    method = label.get("method", "?")
    part, budget = float(spec.get("encoder.fraction", "1")), spec.get("encoder.budget", "steps")
    return Labels(
        preset=label.get("preset", ""),
        method=f"{method} ({label.get('architecture', '?')})" if method == "scratch" else method,
        pretrain_data=label.get("pretrain_data", "").removesuffix(pretrained_suffix(part, budget)),
        fraction=part,
        budget=budget,
    )


def _judged(label: Mapping[str, str]) -> str:
    return f"{label.get('protocol', '?')} {label.get('setting', '')} on {label.get('dataset', '?')}"


def _is_shown(series: str) -> bool:
    return series.rsplit("/", 1)[-1] not in {"lr", "learning_rate"}
