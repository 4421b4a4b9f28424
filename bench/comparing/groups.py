"""Read the groups of stored runs that a user names.

Such as ``recon``, ``recon,form=published``, ``3fa2b41c``, ``recon+crosspoint``.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.errors import BenchError, UsageError, unknown_name
from bench.plan.left_out import value_of
from bench.stats.cells import BESIDE, SCRATCH, cell_digest, flatten, run_unit, stored_beside
from bench.stats.comparisons import Lost
from bench.stats.intervals import Unit
from bench.store.queries import LABELS, RunRow, failed_rows, nothing_stored, run_rows
from bench.store.records import RunRecord
from bench.store.store import Store

ABSENT = "absent"
"""Value of a field that a specification lacks."""
_KEY = re.compile(r"[0-9a-f]{4,}(@[0-9a-f]*)?")
_Run = tuple[RunRow, RunRecord]


@dataclass(frozen=True)
class Member:
    """Part of a group: a method with filters, or keys.

    Attributes:
        text: As the user wrote it.
        keys: Beginnings of run keys, optionally ``@`` and the beginning of the code's fingerprint.
        values: Accepted values by label or by field of the specification.
    """

    text: str
    keys: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredCell:
    """Runs that differ only in the seed.

    Attributes:
        rows: The runs' rows, by seed.
        records: The runs, by seed.
        spec: Their specification, flattened, without seeds and `BESIDE`, which changes no score.
    """

    rows: Mapping[int, RunRow]
    records: Mapping[int, RunRecord]
    spec: Mapping[str, str]

    @cached_property
    def row(self) -> RunRow:
        """One run's row, for the fields that all share."""
        return next(iter(self.rows.values()))

    @property
    def label(self) -> str:
        """Name of the method; for scratch, its architecture too."""
        row = self.row
        return f"{SCRATCH} ({row.architecture})" if row.method == SCRATCH and row.architecture else row.method

    @property
    def where(self) -> str:
        """Return protocol, data and preset: ``linear all on shapes-scan, nano``."""
        row = self.row
        form = "" if row.form == "fair" else f" ({row.form} form)"
        split = f", split seed {row.split_seed}" if row.split_seed else ""
        return f"{row.protocol}{form} {row.setting} on {row.dataset}, {row.preset}{split}"


def parse_group(text: str) -> tuple[Member, ...]:
    """Parse ``PART[+PART...]``.

    A part is a method or a key, with ``,FIELD=VALUE`` behind it, or such filters alone.

    Raises:
        UsageError: A part is empty or a filter has no value.
    """
    members: list[Member] = []
    keys: list[str] = []
    for part in text.split("+"):
        words = [word.strip() for word in part.split(",")]
        if not all(words):
            raise UsageError(f"'{text}': expected METHOD or KEY, followed by ,FIELD=VALUE to narrow it")
        values: dict[str, tuple[str, ...]] = {}
        if "=" not in words[0]:
            name = words.pop(0)
            if _KEY.fullmatch(name):
                if words:
                    raise UsageError(f"'{part}': a key names one run, so no filter can follow it")
                keys.append(name)
                continue
            values["method"] = (name,)
        for word in words:
            name, sign, value = word.partition("=")
            if not sign or not value:
                raise UsageError(f"'{text}': expected FIELD=VALUE instead of '{word}'")
            values[name] = (*values.get(name, ()), value)
        members.append(Member(part, values=values))
    return (*([Member("+".join(keys), tuple(keys))] if keys else []), *members)


