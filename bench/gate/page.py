"""Page on what a gate finds by simulation (docs/gate.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.gate.baseline import Baseline, read_baseline
from bench.gate.characteristics import (
    DESTROYED,
    EVERYWHERE,
    FALSE_ALARMS,
    LARGE_DROP,
    ONE_CELL,
    SMALL_DROP,
    UNCHANGED_PASSES,
    Outcome,
    Redraws,
    planned_looks,
    redraws,
    rows,
    simulate,
)
from bench.gate.output import brief
from bench.report.markdown import table
from bench.report.plain import TextTable
from bench.stats.gate import LEVEL, PLANNED, GateVerdict, Scales, suite_lines
from bench.store.publish import write_whole

_HEADINGS = ("what changed", "pass", "undecided", "fail", "pass ", "undecided ", "fail ", "seeds")


@dataclass(frozen=True)
class Simulation:
    """Shares of simulated changes by the gate's verdict.

    Attributes:
        draws: Changes simulated per scenario.
        seeds: Seeds that a check runs first.
        drawn: Outcomes with the baseline drawn anew each time.
        stored: Outcomes given the stored baseline.
    """

    draws: int
    seeds: int
    drawn: tuple[Outcome, ...]
    stored: tuple[Outcome, ...]


def simulate_gate(path: Path, draws: int, page: Path | None = None, seeds: int | None = None) -> Simulation:
    """Simulate what a baseline's gate finds.

    Args:
        path: The baseline.
        draws: Changes simulated per scenario.
        page: Markdown file to write; None for none.
        seeds: Seeds that a check runs first; None for the planned ones, or all where there are fewer.

    Raises:
        SetupError: The baseline cannot be read, or the page cannot be written.
        UsageError: The baseline has too few seeds.
    """
    baseline = read_baseline(path)
    first = len(baseline.first(min(PLANNED, len(baseline.seeds)) if seeds is None else seeds))
    drawn, stored = (simulate(baseline, draws, redraw=redraw, first=first) for redraw in (True, False))
    if page is not None:
        checked = redraws(baseline) if len(baseline.seeds) >= 2 * PLANNED else None
        write_whole(
            page, _page(path, baseline, draws, first, drawn, stored, checked), "the page", "give a writable path"
        )
    return Simulation(draws, first, tuple(drawn), tuple(stored))


def print_simulation(found: Simulation, screen: Console) -> None:
    """Print the shares as two tables."""
    for name, outcomes in (("baseline drawn anew", found.drawn), ("given the stored baseline", found.stored)):
        screen.print(f"\n{name}: % of {found.draws} changes, after {found.seeds} seeds, then with --more-seeds")
        screen.print(TextTable(_HEADINGS, rows(outcomes), right=_HEADINGS[1:]))
    passes = found.drawn[0].first["pass"]
    if passes < UNCHANGED_PASSES:
        screen.print(
            f"\nnote: where numbers are not identical, an unchanged suite passes outright in {100 * passes:.0f} %: add "
            f"cells or seeds until {100 * UNCHANGED_PASSES:.0f} % do, or use --undecided pass",
            highlight=False,
            markup=False,
        )


def _page(
    path: Path,
    baseline: Baseline,
    draws: int,
    seeds: int,
    drawn: Sequence[Outcome],
    stored: Sequence[Outcome],
    checked: Redraws | None,
) -> str:
    looks = planned_looks(len(baseline.seeds), seeds)
    more = " -> ".join(map(str, looks))
    parts = [
        f"<!-- Written by `bench check --baseline {path} --simulate {draws} --seeds {seeds} --page FILE`. -->\n",
        f"# What the check of {path.name} finds\n",
        f"Simulated with the variances of the stored baseline ({len(baseline.seeds)} seeds, measured on "
        f"{baseline.machine}): the scores of a cell are its mean plus normal noise of its deviation over seeds, cells "
        f"independent of each other. {draws} changes per row; figures in %, their own standard error is at most "
        f"{50 / draws**0.5:.1f}. `bench check` compares {seeds} seeds; with `--more-seeds` it goes on "
        f"({more}) while it is undecided, with the level of {LEVEL:g} spent over the looks.\n",
        "## What it has to find\n",
        _targets(drawn, seeds),
        "## What it cannot see\n",
        _blind(drawn),
        "## Baseline and change drawn anew\n",
        _markdown(drawn, seeds),
        "## Given the stored baseline\n",
        "Its means are taken for the truth; only the change is drawn. A baseline stays for months, so this is what its "
        "users meet if its means are right.\n",
        _markdown(stored, seeds),
        "## Margins\n",
        _margins(baseline),
        "## Assumptions against real seeds\n",
        _checked(baseline, checked),
    ]
    return "\n".join(parts)


def _markdown(outcomes: Sequence[Outcome], seeds: int) -> str:
    verdicts = ("undecided", "fail")
    heads = ("what changed", f"{seeds} seeds: pass", *verdicts, "with --more-seeds: pass", *verdicts, "seeds run")
    return "\n".join(table(heads, rows(outcomes))) + "\n"


def _targets(outcomes: Sequence[Outcome], seeds: int) -> str:
    """Compare the worst of each kind with its target."""
    heads = ("what", "asked for, %", f"{seeds} seeds", "with --more-seeds", "reached")
    unchanged = outcomes[0]
    alarms = [100 * share["fail"] for share in (unchanged.first, unchanged.last)]
    passes = [100 * share["pass"] for share in (unchanged.first, unchanged.last)]
    most, fewest = 100 * FALSE_ALARMS, 100 * UNCHANGED_PASSES
    body = [
        ("an unchanged suite fails", f"at most {most:g}", *_reached(alarms, max(alarms) <= most)),
        ("an unchanged suite passes", f"at least {fewest:g}", *_reached(passes, min(passes) >= fewest)),
    ]
    kinds = (
        (EVERYWHERE, f"{SMALL_DROP:g} points lost in every cell"),
        (DESTROYED, "pretraining does nothing, gain above the margin: the worst cell"),
        (ONE_CELL, f"{LARGE_DROP:g} points lost in one cell: the worst cell"),
    )
    for target, what in kinds:
        found = [o for o in outcomes if o.scenario.target == target]
        if found:
            worst = [100 * min(share["fail"] for share in shares) for shares in _looks(found)]
            body.append((what, f"at least {100 * target:g}", *_reached(worst, worst[1] >= 100 * target)))
        else:
            body.append((what, f"at least {100 * target:g}", "no such cell", "", "no"))
    return "\n".join(table(heads, body)) + "\n"


def _looks(outcomes: Sequence[Outcome]) -> tuple[list[Mapping[GateVerdict, float]], list[Mapping[GateVerdict, float]]]:
    return [o.first for o in outcomes], [o.last for o in outcomes]


def _reached(shares: Sequence[float], good: bool) -> tuple[str, str, str]:
    first, last = shares
    return f"{first:.1f}", f"{last:.1f}", "yes" if good else "no"


def _blind(outcomes: Sequence[Outcome]) -> str:
    lines = [
        f"- {o.scenario.name}: failed in {100 * o.last['fail']:.0f} %, passed in {100 * o.last['pass']:.0f} %."
        for o in outcomes[1:]
        if o.scenario.target is None or o.last["fail"] < o.scenario.target
    ]
    lines.append("- A loss on data, settings or methods that are not in the suite; a drop below a third of its margin.")
    return "\n".join(lines) + "\n"


def _margins(baseline: Baseline) -> str:
    lines, earlier = suite_lines(baseline.results(), baseline.earlier())
    scales = Scales.of(lines, earlier)
    heads = ("cell", "line", "baseline", "deviation over seeds", "degrees of freedom", "margin")
    shared, names = brief(cell.cell for cell in baseline.cells)
    body = [
        (
            names.get(name, name),
            kind,
            f"{lines.points[i].mean():.1f}",
            f"{scales.deviation[i]:.2f}",
            f"{scales.df[i]:.1f}",
            f"{scales.margin[i]:.1f}",
        )
        for i, (name, kind) in enumerate(lines.names)
    ]
    all_of = [f"All cells: {shared}.", ""] if shared else []
    return "\n".join([*all_of, *table(heads, body)]) + "\n"


def _checked(baseline: Baseline, checked: Redraws | None) -> str:
    if checked is None:
        return f"The baseline has {len(baseline.seeds)} seeds; {2 * PLANNED} or more are needed to check them.\n"
    seen, chance = checked.correlation
    return (
        f"The {len(baseline.seeds)} seeds of the baseline are real redraws of an unchanged suite. In {checked.splits} "
        f"random splits into {PLANNED} seeds that play the change and the rest, {100 * checked.alarms:.1f} % fail. The "
        f"largest correlation of two cells over seeds is {seen:.2f} (independent cells exceed {chance:.2f} in 5 %). "
        f"Smallest Shapiro-Wilk p value of a cell after Holm: {checked.normal:.2f}.\n"
    )
