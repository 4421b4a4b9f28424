"""Tables of their own for each value of a field."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from bench.errors import UsageError
from bench.report.choice import ABSENT, unknown_field
from bench.stats.cells import Cell, natural

LABELS = ("method", "architecture", "protocol", "form", "setting", "dataset", "pretrain_data", "preset", "metric")
SEEDS = ("seed", "split_seed", "encoder.seed")
OF_PRETRAINED = ("method", "pretrain_data")
"""Labels that an untrained network shares with none: it stands beside every value."""


def grouping(cells: Iterable[Cell], field: str) -> Callable[[Cell], list[str]]:
    """Return the groups that each cell stands in, in words.

    Networks without pretraining stand beside every value of a field of the encoder that they lack.

    Args:
        cells: All cells.
        field: A field of the specification as ``bench why`` prints it, or a column of ``bench runs``; empty for one
            group without a name.

    Raises:
        UsageError: No cell has the field, or the runs of a cell differ in it.
    """
    if not field:
        return lambda cell: [""]
    cells = list(cells)
    if field in SEEDS:
        raise UsageError(f"--group-by {field}: a score is a mean over seeds; choose some with --where {field}=0")
    known = {*LABELS, *(name for cell in cells for name in cell.spec)}
    if cells and field not in known:
        raise unknown_field(field, known)
    beside: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for cell in cells:
        if not _lacks(cell, field):
            beside[_table(cell)].add(_value(cell, field))

    def groups(cell: Cell) -> list[str]:
        values = beside[_table(cell)] if _lacks(cell, field) else {_value(cell, field)}
        return [f"{_short(field)}={value}" for value in sorted(values or {ABSENT}, key=natural)]

    return groups


def _table(cell: Cell) -> tuple[str, ...]:
    return cell.preset, cell.metric, cell.judge


def _lacks(cell: Cell, field: str) -> bool:
    return cell.is_opponent and (field in OF_PRETRAINED or (field.startswith("encoder.") and field not in cell.spec))


def _value(cell: Cell, field: str) -> str:
    return str(getattr(cell, field)) if field in LABELS else cell.spec.get(field, ABSENT)


def _short(field: str) -> str:
    return field.removeprefix("protocol.options.").removeprefix("encoder.")
