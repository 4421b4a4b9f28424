"""Match the stored cells of two groups for comparison.

Both were judged by the same questions, with networks of one size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.comparing.groups import ABSENT, Member, StoredCell
from bench.errors import NotComparableError, UsageError
from bench.stats.cells import SCRATCH, TEACHER_ALONE, judging, natural, sizing

JOINED = ("preset", "dataset", "protocol", "form", "setting", "split_seed")
"""Labels in which compared cells must agree, unless the user gave one for each group."""

NUMERICS_PREFIX = "encoder.numerics."
_LABELS = ("architecture", "pretrain_data")
"""Labels that may differ between cells of one name."""
_TOLD = 4
"""Most fields that one message names; it only counts the others."""

Side = tuple[StoredCell, ...]
"""Cells of one group that belong to one comparison: one, or those an ensemble joins."""


@dataclass(frozen=True)
class Match:
    """Cells that are compared with one another.

    Attributes:
        first: Cells of the first group.
        second: Cells of the second group; empty if there is none.
        notes: Differences that the user accepted by naming the field, one line each.
    """

    first: Side
    second: Side
    notes: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Return in words how both were judged."""
        words = list(dict.fromkeys(cell.where for cell in (*self.first, *self.second)))
        return " and ".join(words)


@dataclass(frozen=True)
class _Rule:
    """Fields in which compared cells must agree.

    Attributes:
        broken: Words for cells that disagree, e.g. "differ in size".
        values: Returns a cell's values by field.
        of: Selects the cells to which the rule applies.
    """

    broken: str
    values: Callable[[StoredCell], Mapping[str, str]]
    of: Callable[[Side], Side]

    def differing(self, cells: Side) -> list[str]:
        """Return the fields in which cells disagree."""
        return differing_fields([self.values(cell) for cell in self.of(cells)])

    def told(self, cells: Side) -> str:
        """Describe which cells disagree, and their values."""
        cells = self.of(cells)
        found = {name: [self.values(cell).get(name, ABSENT) for cell in cells] for name in self.differing(cells)}
        labels = [found[name] for name in JOINED if name in found]
        # Name a label instead of fields with the same values, e.g. protocol instead of protocol.name.
        words = [
            f"{name} ({' | '.join(dict.fromkeys(map(_short, values)))})"
            for name, values in sorted(found.items(), key=lambda item: item[0] not in JOINED)
            if name in JOINED or values not in labels
        ]
        more = f" and {len(words) - _TOLD} more" if len(words) > _TOLD else ""
        names = " and ".join(dict.fromkeys(cell.label for cell in cells))
        return f"the runs of {names} {self.broken}: {', '.join(words[:_TOLD])}{more}"


Parts = Sequence[tuple[Member, Sequence[StoredCell]]]
"""A group as pairs of (part, cells that the part names)."""


def match_cells(first: Parts, second: Parts) -> tuple[list[Match], list[str]]:
    """Pair the cells of two groups that were judged alike.

    Args:
        first: The first group.
        second: The second; empty for none.

    Returns:
        Matches in the order of tables, and what was left out, one line each.

    Raises:
        UsageError: Several specifications fit and nothing tells which is meant, or nothing fits at all.
    """
    every = [*first, *second]
    members = [member for member, _ in every]
    keyed = all(member.keys for member in members)
    named = {name for member in members for name in member.values}
    labels = () if keyed else tuple(name for name in (*JOINED, "method") if name not in named)
    tables = [_by_labels(cells, labels) for _, cells in every]
    places = dict.fromkeys(place for table in tables for place in table)
    matches, left_out, reasons = [], [], []
    for place in sorted(places, key=lambda place: [natural(text) for text in place]):
        lacking = [member.text for member, table in zip(members, tables, strict=True) if place not in table]
        if lacking:
            left_out.append(f"{' '.join(place)}: no run of {' or '.join(lacking)}")
            continue
        try:
            chosen, notes = _narrowed([table[place] for table in tables], members)
        except NotComparableError as reason:
            reasons.append(f"{' '.join(place)}: {reason}" if place else str(reason))
            continue
        cut = len(first)
        matches.append(Match(chosen[:cut], chosen[cut:], notes))
    if not matches and reasons:
        raise UsageError(f"{reasons[0]}{f' (and {len(reasons) - 1} more)' if reasons[1:] else ''}")
    if not matches:
        names = " and ".join(f"'{member.text}'" for member in members)
        raise UsageError(f"{names} were never judged alike ({', '.join(labels)}); bench runs lists the runs")
    return matches, [*left_out, *reasons]


def _by_labels(cells: Sequence[StoredCell], labels: Sequence[str]) -> dict[tuple[str, ...], list[StoredCell]]:
    found: dict[tuple[str, ...], list[StoredCell]] = {}
    for cell in cells:
        found.setdefault(tuple(str(getattr(cell.row, name)) for name in labels), []).append(cell)
    return found


