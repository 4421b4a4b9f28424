"""Designs: which settings of the axes are run."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

from pydantic import JsonValue

from bench.errors import UsageError

Design = Literal["full", "one-at-a-time", "fractional"]
DESIGNS: tuple[Design, ...] = get_args(Design)
Levels = Sequence[Sequence[JsonValue]]
"""Values of each axis."""


def full(levels: Levels) -> list[tuple[JsonValue, ...]]:
    """Return every combination of values."""
    return list(itertools.product(*levels))


def one_at_a_time(levels: Levels, base: Sequence[JsonValue]) -> list[tuple[JsonValue, ...]]:
    """Return the base, and every value with the other axes at their base."""
    found = [tuple(base)]
    for at, values in enumerate(levels):
        found += [(*base[:at], value, *base[at + 1 :]) for value in values if not same(value, base[at])]
    return found


def fractional(levels: Levels) -> list[tuple[JsonValue, ...]]:
    """Return a two-level design of resolution IV.

    The first p axes form a full grid; each further axis follows the product of an odd number of them, three or more.
    Every word of the defining relation has then an even number of letters, four or more, so that no main effect is
    mixed with an interaction of two axes (Box, Hunter and Hunter, *Statistics for Experimenters*, 2005, chapter 6).

    Args:
        levels: Two values of each of four axes or more.

    Raises:
        UsageError: The axes do not fit.
    """
    wrong = [len(values) for values in levels if len(values) != 2]
    if wrong or len(levels) < 4:
        told = f"an axis has {wrong[0]} values" if wrong else f"there are {len(levels)} axes"
        raise UsageError(
            f"--design fractional takes four axes or more of two values each, and {told}; use full or one-at-a-time"
        )
    basic = math.ceil(math.log2(len(levels))) + 1
    words = [word for size in range(1, basic + 1, 2) for word in itertools.combinations(range(basic), size)][
        : len(levels)
    ]
    runs = itertools.product((-1, 1), repeat=basic)
    return [
        tuple(values[math.prod(signs[at] for at in word) > 0] for word, values in zip(words, levels, strict=True))
        for signs in runs
    ]


def same(first: JsonValue, second: JsonValue) -> bool:
    """Whether two values are equal; true is not 1."""
    return isinstance(first, bool) == isinstance(second, bool) and first == second
