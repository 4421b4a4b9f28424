"""The embedded data: procedural everyday objects with normals, parts, captions and views.

Parametric programs (`categories`) draw parts (`primitives`) on a `Sketch`; `objects` deforms and samples them,
`render` draws them, `scan` looks at them through a virtual depth camera; `generate` and `cache` make whole sets.
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
