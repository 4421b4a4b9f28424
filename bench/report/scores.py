"""Table of accuracies of one section, with notes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.report import quantities, words
from bench.report.accuracy_plot import accuracy_plot, drawn_rows
from bench.report.classes import fold as class_fold
from bench.report.document import (
    NOTHING,
    Block,
    Cell,
    Detail,
    Field,
    Figure,
    Fold,
    Notes,
    Paragraph,
    Part,
    Table,
)
from bench.report.model import MOST_COMPARED, ClassCounts, Pair, ReportRow, Section
from bench.stats.cells import SCRATCH, Candidate
from bench.stats.comparisons import Comparison
from bench.stats.deviations import Deviation
from bench.stats.intervals import Summary, summarise
from bench.stats.selection import inflation

SMOKE_LINE = "SMOKE: these runs prove that every path works. Their numbers mean nothing and are not compared."
CANDIDATES_LINE = (
    "Validation chooses for each seed and setting: the encoder as it is, or (+bn) with BatchNorm statistics of the "
    "unlabelled training clouds; scratch in PyTorch's initialisation (default) or a truncated normal one (trunc). "
    "Shown: validation / test accuracy in percent (seeds it was chosen in). The test accuracy of the others is for "
    "information."
)
NOT_DRAWN = "Not drawn, as the page has many plots already: choose tables with --method, --protocol or --dataset."
MOST_CHANGES = 5
"""Changes from the preset that are told of the rows of a table one by one; the names of the rows tell them, too."""
PAIRS_TITLE = "Pretrained methods against each other"


def part(section: Section, *, plot: bool = True, classes: ClassCounts | None = None) -> Part:
    """Return a section as a part of the document.

    Args:
        section: The section.
        plot: Whether its plot is drawn.
        classes: Answers by class, if any were read.
    """
    card = next((row.facts.card for row in section.rows if row.facts.card), "")
    options = protocol_options(section)
    blocks: list[Block] = []
    if section.smoke:
        blocks.append(Paragraph(SMOKE_LINE, "warning"))
    blocks += [Paragraph(line, "soft") for line in told(section)]
    if card:
        text = Paragraph(card, "soft", detail=Detail.PAGE)
        blocks.append(Fold("What this protocol does", (text,), detail=Detail.PAGE))
    blocks.append(scores(section))
    blocks += [Paragraph(f"Protocol options: {options}.", "soft", detail=Detail.FILES)] if options else []
    blocks += [Paragraph(line, "care") for line in changes(section)]
    if plot:
        blocks.append(Figure(section.anchor, lambda: accuracy_plot(section), _legend(section)))
    else:
        blocks.append(Paragraph(NOT_DRAWN, "soft", detail=Detail.PAGE))
    blocks += [Notes(tuple(found))] if (found := notes(section)) else []
    if section.pairs:
        blocks.append(Part(PAIRS_TITLE, (pairs(section), Notes(tuple(pair_notes(section))))))
    if (tried := candidates(section)).rows:
        blocks.append(Fold("Candidates", (Paragraph(CANDIDATES_LINE, "soft"), tried), detail=Detail.FILES))
    if classes is not None:
        blocks.append(class_fold(section.anchor, classes))
    mark = "SMOKE" if section.smoke else ""
    return Part(section.title, tuple(blocks), section.anchor, f"preset {section.preset_words}", mark)


def scores(section: Section) -> Table:
    """Return the table of accuracies."""
    return Table.of(section.anchor, _fields(section), section.rows, lambda row: row.cell.is_opponent, "setting")


def _fields(section: Section) -> list[Field[ReportRow]]:
    """Return the columns of a table of accuracies."""
    smoke = section.smoke
    metric = section.metric.replace("_", " ")
    compared: list[Field[ReportRow]] = [
        Field(
            "span",
            "min–max",
            lambda row: Cell(words.span(row.cell.summary), row.cell.summary.minimum, "fraction"),
            drop=6,
        ),
        Field(
            "difference",
            f"difference to {_opponent(section)}",
            lambda row: quantities.difference(row.versus),
            wrap=12,
            bar=True,
        ),
        Field("verdict", "verdict", verdict, whole=True, wrap=8),
        Field("p_holm", "p (Holm)", lambda row: quantities.p_value(row.versus.p_holm if row.versus else None), drop=2),
    ]
    return [
        Field("setting", "setting", lambda row: row.cell.setting, drop=11),
        Field("method", "method", lambda row: row.cell.label, whole=True, wrap=9),
        Field("seeds", "seeds", lambda row: Cell(words.seeds(row.cell), row.cell.summary.n), right=True, drop=10),
        Field("score", f"{metric} %", lambda row: quantities.score(row.cell.summary, smoke=smoke), right=True),
        Field(
            "fold_deviation",
            f"{words.FOLDS_LABEL} (s.d.)",
            lambda row: "" if smoke else _fold_deviation(row.cell.summary),
            right=True,
        ),
        Field(
            "components",
            _spread_heading(section),
            lambda row: "" if smoke else words.components(row.cell.components),
            right=True,
            drop=5,
        ),
        *([] if smoke else compared),
        Field("seen", "saw evaluated class names", _seen),
        Field("pretrain_data", "pretrained on", lambda row: row.cell.pretrain_data or "none"),
        Field(
            "pretrain_seconds",
            "pretraining",
            lambda row: quantities.NONE if row.cell.is_scratch else quantities.seconds(row.facts.pretrain_seconds),
            right=True,
            drop=4,
        ),
        Field("size", "parameters, feature", _size, drop=1),
        Field("chosen_on", "chosen on", lambda row: "val" if row.facts.chosen else NOTHING, drop=3),
        *([] if smoke else [_other_rule(rule) for rule in section.other_selections]),
        Field("code", "code", lambda row: "older" if row.cell.older_code else ""),
    ]


def _fold_deviation(summary: Summary) -> Cell:
    return Cell(words.fold_deviation(summary), summary.fold_deviation, "fraction")


def _seen(row: ReportRow) -> Cell:
    seen = row.cell.seen
    return Cell(words.seen(row.cell), None if seen is None else len(seen), hover=", ".join(seen or ()))


def _size(row: ReportRow) -> Cell:
    facts = row.facts
    return Cell(", ".join(filter(None, (words.count(facts.parameters), facts.feature))), facts.parameters)


def _other_rule(rule: str) -> Field[ReportRow]:
    """Return a column of scores under another selection rule."""
    heading = "chosen on test (inflation)" if rule == "test" else "last epoch (inflation)"

    def cell(row: ReportRow) -> Cell:
        other = row.cell.by_selection.get(rule)
        added = inflation(other, row.cell.scores) if other else None
        if other is None or added is None:
            return quantities.NONE
        n = row.cell.summary.n
        seeds = "" if added.n == n else f", {added.n} of {n} seeds"
        mean = summarise(other).mean
        return Cell(f"{words.percent(mean)} ({words.signed(added.mean)}{seeds})", mean, "fraction")

    return Field(f"selection-{rule}", heading, cell, drop=7)


PAIR_FIELDS: tuple[Field[Pair], ...] = (
    Field("setting", "setting", lambda pair: pair.setting, whole=True),
    Field("compared", "compared", lambda pair: pair.name),
    Field("difference", "difference in points", lambda pair: quantities.difference(pair.comparison), bar=True),
    Field("verdict", "verdict", lambda pair: _pair_verdict(pair.comparison)),
    Field("p_holm", "p (Holm)", lambda pair: quantities.p_value(pair.comparison.p_holm)),
    Field("seeds", "paired seeds", lambda pair: Cell(str(pair.comparison.n), pair.comparison.n)),
)


def pairs(section: Section) -> Table:
    """Return comparisons of pretrained methods with each other."""
    return Table.of(f"{section.anchor}-pairs", PAIR_FIELDS, section.pairs)


def _pair_verdict(found: Comparison) -> Cell:
    weak = " (not after Holm)" if found.shown and not found.survives_holm else ""
    text = f"{words.SYMBOLS[found.verdict]} {found.words}{weak}"
    return Cell(text, found.verdict, tone=quantities.tone(found.verdict))


def verdict(row: ReportRow) -> Cell:
    """Return a row's verdict against its opponent, with symbol."""
    found = row.versus
    if row.cell.is_opponent:
        return Cell("")
    if found is None:
        return Cell("no scratch run here")
    return Cell(
        f"{words.SYMBOLS[found.verdict]} {_short_verdict(row, found)}",
        found.verdict,
        tone=quantities.tone(found.verdict),
    )


