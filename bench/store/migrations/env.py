"""Run migrations on the connection the caller opened, inside the caller's transaction.

One transaction holds the whole upgrade, so an interrupted one leaves the database as it was.
"""

from __future__ import annotations

from alembic import context

from bench.store.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
