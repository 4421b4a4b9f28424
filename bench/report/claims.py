"""Claims of papers and the verdicts of stored runs, as tables and sentences."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.published.claimfile import Claim, shipped_claims
from bench.published.evidence import Evidence, RunFact, StoredCell, Where
from bench.published.verdicts import SMOKE, Judged, Part, Ranking, Verdict, judge
from bench.report import quantities, words
from bench.report.document import (
    NOTHING,
    Block,
    Cell,
    Detail,
    Document,
    Facts,
    Field,
    Notes,
    Paragraph,
    Prose,
    Table,
    Tone,
)
from bench.report.document import Part as DocumentPart
from bench.report.model import ReportModel
from bench.report.runs import encoder_name
from bench.stats.cells import Cell as StatsCell
from bench.stats.intervals import fold_mean

if TYPE_CHECKING:
    from bench.store.queries import RunNumbers
    from bench.store.records import RunRecord

TONES: dict[Verdict, Tone] = {
    "supported": "above",
    "contradicted": "below",
    "equivalent": "none",
    "not shown": "none",
    "not testable here": "no-comparison",
    "not run": "no-comparison",
}
READING = (
    (
        "supported",
        "Every part of the claim lies on the claimed side (each contrast, protocol, data set and setting that counts), "
        "also after Holm's correction over the claims shown together.",
    ),
    ("contradicted", "A part lies significantly on the other side, corrected for the number of parts, and by Holm."),
    ("equivalent", "Within the margin that the claim states, by two one-sided tests, with five seeds or more."),
    ("not shown", "Neither. That is no evidence of equality."),
    ("not run", "Runs are missing; the command makes them."),
    ("not testable here", "The harness cannot ask it, and the reason says why."),
)
_MOST_DIFFERENCES = 6


def evidence_of(
    model: ReportModel,
    numbers: Iterable[RunNumbers],
    runs: Iterable[RunRecord],
    labels: Mapping[str, str] | None = None,
) -> Evidence:
    """Collect what claims can be judged by.

    Args:
        model: Content of the report.
        numbers: The numbers it was built from.
        runs: The records it was built from.
        labels: Labels of data sets, by the names that claims give.
    """
    validated = _Validation(numbers)
    cells = [
        StoredCell(row.cell, row.deviations, section.main, validated)
        for section in model.sections
        for row in section.rows
    ]
    return Evidence(cells, labels, _Facts(runs))


class _Facts(Mapping[str, RunFact]):
    """Facts of finished runs by key, read when a verdict asks for them."""

    def __init__(self, runs: Iterable[RunRecord]) -> None:
        self._runs = {run.key: run for run in runs if run.status == "done"}
        self._encoders: dict[str, str] = {}

    def __getitem__(self, key: str) -> RunFact:
        run = self._runs[key]
        cost = run.cost
        return RunFact(
            day=str(run.recorded("finished") or "")[:10],
            encoder=f"{encoder_name(run, self._encoders)} {run.seeds[0]}",
            pretraining=cost.get("pretrain_seconds", 0.0) + cost.get("first_stage_pretrain_seconds", 0.0),
            evaluation=cost.get("evaluate_seconds", 0.0),
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)


class _Validation:
    """Returns the mean validation score of the chosen candidate of a cell."""

    def __init__(self, numbers: Iterable[RunNumbers]) -> None:
        self._numbers = {run.run_key: run for run in numbers}

    def __call__(self, cell: StatsCell) -> float | None:
        """Return it; None where a run has none."""
        own = [folds for key in cell.runs.values() if (folds := self._folds(key, cell.metric))]
        return math.fsum(map(fold_mean, own)) / len(own) if own and len(own) == len(cell.runs) else None

    def _folds(self, key: str, metric: str) -> dict[int | None, float]:
        run = self._numbers[key]
        return {
            path.fold: value
            for path, value in zip(run.paths, run.values, strict=True)
            if path.name == metric and path.split == "val" and path.selection == "val" and path.headline
            if math.isfinite(value)
        }


def stored_claims(evidence: Evidence) -> tuple[Judged, ...]:
    """Return the package's claims that stored runs answer, by preset."""
    found: dict[tuple[str, str], Judged] = {}
    for preset in evidence.presets:
        if preset != SMOKE:
            for one in judge(list(shipped_claims().values()), evidence, preset):
                if one.answered:
                    found.setdefault((one.claim.id, one.preset), one)
    return tuple(found.values())


