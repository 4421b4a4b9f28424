"""Training curves as panels: one per encoder and series, one line per pretraining seed.

Losses of different methods are different quantities, so no two methods ever share a panel.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.report.runs import seed_of
from bench.stats.cells import flatten
from bench.stats.naming import Key, Labels, name_encoders, pretrained_suffix

if TYPE_CHECKING:
    from bench.store.records import RunRecord

MAX_PANELS_PER_METHOD = 4
Series = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """One small plot.

    Attributes:
        preset: Preset of the runs.
        method: Method (with the architecture for `scratch`), and what sets its encoder apart from others of that name.
        pretrain_data: What it was trained on, without the part of it.
        fraction: The part.
        budget: What was kept equal between parts, ``steps`` or ``epochs``.
        name: Name of the series, e.g. ``pretrain/total``.
        lines: (seed, points) in the order of the seeds.
        hidden: Further series of the same method that were left out of the plot.
    """

    preset: str
    method: str
    pretrain_data: str
    fraction: float
    budget: str
    name: str
    lines: tuple[tuple[str, Series], ...]
    hidden: int


def curve_panels(runs: Iterable[RunRecord]) -> tuple[Panel, ...]:
    """Collect the curves of finished runs, those of encoders that differ in more than the seed apart.

    Runs that share a pretraining carry the same curve, which is taken once. The learning rate is no result and
    is left out; a series needs two points to be a curve.
    """
    found: dict[Key, dict[str, set[tuple[str, Series]]]] = defaultdict(lambda: defaultdict(set))
    encoders: dict[Key, dict[str, str]] = {}
    for run in sorted(runs, key=lambda run: run.key):
        owner, encoder = _owner(run)
        for series, points in run.curves.items():
            if _is_shown(series) and len(points) > 1:
                line = tuple((float(x), float(y)) for x, y in points)
                encoders[owner] = encoder
                found[owner][_panel_name(series, run.label)].add((seed_of(run), line))
    panels = []
    differences = name_encoders(encoders)
    for owner, by_series in sorted(found.items(), key=lambda item: (item[0][0], differences[item[0]])):
        names = sorted(by_series, key=lambda s: (not s.startswith("pretrain"), "total" not in s, s))
        hidden = max(0, len(names) - MAX_PANELS_PER_METHOD)
        label = owner[0]
        method = f"{label.method} [{differences[owner]}]" if differences[owner] else label.method
        for series in names[:MAX_PANELS_PER_METHOD]:
            lines = sorted(by_series[series], key=lambda line: (line[0].zfill(12), line[1]))
            panels.append(Panel(label.preset, method, *label[-3:], series, tuple(lines), hidden))
    return tuple(panels)


def _owner(run: RunRecord) -> tuple[Key, dict[str, str]]:
    """Return the cell of a run's curves and the encoder without seeds."""
    method = run.label.get("method", "?")
    encoder = {name: value for name, value in flatten(run.spec).items() if name.startswith("encoder.")}
    part, budget = float(encoder.get("encoder.fraction", "1")), encoder.get("encoder.budget", "steps")
    labels = Labels(
        preset=run.label.get("preset", ""),
        method=f"{method} ({run.label.get('architecture', '?')})" if method == "scratch" else method,
        pretrain_data=run.label.get("pretrain_data", "").removesuffix(pretrained_suffix(part, budget)),
        fraction=part,
        budget=budget,
    )
    return (labels, json.dumps(encoder, sort_keys=True)), encoder


def _panel_name(series: str, label: dict[str, str]) -> str:
    """A pretraining curve belongs to the encoder; any other also to what was evaluated."""
    if series.startswith("pretrain"):
        return series
    return f"{series}, {label.get('protocol', '?')} {label.get('setting', '')} on {label.get('dataset', '?')}"


def _is_shown(series: str) -> bool:
    return series.rsplit("/", 1)[-1] not in {"lr", "learning_rate"}
