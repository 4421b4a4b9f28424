"""The selection ledger as a table: one line per cell, one column per rule."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from bench.report import words
from bench.report.apart import set_apart
from bench.stats.cells import Cell, judging
from bench.stats.deviations import Deviations, heading
from bench.stats.selection import LAST, TEST, VAL, Inflation, LedgerLine, Rule

TITLE = "What selection changes"
EXPLAINED = (
    "The same trained networks, reported under different rules; accuracy in percent. “val” is the number of the tables "
    "above: chosen on validation, test scored once. “test” is the epoch or setting with the highest test accuracy, as "
    "much of the literature reports. “voted” averages predictions over random draws of points; “max of votes” is the "
    "best of several repeats of the vote at the epoch chosen on test. Inflation is test minus val, paired by seed, "
    "with its 95 % interval; “best seed” is the best seed minus the mean over seeds, both chosen on validation; “all "
    "habits” is the best seed under the most flattering rule minus the honest mean. Points."
)
EMPTY = (
    "No stored run was reported under more than one selection rule yet. Add --legacy to bench run, or use a protocol "
    "that trains by epochs (finetune, mlp)."
)
SMOKE_NOTE = "SMOKE lines prove that the path works; their numbers mean nothing, so no inflation is shown."

_HEADINGS = {
    "judged": "judged by",
    "method": "method",
    "seeds": "seeds",
    "val": "val",
    "last": "last epoch",
    "test": "test",
    "val_voted": "val, voted",
    "last_voted": "last, voted",
    "test_voted": "test, voted",
    "maximum": "max of votes",
    "inflation": "inflation",
    "best_of_seeds": "best seed",
    "together": "all habits",
}
_ALWAYS = ("judged", "method", "seeds", "val")


def table(lines: Sequence[LedgerLine], deviations: Mapping[str, Deviations]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows; columns without content are left out.

    Args:
        lines: The ledger.
        deviations: By run key, what a run has that its preset would not give it.
    """
    texts = [line_texts(line, deviations.get(next(iter(line.cell.runs.values())), ())) for line in lines]
    named: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, text in enumerate(texts):
        named[text["judged"], text["method"]].append(place)
    for places in named.values():
        for place, (judged, method) in zip(places, _apart([lines[place].cell for place in places]), strict=True):
            texts[place]["judged"] += judged
            texts[place]["method"] += method
    kept = [name for name in _HEADINGS if name in _ALWAYS or any(text[name] not in ("", "–") for text in texts)]
    return [_HEADINGS[name] for name in kept], [[text[name] for name in kept] for text in texts]


def _apart(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """Return words that tell cells of one name apart.

    They say how the cells were judged, and on what they were pretrained.
    """
    if len(cells) < 2:
        return [("", "")] * len(cells)
    several = len({cell.pretrain_data for cell in cells}) > 1  # e.g. a part of the data and all of it
    methods = [f", pretrained on {cell.pretrain_data}" if several else "" for cell in cells]
    words_of = set_apart({at: judging(cell.spec) for at, cell in enumerate(cells)}).values()
    return [(f" [{text}]" if text else "", method) for text, method in zip(words_of, methods, strict=True)]


def has_smoke(lines: Sequence[LedgerLine]) -> bool:
    """Whether a line proves paths only."""
    return any(_smoke(line) for line in lines)


def line_texts(line: LedgerLine, deviations: Deviations = ()) -> dict[str, str]:
    """Render one line, by column."""
    cell, smoke = line.cell, _smoke(line)
    form = "" if cell.form == "fair" else f" ({cell.form} form)"
    metric = "" if cell.metric == "accuracy" else f", {cell.metric.replace('_', ' ')}"
    preset = f"{cell.preset} with {heading(deviations)}" if deviations else cell.preset
    maxima = [rule for rule in line.scores if rule.repeats > 1]
    return {
        "judged": f"{'SMOKE: ' * smoke}{cell.protocol}{form} on {cell.dataset}, {cell.setting}{metric}, {preset}",
        "method": f"{cell.label} (older code)" if cell.older_code else cell.label,
        "seeds": str(line.scores[VAL].n),
        "val": _score(line, VAL),
        "last": _score(line, LAST),
        "test": _score(line, TEST),
        "val_voted": _voted(line, "val"),
        "last_voted": _voted(line, "last"),
        "test_voted": _voted(line, "test"),
        "maximum": f"{_score(line, maxima[-1])} ({maxima[-1].repeats} × {line.votes})" if maxima else "–",
        "inflation": "–" if smoke else _inflation(line.inflation),
        "best_of_seeds": "–" if smoke or line.best_of_seeds is None else words.signed(line.best_of_seeds),
        "together": "–" if smoke else words.signed(line.together),
    }


def _smoke(line: LedgerLine) -> bool:
    return line.cell.preset == "smoke"


def _score(line: LedgerLine, rule: Rule) -> str:
    summary = line.scores.get(rule)
    if summary is None:
        return "–"
    if _smoke(line):
        return words.percent(summary.mean)
    fewer = summary.n < line.scores[VAL].n  # not every seed was run with --legacy
    return words.score(summary) + (f" ({summary.n} of {line.scores[VAL].n} seeds)" if fewer else "")


def _voted(line: LedgerLine, selection: str) -> str:
    text = _score(line, Rule(voted=True, selection=selection))
    return text if text == "–" else f"{text} ({line.votes})"


def _inflation(found: Inflation | None) -> str:
    if found is None:
        return "–"
    if found.low is None or found.high is None:
        return words.signed(found.mean)
    return f"{words.signed(found.mean)} [{words.signed(found.low)}, {words.signed(found.high)}]"
