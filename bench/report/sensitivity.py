"""Differences that seeds can show: of stored tables, and of a plan.

Each table's comparisons with scratch, and its pretrained methods against each other, are two families, as in the
report (`bench.report.model`); `bench.stats.power` has the test that they are about.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from bench.report import quantities
from bench.report.document import MOST_ROWS, Block, Cell, Detail, Document, Field, Notes, Part, Table
from bench.report.model import SMOKE, ReportModel, Section
from bench.report.words import percent
from bench.stats.cells import SCRATCH, TEACHER_ALONE, cell_digest
from bench.stats.comparisons import Comparison
from bench.stats.power import ASSUMED_DEVIATION, TARGET, Spread, pooled_spread, seeds_needed, smallest_effect

if TYPE_CHECKING:
    from pydantic import JsonValue

    from bench.plan.graph import PlannedRun

Against = Literal["scratch", "each other"]
TITLE = "What the seeds can show"
PLANNED_EFFECT = 0.01
"""Difference whose seeds a plan counts."""


@dataclass(frozen=True)
class Sensitivity:
    """Variation of one family of comparisons of a table.

    Attributes:
        section: The table.
        against: Whether pretrained methods are compared with scratch, or with each other.
        spread: Variation of their paired differences.
        seeds: Fewest paired seeds of a comparison.
        seconds: Device seconds of one more seed of the whole table, pretraining included; None if not stored.
    """

    section: Section
    against: Against
    spread: Spread
    seeds: int
    seconds: float | None

    @property
    def table(self) -> str:
        """Name of the table."""
        return f"{self.section.title}, {self.section.preset_words}"


@dataclass(frozen=True)
class Question:
    """Question that is asked of each table.

    Attributes:
        effect: Difference to show, a fraction.
        target: Chance of showing it.
        seeds: Planned seeds; None for those that are stored.
    """

    effect: float
    target: float = TARGET
    seeds: int | None = None


def sensitivities(model: ReportModel) -> list[Sensitivity]:
    """Return the families of a report whose variation is known."""
    found = []
    for section in model.shown:
        if section.smoke or not section.main:
            continue
        families: tuple[tuple[Against, Iterable[Comparison]], ...] = (
            ("scratch", [row.versus for row in section.rows if row.versus is not None]),
            ("each other", [pair.comparison for pair in section.pairs]),
        )
        for against, compared in families:
            family = list(compared)
            if (spread := pooled_spread(family)) is not None:
                fewest = min(one.n for one in family if one.low is not None)
                found.append(Sensitivity(section, against, spread, fewest, _seconds(section)))
    return found


def _seconds(section: Section) -> float | None:
    """Add up the device seconds of one seed of a table.

    Every encoder is pretrained once, whatever its settings.
    """
    pretraining: dict[tuple[str, str], float] = {}
    total = 0.0
    for row in section.rows:
        if row.facts.evaluate_seconds is None:
            return None
        total += row.facts.evaluate_seconds
        if not row.cell.is_opponent:
            pretraining[row.cell.label, row.cell.pretrain_data] = row.facts.pretrain_seconds or 0.0
    return total + sum(pretraining.values())


def answers(one: Sensitivity, asked: Question) -> dict[str, JsonValue]:
    """Answer a question about a table, as ``bench power --json`` prints it.

    Differences and deviations are fractions.
    """
    seeds = one.seeds if asked.seeds is None else asked.seeds
    ends = one.spread.interval()
    needed = seeds_needed(one.spread, asked.effect, asked.target)
    low, high = (
        (None, None)
        if ends is None
        else tuple(seeds_needed(replace(one.spread, deviation=end), asked.effect, asked.target) for end in ends)
    )
    more = None if needed is None or one.seconds is None else max(0, needed - one.seeds) * one.seconds
    return {
        "table": one.table,
        "preset": one.section.preset,
        "protocol": one.section.protocol,
        "form": one.section.form,
        "dataset": one.section.dataset,
        "metric": one.section.metric,
        "against": one.against,
        "comparisons": one.spread.comparisons,
        "stored_seeds": one.seeds,
        "deviation": one.spread.deviation,
        "deviation_low": None if ends is None else ends[0],
        "deviation_high": None if ends is None else ends[1],
        "power": asked.target,
        "seeds": seeds,
        "smallest_difference": smallest_effect(one.spread, seeds, asked.target),
        "effect": asked.effect,
        "seeds_needed": needed,
        "seeds_needed_low": low,
        "seeds_needed_high": high,
        "seconds_per_seed": one.seconds,
        "seconds_more": more,
    }


Answer = Mapping[str, "JsonValue"]


def _fields(asked: Question) -> list[Field[Answer]]:
    effect = f"{100 * asked.effect:g}"
    return [
        Field("table", "table", lambda row: str(row["table"]), sink=1),
        Field("against", "against (Holm over)", lambda row: f"{row['against']} ({row['comparisons']})", whole=True),
        Field("seeds", "seeds", lambda row: Cell(str(row["seeds"]), _number(row, "seeds")), right=True),
        Field("deviation", "s.d. [95 %]", _deviation, right=True, drop=2),
        Field("smallest_difference", "shown from", _smallest, right=True),
        Field("seeds_needed", f"seeds for {effect}", _needed, right=True),
        Field("more", "more device time", lambda row: quantities.seconds(_number(row, "seconds_more")), right=True),
    ]


def _number(row: Answer, name: str) -> float | None:
    value = row[name]
    return value if isinstance(value, int | float) else None


def _deviation(row: Answer) -> Cell:
    value, low, high = (_number(row, name) for name in ("deviation", "deviation_low", "deviation_high"))
    assert value is not None
    ends = "" if low is None or high is None else f" [{percent(low)}, {percent(high)}]"
    return Cell(percent(value) + ends, value, "fraction", low, high)


def _smallest(row: Answer) -> Cell:
    value = _number(row, "smallest_difference")
    return Cell("nothing") if value is None else Cell(percent(value), value, "fraction")


def _needed(row: Answer) -> Cell:
    value, low, high = (row[f"seeds_needed{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return Cell("over 1,000")
    ends = "" if row["deviation_low"] is None or low == high else f" ({low}–{high or 'over 1,000'})"
    return Cell(f"{value}{ends}", _number(row, "seeds_needed"))


def table(found: Iterable[Sensitivity], asked: Question) -> Table:
    """Return the answers as a table."""
    return Table.of("power", _fields(asked), (answers(one, asked) for one in found))


def explained(asked: Question) -> str:
    """Say what the table's numbers mean."""
    return (
        f"Power {100 * asked.target:g} %, of one comparison at Holm's first and strictest step; Student-t over paired "
        f"seeds with the variance moderated as in the report. “Shown from”: the smallest true difference, in points, "
        f"that the seeds in the column show with this power; a smaller one mostly ends as “no difference shown”. "
        f"“Seeds for {100 * asked.effect:g}”: seeds that a difference of {_points(asked.effect)} needs, and in "
        "brackets what they would be at the ends of the deviation's interval. Differences are assumed to be normally "
        "distributed. Device time: of the seeds that are missing, all rows of the table, as stored runs cost."
    )


