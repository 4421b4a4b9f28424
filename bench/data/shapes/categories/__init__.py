"""Category programs, one file per theme.

Importing a file registers its categories.
"""

from __future__ import annotations


def load_categories() -> None:
    """Import every theme.

    Written out, so that the code fingerprint follows the imports.
    """
    from bench.data.shapes.categories import craft as craft
    from bench.data.shapes.categories import creatures as creatures
    from bench.data.shapes.categories import devices as devices
    from bench.data.shapes.categories import furniture as furniture
    from bench.data.shapes.categories import implements as implements
    from bench.data.shapes.categories import kitchen as kitchen
    from bench.data.shapes.categories import leisure as leisure
    from bench.data.shapes.categories import music as music
    from bench.data.shapes.categories import nature as nature
    from bench.data.shapes.categories import novel_creatures as novel_creatures
    from bench.data.shapes.categories import novel_lookalikes as novel_lookalikes
    from bench.data.shapes.categories import novel_outdoors as novel_outdoors
    from bench.data.shapes.categories import novel_things as novel_things
    from bench.data.shapes.categories import vehicles as vehicles
