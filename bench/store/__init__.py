"""Run records on disk, their index in SQLite (or PostgreSQL by URL), and the leases that keep work single."""
