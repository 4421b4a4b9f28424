"""Summarise a report in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Literal

from bench.report.model import ReportModel, ReportRow, Section
from bench.report.words import difference, seen, signed
from bench.stats.comparisons import Comparison, Verdict

Kind = Literal["above", "below", "none", "mixed", "no-comparison", "warning"]
_SHOWN: Set[Verdict] = frozenset({"above", "below", "none"})
"""Verdicts of comparisons that could be made."""


@dataclass(frozen=True)
class Sentence:
    """One line of the summary.

    Attributes:
        kind: Kind of finding; ``warning`` lines qualify the others.
        text: The sentence.
        anchor: Section it is about; empty for the whole report.
    """

    kind: Kind
    text: str
    anchor: str = ""


def summarise_report(model: ReportModel) -> list[Sentence]:
    """Return findings per method and table, then warnings."""
    sentences = []
    for section in model.sections:
        if section.smoke or not section.main:
            continue
        groups: dict[tuple[str, str], list[ReportRow]] = {}
        for row in section.rows:
            if not row.cell.is_opponent:
                groups.setdefault((row.cell.label, row.cell.pretrain_data), []).append(row)
        alone = [rows for rows in groups.values() if all(row.versus is None for row in rows)]
        sentences += [_sentence(section, rows) for rows in groups.values() if rows not in alone]
        if alone:
            names = ", ".join(_subject(rows) for rows in alone)
            text = f"{names} in {section.title}, {section.preset_words}: no scratch run among these to compare with."
            sentences.append(Sentence("no-comparison", text, section.anchor))
        sentences += _against_each_other(section)
    return sentences + _warnings(model)


def _subject(rows: Sequence[ReportRow]) -> str:
    return f"{rows[0].cell.label} (pretrained on {rows[0].cell.pretrain_data})"


def _sentence(section: Section, rows: Sequence[ReportRow]) -> Sentence:
    subject = f"{_subject(rows)} in {section.title}, {section.preset_words}"
    compared = [row.versus for row in rows if row.versus is not None]
    verdicts = Counter(c.verdict for c in compared)
    tail, other = _seen_words(rows), next(row.opponents_name for row in rows if row.versus is not None)
    if not verdicts.keys() & _SHOWN:
        reasons = {"no-spread": "the same difference in every seed, so no comparison"}
        reasons |= {"one-seed": "one seed, so no comparison", "unpaired": f"no pretraining seed in common with {other}"}
        reasons |= {"gaps": "seeds and split seeds not crossed, so no comparison"}
        reasons |= {"lost": "; ".join(dict.fromkeys(c.lost_words for c in compared if c.lost)) + ", so no verdict"}
        reason = next(words for verdict, words in reasons.items() if verdict in verdicts)
        return Sentence("no-comparison", f"{subject}: {reason}{tail}.", section.anchor)
    if len(rows) == len(section.settings) == 1:
        only = compared[0]
        words = {"above": f"above {other}", "below": f"below {other}"}.get(only.verdict, "no difference shown")
        weak = ", not after Holm's correction" if only.shown and not only.survives_holm else ""
        text = f"{subject}: {words}, {difference(only)} points over {_runs(only)}{weak}{tail}."
        return Sentence(_kind(verdicts), text, section.anchor)
    judged = {row.cell.setting for row in rows if row.versus is not None and row.versus.verdict in _SHOWN}
    parts, missing = [], len(section.settings) - len(judged)
    for verdict, words in (("above", f"above {other}"), ("below", f"below {other}"), ("none", "no difference shown")):
        own = [row for row in rows if row.versus is not None and row.versus.verdict == verdict]
        if own:
            found = sorted(row.versus.difference for row in own if row.versus and row.versus.difference is not None)
            spread = f"{signed(found[0])} to {signed(found[-1])} points" if len(found) > 1 else signed(found[0])
            where = f"{', '.join(row.cell.setting for row in own)}: " if missing else ""
            parts.append(f"{words} in {len(own)} of {len(section.settings)} settings ({where}{spread})")
    lost = sum(c.shown and not c.survives_holm for c in compared)
    gone = dict.fromkeys(c.lost_words for c in compared if c.verdict == "lost")
    told = f"{missing} not compared" + (f" ({'; '.join(gone)})" if gone else "")
    parts += [f"{lost} of them not after Holm's correction"] * bool(lost) + [told] * bool(missing)
    return Sentence(_kind(verdicts), f"{subject}: {'; '.join(parts)}{tail}.", section.anchor)


def _against_each_other(section: Section) -> list[Sentence]:
    """Return a sentence per pair of pretrained methods.

    Holm's correction included.
    """
    found: dict[tuple[str, str], list[Comparison]] = {}
    for pair in section.pairs:
        first, second = sorted((pair.comparison.first, pair.comparison.second))
        found.setdefault((first, second), []).append(pair.comparison)
    sentences = []
    for (first, second), compared in found.items():
        parts = []
        for better, other in ((first, second), (second, first)):
            shown = [c for c in compared if c.shown and (c.first == better) == (c.verdict == "above")]
            if shown:
                weak = sum(not c.survives_holm for c in shown)
                sizes = ", ".join(difference(c) for c in shown[:2]) + (" ..." if len(shown) > 2 else "")
                holm = f"{weak} not after Holm's correction" if weak else "also after Holm's correction"
                where = f" in {len(shown)} of {len(compared)} settings" if len(compared) > 1 else ""
                parts.append(f"{better} above {other}{where} ({sizes} points; {holm})")
        judged = sum(c.verdict in _SHOWN for c in compared)
        if not judged:
            continue
        labels = {name.partition(" on ")[0] for name in (first, second)}
        tail = _seen_words([row for row in section.rows if row.cell.label in labels])
        several = f" in {judged} settings" if judged > 1 else ""
        text = "; ".join(parts) or f"no difference shown between {first} and {second}{several}"
        where = f"{section.title}, {section.preset_words}"
        sentences.append(Sentence("above" if parts else "none", f"{text}, in {where}{tail}.", section.anchor))
    return sentences


def _runs(comparison: Comparison) -> str:
    """Count the runs of a comparison in words.

    ``5 seeds``, ``3 seeds and 6 split seeds``, ``6 split seeds of one encoder``.
    """
    splits = len({unit.split for unit in comparison.differences})
    seeds = f"{comparison.n} seed{'s' * (comparison.n > 1)}"
    if comparison.error.over == "splits":
        return f"{splits} split seeds of one encoder"
    return f"{seeds} and {splits} split seeds" if splits > 1 else seeds


def _kind(verdicts: Counter[Verdict]) -> Kind:
    shown = verdicts.keys() & _SHOWN
    if len(shown) > 1:
        return "mixed"
    return "above" if "above" in shown else "below" if "below" in shown else "none"


def _seen_words(rows: Sequence[ReportRow]) -> str:
    """Mention rows whose pretraining saw class names.

    A claim cannot rest on them.
    """
    cells = [row.cell for row in rows if row.cell.seen is None or row.cell.seen]
    if not cells:
        return ""
    worst = max(cells, key=lambda cell: len(cell.seen or ()))
    return f"; pretraining saw {seen(worst)} evaluated class names" if worst.seen else "; unknown whether it saw names"


def _warnings(model: ReportModel) -> list[Sentence]:
    found = []
    rows = [row for section in model.sections if not section.smoke for row in section.rows]
    if any(row.cell.seen for row in rows):
        text = "Rows whose pretraining saw evaluated class names cannot carry a claim that pretraining helps."
        found.append(Sentence("warning", text))
    if any(row.cell.older_code for section in model.sections for row in section.rows):
        found.append(Sentence("warning", "Rows marked “older” were made by code that has changed since."))
    if any(section.smoke for section in model.sections):
        text = "Smoke runs prove that every path works; their numbers mean nothing and are not compared."
        found.append(Sentence("warning", text))
    given = sum(n for section in model.sections if section.main for row in section.rows for _, n in row.facts.warnings)
    if given:
        text = (
            f"{given} warning{'s' * (given > 1)} of choices at the edge of a grid or heads not solved: see the tables."
        )
        found.append(Sentence("warning", text))
    if model.failures:
        n = len(model.failures)
        found.append(Sentence("warning", f"{n} run{'s' * (n > 1)} without a result: see the list.", "failures"))
    if model.broken:
        several = "s have" if model.broken > 1 else " has"
        text = f"{model.broken} finished run{several} a score that is NaN in some fold: that score is left out."
        found.append(Sentence("warning", text))
    if model.environment.dirty:
        found.append(Sentence("warning", "Some runs were made from uncommitted changes: no commit reproduces them."))
    return found
