"""The tables of a report as columns of text, shared by terminal, Markdown and HTML."""

from __future__ import annotations

from bench.report import words
from bench.report.model import Pair, ReportRow, Section

SMOKE_LINE = "SMOKE: these runs prove that every path works. Their numbers mean nothing and are not compared."
CANDIDATES_LINE = (
    "Candidates validation chose from. A frozen untrained network depends on how it is initialised, so scratch "
    "gets the best of all; the test column of the others is for information."
)
CANDIDATE_HEADINGS = ("setting", "method", "candidate", "validation %", "test %", "chosen in seeds")
PAIR_HEADINGS = ("setting", "compared", "difference in points", "verdict", "p (Holm)", "paired seeds")
_COMPARED = ("span", "difference", "verdict", "p_holm")


def heading(section: Section) -> str:
    """Heading of a table, SMOKE first where the preset proves paths only."""
    return f"{'SMOKE: ' if section.smoke else ''}{section.title}, preset {section.preset}"


def how_measured(section: Section) -> str:
    """One line on what the numbers of a table are."""
    seeds = section.seeds
    text = f"{len(seeds)} pretraining seed{'s' * (len(seeds) != 1)} ({words.numbers(seeds)})"
    folds = f", {section.folds} folds averaged within each seed" if section.folds else ""
    votes = f", {section.votes} votes per object" if section.votes > 1 else ""
    return f"{text}{folds}; chosen on validation, test split scored once{votes}"


def options(section: Section) -> str:
    """The protocol's options, ``folds=10, head=linear``."""
    return ", ".join(f"{name}={value}" for name, value in section.options)


def columns(section: Section) -> dict[str, str]:
    """Columns of a table of accuracies: name and heading, those without content left out."""
    found = {
        "setting": "setting",
        "method": "method",
        "seeds": "seeds",
        "score": f"{section.metric.replace('_', ' ')} %",
        "span": "min–max",
        "difference": "difference to scratch",
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
    empty = {name for name in ("size", "code") if not any(text[name] for text in texts)}
    return {n: h for n, h in found.items() if n not in empty and not (section.smoke and n in _COMPARED)}


def _other_heading(rule: str) -> str:
    return "chosen on test (inflation)" if rule == "test" else "last epoch (inflation)"


def row_texts(row: ReportRow, section: Section) -> dict[str, str]:
    """Render one row, by column."""
    cell, facts = row.cell, row.facts
    summary = cell.summary
    return {
        "setting": cell.setting,
        "method": cell.label,
        "seeds": str(summary.n),
        "score": words.percent(summary.mean) if section.smoke else words.score(summary),
        "span": words.span(summary),
        "difference": words.difference(row.versus),
        "verdict": words.verdict(row),
        "p_holm": words.p_value(row.versus.p_holm if row.versus else None),
        "seen": words.seen(cell),
        "pretrain_data": cell.pretrain_data or "none",
        "pretrain_seconds": "–" if cell.is_scratch else words.seconds(facts.pretrain_seconds),
        "size": ", ".join(filter(None, (words.count(facts.parameters), facts.feature))),
        "chosen_on": "val",
        "code": "older" if cell.older_code else "",
        **{f"selection:{rule}": _other(row, rule) for rule in section.other_selections},
    }


def _other(row: ReportRow, rule: str) -> str:
    other = row.cell.by_selection.get(rule)
    if other is None:
        return "–"
    return f"{words.percent(other.mean)} ({words.signed(other.mean - row.cell.summary.mean)})"


def pair_texts(pair: Pair) -> tuple[str, ...]:
    """Render the comparison of two pretrained methods."""
    c = pair.comparison
    verdict = f"{words.SYMBOLS[c.verdict]} {c.words}"
    if c.verdict in ("above", "below") and not c.survives_holm:
        verdict += " (not after Holm)"
    compared = f"{c.first} − {c.second}"
    return pair.setting, compared, words.difference(c), verdict, words.p_value(c.p_holm), str(c.n)


def candidate_rows(section: Section) -> list[tuple[str, ...]]:
    """Render every candidate validation chose from, in the order of the table."""
    return [
        (
            row.cell.setting,
            row.cell.label,
            candidate.variant,
            words.percent(candidate.validation.mean) if candidate.validation else "–",
            words.percent(candidate.test.mean) if candidate.test else "–",
            f"{candidate.chosen} of {row.cell.summary.n}",
        )
        for row in section.rows
        for candidate in row.cell.candidates
    ]


def notes(section: Section) -> list[str]:
    """What has to be said below a table about its comparisons, once each, with the rows it holds for."""
    found: dict[str, list[str]] = {}
    compared = [row for row in section.rows if row.versus is not None]
    for row in compared:
        for note in row.versus.notes if row.versus else ():
            found.setdefault(note, []).append(f"{row.cell.label} {row.cell.setting}")
    return [_note(note, where, len(compared)) for note, where in sorted(found.items())]


def _note(note: str, where: list[str], compared: int) -> str:
    text = note[0].upper() + note[1:]
    if len(where) == compared:
        return f"{text}."
    shown = "; ".join(where[:3]) + (f"; and {len(where) - 3} more" if len(where) > 3 else "")
    return f"{text} ({shown})."
