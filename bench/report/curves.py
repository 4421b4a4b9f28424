"""Training curves as panels: one per method and series, one line per pretraining seed.

Losses of different methods are different quantities, so no two methods ever share a panel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.runs import seed_of

if TYPE_CHECKING:
    from bench.store.records import RunRecord

MAX_PANELS_PER_METHOD = 4
Series = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """One small plot.

    Attributes:
        preset: Preset of the runs.
        method: Method (with the architecture for `scratch`).
        pretrain_data: What it was trained on.
        name: Name of the series, e.g. ``pretrain/total``.
        lines: (seed, points) in the order of the seeds.
        hidden: Further series of the same method that were left out of the plot.
    """

    preset: str
    method: str
    pretrain_data: str
    name: str
    lines: tuple[tuple[str, Series], ...]
    hidden: int


def curve_panels(runs: Iterable[RunRecord]) -> tuple[Panel, ...]:
    """Collect the curves of finished runs.

    Runs that share a pretraining carry the same curve, which is taken once. The learning rate is no result and
    is left out; a series needs two points to be a curve.
    """
    found: dict[tuple[str, str, str], dict[str, set[tuple[str, Series]]]] = defaultdict(lambda: defaultdict(set))
    for run in sorted(runs, key=lambda run: run.key):
        method = run.label.get("method", "?")
        name = f"{method} ({run.label.get('architecture', '?')})" if method == "scratch" else method
        owner = (run.label.get("preset", ""), name, run.label.get("pretrain_data", ""))
        for series, points in run.curves.items():
            if _is_shown(series) and len(points) > 1:
                line = tuple((float(x), float(y)) for x, y in points)
                found[owner][_panel_name(series, run.label)].add((seed_of(run), line))
    panels = []
    for (preset, method, data), by_series in sorted(found.items(), key=lambda item: item[0]):
        names = sorted(by_series, key=lambda s: (not s.startswith("pretrain"), "total" not in s, s))
        hidden = max(0, len(names) - MAX_PANELS_PER_METHOD)
        for series in names[:MAX_PANELS_PER_METHOD]:
            lines = sorted(by_series[series], key=lambda line: (line[0].zfill(12), line[1]))
            panels.append(Panel(preset, method, data, series, tuple(lines), hidden))
    return tuple(panels)


def _panel_name(series: str, label: dict[str, str]) -> str:
    """A pretraining curve belongs to the encoder; any other also to what was evaluated."""
    if series.startswith("pretrain"):
        return series
    return f"{series}, {label.get('protocol', '?')} {label.get('setting', '')} on {label.get('dataset', '?')}"


def _is_shown(series: str) -> bool:
    return series.rsplit("/", 1)[-1] not in {"lr", "learning_rate"}
