"""Rows of the index: built from run folders, verified when read.

A row carries a digest of its values and the signature of its folder's files. One that was altered, or whose folder
changed since, is no row at all for those who read: they take the run from its folder instead. Numbers and texts lie in
tables of their own and are read for the runs that are asked for.
"""

from __future__ import annotations

import hashlib
import math
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeVar, cast

from pydantic import JsonValue
from sqlalchemy import ColumnClause, Select, and_, column, delete, insert, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from bench.store import jsontext, shared
from bench.store.codec import OWN, Content
from bench.store.database import read_rows
from bench.store.folders import Manifest
from bench.store.records import Metric, MetricPath, RunRecord, SeenNames
from bench.store.schema import MetricTable, RunTable, TextTable
from bench.store.shared import Texts

Status = Literal["done", "failed"]
_TEXTS = ("spec", "label", "paths", "provenance", "seen")
_SEED = "$seed"
"""Mark for a seed in a shared specification; its value says which."""
_BATCH = 500
_MANY = 2_000
"""Number of runs from which all texts are read at once instead of single ones."""

_T = TypeVar("_T")


class Row(NamedTuple):
    """Columns of a run's row (`bench.store.schema.RunTable`)."""

    folder: str
    signature: str
    listed: str
    numbers: str
    manifest_sha256: str
    size_bytes: int
    key: str
    fingerprint: str
    status: str
    failure: Literal["diverged", "failed"] | None
    created_at: str
    preset: str
    method: str
    architecture: str
    protocol: str
    form: str
    setting: str
    dataset: str
    pretrain_data: str
    seed: int
    split_seed: int
    trial: int
    seen: str | None
    seen_total: int | None
    spec: str
    label: str
    paths: str
    provenance: str
    own: str
    cost: str
    error: str | None


class Head(NamedTuple):
    """Columns for choosing runs, with their own digest.

    The other columns may then stay unread.
    """

    id: int
    folder: str
    listed: str
    key: str
    status: str
    created_at: str
    preset: str
    method: str
    architecture: str
    protocol: str
    form: str
    setting: str
    dataset: str
    pretrain_data: str
    seed: int
    split_seed: int
    trial: int


@dataclass(slots=True)
class IndexedRun:
    """A run folder's content as the index holds it.

    Attributes:
        row: Columns of its row.
        digest: SHA-256 of them, its beginning.
        values: Its numbers, in the order of their paths; None where they were not asked for.
        id: Identity of its row in the database; None where it has none.
        texts: Texts that its row names, of a run that was read from its folder.
    """

    row: Row
    digest: str
    values: Sequence[float] | None = None
    id: int | None = field(default=None, compare=False)
    texts: dict[str, str] | None = field(default=None, compare=False, repr=False)

    @property
    def folder(self) -> str:
        """Its folder, relative to the results folder."""
        return self.row.folder

    @property
    def key(self) -> str:
        """Content key of the run."""
        return self.row.key

    @property
    def status(self) -> Status:
        """Whether the run finished."""
        return "done" if self.row.status == "done" else "failed"


