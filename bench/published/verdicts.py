"""Verdicts on claims, from stored cells.

A claim holds where every part of it holds: each contrast, under each protocol, on each data set, in each setting that
counts. Its p value is the largest of its parts (an intersection-union test: Berger, *Multiparameter hypothesis testing
and acceptance sampling*, Technometrics 24, 1982), so that further parts never make it easier. It is contradicted where
one part lies significantly on the other side; these are as many chances to be wrong, so the smallest p value is
multiplied by the number of parts. Holm's correction runs over the claims that are shown together.

A claim's differences keep their own variance: which claims stand beside it is the reader's choice and may not change
its interval. Equivalence is tested by two one-sided tests (`bench.stats.equivalence`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.published.claimfile import Claim, Contrast
from bench.published.evidence import Evidence, StoredCell, Where
from bench.stats import student
from bench.stats.cells import Cell
from bench.stats.comparisons import Comparison, compare, holm
from bench.stats.equivalence import FEWEST_SEEDS, of_comparison
from bench.stats.intervals import CONFIDENCE, Scores

Verdict = Literal["supported", "contradicted", "equivalent", "not shown", "not testable here", "not run"]
PartVerdict = Literal["holds", "contradicted", "equivalent", "not shown", "not run"]
ALPHA = 1 - CONFIDENCE
SMOKE = "smoke"


@dataclass(frozen=True)
class Part:
    """One contrast under one way to judge.

    Attributes:
        contrast: The contrast.
        where: Way to judge.
        cells: The stored cells that were compared: one for a contrast with a number, none where nothing is stored.
        comparison: Their paired comparison; None where nothing is stored.
        reason: Why there is no test; empty where there is one.
        missing: Whether runs are missing, so that running them would help.
        lacking: Arms of which no run is stored under this way to judge.
        required: Whether the claim needs it to hold; the other parts can only contradict it.
        p_for: P value of the claimed side; None without a test.
        p_against: P value of the other side.
        p_none: P value of equivalence within the claim's margin, where the claim states one.
    """

    contrast: Contrast
    where: Where
    cells: tuple[StoredCell, ...] = ()
    comparison: Comparison | None = None
    reason: str = ""
    missing: bool = False
    lacking: tuple[str, ...] = ()
    required: bool = True
    p_for: float | None = None
    p_against: float | None = None
    p_none: float | None = None

    @property
    def verdict(self) -> PartVerdict:
        """This part alone, before any correction."""
        if self.missing:
            return "not run"
        if self.p_for is None or self.p_against is None:
            return "not shown"
        if self.p_for <= ALPHA:
            return "holds"
        if self.p_against <= ALPHA:
            return "contradicted"
        return "equivalent" if self.p_none is not None and self.p_none <= ALPHA else "not shown"

    @property
    def n(self) -> int:
        """Pretraining seeds that were compared."""
        return self.comparison.n if self.comparison is not None else 0


@dataclass(frozen=True)
class Ranking:
    """Whether the chosen value of a sweep is best by validation.

    Attributes:
        where: Way to judge.
        best: Arm with the highest mean validation score; None where a score is missing.
        chosen: Arm that is said to be best.
    """

    where: Where
    best: str | None
    chosen: str

    @property
    def holds(self) -> bool:
        """Whether validation chooses what the claim says."""
        return self.best == self.chosen


@dataclass(frozen=True)
class Judged:
    """A claim with its verdict.

    Attributes:
        claim: The claim.
        preset: Preset of the verdict; several where the claim compares sizes.
        verdict: The verdict.
        parts: Its parts.
        rankings: Best value by validation, for claims about a sweep.
        p: P value before Holm's correction; None where nothing was tested.
        p_holm: After it, over the claims shown together.
        p_none: P value of equivalence after Holm's correction.
        family: Claims that Holm's correction ran over.
        stored: Verdict of the parts that are stored, where others are not; before any correction.
        in_favour: P value of the claim; `p` is the smaller one of it and that of the other side.
        first_day: Day of the oldest run behind it.
        seconds: Seconds that the runs behind it took, every pretraining once.
    """

    claim: Claim
    preset: str
    verdict: Verdict
    parts: tuple[Part, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    p: float | None = None
    p_holm: float | None = None
    p_none: float | None = None
    family: int = 0
    stored: Verdict | None = None
    in_favour: float = 1.0
    first_day: str = ""
    seconds: float = 0.0

    @property
    def answered(self) -> bool:
        """Whether runs gave a verdict."""
        return self.verdict not in ("not run", "not testable here")

    @property
    def opposite(self) -> bool:
        """Whether `p` is the p value of the other side, because it is the smaller one."""
        return self.p is not None and self.p != self.in_favour

    @property
    def seeds(self) -> int:
        """Fewest pretraining seeds of a part that is stored."""
        return min((part.n for part in self.parts if not part.missing), default=0)

    @property
    def runs(self) -> frozenset[str]:
        """Keys of the runs behind it."""
        return frozenset(key for part in self.parts for one in part.cells for key in one.cell.runs.values())

    @property
    def written_late(self) -> bool:
        """Whether the claim was not written in this form before the day of its first run."""
        return bool(self.first_day) and self.first_day <= self.claim.written.isoformat()

    @property
    def older_code(self) -> bool:
        """Whether a run behind it was made by code that has changed since."""
        return any(one.cell.older_code for part in self.parts for one in part.cells)


def judge(claims: Sequence[Claim], evidence: Evidence, preset: str) -> list[Judged]:
    """Give each claim its verdict; Holm's correction runs over all that are tested.

    Args:
        claims: The claims shown together.
        evidence: What is stored.
        preset: Preset that the verdicts are about.
    """
    found = [_tested(claim, evidence, preset) for claim in claims]
    family = [at for at, one in enumerate(found) if one.p is not None]
    for at, p in zip(family, holm([found[at].p or 0.0 for at in family]), strict=True):
        found[at] = replace(found[at], p_holm=p, family=len(family))
    equal = [at for at, one in enumerate(found) if one.p_none is not None]
    for at, p in zip(equal, holm([found[at].p_none or 0.0 for at in equal]), strict=True):
        found[at] = replace(found[at], p_none=p)
    return [
        replace(_concluded(one), first_day=evidence.first_day(one.runs), seconds=evidence.seconds(one.runs))
        for one in found
    ]


def presets_of(claim: Claim, preset: str) -> str:
    """Return the preset of a claim's verdict, or the presets that it compares."""
    own = dict.fromkeys(claim.arm(name).preset or preset for name in claim.pretrained)
    return ", ".join(own) or preset