def _short_verdict(row: ReportRow, found: Comparison) -> str:
    """Return a row's verdict without the two names."""
    one = ", this encoder" if found.error.over == "splits" else ""
    if not found.shown:
        return f"no difference shown{one}" if found.verdict == "none" else found.words
    told = f"{found.verdict} {row.opponents_name}{one}"
    return told if found.survives_holm else f"{told} (not after Holm)"


def candidates(section: Section) -> Table:
    """Return the candidates of each cell, one per column.

    It stands with the metric that candidates are chosen by, and not again with every other one.
    """
    rows = [row for row in section.rows if row.cell.candidates and section.main]
    names = sorted({candidate.variant for row in rows for candidate in row.cell.candidates})

    def field(name: str) -> Field[ReportRow]:
        return Field(name, name, lambda row: _candidate(row, name))

    fields = [
        Field[ReportRow]("setting", "setting", lambda row: row.cell.setting, whole=True),
        Field[ReportRow]("method", "method", lambda row: row.cell.label),
        *map(field, names),
    ]
    return Table.of(f"{section.anchor}-candidates", fields, rows)


def _candidate(row: ReportRow, name: str) -> Cell:
    found: Candidate | None = next((one for one in row.cell.candidates if one.variant == name), None)
    if found is None:
        return quantities.NONE
    scores = (found.validation, found.test)
    accuracy = " / ".join(NOTHING if score is None else words.percent(score) for score in scores)
    return Cell(f"{accuracy} ({found.chosen}/{len(row.cell.scores)})", found.test, "fraction")