def describe(folder: str, signature: str, content: Content, manifest: Manifest, listed: str = "") -> IndexedRun:
    """Build the index's row and texts for a run.

    Args:
        folder: Run folder, relative to the results folder.
        signature: Of its files.
        content: What its files hold; predictions and curves are not looked at.
        manifest: The folder's manifest.
        listed: State of the folder above, where the run is the only one in it.
    """
    seen, texts = content.seen_names, dict[str, str]()
    label = {name: jsontext.storable(value) for name, value in content.label.items()}
    names = ("preset", "method", "architecture", "protocol", "setting", "dataset", "pretrain_data")
    values = array("d", (value + 0.0 for value in content.values))  # SQLite keeps no sign of a zero.
    metrics, provenance = content.metrics, content.provenance
    seeds = content.spec["seed"], content.spec.get("split_seed", 0)
    row = Row(
        folder=folder,
        signature=signature,
        listed=listed,
        numbers=_digest(_plain(values)),
        manifest_sha256=manifest.digest,
        size_bytes=manifest.size,
        key=content.key,
        fingerprint=content.fingerprint,
        status=content.status,
        failure=content.failure,
        created_at=manifest.created_at,
        **{name: label.get(name, "") for name in names},
        form=label.get("form") or _form(content),
        seed=cast(int, seeds[0]),
        split_seed=cast(int, seeds[1]),
        trial=int(bool(content.spec.get("trial"))),
        seen=None if seen is None else shared.pack(list(seen.seen), texts),
        seen_total=None if seen is None else seen.total,
        spec=shared.pack(_without_seeds(content.spec, content.spec["seed"]), texts),
        label=shared.pack(label, texts),
        paths=shared.pack_known(metrics.digest, lambda: [_path(metric) for metric in metrics.value], texts),
        provenance=shared.pack_known(provenance.digest, lambda: provenance.value, texts),
        own=jsontext.storable(jsontext.dump_parsed(content.own)),
        cost=jsontext.storable(jsontext.dump_parsed(content.cost)),
        error=None if content.error is None else jsontext.storable(content.error),
    )
    return IndexedRun(row, _digest(tuple(row)), values, texts=texts)


def put(
    session: Session, results: str, runs: Iterable[IndexedRun], texts: Mapping[str, str], *, replacing: bool = True
) -> None:
    """Insert the rows of runs.

    Args:
        session: Open write transaction.
        results: The results folder as the database names it.
        runs: Their rows, read from folders.
        texts: Texts that they name, by name.
        replacing: Whether rows of the same folders may be there; they are replaced.
    """
    for some_texts in _batches(texts.items()):
        _put_texts(session, results, dict(some_texts))
    # In the driver's own words: there are thirty numbers to a run, and SQLAlchemy's take five times as long.
    mark = "(?, ?, ?)" if session.get_bind().dialect.name == "sqlite" else "(%s, %s, %s)"
    for some in _batches(runs):
        if replacing:
            for run in some:
                remove(session, results, run.folder)
        made = insert(RunTable).returning(RunTable.id, sort_by_parameter_order=True)
        rows = [
            {"results": results, "digest": run.digest, "head_digest": _head_digest(run.row), **run.row._asdict()}
            for run in some
        ]
        ids = session.execute(made, rows).scalars().all()
        numbers = [
            (own, place, None if math.isnan(value) else value)
            for own, run in zip(ids, some, strict=True)
            for place, value in enumerate(run.values or ())
        ]
        if numbers:
            session.connection().exec_driver_sql(f"INSERT INTO metrics (run_id, place, value) VALUES {mark}", numbers)


def _put_texts(session: Session, results: str, texts: Mapping[str, str]) -> None:
    """Store texts, overwriting existing ones, which may be altered."""
    if not texts:
        return
    rows = [{"results": results, "id": name, "text": text} for name, text in texts.items()]
    if session.get_bind().dialect.name == "sqlite":
        make: Callable[..., Any] = sqlite.insert
    else:
        from sqlalchemy.dialects import postgresql

        make = postgresql.insert
    put_in = make(TextTable)
    session.execute(
        put_in.on_conflict_do_update(index_elements=["results", "id"], set_={"text": put_in.excluded.text}), rows
    )


def relist(session: Session, runs: Iterable[tuple[IndexedRun, str]]) -> None:
    """Update the stored state of runs' parent folders.

    Only for runs that are alone in their folder.
    """
    for run, state in runs:
        row = run.row._replace(listed=state)
        changed = update(RunTable).where(RunTable.id == run.id, RunTable.digest == run.digest)
        session.execute(changed.values(listed=state, digest=_digest(tuple(row)), head_digest=_head_digest(row)))


