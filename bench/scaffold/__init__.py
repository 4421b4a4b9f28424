"""Plugin files that work, written for the author of a new unit (``bench new``)."""