def _tested(claim: Claim, evidence: Evidence, preset: str) -> Judged:
    """Test the parts of a claim."""
    told = presets_of(claim, preset)
    if claim.not_testable is not None or SMOKE in told.split(", "):
        return Judged(claim, told, "not testable here")
    contrasts = [(one, True) for one in claim.contrasts]
    if claim.best is not None:
        ends = (claim.best.arms[0], claim.best.arms[-1])
        others = [name for name in claim.best.arms if name != claim.best.chosen]
        contrasts += [(Contrast(first=claim.best.chosen, second=name), name in ends) for name in others]
    places = evidence.places(claim, preset)
    parts = tuple(_part(one, required, claim, evidence, where) for where in places for one, required in contrasts)
    rankings = tuple(_ranking(claim, evidence, where) for where in places) if claim.best is not None else ()
    if any(part.missing for part in parts):
        return Judged(claim, told, "not run", parts, rankings, stored=_of_stored(parts))
    tests = [part for part in parts if part.p_for is not None and part.p_against is not None]
    against = min((1.0, *(len(parts) * p for part in tests if (p := part.p_against) is not None)))
    required = [part for part in parts if part.required]
    whole = all(part.p_for is not None for part in required) and all(one.holds for one in rankings)
    in_favour = max((p for part in required if (p := part.p_for) is not None), default=1.0) if whole else 1.0
    if against <= ALPHA:  # a part that need not hold can contradict a claim whose other parts hold
        in_favour = 1.0
    none = [part.p_none for part in parts]
    return Judged(
        claim,
        told,
        "not shown",
        parts,
        rankings,
        p=min(in_favour, against) if tests else None,
        p_none=max(p for p in none if p is not None) if none and None not in none else None,
        in_favour=in_favour,
    )


def _of_stored(parts: Sequence[Part]) -> Verdict | None:
    """Return what the stored parts say where others are missing; uncorrected."""
    own = [part.verdict for part in parts if not part.missing]
    if not own:
        return None
    if "contradicted" in own:
        return "contradicted"
    return "supported" if set(own) == {"holds"} else "not shown"


def _concluded(one: Judged) -> Judged:
    """Turn p values into a verdict."""
    if one.verdict in ("not testable here", "not run"):
        return one
    shown = one.p_holm is not None and one.p_holm <= ALPHA
    if shown and one.p == one.in_favour:
        equal = all(part.contrast.direction == "equal" for part in one.parts)
        return replace(one, verdict="equivalent" if equal else "supported")
    if shown:
        return replace(one, verdict="contradicted")
    return replace(one, verdict="equivalent") if one.p_none is not None and one.p_none <= ALPHA else one