def remove(session: Session, results: str, folder: str | None = None) -> None:
    """Delete rows of one folder or all."""
    chosen = RunTable.results == results
    if folder is not None:
        chosen &= RunTable.folder == folder
    # By their identities, a batch at a time: SQLite keeps what one statement deletes in memory.
    for some in _batches(session.execute(select(RunTable.id).where(chosen)).scalars().all()):
        session.execute(delete(MetricTable).where(MetricTable.run_id.in_(some)))
        session.execute(delete(RunTable).where(RunTable.id.in_(some)))
    if folder is None:
        session.execute(delete(TextTable).where(TextTable.results == results))


def heads(session: Session, results: str, key: str | None = None) -> dict[str, Head | None]:
    """Return heads of rows by folder; None for altered ones.

    Of one key's folders, or of all.

    Columns are read as the driver gives them, since a row that was tampered with may hold anything.
    """
    # An expression, so that all rows are read from end to end: by the index on folders that takes twice as long.
    mine = (RunTable.results + "") == results
    if key is not None:
        mine = and_(RunTable.results == results, RunTable.folder.startswith(f"runs/{key}/", autoescape=True))
    wanted: list[ColumnClause[Any]] = [column(name) for name in ("head_digest", *Head._fields)]
    found: dict[str, Head | None] = {}
    for row in read_rows(session, select(*wanted).select_from(RunTable.__table__).where(mine)):
        head = Head._make(row[1:])
        folder = str(head.folder)
        found[folder] = head if folder not in found and _digest(row[2:]) == row[0] else None
    return found


def complete(session: Session, results: str, chosen: Sequence[Head], texts: Texts) -> Iterator[IndexedRun]:
    """Yield whole rows of runs, of those that are unaltered.

    A batch at a time: of 100,000 runs, not all numbers are in memory twice.

    Args:
        session: A transaction.
        results: The results folder as the database names it.
        chosen: The runs.
        texts: Receives the texts that they name.
    """
    every = len(chosen) > _MANY
    if every:
        for name, text in session.execute(_texts_of(results)):
            texts.add(name, text)
    once: dict[Any, Any] = {}
    for some in _batches(chosen):
        runs = _rows(session, some, once)
        for run_id, values in _numbers(session, list(runs)):
            runs[run_id].values = values
        if not every:
            _read_texts(session, results, runs.values(), texts)
        yield from (run for run in runs.values() if _is_whole(run, texts))


def _rows(session: Session, chosen: Sequence[Head], once: dict[Any, Any]) -> dict[int, IndexedRun]:
    """Return the unaltered rows of runs by row id."""
    wanted: list[ColumnClause[Any]] = [column(name) for name in ("id", "digest", *Row._fields)]
    query = select(*wanted).select_from(RunTable.__table__)
    by_id = {head.id: head for head in chosen}
    found = {}
    for run_id, digest, *values in read_rows(session, query.where(RunTable.id.in_(list(by_id)))):
        if _digest(tuple(values)) == digest and (head := by_id.get(run_id)) is not None:
            row = shared_row(values, once)
            if _head(row) == head[1:]:
                found[head.id] = IndexedRun(row, digest, id=head.id)
    return found


def shared_row(values: Sequence[Any], once: dict[Any, Any]) -> Row:
    """Return a row that shares equal values with others.

    Args:
        values: Its columns.
        once: Values of other rows; is added to.
    """
    own = list(values)
    for at in _SHARED:
        own[at] = once.setdefault(own[at], own[at])
    return Row._make(own)


def _is_whole(run: IndexedRun, texts: Texts) -> bool:
    values: Sequence[Any] = () if run.values is None else run.values
    if _digest([*values]) != run.row.numbers:
        return False
    run.values = array("d", [math.nan if value is None else value for value in values] if None in values else values)
    try:
        for name in _TEXTS:
            if (named := getattr(run.row, name)) is not None:
                texts.value(named)
        return len(texts.value(run.row.paths)) == len(run.values)
    except (ValueError, TypeError):
        return False


