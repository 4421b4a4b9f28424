"""Write working plugin files for authors (``bench new``)."""
