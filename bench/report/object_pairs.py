"""Comparisons object by object, in the terminal and as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bench.report.plain import TextTable
from bench.report.words import p_value, percent, signed
from bench.stats.answers import NO_CLASS, Answers
from bench.stats.object_pairs import ObjectPair, Side
from bench.stats.objects import FEWEST_SEEDS, Crossed, Paired
from bench.texts import csv_text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EXPLAINED = (
    "What is said of the methods is about other pretrainings and other objects: both are draws, crossed. It needs "
    "three pairs of seeds. All else is about these trained models, not the methods: other seeds of one method "
    "differ, too. McNemar's test asks whether, of the objects that only one of the two gets right, more are one "
    "side's than chance gives. Seeds, folds and views ask about the same objects and are no independent draws: over "
    "all seeds, and where an object is asked about more than once, it counts once, with all its answers, and the "
    "test flips the signs of whole objects."
)
ENSEMBLES = (
    "An ensemble averages what its runs say about each object; it is a method of its own that costs as many networks, "
    "and is not to be compared with a single run of another method."
)


def print_pairs(pairs: Sequence[ObjectPair], classes: int, console: Console) -> None:
    """Print comparisons.

    Args:
        pairs: The comparisons.
        classes: Most classes to show of each.
        console: Where to.
    """
    from rich.markup import escape
    from rich.text import Text

    for pair in pairs:
        console.print(Text(heading(pair), style="bold"))
        for note in pair.notes:
            console.print(f"[yellow]note[/yellow]: {escape(note)}", highlight=False)
        if pair.per_seed:
            console.print(_seeds(pair))
        if any(side.joined for side in pair.sides):
            console.print(_ensembles(pair))
        for line in sentences(pair, len(pairs)):
            console.print(Text(line))
        if classes and pair.classes:
            console.print(_classes(pair, classes))
        console.print()
    if len(pairs) > 1 and any(pair.main for pair in pairs):
        console.print(_overview(pairs))
        console.print()
    if any(pair.per_seed for pair in pairs):
        console.print(Text(EXPLAINED, style="dim"))
    if any(side.joined for pair in pairs for side in pair.sides):
        console.print(Text(ENSEMBLES, style="dim"))


def heading(pair: ObjectPair) -> str:
    """Return the heading of a comparison.

    Such as ``recon (A) and act (B), linear all on shapes-scan, nano: 1040 objects``.
    """
    letters = "AB"
    names = " and ".join(f"{side.name} ({letters[at]})" for at, side in enumerate(pair.sides))
    answers = pair.sides[0].runs[0]
    units = f"{pair.main.units} objects" if pair.main is not None else f"{len(np.unique(answers.ids))} objects"
    if pair.main is not None and pair.main.units != len(answers.labels):
        units += f", {len(answers.labels)} questions"
    return f"{names}, {pair.where}: {units}"


def sentences(pair: ObjectPair, family: int) -> list[str]:
    """Return the sentences on a comparison.

    Args:
        pair: The comparison.
        family: How many comparisons Holm's correction is over.
    """
    lines = [_of_methods(pair, family)] if pair.per_seed else []
    if pair.pooled is not None:
        over = f"over {len(pair.seeds)} seeds" if len(pair.seeds) > 1 else f"seed {pair.seeds[0]}"
        lines.append(f"these trained models, {over}: {_found(pair.pooled, pair)}")
    if pair.joined is not None:
        lines.append(f"these ensembles: {_found(pair.joined, pair)}")
    return lines


def _of_methods(pair: ObjectPair, family: int) -> str:
    """Return the sentences on the methods."""
    found = pair.methods
    if pair.lost:
        return f"the methods: {pair.lost}, no claim"
    if found is None:
        n = len(pair.seeds)
        return f"the methods: {n} pair{'s' * (n > 1)} of seeds, no claim; {FEWEST_SEEDS} or more are needed"
    points = signed(found.difference)
    if found.low is None or found.high is None:
        return f"the methods: {points} points, no answer differs"
    holm = "" if family < 2 else f", p {_p(pair.p_holm)} after Holm over {family} comparisons"
    clear = found.low > 0 or found.high < 0
    verdict = f"{'A' if found.difference > 0 else 'B'} is better" if clear else "no difference shown"
    return (
        f"the methods: {verdict}; {pair.measure} {points} points [{signed(found.low)}, {signed(found.high)}], "
        f"p {_p(found.p)}{holm} ({found.seeds} seeds crossed with {found.objects} objects)"
    )


def _found(found: Paired, pair: ObjectPair) -> str:
    odds = ""
    if found.table is not None and found.table.odds is not None:
        odds = f"; odds that A is the right one where one is: {found.table.odds:.2f}".replace("inf", "∞")
    return (
        f"A better on {found.better} objects, B on {found.worse}, the same on "
        f"{found.units - found.better - found.worse}; {pair.measure} {signed(found.difference)} points "
        f"[{signed(found.low)}, {signed(found.high)}]{odds}; p {_p(found.test.p)} ({found.test.name})"
    )


def _p(value: float | None) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"


def _seeds(pair: ObjectPair) -> RenderableType:
    """The 2x2 table of every seed, and of all together."""
    heads = ["seed", "A %", "B %", "A − B", "95 %", "p"]
    counts = pair.per_seed[0].table is not None
    if counts:
        heads[1:1] = ["both right", "only A", "only B", "neither"]
    rows = [_row(seed, found) for seed, found in zip(pair.seeds, pair.per_seed, strict=True)]
    if len(rows) > 1 and pair.pooled is not None:
        rows.append(_row("all", pair.pooled))
    return _table([*heads, "test"], rows)


def _row(seed: str, found: Paired) -> list[str]:
    counts = [] if found.table is None else [found.table.both, found.table.only_first, found.table.only_second]
    counts += [] if found.table is None else [found.table.neither]
    return [
        seed,
        *map(str, counts),
        percent(found.first),
        percent(found.second),
        signed(found.difference),
        f"[{signed(found.low)}, {signed(found.high)}]",
        p_value(found.test.p),
        found.test.name,
    ]


def _overview(pairs: Sequence[ObjectPair]) -> RenderableType:
    """All comparisons in one table, with Holm's correction over them."""
    rows = [
        [
            " and ".join(side.name for side in pair.sides),
            pair.where,
            f"{percent(found.first)} / {percent(found.second)}",
            _interval(pair.methods),
            p_value(None if pair.methods is None else pair.methods.p),
            p_value(pair.p_holm),
            f"{found.better} / {found.worse}",
            p_value(found.test.p),
        ]
        for pair in pairs
        if (found := pair.main) is not None
    ]
    heads = ["A and B", "where", "A / B %", "methods: A − B [95 %]", "p", "p (Holm)"]
    return _table([*heads, "these models better on: A / B", "p of these models"], rows)