def _narrowed(candidates: Sequence[Sequence[StoredCell]], members: Sequence[Member]) -> tuple[Side, tuple[str, ...]]:
    """Choose one cell per part, judged alike with similar encoders.

    Returns:
        The cells, and in what they differ because the user asked for it.

    Raises:
        NotComparableError: None were judged alike, or their networks are not alike.
        UsageError: Several are left.
    """
    combinations = list(itertools.product(*candidates))
    for rule in _RULES:
        kept = [cells for cells in combinations if not rule.differing(cells)]
        kept = kept or [cells for cells in combinations if _asked_for(cells, members, rule)]
        if not kept:
            closest = min(combinations, key=lambda cells: len(rule.differing(cells)))
            raise NotComparableError(
                f"{rule.told(closest)}; run them alike, or name one of these fields behind each (,FIELD=VALUE) to "
                "compare them all the same"
            )
        combinations = kept
    for alike in (_pretrained_on, _numerics):
        combinations = [cells for cells in combinations if alike(cells)] or combinations
    if len({tuple(id(cell) for cell in cells if not is_opponent(cell)) for cells in combinations}) == 1:
        # Baselines need not be named exactly: the one that agrees in most fields is taken, as in the report.
        fewest = min(map(_disagreement, combinations))
        combinations = [cells for cells in combinations if _disagreement(cells) == fewest]
    if len(combinations) > 1:
        raise _ambiguous(combinations)
    chosen = combinations[0]
    return chosen, tuple(f"{rule.told(chosen)}, as asked for" for rule in _RULES if rule.differing(chosen))


def _asked_for(cells: Side, members: Sequence[Member], rule: _Rule) -> bool:
    """Whether the user named a differing field for every part.

    A key names all fields.
    """
    named = [set(member.values) for member in members if not member.keys]
    return not named or bool(set.intersection(*named) & {*rule.differing(cells)})


def _judged(cell: StoredCell) -> Mapping[str, str]:
    """Return the fields that say how a cell was judged.

    No other field tells one share of the labels from another.
    """
    return {**{name: str(getattr(cell.row, name)) for name in JOINED}, **judging(cell.spec)}


def _architecture(cells: Side) -> Side:
    """Return cells whose architecture must agree.

    Scratch is compared in the architecture of the other method, in an ensemble of one of the others.
    """
    scratch = [cell for cell in cells if cell.row.method == SCRATCH]
    others = [cell for cell in cells if cell.row.method not in (SCRATCH, TEACHER_ALONE)]
    known = {cell.row.architecture for cell in others}
    strange = [cell for cell in scratch if cell.row.architecture not in known] if others else scratch
    return (*others, *strange) if strange else ()


def _backbone(cell: StoredCell) -> Mapping[str, str]:
    """Return network size or matched cost, and the preset."""
    return {"preset": cell.row.preset, **sizing(cell.spec)}


_RULES = (
    _Rule("were judged differently", _judged, lambda cells: cells),
    _Rule("differ in architecture", lambda cell: {"architecture": cell.row.architecture}, _architecture),
    _Rule("differ in size", _backbone, lambda cells: tuple(cell for cell in cells if cell.row.method != TEACHER_ALONE)),
)


def _pretrained_on(cells: Side) -> bool:
    return _equal([cell for cell in cells if not is_opponent(cell)], lambda cell: cell.row.pretrain_data)


def _numerics(cells: Side) -> bool:
    return _equal(cells, lambda cell: {k: v for k, v in cell.spec.items() if k.startswith(NUMERICS_PREFIX)})


def _equal(cells: Sequence[StoredCell], value: Callable[[StoredCell], object]) -> bool:
    return all(value(cell) == value(cells[0]) for cell in cells)


def is_opponent(cell: StoredCell) -> bool:
    """Whether a cell is a baseline without pretraining."""
    return cell.row.method in (SCRATCH, TEACHER_ALONE)


def _disagreement(cells: Side) -> int:
    return len(differing_fields([cell.spec for cell in cells]))


def differing_fields(specs: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the fields in which flat specifications differ."""
    names = sorted({name for spec in specs for name in spec})
    return [name for name in names if len({spec.get(name) for spec in specs}) > 1]


def _short(value: str) -> str:
    return value if len(value) <= 24 else f"{value[:20]}..."


def _ambiguous(combinations: Sequence[Side]) -> UsageError:
    for position in range(len(combinations[0])):
        cells = list({id(cells[position]): cells[position] for cells in combinations}.values())
        if len(cells) > 1:
            break
    labels = [name for name in _LABELS if len({getattr(cell.row, name) for cell in cells}) > 1]
    fields = labels or differing_fields([cell.spec for cell in cells])
    name = fields[0]
    found = [getattr(cell.row, name) if labels else cell.spec.get(name, ABSENT) for cell in cells]
    keys = ", ".join(cell.row.stored.key[:8] for cell in cells)
    more = f" and {len(fields) - 1} more" if len(fields) > 1 else ""
    return UsageError(
        f"{cells[0].label} ({cells[0].where}) is stored with {len(cells)} specifications, which differ in {name}{more} "
        f"({' or '.join(dict.fromkeys(found))}): add ,{name}=VALUE to its name, or give keys ({keys}; bench why "
        "tells them apart)"
    )