def _legend(section: Section) -> str:
    intervals = not section.smoke and any(row.cell.summary.n > 1 for row in section.rows)
    line = " Line: 95 % interval over seeds. Ticks below: single seeds." if intervals else ""
    drawn, every = ({row.cell.label for row in rows} for rows in (drawn_rows(section), section.rows))
    left = f" Drawn: {len(drawn)} of {len(every)} methods; results.csv holds all." if len(drawn) < len(every) else ""
    return f"Filled: pretrained. Hollow: scratch.{line}{left}"


def how_measured(section: Section) -> str:
    """Describe in a line how scores were measured."""
    seeds, splits = section.seeds, section.splits
    text = f"{len(seeds)} pretraining seed{'s' * (len(seeds) != 1)} ({words.numbers(seeds)})"
    if len(splits) > 1:
        text += f" × {len(splits)} split seeds ({words.numbers(splits)})"
    else:
        text += f", given split seed {splits[0]}"
    folds = f", {section.folds} folds averaged within each run" if section.folds else ""
    votes = f", {section.votes} votes per object" if section.votes > 1 else ""
    chosen = {row.facts.chosen for row in section.rows}
    choice = "nothing chosen" if chosen == {False} else "chosen on validation"
    scored = "scored once" if any(row.facts.queries for row in section.rows) else "test split scored once"
    if section.main and any(row.cell.candidates for row in section.rows):
        scored = "test split scored with every candidate, the one that validation chose counts"
    made = sorted({found for row in section.rows if (found := numerics(row))})
    return "; ".join(filter(None, (f"{text}{folds}", f"{choice}, {scored}{votes}", " or ".join(made))))


def told(section: Section) -> list[str]:
    """Return the lines above a table."""
    return [line for line in (f"{how_measured(section)}.", floor(section)) if line]


