"""Find the stored cells that a claim asks for.

Nothing is planned for it: a stored run answers a claim where its labels fit and where it deviates from its preset in
what the claim says, and in nothing else.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from bench.plan.left_out import value_of
from bench.published.claimfile import OPPONENTS, Arm, Claim, ClaimStudy
from bench.stats.cells import Cell, flatten
from bench.stats.deviations import Deviations
from bench.stats.intervals import run_means
from bench.stats.opponents import comparable, opponent

_GROUPS = {
    "recipe": ("encoder.recipe", "recipe"),
    "first_recipe": ("encoder.first_stage.recipe", "first_stage.recipe"),
    "backbone": ("encoder.backbone", "backbone"),
    "method": ("encoder.options", "method"),
    "protocol": ("protocol.options", "protocol"),
    "data": ("data.options", "data"),
    "pretrain_data": ("encoder.data.options", "pretrain_data"),
    "teacher": ("encoder.teacher.options", "teacher"),
    "text_teacher": ("encoder.text_teacher.options", "text_teacher"),
    "numerics": ("encoder.numerics", "numerics"),
}
"""Groups of ``--set``: fields of a flat spec, and of deviations."""


@dataclass(frozen=True)
class StoredCell:
    """A stored cell with what a claim has to know of it.

    Attributes:
        cell: The cell.
        deviations: Deviations of its runs from their preset.
        main: Whether its metric is the one its protocol is about.
        validated: Returns the mean validation score of a cell's chosen candidate over seeds; None if none is stored.
    """

    cell: Cell
    deviations: Deviations
    main: bool
    validated: Callable[[Cell], float | None] = lambda _: None

    @property
    def validation(self) -> float | None:
        """Return its mean validation score; None if none is stored."""
        return self.validated(self.cell)


@dataclass(frozen=True)
class RunFact:
    """Facts of a run that a verdict needs besides its scores.

    Attributes:
        day: Day on which it was stored, ``2026-11-30``.
        encoder: Identity of its encoder, seed included: pretraining is counted once.
        pretraining: Seconds of its encoder's pretraining, a first stage included.
        evaluation: Seconds of its evaluation.
    """

    day: str
    encoder: str
    pretraining: float
    evaluation: float


@dataclass(frozen=True)
class Where:
    """One way to judge: preset, protocol, data set and setting."""

    preset: str
    protocol: str
    dataset: str
    setting: str

    def __str__(self) -> str:
        """Say it in a few words."""
        setting = "" if self.setting in ("all", "") else f" {self.setting}"
        return f"{self.protocol}{setting} on {self.dataset}"


class Evidence:
    """Stored cells, found by arm.

    Args:
        cells: Every stored cell.
        labels: Labels of data sets in tables, by the name a claim gives; a missing one is its own label.
        facts: Facts of runs, by key.
    """

    def __init__(
        self,
        cells: Iterable[StoredCell],
        labels: Mapping[str, str] | None = None,
        facts: Mapping[str, RunFact] | None = None,
    ) -> None:
        self._labels, self._facts = labels or {}, facts or {}
        self._by_method: dict[tuple[str, str, str], list[StoredCell]] = defaultdict(list)
        for one in cells:
            self._by_method[one.cell.preset, one.cell.method, one.cell.protocol].append(one)

    @property
    def presets(self) -> list[str]:
        """Presets of the stored cells."""
        return list(dict.fromkeys(preset for preset, _, _ in self._by_method))

    def first_day(self, keys: Iterable[str]) -> str:
        """Return the day of the oldest of some runs; empty if unknown."""
        return min((self._facts[key].day for key in keys if key in self._facts), default="")

    def seconds(self, keys: Iterable[str]) -> float:
        """Return the seconds that some runs took, every pretraining once."""
        known = [self._facts[key] for key in keys if key in self._facts]
        return sum({one.encoder: one.pretraining for one in known}.values()) + sum(one.evaluation for one in known)

    def places(self, claim: Claim, preset: str) -> list[Where]:
        """Return every way to judge that counts for a claim.

        Where the claim names no setting, those that are stored of any arm; one without a name if none is.
        """
        study = claim.study
        assert study is not None
        found = []
        for protocol in study.protocols:
            for dataset in study.datasets:
                label = self._labels.get(dataset, dataset)
                settings: Iterable[str] = study.settings
                if not settings:
                    stored = [
                        cell
                        for name in claim.pretrained
                        for cell in self.of(claim.arm(name), study, Where(preset, protocol, label, ""))
                    ]
                    settings = dict.fromkeys(one.cell.setting for one in stored) or ("",)
                found += [Where(preset, protocol, label, setting) for setting in settings]
        return found

    def of(self, arm: Arm, study: ClaimStudy, where: Where) -> list[StoredCell]:
        """Return the stored cells of an arm; an empty setting means any."""
        pool = self._by_method.get((arm.preset or where.preset, arm.label, where.protocol), [])
        trained_on = self._labels.get(study.pretrain_data, study.pretrain_data)
        return [
            one
            for one in pool
            if _judged(one, study, where)
            and (arm.encoder or one.cell.whole_pretrain_data in (trained_on, "none"))
            and one.cell.fraction == arm.pretrain_fraction
            and (arm.pretrain_fraction == 1 or one.cell.budget == arm.budget)
            and _as_asked(one, arm, study)
        ]

    def pairs(self, first: str, second: str, claim: Claim, where: Where) -> list[tuple[StoredCell, StoredCell]]:
        """Return the pairs of stored cells that a contrast compares, the best fitting first.

        Scores play no part in the order: seeds that both have, code of today, equal numerics, equal fields.
        """
        study = claim.study
        assert study is not None
        own = self.of(claim.arm(first), study, where)
        if second in OPPONENTS:
            found = [(one, other) for one in own if (other := self._opponent(one, second, claim, first, where))]
        else:
            others = self.of(claim.arm(second), study, where)
            sized = _differs_in_size(claim.arm(first), claim.arm(second))
            found = [(a, b) for a in own for b in others if _alike(a.cell, b.cell, sized)]
        return sorted(found, key=_rank)

    def _opponent(self, one: StoredCell, name: str, claim: Claim, first: str, where: Where) -> StoredCell | None:
        study, arm = claim.study, claim.arm(first)
        assert study is not None
        pool = self._by_method.get((one.cell.preset, name, where.protocol), [])
        plain = [
            other for other in pool if _judged(other, study, where) and _as_asked(other, arm, study, pretrained=False)
        ]
        chosen = opponent(one.cell, [other.cell for other in plain])
        return next((other for other in plain if other.cell is chosen), None)


def _judged(one: StoredCell, study: ClaimStudy, where: Where) -> bool:
    cell = one.cell
    return (
        (cell.protocol, cell.dataset, cell.form) == (where.protocol, where.dataset, study.form)
        and (where.setting in ("", cell.setting) and cell.label_fraction == 1)
        and (one.main if study.metric is None else cell.metric == study.metric)
    )


def _as_asked(one: StoredCell, arm: Arm, study: ClaimStudy, *, pretrained: bool = True) -> bool:
    """Whether a cell has what was asked for, and no other deviation.

    Fields of pretraining are not asked of what is not pretrained.
    """
    spec, allowed = one.cell.spec, set()
    for field, deviation, value in _asked(arm, study, one.cell):
        if not pretrained and field.startswith(("encoder.options", "encoder.recipe", "encoder.first_stage")):
            continue
        if not pretrained and field.startswith(("encoder.data", "encoder.teacher", "encoder.text_teacher")):
            continue
        if _value(value_of(spec, field)) != _value(value):
            return False
        allowed.add(deviation)
    for name, wanted in (("teacher", arm.teacher), ("text_teacher", arm.text_teacher)):
        if wanted is not None and pretrained:
            if spec.get(f"encoder.{name}.name") != wanted:
                return False
            allowed.add(name)
    if arm.captions != "auto" and pretrained:
        if spec.get("encoder.captions") != arm.captions:
            return False
        allowed.add("captions")
    allowed |= {"pretrain_fraction", "budget"}
    return all(
        one.field in allowed or (not pretrained and one.of_pretraining) for one in one.deviations if not one.of_all
    ) and not any(one.of_all for one in one.deviations)


def _asked(arm: Arm, study: ClaimStudy, cell: Cell) -> Iterator[tuple[str, str, str]]:
    """Yield assignments as field of the spec, field of deviations, and value.

    An assignment to another method or protocol is none of this cell's business.
    """
    stage = cell.spec.get("encoder.first_stage.method", "")
    groups = {
        **_GROUPS,
        cell.protocol: _GROUPS["protocol"],
        stage: ("encoder.first_stage.options", "first_stage.method"),
        arm.unit: _GROUPS["method"],
    }
    for path, value in {**study.overrides, **arm.overrides}.items():
        group, _, rest = path.partition(".")
        if group not in groups:
            continue
        field, deviation = groups[group]
        if group == "method" and not _has(cell, field, rest):
            continue
        nested: dict[str, JsonValue] = {rest: value}
        for name, text in flatten(nested).items():
            yield f"{field}.{name}", f"{deviation}.{name}", text


def _has(cell: Cell, field: str, rest: str) -> bool:
    """Whether a cell's method has an option; ``method.X`` is for those that have X."""
    name = f"{field}.{rest}"
    return value_of(cell.spec, name) is not None or any(one == name or one.startswith(f"{name}.") for one in cell.spec)


def _value(text: str | None) -> object:
    """Read a value of a flat spec, so that 0.60 equals 0.6."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def _differs_in_size(*arms: Arm) -> bool:
    return len({arm.preset for arm in arms}) > 1 or any(
        path.startswith("backbone.") for a in arms for path in a.overrides
    )


def _alike(a: Cell, b: Cell, sized: bool) -> bool:
    """Return whether two cells were judged alike.

    With `sized` the claim is about size, and their networks may differ in it.
    """
    return (a.judge, a.metric, a.setting) == (b.judge, b.metric, b.setting) if sized else comparable(a, b)


def _rank(pair: tuple[StoredCell, StoredCell]) -> tuple[object, ...]:
    a, b = (one.cell for one in pair)
    numerics = [{k: v for k, v in cell.spec.items() if k.startswith("encoder.numerics.")} for cell in (a, b)]
    return (
        -len(run_means(a.scores).keys() & run_means(b.scores).keys()),
        a.older_code + b.older_code,
        numerics[0] != numerics[1],
        -len(a.spec.items() & b.spec.items()),
        sorted(a.runs.values()),
        sorted(b.runs.values()),
    )
