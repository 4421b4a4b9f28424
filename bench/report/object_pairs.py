"""Comparisons object by object, as a document and CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bench.report import quantities
from bench.report.document import AnyCell, Block, Cell, Document, Field, Notes, Paragraph, Part, Table
from bench.report.words import p_value, percent, signed
from bench.stats.answers import NO_CLASS, Answers
from bench.stats.equivalence import Equivalence
from bench.stats.object_pairs import ObjectPair, Side
from bench.stats.objects import FEWEST_SEEDS, ClassDifference, Crossed, Paired
from bench.texts import csv_text

EXPLAINED = (
    "The lines on “the methods” hold for other pretrainings and other objects, both treated as random. They need "
    "three pairs of seeds. All other numbers hold for these trained models only: other seeds of one method differ, "
    "too. McNemar's test asks whether the objects that only one side gets right are split more unevenly than by "
    "chance. Seeds, folds and views give several answers about one object, which are not independent: such an object "
    "counts once, with all its answers, and the test flips the signs of whole objects. “No difference shown” is not "
    "“equal”: --margin POINTS tests whether the methods differ by less than that."
)
ENSEMBLES = (
    "An ensemble averages the predictions of its runs for each object. It costs as many networks as it has runs, "
    "and must not be compared with a single run of another method."
)


def document(pairs: Sequence[ObjectPair], classes: int) -> Document:
    """Build the document of comparisons.

    Args:
        pairs: The comparisons.
        classes: Most classes to show of each.
    """
    blocks: list[Block] = [_part(pair, len(pairs), classes, at) for at, pair in enumerate(pairs, start=1)]
    if len(pairs) > 1 and (judged := [pair for pair in pairs if pair.main is not None]):
        blocks.append(Part("All comparisons", (Table.of("comparisons", _OVERVIEW, judged),), "comparisons"))
    told = [EXPLAINED] if any(pair.per_seed for pair in pairs) else []
    told += [ENSEMBLES] if any(side.joined for pair in pairs for side in pair.sides) else []
    return Document("Comparison object by object", (*blocks, Notes(tuple(told))))


def _part(pair: ObjectPair, family: int, classes: int, at: int) -> Part:
    blocks: list[Block] = [Paragraph(f"note: {note}", "care") for note in pair.notes]
    if pair.per_seed:
        rows = list(zip(pair.seeds, pair.per_seed, strict=True))
        rows += [("all", pair.pooled)] if len(rows) > 1 and pair.pooled is not None else []
        blocks.append(Table.of(f"seeds-{at}", _SEEDS, rows))
        blocks += [Paragraph(line) for line in (_all_counts(pair),) if line]
    if joined := [side for side in pair.sides if side.joined is not None]:
        blocks.append(Table.of(f"ensembles-{at}", _ENSEMBLES, joined))
    blocks += [Paragraph(line) for line in sentences(pair, family)]
    if classes and (differing := [one for one in pair.classes if one.gained][:classes]):
        blocks.append(Table.of(f"classes-{at}", _classes(pair), differing))
    return Part(heading(pair), tuple(blocks), f"pair-{at}")


def heading(pair: ObjectPair) -> str:
    """Return a comparison's heading.

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
    """Describe a comparison in sentences.

    Args:
        pair: The comparison.
        family: Number of comparisons in Holm's correction.
    """
    lines = [_of_methods(pair, family)] if pair.per_seed else []
    lines += [] if pair.equivalence is None else [_equivalence(pair.equivalence, pair.lost, family)]
    if pair.pooled is not None:
        over = f"over {len(pair.seeds)} seeds" if len(pair.seeds) > 1 else f"seed {pair.seeds[0]}"
        lines.append(f"these trained models, {over}: {_found(pair.pooled, pair)}")
    if pair.joined is not None:
        lines.append(f"these ensembles: {_found(pair.joined, pair)}")
    return lines


def _of_methods(pair: ObjectPair, family: int) -> str:
    """Describe what the comparison says about the methods."""
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


def _equivalence(found: Equivalence, lost: str, family: int) -> str:
    """Describe whether the methods differ by less than a margin."""
    if lost:
        return f"within the margin: {lost}, no claim"
    if found.low is None or found.high is None:
        return f"within the margin: {found.words}"
    p = found.p if family < 2 else found.p_holm
    return (
        f"within the margin: {found.words}; 90 % interval [{signed(found.low)}, {signed(found.high)}] points, "
        f"p {_p(p)} (two one-sided t tests{'' if family < 2 else f', after Holm over {family} comparisons'})"
    )


def _found(found: Paired, pair: ObjectPair) -> str:
    odds = ""
    if found.table is not None and found.table.odds is not None:
        odds = f"; odds that A is the right one where one is: {found.table.odds:.2f}".replace("inf", "∞")
    return (
        f"A better on {found.better} objects, B on {found.worse}, the same on "
        f"{found.units - found.better - found.worse}; {pair.measure} {signed(found.difference)} points"
        f"{_ends(found)}{odds}; p {_p(found.test.p)} ({found.test.name})"
    )


def _ends(found: Paired) -> str:
    if _undivided(found):
        return ", no object tells them apart: no interval"
    return f" [{signed(found.low)}, {signed(found.high)}]"


