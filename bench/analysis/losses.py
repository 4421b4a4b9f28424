"""Pretraining losses over epochs, on training and held-out objects.

Contrastive guidance tends to over-fit where data are few (its held-out loss turns upward while its training loss
falls), reconstruction does not: the observation ReCon starts from. Losses of different methods are different
quantities, so every panel holds one loss of one method; what can be compared across methods is the ratio of the
held-out loss to the same loss on training objects, in the last panel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from bench.analysis.figures import COLOURS, GREY, MARKERS, hide_rest, new_figure, panel_size
from bench.analysis.output import Row
from bench.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Series = tuple[tuple[float, float], ...]
KINDS = {
    "mdm": "reconstruction",
    "recon": "reconstruction",
    "csc_image": "contrast with images",
    "csc_text": "contrast with texts",
    "smc": "contrast among objects",
    "imid": "contrast of two views",
    "cmid": "contrast with images",
    "distil": "distillation",
    "distil_cls": "distillation",
    "kl": "use of codes",
    "spread_image": "spread of the tuned teacher's features",
    "spread_text": "spread of the tuned teacher's features",
}
"""Descriptions of the curves of built-in methods: loss terms, and spreads of features."""
_TOTAL = "total"
_NOT_LOSSES = frozenset({"lr"})
_SETS = ("held_out", "seen")


@dataclass(frozen=True)
class Curves:
    """Loss curves of one pretraining.

    Attributes:
        method: Name of the method.
        variant: What sets it apart from others of its method, e.g. ``10 % of shapes``; seeds of one variant share a
            colour.
        seed: Its seed.
        key: Its content key.
        training: By term: the loss that was minimised, mean over each epoch, while the weights moved.
        seen: By term: the loss on some training objects after each epoch; empty where it was not measured.
        held_out: By term: the same on objects of the test split.
    """

    method: str
    variant: str
    seed: int
    key: str
    training: Mapping[str, Series]
    seen: Mapping[str, Series]
    held_out: Mapping[str, Series]


def read_curves(method: str, variant: str, seed: int, key: str, stored: Mapping[str, JsonValue]) -> Curves:
    """Sort the series of a ``curves.json`` by set and term.

    A lone term's ``total`` is left out, being the same.
    """
    series = {name: _points(points) for name, points in stored.items() if name not in _NOT_LOSSES}
    sets: dict[str, dict[str, Series]] = {name: {} for name in (*_SETS, "")}
    for name, points in series.items():
        prefix = next((one for one in _SETS if name.startswith(f"{one}_")), "")
        sets[prefix][name.removeprefix(f"{prefix}_") if prefix else name] = points
    if len(sets[""]) == 2:
        for terms in sets.values():
            terms.pop(_TOTAL, None)
    return Curves(method, variant, seed, key, sets[""], sets["seen"], sets["held_out"])


def _points(stored: JsonValue) -> Series:
    pairs = stored if isinstance(stored, list) else []
    return tuple((float(p[0]), float(p[1])) for p in pairs if isinstance(p, list))  # type: ignore[arg-type]


def rows(found: Sequence[Curves]) -> list[Row]:
    """Return one row per encoder, term and epoch.

    A loss that was not measured is an empty field.
    """
    table: list[Row] = []
    for one in found:
        for term in one.training:
            seen, held = dict(one.seen.get(term, ())), dict(one.held_out.get(term, ()))
            for epoch, value in one.training[term]:
                table.append(
                    {
                        "key": one.key,
                        "method": one.method,
                        "variant": one.variant,
                        "seed": one.seed,
                        "term": term,
                        "epoch": int(epoch),
                        "training": value,
                        "seen": seen.get(epoch, ""),
                        "held_out": held.get(epoch, ""),
                    }
                )
    return table


def summary(found: Sequence[Curves]) -> list[JsonValue]:
    """Return last and lowest held-out losses of each term.

    Also the epoch of the lowest, and the rise since.
    """
    lines: list[JsonValue] = []
    for one in found:
        for term, points in one.held_out.items():
            if not points:
                continue
            epoch, lowest = min(points, key=lambda point: (point[1], point[0]))
            last = points[-1][1]
            beside = dict(one.seen.get(term, ())).get(points[-1][0])
            lines.append(
                {
                    "key": one.key,
                    "method": one.method,
                    "variant": one.variant,
                    "seed": one.seed,
                    "term": term,
                    "kind": KINDS.get(term, ""),
                    "held_out_last": last,
                    "held_out_lowest": lowest,
                    "epoch_of_lowest": int(epoch),
                    "rise_since_lowest": last - lowest,
                    "held_out_over_seen_last": None if not beside else last / beside,
                }
            )
    return lines


def draw(found: Sequence[Curves]) -> Figure:
    """Draw panels per method and term, and one of ratios.

    Ratios are of held-out to training objects.

    Raises:
        UsageError: There is no curve to draw.
    """
    panels = [(m, t) for m in dict.fromkeys(one.method for one in found) for t in _terms(found, m)]
    if not panels:
        raise UsageError("these encoders have no training curves to draw: train one with bench run")
    measured = any(one.held_out for one in found)
    lines, columns = panel_size(len(panels) + measured, 4)
    variants = list(dict.fromkeys(one.variant for one in found))
    with new_figure(0.6 + 3.2 * columns, 1.1 + 2.7 * lines) as figure:
        grid = figure.subplots(lines, columns, squeeze=False)
        every = list(grid.flat)
        for axes, (method, term) in zip(every, panels, strict=False):
            _panel(axes, [one for one in found if one.method == method], term, variants)
            kind = KINDS.get(term, "sum of all terms" if term == _TOTAL else "")
            axes.set_title(f"{method}: {term}" + (f"\n{kind}" if kind else ""))
        if measured:
            _ratios(every[len(panels)], found, variants)
        hide_rest(every, len(panels) + measured)
        figure.supxlabel("epoch", fontsize=9)
        # As the legend's title: a title of the figure would lie on top of a legend outside the panels.
        title = "Pretraining losses on held-out and on training objects" if measured else "Pretraining losses"
        handles = _legend(variants, measured)
        figure.legend(
            handles=handles,
            loc="outside upper center",
            ncols=min(len(handles), 5),
            fontsize=8,
            title=title,
            title_fontsize=11,
        )
    return figure


def _terms(found: Sequence[Curves], method: str) -> list[str]:
    terms = dict.fromkeys(term for one in found if one.method == method for term in one.training)
    return sorted(terms, key=lambda term: (term == _TOTAL, KINDS.get(term) != "reconstruction", term))


def _panel(axes: Axes, found: Sequence[Curves], term: str, variants: Sequence[str]) -> None:
    for one in found:
        colour = COLOURS[variants.index(one.variant) % len(COLOURS)]
        _line(axes, one.training.get(term, ()), GREY, ":", 1.0)
        _line(axes, one.seen.get(term, ()), colour, "--", 1.2)
        _line(axes, one.held_out.get(term, ()), colour, "-", 1.6)
    _epochs(axes)


def _ratios(axes: Axes, found: Sequence[Curves], variants: Sequence[str]) -> None:
    """Draw held-out over training loss, one mark per term."""
    names = [(m, t) for m in dict.fromkeys(one.method for one in found) for t in _terms(found, m) if t != _TOTAL]
    for place, (method, term) in enumerate(names):
        for one in (one for one in found if one.method == method):
            seen = dict(one.seen.get(term, ()))
            points = tuple((x, y / seen[x]) for x, y in one.held_out.get(term, ()) if seen.get(x))
            colour = COLOURS[variants.index(one.variant) % len(COLOURS)]
            _line(axes, points, colour, "-", 1.0, MARKERS[place % len(MARKERS)])
        axes.plot([], [], MARKERS[place % len(MARKERS)], color="#444444", markersize=4, label=f"{method}: {term}")
    axes.axhline(1.0, color=GREY, linewidth=0.8)
    axes.set_title("held-out loss / loss on training objects\nabove 1: fits what it has seen better")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
    _epochs(axes)


def _line(axes: Axes, points: Series, colour: str, style: str, width: float, marker: str = "") -> None:
    if points:
        lone = {"-": "o", "--": "D", ":": "."}[style] if len(points) < 3 else ""
        axes.plot(*zip(*points, strict=True), style, color=colour, linewidth=width, marker=marker or lone, markersize=4)


def _epochs(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.margins(x=0.06)


def _legend(variants: Sequence[str], measured: bool) -> list[Line2D]:
    from matplotlib.lines import Line2D

    lines: list[Line2D] = []
    if measured:
        lines.append(Line2D([], [], color="#444444", linestyle="-", linewidth=1.6, label="held-out objects"))
        lines.append(Line2D([], [], color="#444444", linestyle="--", linewidth=1.2, label="training objects"))
    lines.append(Line2D([], [], color=GREY, linestyle=":", linewidth=1.0, label="as minimised, mean of the epoch"))
    for i, variant in enumerate(variants):
        lines.append(Line2D([], [], color=COLOURS[i % len(COLOURS)], linewidth=3, label=variant))
    return lines
