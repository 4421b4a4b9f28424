"""The tables of a report as columns of text, shared by terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.report import words
from bench.report.model import Pair, ReportRow, Section
from bench.stats.cells import SCRATCH, Candidate
from bench.stats.comparisons import Comparison
from bench.stats.components import variance_components
from bench.stats.deviations import Deviation
from bench.stats.intervals import summarise
from bench.stats.selection import inflation

SMOKE_LINE = "SMOKE: these runs prove that every path works. Their numbers mean nothing and are not compared."
CANDIDATES_LINE = (
    "Validation chooses for each seed and setting: the encoder as it is, or (+bn) with BatchNorm statistics of the "
    "unlabelled training clouds; scratch in two initialisations. Shown: validation / test accuracy in percent (seeds "
    "it was chosen in). The test accuracy of the others is for information."
)
PAIR_HEADINGS = ("setting", "compared", "difference in points", "verdict", "p (Holm)", "paired seeds")
_COMPARED = ("span", "difference", "verdict", "p_holm")


def heading(section: Section) -> str:
    """Heading of a table: SMOKE first where that is all, and what all its rows changed of the preset."""
    return f"{'SMOKE: ' if section.smoke else ''}{section.title}, preset {section.preset_words}"


def how_measured(section: Section) -> str:
    """One line on what the numbers of a table are."""
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
    """Return the lines above a table: how it was measured, and what needs no encoder."""
    return [line for line in (f"{how_measured(section)}.", floor(section)) if line]


def floor(section: Section) -> str:
    """Say what needs no encoder: ``Chance 4.8 %, most frequent class 9.1 %.``; empty where nothing is known."""
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


def repeated(section: Section) -> list[str]:
    """Name metrics whose numbers are those of this table."""
    names = ", ".join(metric.replace("_", " ") for metric in section.repeated)
    return [f"{names.capitalize()} is the same: every class has as many test objects."] if names else []


def numerics(row: ReportRow) -> str:
    """Return device and precision, as ``cpu in bf16``; empty if unknown."""
    names = ("device", "precision")
    device, precision = (row.cell.spec.get(f"encoder.numerics.{name}", "") for name in names)
    return f"{device} in {precision}" if device and precision else ""


def changes(section: Section) -> list[str]:
    """Say what the rows have that the preset would not give them: what all share, then what single rows have."""
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
    for text, names in own.items():
        lines.append(f"Differs from preset {section.preset} in some rows: {text} ({_some(names)}).")
    for why, names in unknown.items():
        lines.append(f"Whether these rows differ from preset {section.preset} is {why}: {_some(names)}.")
    return lines


def _listed(deviations: Iterable[Deviation]) -> str:
    return "; ".join(one.words for one in deviations)


def _some(names: Sequence[str], most: int = 3) -> str:
    return "; ".join(names[:most]) + (f"; and {len(names) - most} more" if len(names) > most else "")


def judged_together(section: Section) -> list[str]:
    """Say what intervals and verdicts of the comparisons with scratch rest on; nothing without any."""
    tested = [row.versus for row in section.rows if row.versus is not None and row.versus.p is not None]
    return [_basis(tested, "comparisons of this table with scratch")] if tested and not section.smoke else []


def _basis(tested: Sequence[Comparison], family: str) -> str:
    moderated = any(c.moderated for c in tested)
    own = "paired differences"
    how = f"from {own}, their variance moderated over the {len(tested)} {family}" if moderated else f"from {own} alone"
    holm = f"; Holm over the same {len(tested)}" if len(tested) > 1 else ""
    return f"Intervals of differences and verdicts: Student-t {how}{holm}."


def options(section: Section) -> str:
    """The protocol's options, ``folds=10, head=linear``; recipes, lists and options at null stay out of the line."""
    plain = [(name, value) for name, value in section.options if "." not in name and value[:1] not in "[{"]
    return ", ".join(f"{name}={value}" for name, value in plain if value != "null")


def columns(section: Section) -> dict[str, str]:
    """Columns of a table of accuracies: name and heading, those without content left out."""
    found = {
        "setting": "setting",
        "method": "method",
        "seeds": "seeds",
        "score": f"{section.metric.replace('_', ' ')} %",
        "fold_deviation": f"{words.FOLDS_LABEL} (s.d.)",
        "components": _spread_heading(section),
        "span": "min–max",
        "difference": f"difference to {_opponent(section)}",
        "verdict": "verdict",
        "p_holm": "p (Holm)",
        "seen": "saw evaluated class names",
        "pretrain_data": "pretrained on",
        "pretrain_seconds": "pretraining",
        "size": "parameters, feature",
        "chosen_on": "chosen on",
        **{f"selection:{rule}": _other_heading(rule) for rule in section.other_selections if not section.smoke},
        "code": "code",
    }
    texts = [row_texts(row, section) for row in section.rows]
    droppable = ("fold_deviation", "components", "span", "p_holm", "size", "code")
    empty = {name for name in droppable if all(text[name] in ("", "–") for text in texts)}
    return {n: h for n, h in found.items() if n not in empty and not (section.smoke and n in _COMPARED)}


def _opponent(section: Section) -> str:
    """Return the opponent of the table's cells; scratch by default."""
    return " or ".join(dict.fromkeys(row.opponent for row in section.rows if row.opponent)) or SCRATCH


def _spread_heading(section: Section) -> str:
    return "s.d. over folds / seeds" + (" / split seeds / rest" if len(section.splits) > 1 else "")


def _other_heading(rule: str) -> str:
    return "chosen on test (inflation)" if rule == "test" else "last epoch (inflation)"


