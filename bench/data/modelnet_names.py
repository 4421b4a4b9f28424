"""Names of ModelNet40's classes."""

from __future__ import annotations

_LIST = (
    "airplane bathtub bed bench bookshelf bottle bowl car chair cone cup curtain desk door dresser flower_pot "
    "glass_box guitar keyboard lamp laptop mantel monitor night_stand person piano plant radio range_hood sink "
    "sofa stairs stool table tent toilet tv_stand vase wardrobe xbox"
)
MODELNET40 = tuple(_LIST.split())
"""Classes of ModelNet40 in the order of the labels."""
