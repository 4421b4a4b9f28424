"""Captions made of class names, for sets that have no captions of their own; used only on request."""

from __future__ import annotations

from bench.data.base import CloudSet
from bench.errors import UsageError
from bench.seeds import derive

_NOUNS = (
    "model",
    "image",
    "3D model",
    "rendering model",
    "point cloud",
    "point cloud model",
    "3D rendering model",
    "rendering image",
    "3D rendering image",
)
PREFIXES: tuple[str, ...] = ("", "A ", *(f"A {noun} of {article}" for noun in _NOUNS for article in ("", "a ")))
"""The 20 openings of ReCon's captions (`spec/methods.md` 5.2)."""
SUFFIXES: tuple[str, ...] = (".", " with white background.", " with black context.")
"""The 3 endings of ReCon's captions (`spec/methods.md` 5.2)."""


def class_name_captions(cloudset: CloudSet, seed: int) -> tuple[str, ...]:
    """Wrap every object's class name in one of ReCon's 20 x 3 templates.

    The draw depends on the seed and the object's id only, so neither order nor subsetting changes a caption.
    ReCon draws anew at every visit; here each object keeps its sentence, so that its feature is computed once.

    Args:
        cloudset: Objects with labels and class names; underscores in names become spaces.
        seed: Root seed of the run.

    Returns:
        One sentence per object. It states the object's class: pretraining on it sees class names.

    Raises:
        UsageError: The set names no classes.
    """
    if not cloudset.classes:
        raise UsageError("captions 'class-names' need class names and this data set has none: use captions 'none'")
    names = [name.replace("_", " ").strip() for name in cloudset.classes]
    captions = []
    for identifier, label in zip(cloudset.ids, cloudset.labels, strict=True):
        draw = derive(seed, "teacher", "class-name-template", identifier)
        prefix = PREFIXES[draw % len(PREFIXES)]
        suffix = SUFFIXES[draw // len(PREFIXES) % len(SUFFIXES)]
        captions.append(f"{prefix}{names[int(label)]}{suffix}")
    return tuple(captions)
