"""Choose and join the stored runs that a report is about."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError, unknown_name
from bench.plan.left_out import value_of
from bench.report.runs import run_name, seed_of
from bench.stats.cells import SCRATCH, TEACHER_ALONE, flatten

if TYPE_CHECKING:
    from bench.store.queries import RunNumbers
    from bench.store.records import RunRecord

Runs = tuple[list["RunNumbers"], list["RunRecord"]]
"""Numbers of runs, and their records; of failed ones, too."""
ABSENT = "absent"
"""Value of a field that a specification lacks."""
ENCODER = "encoder."
SEEDS = ("seed", "split_seed")


def narrowed(runs: Runs, where: Mapping[str, Collection[str]]) -> Runs:
    """Keep runs whose fields have one of some values.

    A field is one of the specification, as ``bench why`` prints it, or a column of ``bench runs``. Untrained networks
    and teachers alone are not asked for fields of an encoder that they lack, so that what was pretrained keeps its
    opponent.

    Args:
        runs: The runs.
        where: Accepted values by field; ``absent`` for none.

    Raises:
        UsageError: No run has such a field, such a value, or all of them together.
    """
    numbers, records = runs
    if not where or not records:
        return runs
    fields = [_fields(record) for record in records]
    every = dict.fromkeys(name for own in fields for name in own)
    for name, values in where.items():
        known = {value_of(own, name) for own in fields}
        if known == {None}:
            raise unknown_field(name, every)
        for value in values:
            if not any(_has(own, name, value) for own in fields):
                shown = {ABSENT if one is None else one for one in known}
                raise unknown_name(f"value of {name} in a stored run", value, shown)
    kept = [record for record, own in zip(records, fields, strict=True) if _fits(own, where)]
    if not kept:
        words = ", ".join(f"{name} {' or '.join(values)}" for name, values in where.items())
        raise UsageError(f"no stored run has {words} together")
    keys = {record.key for record in kept}
    return [one for one in numbers if one.run_key in keys], kept


def unknown_field(name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a field that no stored run has, with suggestions.

    A specification has hundreds of fields, so not all are named.
    """
    names = sorted(set(known))
    last = {field.rsplit(".", 1)[-1]: field for field in reversed(names)}
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.7)
    near += [last[one] for one in difflib.get_close_matches(name.rsplit(".", 1)[-1], last, n=2, cutoff=0.6)]
    hint = f"did you mean {' or '.join(dict.fromkeys(near[:3]))}?" if near else "see bench runs and bench why"
    return UsageError(f"unknown field of a stored run '{name}': {hint}")


def _fields(record: RunRecord) -> dict[str, str]:
    """Return a run's labels, seeds and fields of its specification."""
    seeds: dict[str, str] = {name: str(record.spec[name]) for name in SEEDS if name in record.spec}
    return {**flatten(record.spec), **record.label, **seeds}


def _fits(own: Mapping[str, str], where: Mapping[str, Collection[str]]) -> bool:
    alone = own.get("method") in (SCRATCH, TEACHER_ALONE)
    return all(
        (alone and name.startswith(ENCODER) and name not in own) or any(_has(own, name, value) for value in values)
        for name, values in where.items()
    )


def _has(own: Mapping[str, str], name: str, value: str) -> bool:
    """Whether a run's field has a value, perhaps as a default that its specification leaves out."""
    if name not in own and value == ABSENT:
        return True
    stored = value_of(own, name)
    return stored is not None and _same(value, stored)


def _same(asked: str, stored: str) -> bool:
    """Whether two texts are equal, or equal numbers or truth values."""
    if asked == stored or (stored in ("true", "false", "null") and asked.lower() == stored):
        return True
    try:
        return float(asked) == float(stored)
    except ValueError:
        return False


def joined(found: Sequence[tuple[Path, Runs]]) -> Runs:
    """Join runs of several folders; each key counts once.

    A finished run counts before a failed one, one of the present code before others, a newer one before an older.

    Args:
        found: Runs by the folder they come from.

    Raises:
        UsageError: Two folders have other numbers of one run, made by the same code.
    """
    numbers: dict[str, tuple[Path, RunNumbers]] = {}
    records: dict[str, tuple[Path, RunRecord]] = {}
    for place, (own_numbers, own_records) in found:
        values = {one.run_key: one for one in own_numbers}
        for record in own_records:
            before = records.get(record.key)
            mine = values.get(record.key)
            if before is not None and mine is not None and record.key in numbers:
                other_place, other = numbers[record.key]
                if mine.fingerprint == other.fingerprint:
                    _require_equal(record, (other_place, other), (place, mine))
                if (not mine.older_code, mine.created_at) <= (not other.older_code, other.created_at):
                    continue
            elif before is not None and before[1].status == "done" and record.status != "done":
                continue
            records[record.key] = (place, record)
            if mine is not None:
                numbers[record.key] = (place, mine)
            elif record.status != "done":
                numbers.pop(record.key, None)
    return [one for _, one in numbers.values()], [one for _, one in records.values()]


def _require_equal(record: RunRecord, first: tuple[Path, RunNumbers], second: tuple[Path, RunNumbers]) -> None:
    tables = [dict(zip(one.paths, one.values, strict=True)) for _, one in (first, second)]
    both = [(path, tables[0].get(path), tables[1].get(path)) for path in {**tables[0], **tables[1]}]
    differing = [one for one in both if not _equal(one[1], one[2])]
    if not differing:
        return
    path, a, b = min(differing, key=lambda one: (one[0].split != "test", not one[0].headline, one[0].name))
    more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
    raise UsageError(
        f"run {record.key[:12]} ({run_name(record.label)}, seed {seed_of(record)}) has other numbers in {second[0]} "
        f"than in {first[0]}, made by the same code: {path.split} {path.name} {_shown(b)} and {_shown(a)}{more}; leave "
        "out the folder that is wrong, or do the run again (bench rerun) to see which"
    )


def _equal(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return first == second or (math.isnan(first) and math.isnan(second))


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
