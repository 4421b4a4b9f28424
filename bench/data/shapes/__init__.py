"""Embedded data: procedural objects with normals, parts, captions and views.

Parametric programs (`categories`) add parts (`primitives`) to a `Sketch`; `objects` deforms and samples them, `render`
draws them, `scan` scans them by a virtual depth camera; `generate` and `cache` make whole data sets.
"""

from __future__ import annotations

from bench.data.shapes.datasets import (
    Shapes,
    ShapesCad,
    ShapesCadNovel,
    ShapesScan,
    ShapesScanNovel,
    novel_categories,
    pretraining_categories,
)
from bench.data.shapes.objects import part_names

__all__ = [
    "Shapes",
    "ShapesCad",
    "ShapesCadNovel",
    "ShapesScan",
    "ShapesScanNovel",
    "novel_categories",
    "part_names",
    "pretraining_categories",
]