def floor(section: Section) -> str:
    """Return baselines: ``Chance 4.8 %, most frequent class 9.1 %.``."""
    found: dict[str, list[str]] = {}
    for setting in section.settings:
        if one := section.floors.get(setting):
            chance = "" if one.chance is None else f"chance {words.percent(one.chance)} %, "
            text = f"{chance}most frequent class {words.percent(one.majority)} %"
            found.setdefault(text, []).append(setting)
    if not found:
        return ""
    single = len(found) == 1 and len(section.floors) == len(section.settings)
    told = "; ".join(text if single else f"{text} ({', '.join(settings)})" for text, settings in found.items())
    return f"{told[0].upper()}{told[1:]}."


def _repeated(section: Section) -> list[str]:
    """Name metrics with the same numbers as this table."""
    names = ", ".join(metric.replace("_", " ") for metric in section.repeated)
    return [f"{names.capitalize()} is the same: every class has as many test objects."] if names else []


def numerics(row: ReportRow) -> str:
    """Return device and precision, e.g. ``cpu in bf16``, or nothing."""
    names = ("device", "precision")
    device, precision = (row.cell.spec.get(f"encoder.numerics.{name}", "") for name in names)
    return f"{device} in {precision}" if device and precision else ""


def changes(section: Section) -> list[str]:
    """Describe deviations from the preset.

    Those that all rows share, then those of single rows.
    """
    common = [one for one in section.deviations if not one.of_all]
    lines = [f"Differs from preset {section.preset}: {_listed(common)}."] if common else []
    own: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    for row in section.rows:
        name = f"{row.cell.label} {row.cell.setting}"
        for one in (one for one in row.deviations if one.of_all):
            unknown.setdefault(one.value, []).append(name)
        left = [one for one in row.deviations if one not in common and not one.of_all]
        if left:
            own.setdefault(_listed(left), []).append(name)
    for text, names in [*own.items()][:MOST_CHANGES]:
        lines.append(f"Differs from preset {section.preset} in some rows: {text} ({_some(names)}).")
    if (rest := len(own) - MOST_CHANGES) > 0:
        lines.append(f"{rest} more changes in some rows: results.csv holds them (changes_from_preset).")
    for why, names in unknown.items():
        lines.append(f"Whether these rows differ from preset {section.preset} is {why}: {_some(names)}.")
    return lines


def _listed(deviations: Iterable[Deviation]) -> str:
    return "; ".join(one.words for one in deviations)


def _some(names: Sequence[str], most: int = 3) -> str:
    return "; ".join(names[:most]) + (f"; and {len(names) - most} more" if len(names) > most else "")


def _shared_opponents(section: Section) -> list[str]:
    """Name the opponents of methods that no row of scratch is named after."""
    found: dict[str, list[str]] = {}
    for row in section.rows:
        if row.versus is not None and row.cell.architecture != row.cell.method:
            found.setdefault(row.versus.second, []).append(row.cell.label)
    told = ((other, list(dict.fromkeys(names))) for other, names in found.items())
    return [f"Compared with {other}, which has their architecture: {_some(names, 6)}." for other, names in told]


def _judged_together(section: Section) -> list[str]:
    """Explain intervals and verdicts of comparisons with scratch.

    Empty without any comparison.
    """
    tested = [row.versus for row in section.rows if row.versus is not None and row.versus.p is not None]
    return [basis(tested, "comparisons of this table with scratch")] if tested and not section.smoke else []


def basis(tested: Sequence[Comparison], family: str) -> str:
    """Say what intervals and verdicts of a family rest on."""
    moderated = any(c.moderated for c in tested)
    own = "paired differences"
    how = f"from {own}, their variance moderated over the {len(tested)} {family}" if moderated else f"from {own} alone"
    holm = f"; Holm over the same {len(tested)}" if len(tested) > 1 else ""
    return f"Intervals of differences and verdicts: Student-t {how}{holm}."