def _numbers(session: Session, ids: Sequence[int]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield the numbers of runs by row id."""
    number: tuple[Any, ...] = (column("run_id"), column("value"))
    query = select(*number).select_from(MetricTable.__table__).order_by(MetricTable.run_id, MetricTable.place)
    for some in _batches(ids):
        if rows := read_rows(session, query.where(MetricTable.run_id.in_(some))):
            owners, values = zip(*rows, strict=True)
            start = 0
            for run_id, count in Counter(owners).items():  # In their order, which is that of the rows.
                yield run_id, values[start : start + count]
                start += count


def _texts_of(results: str) -> Select[str, str]:
    return select(TextTable.id, TextTable.text).where(TextTable.results == results)


def _read_texts(session: Session, results: str, runs: Iterable[IndexedRun], texts: Texts) -> None:
    """Read the texts that runs name, recursively."""
    query = _texts_of(results)
    wanted = {getattr(run.row, name) for run in runs for name in _TEXTS} - {None}
    while wanted := {name for name in wanted if isinstance(name, str) and name not in texts}:
        new: set[str] = set()
        for some in _batches(sorted(wanted)):
            for name, text in session.execute(query.where(TextTable.id.in_(some))):
                texts.add(name, text)
                new |= set(shared.names_in(text)) if isinstance(text, str) else set()
        wanted = new


def numbers(run: IndexedRun, texts: Texts) -> Iterator[tuple[MetricPath, float]]:
    """Yield the paths and values of a run's numbers."""
    return zip(paths(run, texts), run.values or (), strict=True)


def paths(run: IndexedRun, texts: Texts) -> list[MetricPath]:
    """Return the paths of a run's numbers."""
    found: list[Any] = texts.value(run.row.paths)
    if found and not isinstance(found[-1], MetricPath):  # Convert in place: runs that share the list share this work.
        found[:] = [MetricPath(*one) for one in found]
    return found


class SeededSpec(dict[str, JsonValue]):
    """A specification that shares everything but seeds with others.

    Attributes:
        alike: The same for all of them.
    """

    alike = ""


def spec_of(run: IndexedRun, texts: Texts) -> SeededSpec:
    """Return a run's specification; parts are shared between runs."""
    made = SeededSpec(_with_seeds(texts.value(run.row.spec), run.row))
    made.alike = run.row.spec
    return made


def provenance_of(run: IndexedRun, texts: Texts) -> dict[str, JsonValue]:
    """Return a run's provenance; parts are shared between runs."""
    return {**texts.value(run.row.provenance), **jsontext.loads_verified(run.row.own)}


class IndexedRecord(RunRecord):
    """A run record read from the index, part by part.

    Each part is made when it is used, and not kept, except the cost, which a report asks for most often.

    Parts belong to other runs too: they must not be changed.
    """

    def __init__(self, run: IndexedRun, texts: Texts, load: Callable[[IndexedRun], RunRecord]) -> None:
        """Take a row.

        Args:
            run: The row.
            texts: Texts that it names.
            load: Reads the whole record from its folder.
        """
        self.key, self.fingerprint, self.status = run.row.key, run.row.fingerprint, run.status
        self.error, self.failure = run.row.error, run.row.failure
        self._run, self._texts, self._load = run, texts, load
        self._costs: dict[str, float] | None = None

    @property
    def alike(self) -> str:
        """Name of the shared text of its spec."""
        return self._run.row.spec

    @property
    def seeds(self) -> tuple[int, int]:
        """Return the root seed and the split seed."""
        return self._run.row.seed, self._run.row.split_seed

    def recorded(self, name: str) -> JsonValue:
        """Return a field of the provenance, see `RunRecord`."""
        if name in OWN:
            own: dict[str, JsonValue] = jsontext.loads_verified(self._run.row.own)
            return own.get(name)
        shared: dict[str, JsonValue] = self._texts.value(self._run.row.provenance)
        return shared.get(name)

    def _cost(self) -> dict[str, float]:
        if self._costs is None:
            read: dict[str, float] = jsontext.loads_verified(self._run.row.cost)
            self._costs = {sys.intern(name): value for name, value in read.items()}
        return self._costs

    def _metrics(self) -> list[Metric]:
        return [Metric(value=value, **path._asdict()) for path, value in numbers(self._run, self._texts)]

    def _seen(self) -> SeenNames | None:
        row = self._run.row
        return None if row.seen is None else SeenNames(seen=self._texts.value(row.seen), total=row.seen_total or 0)


_PARTS: dict[str, Callable[[IndexedRecord], Any]] = {
    "spec": lambda self: spec_of(self._run, self._texts),
    "label": lambda self: self._texts.value(self._run.row.label),
    "metrics": lambda self: self._metrics(),
    "seen_names": lambda self: self._seen(),
    "predictions": lambda self: self._load(self._run).predictions,
    "curves": lambda self: self._load(self._run).curves,
    "cost": lambda self: self._cost(),
    "provenance": lambda self: provenance_of(self._run, self._texts),
}
for _name, _make in _PARTS.items():  # A method of the class would slow down every other attribute.
    setattr(IndexedRecord, _name, property(_make))


def same(first: IndexedRun, second: IndexedRun) -> bool:
    """Whether two rows describe the same content of a run.

    Times and inodes of files do not count.
    """
    return _timeless(first) == _timeless(second)


class Brief(NamedTuple):
    """Facts that tell whether a run's folder is as its row says.

    Attributes:
        signature: Of the folder's files.
        digest: Of the whole row.
        content: Of the row without times and inodes of files.
    """

    signature: str
    digest: str
    content: str

    @classmethod
    def of(cls, run: IndexedRun) -> Brief:
        """Summarise a row."""
        return cls(run.row.signature, run.digest, _digest(tuple(_timeless(run))))


def _timeless(run: IndexedRun) -> Row:
    return run.row._replace(signature="", listed="")


def _without_seeds(value: Any, seed: object, prefix: str = "") -> Any:
    """Replace a spec's own seeds by marks.

    Those of the run and of its encoder.
    """
    marked = dict(value)
    if marked.get("seed") == seed and type(marked.get("seed")) is int:
        marked["seed"] = {_SEED: "seed"}
    if not prefix and "split_seed" in marked:
        marked["split_seed"] = {_SEED: "split_seed"}
    for inner in ("encoder", "first_stage"):
        if isinstance(marked.get(inner), dict):
            marked[inner] = _without_seeds(marked[inner], seed, "encoder")
    return marked


def _with_seeds(value: Any, row: Row) -> dict[str, Any]:
    made = dict(value)
    for name in ("seed", "split_seed"):
        if isinstance(made.get(name), dict):
            made[name] = row.seed if made[name].get(_SEED) == "seed" else row.split_seed
    for inner in ("encoder", "first_stage"):
        if isinstance(made.get(inner), dict):
            made[inner] = _with_seeds(made[inner], row)
    return made


def _form(content: Content) -> str:
    protocol = content.spec.get("protocol")
    form = protocol.get("form") if isinstance(protocol, dict) else None
    return form if isinstance(form, str) else "fair"


def _path(metric: Metric) -> list[Any]:
    return [
        jsontext.storable(metric.name),
        metric.split,
        metric.selection,
        jsontext.storable(metric.variant),
        metric.headline,
        metric.fold,
        metric.epoch,
        metric.votes,
        metric.n_objects,
    ]


def _plain(values: Iterable[Any]) -> list[Any]:
    """Return numbers as the database returns them (NaN as None)."""
    return [None if value != value else value for value in values]


_head = attrgetter(*Head._fields[1:])


def _head_digest(row: Row) -> str:
    return _digest(_head(row))


def _digest(values: object) -> str:
    """Return a digest of plain values and their types.

    Text ``"1"`` is not the number 1.
    """
    return hashlib.sha256(repr(values).encode()).hexdigest()[:32]


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    rest = iter(items)
    while some := list(islice(rest, _BATCH)):
        yield some


_SHARED = [
    at
    for at, name in enumerate(Row._fields)
    if name not in {"folder", "signature", "listed", "numbers", "manifest_sha256", "size_bytes", "key", "created_at"}
    and name not in {"own", "cost", "error"}
]
"""Columns of few distinct values, which rows share."""