_FIELDS: tuple[Field[Judged], ...] = (
    Field("id", "claim", whole=True, cell=lambda one: one.claim.id),
    Field("paper", "paper", drop=1, cell=lambda one: one.claim.paper),
    Field("preset", "preset", cell=lambda one: one.preset),
    Field("verdict", "verdict", cell=lambda one: _verdict(one)),
    Field("seeds", "seeds", right=True, cell=lambda one: Cell(str(one.seeds), one.seeds) if one.runs else NOTHING),
    Field("p", "p (Holm)", right=True, cell=lambda one: _p_cell(one)),
    Field("seconds", "computation", drop=2, cell=lambda one: _seconds(one)),
    Field("sentence", "in words", below=True, cell=lambda one: sentence(one)),
)
_PARTS: tuple[Field[tuple[Judged, Part]], ...] = (
    Field("id", "claim", whole=True, cell=lambda one: one[0].claim.id),
    Field("contrast", "contrast", cell=lambda one: contrast_words(one[1])),
    Field("where", "judged by", cell=lambda one: str(one[1].where)),
    Field("difference", "difference in points", cell=lambda one: quantities.difference(one[1].comparison)),
    Field("part", "this part", cell=lambda one: _part_verdict(one[1])),
)


def table(judged: Sequence[Judged]) -> Table:
    """Return the claims with their verdicts."""
    return Table.of("claims", _FIELDS, judged, group="")


def parts_table(judged: Sequence[Judged]) -> Table:
    """Return every contrast of the claims."""
    return Table.of("claim parts", _PARTS, [(one, part) for one in judged for part in one.parts], group="id")


def part(judged: Sequence[Judged]) -> DocumentPart:
    """Return the claims that stored runs answer as a part of the report."""
    blocks: tuple[Block, ...] = (
        Paragraph(
            "Claims of papers in our words, answered by the runs of this report; a verdict is one about its preset and "
            "data. bench claims lists all of them, with the commands of those that were not run.",
            "soft",
        ),
        table(judged),
        parts_table(judged),
        Notes((SMALL_PRINT,)),
    )
    return DocumentPart("Claims of papers", blocks, "claims", detail=Detail.FILES)


SMALL_PRINT = (
    "Differences are paired by seed, with 95 % Student-t intervals from their own variance. A claim's p is the largest "
    "of its parts', a contradiction's the smallest times the number of parts; the smaller one is given, and “against” "
    "marks the latter. Holm's correction runs over the claims shown. “This part” is before any correction."
)


def document(judged: Sequence[Judged]) -> Document:
    """Build the document of ``bench claims``."""
    blocks: list[Block] = [table(judged)]
    if any(one.runs for one in judged):
        blocks += [parts_table([one for one in judged if one.runs]), Notes((SMALL_PRINT,))]
    return Document("Claims", tuple(blocks))


def page(judged: Sequence[Judged], costs: Mapping[str, str | tuple[float, float]], preset: str, name: str) -> Document:
    """Build the page of ``bench claims --page``.

    Args:
        judged: The claims.
        costs: By id, of a claim that is not run: seconds on this machine and on a GPU, or why it cannot be planned.
        preset: Preset of the verdicts.
        name: Name of the page.
    """
    answered = [one for one in judged if one.answered]
    partly = [one for one in judged if one.verdict == "not run" and one.runs]
    left = [one for one in judged if one.verdict == "not run"]
    closed = [one for one in judged if one.verdict == "not testable here"]
    rows = [(one.claim.id, one.claim.paper, one.claim.statement, _verdict(one), one.claim.figure) for one in judged]
    blocks: list[Block] = [
        Prose(PAGE_TEXT.format(preset=preset)),
        Facts(READING),
        DocumentPart(
            "All claims", (Table.plain("all claims", ("claim", "paper", "statement", "verdict", "published"), rows),)
        ),
    ]
    if answered:
        shown: list[Block] = [Paragraph(sentence(one)) for one in answered]
        blocks.append(DocumentPart("Answered", (*shown, parts_table([*answered, *partly]), Notes((SMALL_PRINT,)))))
    if left:
        lines = [_to_run(one, costs.get(one.claim.id, ""), preset) for one in left]
        headings = ("claim", "missing", "command", "here", "one GPU")
        note = "Estimated times, one job after another, of the missing runs: from runs measured in the results folder, "
        note += "else from a rough count of operations, which knows evaluations by their number only."
        blocks.append(DocumentPart("Not run", (Table.plain("not run", headings, lines), Notes((note,)))))
    if closed:
        blocks.append(DocumentPart("Not testable here", tuple(Paragraph(sentence(one)) for one in closed)))
    return Document("Claims of the papers", tuple(blocks), made=MADE.format(name=name))