def _undivided(found: Paired) -> bool:
    """Whether both sides agree on every object.

    Then there is no interval: nothing says how often one might be better.
    """
    return not found.better and not found.worse and found.low == found.high


def _all_counts(pair: ObjectPair) -> str:
    """Explain the counts in the row of all seeds.

    Empty where there is none.
    """
    if pair.pooled is None or pair.pooled.table is None or len(pair.per_seed) < 2:
        return ""
    seeds, asked, objects = len(pair.per_seed), len(pair.sides[0].runs[0].ids), pair.pooled.units
    about = f"{objects} objects" if asked == objects else f"{asked} questions about {objects} objects"
    return f"row all: {seeds} seeds x {about} = {seeds * asked} answers"


def _p(value: float | None) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"


def _count(name: str) -> Callable[[tuple[str, Paired]], Cell]:
    def cell(row: tuple[str, Paired]) -> Cell:
        table = row[1].table
        return quantities.NONE if table is None else quantities.number(getattr(table, name))

    return cell


_SEEDS: tuple[Field[tuple[str, Paired]], ...] = (
    Field("seed", "seed", lambda row: row[0], whole=True),
    Field("both", "both right", _count("both"), right=True, drop=4),
    Field("only_a", "only A", _count("only_first"), right=True),
    Field("only_b", "only B", _count("only_second"), right=True),
    Field("neither", "neither", _count("neither"), right=True, drop=3),
    Field("a", "A %", lambda row: quantities.fraction(row[1].first), right=True, drop=5),
    Field("b", "B %", lambda row: quantities.fraction(row[1].second), right=True, drop=6),
    Field("difference", "A − B [95 %]", lambda row: _difference(row[1]), right=True),
    Field("p", "p", lambda row: quantities.p_value(row[1].test.p), right=True),
    Field("test", "test", lambda row: row[1].test.name, drop=2),
)
_OVERVIEW: tuple[Field[ObjectPair], ...] = (
    Field("pair", "A and B", lambda pair: " and ".join(side.name for side in pair.sides), whole=True, wrap=1),
    Field("where", "where", lambda pair: pair.where),
    Field("scores", "A / B %", lambda pair: _main(pair, lambda one: f"{percent(one.first)} / {percent(one.second)}")),
    Field("methods", "methods: A − B [95 %]", lambda pair: _interval(pair.methods)),
    Field("p", "p", lambda pair: quantities.p_value(None if pair.methods is None else pair.methods.p), right=True),
    Field("p_holm", "p (Holm)", lambda pair: quantities.p_value(pair.p_holm), right=True),
    Field(
        "better", "these models better on: A / B", lambda pair: _main(pair, lambda one: f"{one.better} / {one.worse}")
    ),
    Field("p_models", "p of these models", lambda pair: _main(pair, lambda one: quantities.p_value(one.test.p))),
)
_ENSEMBLES: tuple[Field[Side], ...] = (
    Field("ensemble", "ensemble of", lambda side: side.name, whole=True),
    Field("runs", "runs", lambda side: quantities.number(len(side.runs)), right=True),
    Field("single", "single runs %", lambda side: _singles([run.accuracy for run in side.runs]), right=True),
    Field("joined", "ensemble %", lambda side: _of(side, lambda joined: joined.accuracy), right=True),
    Field("gain", "gain", lambda side: _gain(side), right=True),
    Field(
        "single_class_mean",
        "class mean: single %",
        lambda side: quantities.fraction(float(np.mean([run.mean_class_accuracy for run in side.runs]))),
        right=True,
    ),
    Field("class_mean", "ensemble %", lambda side: _of(side, lambda joined: joined.mean_class_accuracy), right=True),
)


def _classes(pair: ObjectPair) -> tuple[Field[ClassDifference], ...]:
    return (
        Field("class", "classes that differ most", lambda one: pair.class_name(one.label), whole=True),
        Field("n", "n", lambda one: quantities.number(one.n), right=True),
        Field("a", "A %", lambda one: quantities.fraction(one.first), right=True),
        Field("b", "B %", lambda one: quantities.fraction(one.second), right=True),
        Field("difference", "A − B", lambda one: quantities.points(one.first - one.second), right=True),
    )


def _difference(found: Paired) -> Cell:
    if _undivided(found):
        return quantities.points(found.difference)
    return quantities.points(found.difference, found.low, found.high)


def _main(pair: ObjectPair, told: Callable[[Paired], AnyCell]) -> AnyCell:
    return quantities.NONE if pair.main is None else told(pair.main)


def _interval(found: Crossed | None) -> Cell:
    return Cell("no claim") if found is None else quantities.points(found.difference, found.low, found.high)


def _of(side: Side, score: Callable[[Answers], float]) -> Cell:
    return quantities.NONE if side.joined is None else quantities.fraction(score(side.joined))


def _singles(values: Sequence[float]) -> Cell:
    mean = float(np.mean(values))
    return Cell(f"{percent(mean)} ({percent(min(values))}–{percent(max(values))})", mean, "fraction")


def _gain(side: Side) -> Cell:
    if side.joined is None:
        return quantities.NONE
    return quantities.points(side.joined.accuracy - float(np.mean([run.accuracy for run in side.runs])))


def pairs_as_csv(pairs: Sequence[ObjectPair]) -> str:
    """Return one CSV row per object and comparison.

    What it is, and what every run says about it; in folds, one row per fold too.
    """
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