def protocol_options(section: Section) -> str:
    """Return the protocol's options, ``folds=10, head=linear``.

    Recipes, lists and options at null are left out.
    """
    plain = [(name, value) for name, value in section.options if "." not in name and value[:1] not in "[{"]
    return ", ".join(f"{name}={value}" for name, value in plain if value != "null")


def _opponent(section: Section) -> str:
    """Return the opponent's name; scratch by default."""
    return " or ".join(dict.fromkeys(row.opponent for row in section.rows if row.opponent)) or SCRATCH


def _spread_heading(section: Section) -> str:
    return "s.d. over folds / seeds" + (" / split seeds / rest" if len(section.splits) > 1 else "")


def notes(section: Section) -> list[str]:
    """Return the notes below a table.

    They name lost runs, the part of the data used and the basis of comparisons.
    """
    compared = [(f"{r.cell.label} {r.cell.setting}", r.versus) for r in section.rows if r.versus is not None]
    clipped = {f"{row.cell.setting}: {row.facts.clipped}." for row in section.rows if row.facts.clipped}
    clipped |= {f"{row.cell.setting}: queries: {row.facts.queries}." for row in section.rows if row.facts.queries}
    clipped |= {f"{row.cell.setting}: {row.facts.labelled}." for row in section.rows if row.facts.labelled}
    clipped |= {f"{row.facts.classes[0].upper()}{row.facts.classes[1:]}." for row in section.rows if row.facts.classes}
    lost = [f"Without a number: {line}." for line in section.lost]
    return (
        lost
        + [
            f"More than {MOST_COMPARED} methods in {setting}: not compared with each other; choose some with --method."
            for setting in section.too_many
        ]
        + _repeated(section)
        + _not_run(section)
        + sorted(clipped)
        + _warned(section)
        + _shared_opponents(section)
        + _judged_together(section)
        + _gathered(compared)
    )


def _not_run(section: Section) -> list[str]:
    """Name cells that lack seeds which others have."""
    found: dict[str, list[str]] = {}
    seeds = set(section.seeds)
    for row in section.rows:
        cell = row.cell
        lacking = seeds - {unit.seed for unit in (*cell.scores, *cell.lost)}
        if lacking and not cell.is_opponent and not cell.is_single:
            found.setdefault(words.numbers(tuple(sorted(lacking))), []).append(f"{cell.label} {cell.setting}")
    return [f"Not run with seed {lacking}: {_some(names)}." for lacking, names in found.items()]


def _warned(section: Section) -> list[str]:
    """Return each warning once, with rows and counts."""
    found: dict[str, list[str]] = {}
    for row in section.rows:
        for warning, n in row.facts.warnings:
            found.setdefault(warning, []).append(f"{row.cell.label} {row.cell.setting}, {n} of {len(row.cell.scores)}")
    return [f"{text[0].upper()}{text[1:]}: {_some(names, 6)} runs." for text, names in found.items()]


def pair_notes(section: Section) -> list[str]:
    """Return notes on comparisons, each with its pairs."""
    made_before = [pair for pair in section.pairs if pair.older_code]
    every = f"all {len(made_before)} comparisons" if 1 < len(made_before) == len(section.pairs) else ""
    older = words.older((f"{pair.name} {pair.setting}" for pair in made_before), every)
    tested = [pair.comparison for pair in section.pairs if pair.comparison.p is not None]
    older += [basis(tested, "comparisons of this list")] if tested else []
    return older + _gathered([(f"{pair.name} {pair.setting}", pair.comparison) for pair in section.pairs])


def _gathered(compared: Sequence[tuple[str, Comparison]]) -> list[str]:
    """Return each note once, with its comparisons."""
    found: dict[str, list[str]] = {}
    for name, comparison in compared:
        for note in comparison.notes:
            found.setdefault(note, []).append(name)
    return [_note(note, where, len(compared)) for note, where in sorted(found.items())]


def _note(note: str, where: list[str], compared: int) -> str:
    text = note[0].upper() + note[1:]
    if len(where) == compared:
        return f"{text}."
    return f"{text} ({_some(where)})."