MADE = "Written by `bench claims --page {name}` from stored runs; change the claims, not this page."
PAGE_TEXT = """\
Statements of the papers in our own words, each with the runs and the rule that answer it. This page is written by

    bench claims --page docs/claims.md --results DIR

**Read first.** Every verdict is one about preset `{preset}` and generated data. At `nano` that is a network 128 wide
and four blocks deep, pretrained for minutes of a processor core: such a verdict says how the methods compare in that
regime, and neither confirms nor refutes a paper. [Your own claims](own-claims.md) says how claims are written and
judged; `bench claims ID --run` makes the missing runs of one."""


def _to_run(one: Judged, cost: str | tuple[float, float], preset: str) -> tuple[str, ...]:
    missing = sum(part.missing for part in one.parts)
    chosen = "" if preset == "nano" else f" --preset {preset}"
    told = ("–", "–") if isinstance(cost, str) else tuple(map(words.seconds, cost))
    plain = cost.replace("`", "") if isinstance(cost, str) else ""  # a page would take it for a command of ours
    why = f"; cannot be planned here: {plain}" if isinstance(cost, str) and cost else ""
    count = f"{missing} of {len(one.parts)} contrasts{why}"
    return (one.claim.id, count, f"bench claims {one.claim.id}{chosen} --run", *told)


def as_json(one: Judged) -> dict[str, Any]:
    """Return the fields of ``bench claims --json``; differences are fractions."""
    claim, study = one.claim, one.claim.study
    return {
        "claim": claim.id,
        "paper": claim.paper,
        "statement": claim.statement,
        "source": claim.source,
        "figure": claim.figure,
        "written": claim.written.isoformat(),
        "digest": claim.digest,
        "preset": one.preset,
        "datasets": [] if study is None else list(study.datasets),
        "pretrain_data": None if study is None else study.pretrain_data,
        "verdict": one.verdict,
        "stored_parts": one.stored,
        "seeds": one.seeds,
        "p": one.p,
        "p_holm": one.p_holm,
        "p_of": None if one.p is None else "opposite" if one.opposite else "claim",
        "family": one.family,
        "seconds": one.seconds if one.runs else None,
        "first_run": one.first_day or None,
        "written_late": one.written_late,
        "older_code": one.older_code,
        "sentence": sentence(one),
        "parts": [
            {
                "first": part.contrast.first,
                "second": part.contrast.second,
                "direction": part.contrast.direction,
                "margin": part.contrast.margin,
                "required": part.required,
                "protocol": part.where.protocol,
                "dataset": part.where.dataset,
                "setting": part.where.setting,
                "difference": None if part.comparison is None else part.comparison.difference,
                "low": None if part.comparison is None else part.comparison.low,
                "high": None if part.comparison is None else part.comparison.high,
                "seeds": part.n,
                "p_for": part.p_for,
                "p_against": part.p_against,
                "verdict": part.verdict,
                "reason": part.reason,
                "runs": [sorted(stored.cell.runs.values()) for stored in part.cells],
            }
            for part in one.parts
        ],
    }


def _verdict(one: Judged) -> Cell:
    stored = f" (stored parts: {one.stored})" if one.verdict == "not run" and one.stored else ""
    return Cell(f"{one.verdict}{stored}", one.verdict, tone=TONES[one.verdict])


def _p_cell(one: Judged) -> Cell:
    return Cell(f"{words.p_value(one.p_holm)}{' against' if one.opposite else ''}", one.p_holm)


def _seconds(one: Judged) -> Cell:
    return quantities.seconds(one.seconds) if one.runs else quantities.NONE


def _part_verdict(part: Part) -> Cell:
    text = part.verdict if not part.reason else f"{part.verdict}: {part.reason}"
    tone: Tone = {"holds": "above", "contradicted": "below"}.get(part.verdict, "none")  # type: ignore[assignment]
    return Cell(text, part.verdict, tone=tone)


def contrast_words(part: Part) -> str:
    """Say what is claimed: ``recon − scratch: above 1``."""
    only = "" if part.required else " (can only contradict)"
    return f"{_pair(part)}: {_claimed(part)}{only}"


def _pair(part: Part) -> str:
    contrast = part.contrast
    second = contrast.second if isinstance(contrast.second, str) else f"{contrast.second:g} %"
    return f"{contrast.first} − {second}"


def _claimed(part: Part) -> str:
    contrast = part.contrast
    margin = f"{contrast.margin:g}"
    return {
        "above": f"above {margin}",
        "below": f"below −{margin}" if contrast.margin else "below 0",
        "equal": f"within ±{margin}",
        "not-above": f"not above {margin}",
        "not-below": f"not below −{margin}",
    }[contrast.direction]