def _points(fraction: float) -> str:
    return f"{100 * fraction:g} point{'s' * (100 * fraction != 1)}"


def part(model: ReportModel, asked: Question) -> list[Part]:
    """Return the part of a report, if anything is known."""
    if not (found := sensitivities(model)):
        return []
    notes = [explained(asked)]
    if len(found) > MOST_ROWS:
        notes.append(f"The first {MOST_ROWS} of {len(found):,}; bench power has all of them.")
    blocks: tuple[Block, ...] = (table(found[:MOST_ROWS], asked), Notes(tuple(notes)))
    return [Part(TITLE, blocks, "power", detail=Detail.FILES)]


def document(found: Sequence[Sensitivity], asked: Question) -> Document:
    """Return the document of ``bench power``."""
    return Document(TITLE, (table(found, asked), Notes((explained(asked),))))


@dataclass(frozen=True)
class _Family:
    """A family of comparisons that a plan will make."""

    where: tuple[str, str, str, str]
    against: Against
    comparisons: int
    seeds: int


def planned_line(
    runs: Sequence[PlannedRun],
    read: Callable[[], Sequence[Sensitivity]],
    seconds: float | None = None,
    effects: int | None = None,
) -> str:
    """Say what a plan's seeds can show, for its least sensitive table.

    Args:
        runs: Every run of the plan.
        read: Reads the variation of stored tables; not called where the plan compares nothing.
        seconds: Device seconds of one seed of the plan; None where they are not known.
        effects: Effects that an ablation tests together in a table; None where the plan compares methods.

    Returns:
        One line; empty where the plan compares nothing.
    """
    families = _families(runs)
    if effects is not None:
        families = [replace(family, comparisons=effects) for family in families]
    if not families:
        return ""
    told, known = [], read()
    for family in families:
        spread, basis = _assumed(family, known)
        told.append((smallest_effect(spread, family.seeds), family, spread, basis))
    smallest, family, spread, basis = max(told, key=lambda one: 2.0 if one[0] is None else one[0])
    preset, protocol, form, dataset = family.where
    against = (
        "to scratch"
        if family.against == "scratch"
        else "between methods"
        if effects is None
        else "between two settings"
    )
    count = f"{family.seeds} seed{'s' * (family.seeds != 1)}"
    holm = f", Holm over {family.comparisons}" if family.comparisons > 1 else ""
    words = f"{protocol}{'' if form == 'fair' else f' ({form} form)'} on {dataset}, {preset}"
    most = " in the least sensitive table" if len(families) > 1 else ""
    if smallest is None:
        shown = f"{count} can show no difference {against}{most}, it takes two or more"
    else:
        shown = f"{count} show a difference {against} from {percent(smallest)} points{most}"
    needed = seeds_needed(spread, PLANNED_EFFECT)
    seeds = "over 1,000 seeds" if needed is None else f"{needed} seeds"
    cost = "" if needed is None or not seconds else f", about {_hours(needed * seconds)} device hours"
    return (
        f"{shown} ({words}; power {100 * TARGET:g} %{holm}, deviation {percent(spread.deviation)} points {basis}); "
        f"{100 * PLANNED_EFFECT:g} point takes {seeds}{cost}"
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f}" if seconds < 36000 else f"{seconds / 3600:,.0f}"


