"""Alembic environment of the index; run from code (`bench.store.database`), no ``alembic.ini`` needed."""