def sentence(one: Judged) -> str:
    """Return the sentence that a reviewer may quote."""
    claim = one.claim
    head = f"“{claim.statement.rstrip('.')}” ({claim.id}, {claim.paper})"
    if claim.not_testable is not None:
        return f"{head} is not testable here: {claim.not_testable.rstrip('.')}."
    if one.verdict == "not testable here":
        return f"{head} is not testable at smoke: its runs prove that every path works, their numbers mean nothing."
    about = f"This is a verdict about {one.preset} on {_data(claim)}, not about the paper's networks and data."
    if one.verdict == "not run":
        missing = [part for part in one.parts if part.missing]
        count = "every part" if len(missing) == len(one.parts) else f"{len(missing)} of {len(one.parts)} parts"
        said = f"{head} is not run at {one.preset}: {_reasons(missing)} (missing: {count})."
        said += f" The stored parts alone: {one.stored}. {_differences(one.parts)}." if one.stored else ""
        return " ".join([said, *_arms(one)])
    side = "" if one.verdict in ("supported", "equivalent") else f" {'against' if one.opposite else 'for'} the claim"
    corrected = f"p {_p(one)}{side} after Holm's correction over {one.family} claim{'s' * (one.family != 1)}"
    seeds = f"{one.seeds} pretraining seeds"
    parts = [f"{head} is {_told(one)} at {one.preset}: {_differences(one.parts)} ({seeds}, paired; {corrected})."]
    parts += [_ranked(one.rankings)] if one.rankings else []
    single = dict.fromkeys(each.cell.label for part in one.parts for each in part.cells if each.cell.is_single)
    parts += [f"A single pretraining, whose score counts as fixed: {', '.join(single)}."] if single else []
    untested = list(dict.fromkeys(part.reason for part in one.parts if part.reason))
    parts += [f"No test: {'; '.join(untested)}."] if untested else []
    parts += [*_arms(one), about]
    parts += [f"It leaves out {claim.leaves_out.rstrip('.')}."] if claim.leaves_out else []
    late = (
        f"The claim was written in this form on {claim.written}, not before the first of these runs ({one.first_day})."
    )
    parts += [late] if one.written_late else []
    parts += ["Runs behind it were made by code that has changed since."] if one.older_code else []
    return " ".join(parts)


def _told(one: Judged) -> str:
    if one.verdict != "equivalent":
        return one.verdict
    margins = {part.contrast.margin for part in one.parts if part.contrast.direction == "equal"}
    margin = one.claim.equivalence if one.claim.equivalence is not None and not margins else max(margins)
    return f"equivalent within ±{margin:g} points"


def _p(one: Judged) -> str:
    p = one.p_none if one.verdict == "equivalent" and one.p_none is not None else one.p_holm
    text = words.p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _data(claim: Claim) -> str:
    assert claim.study is not None
    return f"{' and '.join(claim.study.datasets)}, pretrained on {claim.study.pretrain_data}"


def _differences(parts: Sequence[Part]) -> str:
    """Name each stored difference with its interval, the contrast once."""
    shown = [part for part in parts if part.comparison is not None]
    grouped: dict[str, list[str]] = defaultdict(list)
    for part in shown[:_MOST_DIFFERENCES]:
        told = f"{words.difference(part.comparison)} points by {part.where}"
        grouped[f"{_pair(part)} (claimed {_claimed(part)})"].append(told)
    said = "; ".join(f"{name} {', '.join(told)}" for name, told in grouped.items())
    left = len(shown) - _MOST_DIFFERENCES
    return f"{said}; and {left} more" if left > 0 else said


def _reasons(missing: Sequence[Part]) -> str:
    """Say which runs are missing, arms that are missing in the same places once."""
    places: dict[str, list[Where]] = defaultdict(list)
    for part in missing:
        for arm in part.lacking:
            places[arm] += [part.where] if part.where not in places[arm] else []
    arms: dict[str, list[str]] = defaultdict(list)
    for arm, own in places.items():
        arms[" and ".join(map(str, own))].append(arm)
    told = [f"no run of {' or '.join(names)} is stored that was judged by {where}" for where, names in arms.items()]
    told += dict.fromkeys(part.reason for part in missing if not part.lacking)
    return "; ".join(told)


def _arms(one: Judged) -> list[str]:
    """Say in a sentence what the named arms are, where their names do not."""
    own = {name: str(one.claim.arm(name)) for name in one.claim.pretrained}
    told = [f"{name} is {arm}" for name, arm in own.items() if name != arm]
    return [f"Here {'; '.join(told)}."] if told else []


def _ranked(rankings: Sequence[Ranking]) -> str:
    told = [f"{one.best or 'none that can be told'} by {one.where}" for one in rankings]
    return f"Best by validation: {', '.join(told)} (claimed: {rankings[0].chosen})."
