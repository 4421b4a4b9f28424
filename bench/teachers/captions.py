"""Captions made of class names, only on request.

For data sets without captions.
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.data.base import CloudSet
from bench.errors import UsageError
from bench.seeds import derive, numpy_stream

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
"""The 20 openings of ReCon's captions (docs/reference.md#recon-captions)."""
SUFFIXES: tuple[str, ...] = (".", " with white background.", " with black context.")
"""The 3 endings of ReCon's captions (docs/reference.md#recon-captions)."""


TEMPLATES = len(PREFIXES) * len(SUFFIXES)


def prompt(caption: str, template: int) -> str:
    """Put a caption into a template, numbered from 0.

    A sentence loses its article and full stop: ``A red chair.`` becomes ``A rendering image of a red chair with white
    background.``

    Source: docs/reference.md#recon-captions, whose captions are names without article and full stop.
    """
    prefix, suffix = PREFIXES[template % len(PREFIXES)], SUFFIXES[template // len(PREFIXES) % len(SUFFIXES)]
    body = caption.rstrip(". ")
    first, _, rest = body.partition(" ")
    if prefix and rest and first.casefold() in ("a", "an", "the"):
        body = rest
    return f"{prefix}{body}{suffix}"


def check_prompts(prompts: int) -> None:
    """Check that no more templates are asked for than exist.

    Raises:
        UsageError: `prompts` exceeds the number of templates.
    """
    if prompts > TEMPLATES:
        raise UsageError(f"recipe.teacher_prompts = {prompts}: there are {TEMPLATES} templates to choose from")


def templates() -> tuple[str, ...]:
    """Return the words that the templates add to a caption."""
    return tuple(f"{prefix}{suffix}" for prefix in PREFIXES for suffix in SUFFIXES)


def prompted(captions: Sequence[str], ids: Sequence[str], prompts: int) -> list[list[str]]:
    """Put every caption into several templates.

    They are drawn without replacement from the object's own stream. The draw depends on the object's id only, so that
    all seeds share the features.

    Args:
        captions: One per object: a sentence, or a class name.
        ids: The objects' names.
        prompts: Number of templates of each caption, 1 to 60.

    Returns:
        ``[n][prompts]`` sentences.

    Raises:
        UsageError: More prompts than there are templates.
    """
    check_prompts(prompts)
    rows = []
    for caption, identifier in zip(captions, ids, strict=True):
        drawn = numpy_stream(0, "teacher", "prompt", identifier).permutation(TEMPLATES)[:prompts]
        rows.append([prompt(caption, int(template)) for template in drawn])
    return rows


def class_names(cloudset: CloudSet) -> tuple[str, ...]:
    """Return the class name of every object.

    Underscores become spaces.

    Raises:
        UsageError: The set names no classes.
    """
    if not cloudset.classes:
        raise UsageError("captions 'class-names' need class names and this data set has none: use captions 'none'")
    names = [name.replace("_", " ").strip() for name in cloudset.classes]
    return tuple(names[int(label)] for label in cloudset.labels)


def class_name_captions(cloudset: CloudSet, seed: int) -> tuple[str, ...]:
    """Return a caption with the class name of every object.

    It uses one of ReCon's 20 x 3 templates. The draw depends on the seed and the object's id only, so neither order nor
    subsetting changes a caption. ReCon draws anew at every visit; here each object keeps its sentence, so that its
    feature is computed once.

    Args:
        cloudset: Objects with labels and class names; underscores in names become spaces.
        seed: Root seed of the run.

    Returns:
        One sentence per object. It states the object's class: pretraining on it sees class names.

    Raises:
        UsageError: The set names no classes.
    """
    captions = []
    for identifier, name in zip(cloudset.ids, class_names(cloudset), strict=True):
        draw = derive(seed, "teacher", "class-name-template", identifier)
        prefix = PREFIXES[draw % len(PREFIXES)]
        suffix = SUFFIXES[draw // len(PREFIXES) % len(SUFFIXES)]
        captions.append(f"{prefix}{name}{suffix}")
    return tuple(captions)
