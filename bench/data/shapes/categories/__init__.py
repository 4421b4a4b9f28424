"""Category programs, one file per theme; importing a file registers its categories."""

from __future__ import annotations


def load_categories() -> None:
    """Import every theme (spelled out, so that the code fingerprint follows the imports)."""
    from bench.data.shapes.categories import furniture, kitchen, novel_outdoors, novel_things, vehicles

    assert all((furniture, kitchen, novel_outdoors, novel_things, vehicles))
