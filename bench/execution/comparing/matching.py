"""Which stored cells of two groups belong together: judged by the same questions."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.errors import UsageError
from bench.execution.comparing.groups import Member, StoredCell
from bench.stats.cells import BACKBONE_PREFIX, SCRATCH, TEACHER_ALONE, judging, natural

JOINED = ("preset", "dataset", "protocol", "form", "setting")
"""Labels in which two cells have to agree, unless a group names its own."""

NUMERICS_PREFIX = "encoder.numerics."
_LABELS = ("architecture", "pretrain_data")
"""Labels that may differ between cells of one name."""

Side = tuple[StoredCell, ...]
"""Cells of one group that belong to one comparison: one, or those an ensemble joins."""


@dataclass(frozen=True)
class Match:
    """Cells that are compared.

    Attributes:
        first: Of the first group.
        second: Of the second; empty where there is none.
    """

    first: Side
    second: Side

    @property
    def where(self) -> str:
        """What both were judged by, in words."""
        words = list(dict.fromkeys(cell.where for cell in (*self.first, *self.second)))
        return " and ".join(words)


Parts = Sequence[tuple[Member, Sequence[StoredCell]]]
"""A group: its parts with the cells each of them names."""


def match_cells(first: Parts, second: Parts) -> tuple[list[Match], list[str]]:
    """Put together what belongs together.

    Args:
        first: The first group.
        second: The second; empty for none.

    Returns:
        Matches in the order of tables, and what was left out, one line each.

    Raises:
        UsageError: Several specifications fit and nothing tells which is meant, or nothing fits at all.
    """
    every = [*first, *second]
    keyed = all(member.keys for member, _ in every)
    named = {name for member, _ in every for name in member.values}
    labels = () if keyed else tuple(name for name in (*JOINED, "method") if name not in named)
    tables = [_by_labels(cells, labels) for _, cells in every]
    places = dict.fromkeys(place for table in tables for place in table)
    matches, left_out = [], []
    for place in sorted(places, key=lambda place: [natural(text) for text in place]):
        lacking = [member.text for (member, _), table in zip(every, tables, strict=True) if place not in table]
        if lacking:
            left_out.append(f"{' '.join(place)}: no run of {' or '.join(lacking)}")
            continue
        chosen = _narrowed([table[place] for table in tables])
        cut = len(first)
        matches.append(Match(chosen[:cut], chosen[cut:]))
    if not matches:
        names = " and ".join(f"'{member.text}'" for member, _ in every)
        raise UsageError(f"{names} were never judged alike ({', '.join(labels)}); bench runs lists the runs")
    return matches, left_out


def _by_labels(cells: Sequence[StoredCell], labels: Sequence[str]) -> dict[tuple[str, ...], list[StoredCell]]:
    found: dict[tuple[str, ...], list[StoredCell]] = {}
    for cell in cells:
        found.setdefault(tuple(str(getattr(cell.row, name)) for name in labels), []).append(cell)
    return found


def _narrowed(candidates: Sequence[Sequence[StoredCell]]) -> Side:
    """Choose one cell of every part: those that were judged alike and whose encoders are alike.

    Raises:
        UsageError: Several are left.
    """
    combinations = list(itertools.product(*candidates))
    for alike in (_judged, _architecture, _pretrained_on, _backbone, _numerics):
        kept = [cells for cells in combinations if alike(cells)]
        combinations = kept or combinations
    if len({tuple(id(cell) for cell in cells if not _is_opponent(cell)) for cells in combinations}) == 1:
        # What is compared *with* need not be named: the one that agrees in most fields is meant, as in the report.
        fewest = min(map(_disagreement, combinations))
        combinations = [cells for cells in combinations if _disagreement(cells) == fewest]
    if len(combinations) > 1:
        raise _ambiguous(combinations)
    return combinations[0]


def _judged(cells: Side) -> bool:
    return _equal(cells, lambda cell: judging(cell.spec))


def _architecture(cells: Side) -> bool:
    """Scratch is compared in the architecture of the other method."""
    if not any(cell.row.method == SCRATCH for cell in cells):
        return True
    return _equal(cells, lambda cell: cell.row.architecture)


def _pretrained_on(cells: Side) -> bool:
    return _equal([cell for cell in cells if not _is_opponent(cell)], lambda cell: cell.row.pretrain_data)


def _backbone(cells: Side) -> bool:
    encoders = [cell for cell in cells if cell.row.method != TEACHER_ALONE]
    return _equal(encoders, lambda cell: {k: v for k, v in cell.spec.items() if k.startswith(BACKBONE_PREFIX)})


def _numerics(cells: Side) -> bool:
    return _equal(cells, lambda cell: {k: v for k, v in cell.spec.items() if k.startswith(NUMERICS_PREFIX)})


def _equal(cells: Sequence[StoredCell], value: Callable[[StoredCell], object]) -> bool:
    return all(value(cell) == value(cells[0]) for cell in cells)


def _is_opponent(cell: StoredCell) -> bool:
    return cell.row.method in (SCRATCH, TEACHER_ALONE)


def _disagreement(cells: Side) -> int:
    return len(differing_fields([cell.spec for cell in cells]))


def differing_fields(specs: Sequence[Mapping[str, str]]) -> list[str]:
    """Fields in which flat specifications are not all the same."""
    names = sorted({name for spec in specs for name in spec})
    return [name for name in names if len({spec.get(name) for spec in specs}) > 1]


def _ambiguous(combinations: Sequence[Side]) -> UsageError:
    for position in range(len(combinations[0])):
        cells = list({id(cells[position]): cells[position] for cells in combinations}.values())
        if len(cells) > 1:
            break
    labels = [name for name in _LABELS if len({getattr(cell.row, name) for cell in cells}) > 1]
    fields = labels or differing_fields([cell.spec for cell in cells])
    name = fields[0]
    found = [getattr(cell.row, name) if labels else cell.spec.get(name, "absent") for cell in cells]
    keys = ", ".join(cell.row.stored.key[:8] for cell in cells)
    more = f" and {len(fields) - 1} more" if len(fields) > 1 else ""
    return UsageError(
        f"{cells[0].label} ({cells[0].where}) is stored with {len(cells)} specifications, which differ in {name}{more} "
        f"({' or '.join(dict.fromkeys(found))}): add ,{name}=VALUE to its name, or give keys ({keys}; bench why "
        "tells them apart)"
    )
