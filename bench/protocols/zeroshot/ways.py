"""Features and scores of zero-shot classification.

Prompts, the fused feature, cosines, and the ways that validation tries.

Source: ReCon (arXiv 2302.02318); docs/reference.md#zero-shot.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from bench.errors import UsageError
from bench.protocols.aligned import Array, unit
from bench.teachers.base import Teacher
from bench.teachers.captions import PREFIXES, SUFFIXES, TEMPLATES
from bench.teachers.features import text_features

Kind = Literal["image", "text", "both"]
FIXED_RATIO = 0.25
"""ReCon's default weight of the text projection."""


@dataclass(frozen=True)
class Way:
    """One way to make a feature of an encoder's projections.

    Attributes:
        kind: Projections that enter.
        ratio: Weight of the text projection where both do; the image projection has weight 1. None for one alone.
    """

    kind: Kind
    ratio: float | None = None

    @property
    def name(self) -> str:
        """Short name for metrics and notes, e.g. ``both, ratio=0.25``."""
        return self.kind if self.ratio is None else f"{self.kind}, ratio={self.ratio:g}"

    def fuse(self, projected: Mapping[str, Array]) -> Array:
        """Combine the projections ``[n, D]`` into one feature ``[n, D]``."""
        if self.kind != "both":
            return projected[self.kind]
        assert self.ratio is not None
        fused: Array = np.float32(self.ratio) * projected["text"] + projected["image"]
        return fused


def class_sentences(names: Sequence[str], *, raw: bool) -> list[list[str]]:
    """Put every class name into the 60 prompt templates.

    Args:
        names: Class names.
        raw: Keep underscores, as the release does; else they become spaces.

    Returns:
        ``[K][60]`` sentences; template i has prefix i mod 20 and suffix i div 20.
    """
    shown = names if raw else [name.replace("_", " ").strip() for name in names]
    return [
        [f"{PREFIXES[i % len(PREFIXES)]}{name}{SUFFIXES[i // len(PREFIXES)]}" for i in range(TEMPLATES)]
        for name in shown
    ]


def class_embeddings(teacher: Teacher, names: Sequence[str], cache: Path, *, raw: bool) -> Array:
    """Return class embeddings ``[K, D]``: sums of 60 text features.

    float32, not normalised before or after.

    Every sentence is encoded once and cached.

    Raises:
        UsageError: The teacher knows no texts.
        SetupError: The cache cannot be written.
    """
    sentences = [sentence for row in class_sentences(names, raw=raw) for sentence in row]
    features = text_features(teacher, sentences, cache)
    summed: Array = features.reshape(len(names), TEMPLATES, -1).sum(axis=1, dtype=np.float32)
    return summed


def cosines(features: Array, classes: Array) -> Array:
    """Return cosines ``[n, K]`` of features and classes.

    `features` are ``[n, D]``, `classes` are ``[K, D]``.
    """
    similar: Array = unit(features) @ unit(classes).T
    return similar


def ways(
    spaces: Collection[str],
    kind: Literal["chosen", "image", "text", "both"],
    ratio: float | None,
    grid: Sequence[float],
) -> tuple[Way, ...]:
    """Return the ways validation may choose from, in tie-break order.

    Args:
        spaces: Projections that are there, of ``image`` and ``text``.
        kind: Kind asked for.
        ratio: Given ratio; None for every one of the grid.
        grid: Ratios to try.

    Returns:
        ReCon's default first where it is among them, then the others.

    Raises:
        UsageError: A projection that is asked for is not there.
    """
    ratios = (ratio,) if ratio is not None else sorted(grid, key=lambda value: (value != FIXED_RATIO, value))
    both = [Way("both", value) for value in ratios]
    if kind == "chosen":
        single = [Way("image"), Way("text")]
        return tuple(way for way in (*both, *single) if possible(way, spaces))
    asked = both if kind == "both" else [Way(kind)]
    if not all(possible(way, spaces) for way in asked):
        raise UsageError(
            f"zeroshot.kind = {kind}: the encoder has a projection into the space of {' and '.join(sorted(spaces))} "
            "only; leave the option out, or pretrain with the other teacher too"
        )
    return tuple(asked)


def fixed_way(spaces: Collection[str], ratio: float = FIXED_RATIO) -> Way:
    """Return ReCon's untuned way.

    Both projections with a given ratio, or the only projection there is.
    """
    return Way("both", ratio) if len(spaces) > 1 else Way("image") if "image" in spaces else Way("text")


def possible(way: Way, spaces: Collection[str]) -> bool:
    """Return whether an encoder has the projections of a way."""
    return {"image", "text"} <= set(spaces) if way.kind == "both" else way.kind in spaces


def top_k_accuracy(logits: Array, labels: npt.NDArray[np.int64], k: int = 5) -> float:
    """Return the share of objects with a top-k class right.

    All count if there are no more than k classes.

    A class that ties with the true one counts as above it, so that equal logits are no success.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    above = (logits >= own).sum(axis=1) - 1
    return float((above < min(k, logits.shape[1])).mean())
