"""Tables of the index. The run folders are the truth; every row here can be made again from them.

Only types and constraints that SQLite and PostgreSQL share are used. Plain data (labels, cost, provenance) is
JSON text written by `bench.store.jsontext`, so that non-finite numbers survive in both.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Double, ForeignKey, Index, Integer, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

REVISIONS = ("0001",)
"""Every schema revision this code knows, oldest first; the last is the one it works with."""

HEAD = REVISIONS[-1]


class Base(DeclarativeBase):
    """Declarative base; constraint names are fixed so that later migrations can address them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class RunTable(Base):
    """One run folder.

    `folder` is relative to the results folder, so that the whole can be moved or mounted elsewhere.
    """

    __tablename__ = "runs"
    __table_args__ = (Index(None, "key", "fingerprint"), Index(None, "status"))

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    folder: Mapped[str] = mapped_column(String(400), unique=True)
    manifest_sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(String(128))
    fingerprint: Mapped[str] = mapped_column(String(128))
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[str] = mapped_column(String(40))
    preset: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(Text)
    architecture: Mapped[str] = mapped_column(Text)
    protocol: Mapped[str] = mapped_column(Text)
    form: Mapped[str] = mapped_column(Text)
    setting: Mapped[str] = mapped_column(Text)
    dataset: Mapped[str] = mapped_column(Text)
    pretrain_data: Mapped[str] = mapped_column(Text)
    seed: Mapped[int] = mapped_column(BigInteger)
    seen: Mapped[str | None] = mapped_column(Text)
    """JSON list of the evaluated class names that pretraining saw, or NULL where unknown."""
    seen_total: Mapped[int | None] = mapped_column(Integer)
    label: Mapped[str] = mapped_column(Text)
    cost: Mapped[str] = mapped_column(Text)
    provenance: Mapped[str] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)

    metrics: Mapped[list[MetricTable]] = relationship(
        back_populates="run", cascade="all, delete-orphan", passive_deletes=True
    )


class MetricTable(Base):
    """One number of a run; `value` is NULL for NaN, which SQLite cannot hold."""

    __tablename__ = "metrics"
    __table_args__ = (Index(None, "run_id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    value: Mapped[float | None] = mapped_column(Double)
    split: Mapped[str] = mapped_column(String(16))
    selection: Mapped[str] = mapped_column(String(16))
    variant: Mapped[str] = mapped_column(Text)
    headline: Mapped[bool] = mapped_column(Boolean)
    fold: Mapped[int | None] = mapped_column(Integer)
    epoch: Mapped[int | None] = mapped_column(Integer)
    votes: Mapped[int] = mapped_column(Integer)
    n_objects: Mapped[int] = mapped_column(BigInteger)

    run: Mapped[RunTable] = relationship(back_populates="metrics")


class LeaseTable(Base):
    """Who works on what right now; at most one row per piece of work."""

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
