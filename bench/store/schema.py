"""Tables of the index, which run folders can recreate.

Only types and constraints that SQLite and PostgreSQL share are used. Plain data (specification, labels, provenance) is
JSON text written by `bench.store.jsontext`, so that non-finite numbers survive in both. What many runs have in common
is stored once, in `TextTable`: 100,000 runs fit into 300 MB.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, ForeignKey, Integer, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

VERSION = 4
"""Raised whenever a table changes. An index of an earlier version is made again from the run folders."""


class Base(DeclarativeBase):
    """Declarative base with named constraints."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class VersionTable(Base):
    """Version of the tables, in one row."""

    __tablename__ = "bench_schema"

    version: Mapped[int] = mapped_column(Integer, primary_key=True)


class RunTable(Base):
    """One run folder, with digests that verify the row.

    `results` names the results folder, since several may share a database on a server; `folder` is relative to it.
    Columns whose comment says *text* hold the name of a row of `TextTable`.
    """

    __tablename__ = "runs"
    __table_args__ = (UniqueConstraint("results", "folder"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    results: Mapped[str] = mapped_column(Text)
    folder: Mapped[str] = mapped_column(String(400))
    digest: Mapped[str] = mapped_column(String(32))
    """SHA-256 of every other value of the row, its beginning."""
    head_digest: Mapped[str] = mapped_column(String(32))
    """SHA-256 of the values that runs are chosen by (`bench.store.index.Head`), its beginning."""
    signature: Mapped[str] = mapped_column(String(32))
    """Sizes, times and inodes of the folder and its files (`bench.store.files.signature`)."""
    listed: Mapped[str] = mapped_column(String(64))
    """State of the folder above in which this was its only run (`bench.store.files.listing`); empty where unknown."""
    numbers: Mapped[str] = mapped_column(String(32))
    """Digest of the run's values in `MetricTable`."""
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(String(256))
    fingerprint: Mapped[str] = mapped_column(String(256))
    status: Mapped[str] = mapped_column(String(16))
    failure: Mapped[str | None] = mapped_column(String(16))
    created_at: Mapped[str] = mapped_column(String(256))
    preset: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(Text)
    architecture: Mapped[str] = mapped_column(Text)
    protocol: Mapped[str] = mapped_column(Text)
    form: Mapped[str] = mapped_column(Text)
    setting: Mapped[str] = mapped_column(Text)
    dataset: Mapped[str] = mapped_column(Text)
    pretrain_data: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    split_seed: Mapped[int] = mapped_column(BigInteger)
    trial: Mapped[int] = mapped_column(Integer)
    """1 for a trial of a search, whose test score must not be used."""
    seen: Mapped[str | None] = mapped_column(String(32))
    """Text: list of the evaluated class names that pretraining saw, or NULL where unknown."""
    seen_total: Mapped[int | None] = mapped_column(Integer)
    spec: Mapped[str] = mapped_column(String(32))
    """Text: the specification, with marks where its seeds stand; runs of one cell share it."""
    label: Mapped[str] = mapped_column(String(32))
    """Text: every label."""
    paths: Mapped[str] = mapped_column(String(32))
    """Text: the paths of the run's numbers, in their order (`bench.store.records.MetricPath`)."""
    provenance: Mapped[str] = mapped_column(String(32))
    """Text: provenance without the fields of `own`."""
    own: Mapped[str] = mapped_column(Text)
    """JSON: times, seeds and log of the provenance, which no two runs share."""
    cost: Mapped[str] = mapped_column(Text)
    """JSON."""
    error: Mapped[str | None] = mapped_column(Text)


class MetricTable(Base):
    """One number of a run; NULL stands for NaN.

    `place` is its position among the run's numbers.
    """

    __tablename__ = "metrics"
    __table_args__ = ({"sqlite_with_rowid": False},)

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    value: Mapped[float | None] = mapped_column(Double)


class TextTable(Base):
    """JSON shared by several runs (`bench.store.shared`).

    By the beginning of its SHA-256.
    """

    __tablename__ = "texts"
    __table_args__ = ({"sqlite_with_rowid": False},)

    results: Mapped[str] = mapped_column(Text, primary_key=True)
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    text: Mapped[str] = mapped_column(Text)


class LeaseTable(Base):
    """Leases; at most one row per piece of work."""

    __tablename__ = "leases"

    kind: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(256), primary_key=True)
    owner: Mapped[str] = mapped_column(String(64))
    host: Mapped[str] = mapped_column(Text)
    pid: Mapped[int] = mapped_column(BigInteger)
    process_start: Mapped[float] = mapped_column(Double)
    claimed_at: Mapped[float] = mapped_column(Double)
    heartbeat_at: Mapped[float] = mapped_column(Double)
    note: Mapped[str] = mapped_column(Text)