def _part(contrast: Contrast, required: bool, claim: Claim, evidence: Evidence, where: Where) -> Part:
    """Test one contrast under one way to judge."""
    assert claim.study is not None
    plain = Part(contrast, where, required=required)
    if isinstance(contrast.second, str):
        pairs = evidence.pairs(contrast.first, contrast.second, claim, where)
        if not pairs:
            reason, lacking = _nothing(contrast, claim, evidence, where)
            return replace(plain, reason=reason, missing=True, lacking=lacking)
        cells: tuple[StoredCell, ...] = pairs[0]
        names, lost = (contrast.first, contrast.second), [one.cell.losses for one in cells]
        first, second = _seeded(cells[0].cell, cells[1].cell), _seeded(cells[1].cell, cells[0].cell)
    else:
        own = evidence.of(claim.arm(contrast.first), claim.study, where)
        if not own:
            name = contrast.first
            return replace(plain, reason=f"no run of {name} is stored", missing=True, lacking=(name,))
        best = min(own, key=lambda one: (-len(one.cell.scores), one.cell.older_code, sorted(one.cell.runs.values())))
        cells, names = (best,), (contrast.first, f"{contrast.second:g} %")
        first, second = best.cell.scores, _constant(best.cell.scores, contrast.second / 100)
        lost = [best.cell.losses]
    found = compare(names, first, second, lost)
    plain = replace(plain, cells=cells, comparison=found)
    if found.verdict == "lost":
        return replace(plain, reason=found.words)
    if found.n < claim.study.seeds:
        return replace(plain, reason=f"{found.n} of {claim.study.seeds} seeds are stored", missing=True)
    return _with_p(plain, claim)


def _with_p(part: Part, claim: Claim) -> Part:
    """Add the p values of a comparison."""
    found, contrast = part.comparison, part.contrast
    assert found is not None
    if found.difference is None or found.error.variance is None:
        return replace(part, reason="no difference in any seed" if found.verdict == "none" else found.words)
    if contrast.direction == "equal" and found.n < FEWEST_SEEDS:
        return replace(part, reason=f"{found.n} seeds: nothing is called equal below {FEWEST_SEEDS}")
    p_for, p_against = p_values(found, contrast)
    equal = claim.equivalence is not None and found.n >= FEWEST_SEEDS
    p_none = of_comparison(found, claim.equivalence / 100).p if equal and claim.equivalence is not None else None
    return replace(part, p_for=p_for, p_against=p_against, p_none=p_none)


def p_values(found: Comparison, contrast: Contrast) -> tuple[float, float]:
    """Return the p values of the claimed side and of the other side.

    Two-sided ones, so that a part holds where its 95 % interval lies on the claimed side; but two one-sided tests for
    ``equal``, where the 90 % interval has to lie within the margin.

    Args:
        found: A comparison with an interval.
        contrast: Direction and margin.
    """
    assert found.difference is not None
    assert found.error.variance is not None
    scale, df = math.sqrt(found.error.variance), found.error.df
    low, high = contrast.bounds

    def beyond(distance: float) -> float:
        return student.upper_tail(distance / scale, df)

    inside = max(beyond(found.difference - low), beyond(high - found.difference))
    outside = min(beyond(low - found.difference), beyond(found.difference - high))
    return min(1.0, inside if contrast.direction == "equal" else 2 * inside), min(1.0, 2 * outside)


def _seeded(cell: Cell, other: Cell) -> Scores:
    """Return a cell's scores, those of weights from elsewhere in every seed of the other.

    Such an encoder is one pretraining. Its score is a fixed number, as a published one is, and the interval is over the
    seeds of what it is compared with.
    """
    if not cell.is_single or other.is_single or not cell.scores:
        return cell.scores
    by_split = {unit.split: folds for unit, folds in cell.scores.items()}
    return {unit: by_split[unit.split] for unit in other.scores if unit.split in by_split}


def _constant(scores: Scores, value: float) -> Scores:
    """Return scores of the same runs and folds that all are one published number."""
    return {unit: dict.fromkeys(folds, value) for unit, folds in scores.items()}


def _nothing(contrast: Contrast, claim: Claim, evidence: Evidence, where: Where) -> tuple[str, tuple[str, ...]]:
    """Say why there is no pair, and of which arms nothing is stored."""
    assert claim.study is not None
    assert isinstance(contrast.second, str)
    lacking = [
        name
        for name in (contrast.first, contrast.second)
        if name in claim.pretrained and not evidence.of(claim.arm(name), claim.study, where)
    ]
    if lacking:
        return f"no run of {' or '.join(lacking)} is stored", tuple(lacking)
    if contrast.second not in claim.pretrained:
        return f"no run of {contrast.second} beside {contrast.first} is stored", ()
    return f"the stored runs of {contrast.first} and {contrast.second} were judged differently (bench why A B)", ()


def _ranking(claim: Claim, evidence: Evidence, where: Where) -> Ranking:
    """Find the value that validation chooses."""
    assert claim.best is not None
    assert claim.study is not None
    scores: dict[str, float] = {}
    for name in claim.best.arms:
        own = evidence.of(claim.arm(name), claim.study, where)
        known = [one.validation for one in own if one.validation is not None]
        if known:
            scores[name] = known[0]
    whole = len(scores) == len(claim.best.arms)
    return Ranking(where, max(scores, key=lambda name: scores[name]) if whole else None, claim.best.chosen)
