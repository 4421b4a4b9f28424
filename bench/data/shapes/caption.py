"""Write captions of generated objects.

One sentence names the category and two to four attributes.
"""

from __future__ import annotations

import numpy as np

from bench.data.shapes.sketch import Solid

_WITH_DETAILS = (
    "{A} with {details}.",
    "This is {a} with {details}.",
    "There is {a} that has {details}.",
    "{A}; it comes with {details}.",
    "A rendering of {a} with {details}.",
    "The {bare} here has {details}.",
)
_PAIRS = frozenset({"glasses", "headphones", "scissors"})
_WITHOUT_DETAILS = ("{A}.", "This is {a}.", "A rendering of {a}.", "A 3D model of {a}.", "The object is {a}.")


def article(phrase: str) -> str:
    """Put "a" or "an" before a phrase."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _noun(adjectives: list[str], name: str) -> str:
    """Return the noun phrase; paired objects become one pair."""
    words = " ".join([*adjectives, name])
    return f"pair of {words}" if name in _PAIRS else words


def _enumerate(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def caption(name: str, solid: Solid, rng: np.random.Generator) -> str:
    """Return a caption sentence.

    Args:
        name: Category name.
        solid: Object with its adjectives and details.
        rng: Chooses the attributes, their order and the wording.
    """
    adjectives = list(dict.fromkeys(solid.adjectives))
    details = list(dict.fromkeys(solid.details))
    wanted = int(rng.integers(2, 5))
    most = min(len(adjectives), 2)
    fewest = min(most, max(0, wanted - len(details)))
    spoken = int(rng.integers(fewest, most + 1))
    chosen = [adjectives[i] for i in sorted(rng.permutation(len(adjectives))[:spoken])]
    listed = [details[i] for i in rng.permutation(len(details))[: max(0, wanted - spoken)]]
    bare = _noun(chosen, name)
    templates = _WITH_DETAILS if listed else _WITHOUT_DETAILS
    phrase = article(bare)
    return templates[int(rng.integers(len(templates)))].format(
        A=phrase[0].upper() + phrase[1:], a=phrase, bare=bare, details=_enumerate(listed) if listed else ""
    )