def _interval(found: Crossed | None) -> str:
    if found is None:
        return "no claim"
    ends = "" if found.low is None or found.high is None else f" [{signed(found.low)}, {signed(found.high)}]"
    return f"{signed(found.difference)}{ends}"


def _ensembles(pair: ObjectPair) -> RenderableType:
    heads = ["ensemble of", "runs", "single runs %", "ensemble %", "gain", "class mean: single %", "ensemble %"]
    return _table(heads, [_ensemble(side, side.joined) for side in pair.sides if side.joined is not None])


def _ensemble(side: Side, joined: Answers) -> list[str]:
    single = [run.accuracy for run in side.runs]
    by_class = float(np.mean([run.mean_class_accuracy for run in side.runs]))
    mean = float(np.mean(single))
    return [
        side.name,
        str(len(side.runs)),
        f"{percent(mean)} ({percent(min(single))}–{percent(max(single))})",
        percent(joined.accuracy),
        signed(joined.accuracy - mean),
        percent(by_class),
        percent(joined.mean_class_accuracy),
    ]


def _classes(pair: ObjectPair, most: int) -> RenderableType:
    shown = [one for one in pair.classes if one.gained][:most]
    rows = [
        [
            pair.class_name(one.label),
            str(one.n),
            percent(one.first),
            percent(one.second),
            signed(one.first - one.second),
        ]
        for one in shown
    ]
    return _table(["classes that differ most", "n", "A %", "B %", "A − B"], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> TextTable:
    left = (heads[0], "test", "where")
    return TextTable(heads, rows, whole=heads[:1], right=[head for head in heads if head not in left])


def pairs_as_csv(pairs: Sequence[ObjectPair]) -> str:
    """One row per object (and fold) of every comparison: what it is, and what every run says about it."""
    titles = dict.fromkeys(title for pair in pairs for title, _ in _columns(pair))
    named = list(dict.fromkeys(name for pair in pairs for name in pair.labels))
    rows: list[list[object]] = []
    for pair in pairs:
        columns = dict(_columns(pair))
        first = pair.sides[0].runs[0]
        for at, name in enumerate(first.ids.tolist()):
            label = int(first.labels[at])
            fold = "" if first.fold is None else int(first.fold[at])
            said = [_said(columns[title], at) if title in columns else "" for title in titles]
            where = [pair.labels.get(field, "") for field in named]
            rows.append([*where, name, fold, label, pair.class_name(label), *said])
    return csv_text([*named, "id", "fold", "label", "class", *titles], rows)


def _columns(pair: ObjectPair) -> list[tuple[str, Answers]]:
    found = []
    for letter, side in zip("AB", pair.sides, strict=False):
        found += [(f"{letter} {title}", run) for title, run in zip(side.titles, side.runs, strict=True)]
        if side.joined is not None:
            found.append((f"{letter} {side.name} ensemble", side.joined))
    return found


def _said(answers: Answers, at: int) -> str:
    if answers.iou is not None:
        return f"{answers.iou[at]:.6f}"
    predicted = int(answers.predicted[at])
    return "" if predicted == NO_CLASS else str(predicted)