def row_texts(row: ReportRow, section: Section) -> dict[str, str]:
    """Render one row, by column."""
    cell, facts = row.cell, row.facts
    summary = cell.summary
    return {
        "setting": cell.setting,
        "method": cell.label,
        "seeds": words.seeds(cell),
        "score": words.percent(summary.mean) if section.smoke else words.score(summary),
        "fold_deviation": "" if section.smoke else words.fold_deviation(summary),
        "components": "" if section.smoke else words.components(variance_components(cell.scores)),
        "span": words.span(summary),
        "difference": words.difference(row.versus),
        "verdict": verdict(row),
        "p_holm": words.p_value(row.versus.p_holm if row.versus else None),
        "seen": words.seen(cell),
        "pretrain_data": cell.pretrain_data or "none",
        "pretrain_seconds": "–" if cell.is_scratch else words.seconds(facts.pretrain_seconds),
        "size": ", ".join(filter(None, (words.count(facts.parameters), facts.feature))),
        "chosen_on": "val" if facts.chosen else "–",
        "code": "older" if cell.older_code else "",
        **{f"selection:{rule}": _other(row, rule) for rule in section.other_selections},
    }


def _other(row: ReportRow, rule: str) -> str:
    other = row.cell.by_selection.get(rule)
    added = inflation(other, row.cell.scores) if other else None
    if other is None or added is None:
        return "–"
    seeds = "" if added.n == row.cell.summary.n else f", {added.n} of {row.cell.summary.n} seeds"
    return f"{words.percent(summarise(other).mean)} ({words.signed(added.mean)}{seeds})"


def pair_texts(pair: Pair) -> tuple[str, ...]:
    """Render the comparison of two pretrained methods."""
    c = pair.comparison
    verdict = f"{words.SYMBOLS[c.verdict]} {c.words}"
    if c.shown and not c.survives_holm:
        verdict += " (not after Holm)"
    return pair.setting, pair.name, words.difference(c), verdict, words.p_value(c.p_holm), str(c.n)


def candidates(section: Section) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the table of candidates: one row per cell that had a choice, one column per candidate.

    It stands with the metric that candidates are chosen by, and not again with every other one.
    """
    rows = [row for row in section.rows if row.cell.candidates and section.main]
    names = sorted({candidate.variant for row in rows for candidate in row.cell.candidates})
    body = []
    for row in rows:
        by_name = {candidate.variant: candidate for candidate in row.cell.candidates}
        found = [by_name.get(name) for name in names]
        texts = ["–" if candidate is None else _candidate(candidate, len(row.cell.scores)) for candidate in found]
        body.append([row.cell.setting, row.cell.label, *texts])
    return ["setting", "method", *names], body


def _candidate(candidate: Candidate, n: int) -> str:
    scores = (candidate.validation, candidate.test)
    accuracy = " / ".join("–" if score is None else words.percent(score.mean) for score in scores)
    return f"{accuracy} ({candidate.chosen}/{n})"


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
        + repeated(section)
        + _not_run(section)
        + sorted(clipped)
        + _warned(section)
        + judged_together(section)
        + _gathered(compared)
    )


def _not_run(section: Section) -> list[str]:
    """Name cells that lack seeds which others of their table have."""
    found: dict[str, list[str]] = {}
    for row in section.rows:
        cell = row.cell
        lacking = set(section.seeds) - {unit.seed for unit in (*cell.scores, *cell.lost)}
        if lacking and not cell.is_opponent and cell.spec.get("encoder.imported", "null") == "null":
            found.setdefault(words.numbers(tuple(sorted(lacking))), []).append(f"{cell.label} {cell.setting}")
    return [f"Not run with seed {seeds}: {_some(names)}." for seeds, names in found.items()]


def _warned(section: Section) -> list[str]:
    """Each warning of the runs once, with the rows it is about and in how many of their runs it was given."""
    found: dict[str, list[str]] = {}
    for row in section.rows:
        for warning, n in row.facts.warnings:
            found.setdefault(warning, []).append(f"{row.cell.label} {row.cell.setting}, {n} of {len(row.cell.scores)}")
    return [f"{text[0].upper()}{text[1:]}: {_some(names, 6)} runs." for text, names in found.items()]


def pair_notes(section: Section) -> list[str]:
    """Return the notes below comparisons of methods, each with its pairs."""
    older = words.older(f"{pair.name} {pair.setting}" for pair in section.pairs if pair.older_code)
    tested = [pair.comparison for pair in section.pairs if pair.comparison.p is not None]
    older += [_basis(tested, "comparisons of this list")] if tested else []
    return older + _gathered([(f"{pair.name} {pair.setting}", pair.comparison) for pair in section.pairs])


def _gathered(compared: Sequence[tuple[str, Comparison]]) -> list[str]:
    """Each note of some comparisons once, with the names of those it is about."""
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


def verdict(row: ReportRow) -> str:
    """Verdict of a row against its opponent, with its symbol."""
    if row.cell.is_opponent:
        return ""
    if row.versus is None:
        return "no scratch run to compare with"
    return f"{words.SYMBOLS[row.versus.verdict]} {short_verdict(row)}"


def short_verdict(row: ReportRow) -> str:
    """Verdict of a row without the names of the two."""
    found = row.versus
    if found is None:
        return ""
    one = ", this encoder" if found.error.over == "splits" else ""
    if not found.shown:
        return f"no difference shown{one}" if found.verdict == "none" else found.words
    told = f"{found.verdict} {row.opponents_name}{one}"
    return told if found.survives_holm else f"{told} (not after Holm)"