def _families(runs: Sequence[PlannedRun]) -> list[_Family]:
    """Return the families of comparisons that a plan makes.

    Methods are compared within a setting of the protocol, and a table has all settings.
    """
    tables: dict[tuple[str, str, str, str], dict[str, tuple[str, str, set[int]]]] = {}
    for run in runs:
        if run.label["preset"] != SMOKE:
            where = run.label["preset"], run.label["protocol"], run.label["form"], run.label["dataset"]
            name = cell_digest(run.spec.model_dump(mode="json"))
            tables.setdefault(where, {}).setdefault(name, (run.label["method"], run.label["setting"], set()))[2].add(
                run.spec.seed
            )
    found = []
    for where, cells in tables.items():
        opponents = [seeds for method, _, seeds in cells.values() if method in (SCRATCH, TEACHER_ALONE)]
        pretrained = [seeds for method, _, seeds in cells.values() if method not in (SCRATCH, TEACHER_ALONE)]
        sizes = Counter(setting for method, setting, _ in cells.values() if method not in (SCRATCH, TEACHER_ALONE))
        pairs = sum(math.comb(size, 2) for size in sizes.values())
        if not pretrained:
            continue
        if opponents:
            fewest = min(map(len, (*opponents, *pretrained)))
            found.append(_Family(where, "scratch", len(pretrained), fewest))
        elif pairs:
            found.append(_Family(where, "each other", pairs, min(map(len, pretrained))))
    return found


def _assumed(family: _Family, known: Sequence[Sensitivity]) -> tuple[Spread, str]:
    """Return the variation to assume, and where it comes from."""
    preset, protocol, form, dataset = family.where
    alike = [
        one for one in known if (one.section.preset, one.section.protocol, one.section.form) == (preset, protocol, form)
    ]
    same = [one for one in alike if one.section.dataset == dataset]
    for found, where in ((same, ""), (alike, f" of {protocol} on {alike[0].section.dataset}" if alike else "")):
        if found:
            chosen = next((one for one in found if one.against == family.against), found[0])
            runs = sum(len(row.cell.runs) for row in chosen.section.rows)
            return replace(chosen.spread, comparisons=family.comparisons), f"from {runs} stored runs{where}"
    return Spread(ASSUMED_DEVIATION, family.comparisons), "assumed: none is stored"