class Shelf:
    """The stored runs of a results folder, read on demand.

    Trials of searches are left out: their test scores must not influence any choice.

    Args:
        store: The store.
        common: Accepted values by label or by field of the specification, for every group that does not say otherwise.
    """

    def __init__(self, store: Store, common: Mapping[str, Sequence[str]]) -> None:
        self.store = store
        self.common = {name: tuple(values) for name, values in common.items() if values}
        self._records: dict[str, RunRecord] = {}

    @cached_property
    def newest(self) -> list[RunRow]:
        """The newest run of every key."""
        return run_rows(self.store)

    def cells(self, member: Member) -> list[StoredCell]:
        """Return the cells a part of a group names.

        Raises:
            UsageError: None, or a name that nothing stored has.
        """
        rows = [self._keyed(key) for key in member.keys] if member.keys else self._filtered(member)
        found: dict[tuple[str, ...], dict[int, _Run]] = {}
        specs: dict[tuple[str, ...], dict[str, str]] = {}
        seen: list[Mapping[str, str]] = []
        asked = {name: values for name, values in {**self.common, **member.values}.items() if name not in LABELS}
        for row in rows:
            record = self.load(row)
            if record.spec.get("trial") and not member.keys:
                continue
            flat = flatten(record.spec)
            seen.append(flat)
            if member.keys or all(_has(flat, name, values) for name, values in asked.items()):
                own = {name: value for name, value in flat.items() if name not in BESIDE}
                # Runs with and without --legacy belong to one cell.
                labels = (*_labels(row), *(f"{name}={value}" for name, value in sorted(own.items())))
                specs[labels] = own
                runs = found.setdefault(labels, {})
                runs[row.seed] = _one_of_seed(member, runs.get(row.seed), (row, record))
        if not found:
            raise _why_none(member, asked, seen) or UsageError(
                f"no stored run fits '{member.text}'{self._also()}; bench runs lists what there is"
            )
        return [
            StoredCell(
                {seed: row for seed, (row, _) in sorted(runs.items())},
                {seed: record for seed, (_, record) in sorted(runs.items())},
                specs[labels],
            )
            for labels, runs in found.items()
        ]

    def lost(self, cell: StoredCell) -> Lost:
        """Return a cell's runs that failed and were not repeated."""
        one = next(iter(cell.records.values()))
        same, split = cell_digest(one.spec), run_unit(one.spec).split
        gone = {
            unit: what
            for digest, unit, what in self._failed
            if digest == same and unit.split == split and unit.seed not in cell.records
        }
        return Lost(cell.label, gone, len(cell.records) + len(gone))

    @cached_property
    def _failed(self) -> list[tuple[str, Unit, str]]:
        records = [self.load(row) for row in failed_rows(self.store, unresolved=True)]
        return [(cell_digest(record.spec), run_unit(record.spec), record.failure or "failed") for record in records]

    def load(self, row: RunRow) -> RunRecord:
        """Read a run's record; later calls return the same one."""
        place = str(row.stored.folder)
        if place not in self._records:
            self._records[place] = self.store.load(row.stored)
        return self._records[place]

    def _keyed(self, text: str) -> RunRow:
        key, _, code = text.partition("@")
        every = run_rows(self.store, every_fingerprint=True)
        fits = [row for row in every if row.stored.key.startswith(key) and row.stored.fingerprint.startswith(code)]
        if not fits:
            known = {row.method for row in self.newest}
            if known:
                raise UsageError(
                    f"no stored run has a key beginning with '{text}', and none is of a method '{text}'; "
                    "bench runs lists them"
                )
            raise UsageError(nothing_stored(self.store))
        if len({row.stored.key for row in fits}) > 1:
            raise UsageError(f"'{text}' fits {len(fits)} runs; give more characters (bench runs lists them)")
        if self.load(fits[-1]).spec.get("trial"):
            raise UsageError(f"'{text}' is a trial of a search; test scores of trials are never compared")
        return fits[-1]

    def _filtered(self, member: Member) -> list[RunRow]:
        """Return the rows with the labels asked for."""
        if not self.newest:
            raise UsageError(nothing_stored(self.store))
        rows = self.newest
        for name in LABELS:
            values = member.values.get(name, self.common.get(name))
            if values is None:
                continue
            known = {_label(row, name) for row in self.newest}
            for value in values:
                if value not in known:
                    raise _nothing_of(name, value, known)
            # scratch has no pretraining data to select by, so it is kept as the baseline.
            stays = "none" if name == "pretrain_data" and name not in member.values else ""
            rows = [row for row in rows if _label(row, name) in (*values, stays)]
        return rows

    def _also(self) -> str:
        words = [f"{name} {' or '.join(values)}" for name, values in self.common.items()]
        return f" with {', '.join(words)}" if words else ""


def _has(flat: Mapping[str, str], name: str, wanted: Sequence[str]) -> bool:
    """Whether a field has a wanted value, perhaps as a default that its specification leaves out."""
    if name not in flat and ABSENT in wanted:
        return True
    value = value_of(flat, name)
    return value is not None and _fits(value, wanted)


def _fits(value: str, wanted: Sequence[str]) -> bool:
    """Whether a value is wanted; numbers compare by value."""
    return value in wanted or _read(value) in [_read(text) for text in wanted]


def _read(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _why_none(
    member: Member, asked: Mapping[str, Sequence[str]], seen: Sequence[Mapping[str, str]]
) -> UsageError | None:
    """Return an error naming the field that no spec fits."""
    for name, wanted in asked.items() if seen else ():
        values = {value_of(flat, name) for flat in seen}
        if values == {None}:
            fields = {field for flat in seen for field in flat} | {*LABELS}
            ends = sorted(field for field in fields if field.endswith(f".{name}") or name.endswith(f".{field}"))
            near = ends or difflib.get_close_matches(name, fields, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "bench why prints fields of two runs"
            return UsageError(f"unknown field '{name}' of '{member.text}': {hint}")
        if not any(_has(flat, name, wanted) for flat in seen):
            return unknown_name(f"stored {name}", wanted[0], {ABSENT if one is None else one for one in values})
    return None


def _one_of_seed(member: Member, first: _Run | None, second: _Run) -> _Run:
    """Choose between runs of one seed as the report does.

    The current code's, then one that stored most (`BESIDE`), then the newest.

    Raises:
        UsageError: The user named both by their keys.
    """
    if first is None or first[0].stored == second[0].stored:
        return second
    if member.keys:
        raise UsageError(f"'{member.text}' names two runs of seed {second[0].seed}; give one run per seed")
    from bench.plan.code import current_fingerprint  # slow, because it imports every method

    def rank(run: _Run) -> tuple[bool, int, str]:
        row, record = run
        current = current_fingerprint(record) == record.fingerprint
        return current, stored_beside(flatten(record.spec)), row.stored.created_at

    return max(first, second, key=rank)


def _labels(row: RunRow) -> tuple[str, ...]:
    return tuple(_label(row, name) for name in LABELS if name != "seed")


def _label(row: RunRow, name: str) -> str:
    return str(getattr(row, name))


def _nothing_of(name: str, value: str, known: Collection[str]) -> BenchError:
    kind = {"pretrain_data": "stored pretraining data", "dataset": "stored data set"}.get(name, f"stored {name}")
    return unknown_name(kind, value, known)
