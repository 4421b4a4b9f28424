"""Find evaluated class names in the texts of pretraining.

The result is the column "saw evaluated class names" of every table.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product

UNKNOWN_TEXTS = "<texts that nobody here knows>"
"""Entry among the texts of a pretraining for the unknown texts of a pretrained teacher."""

_IRREGULAR = {
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "mice": "mouse",
    "people": "person",
    "teeth": "tooth",
}


def words_of(text: str) -> tuple[str, ...]:
    """Return case-folded words.

    Underscores, hyphens and punctuation separate words.
    """
    return tuple(re.findall(r"[^\W_]+", text.casefold()))


def _singulars(word: str) -> set[str]:
    """Return the word and its possible singular forms.

    Two words are the same noun if their sets share a form.
    """
    forms = {word, _IRREGULAR.get(word, word)}
    if word.endswith("men"):
        forms.add(word[:-3] + "man")
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        forms.add(word[:-1])
        if word.endswith("ies"):
            forms.add(word[:-3] + "y")
        if word.endswith("ves"):
            forms |= {word[:-3] + "f", word[:-3] + "fe"}
        if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
            forms.add(word[:-2])
    return forms


def class_names_seen(class_names: Sequence[str], texts: Iterable[str]) -> tuple[str, ...]:
    """Return the class names that occur in texts.

    Whole words or phrases only. Case, plural forms, and the sign between words (``night_stand``, ``night-stand``,
    ``night stands``, ``nightstand``) make no difference; a name inside a longer word (``car`` in ``cardboard``) does
    not count.

    Args:
        class_names: The evaluated classes.
        texts: Captions or sentences that pretraining or a teacher was given; repeats cost little.

    Returns:
        The names that occur, in the order of `class_names`.
    """
    names = [words_of(name) for name in class_names]
    longest = max((len(name) for name in names), default=0)
    phrases: set[tuple[str, ...]] = set()
    for words in {words_of(text) for text in set(texts)}:
        for length in range(1, max(longest, 2) + 1):
            phrases.update(words[i : i + length] for i in range(len(words) - length + 1))
    # "nightstand" and "night stand" are the same name, on either side.
    phrases.update([("".join(phrase),) for phrase in phrases if len(phrase) == 2])
    by_singular: dict[str, set[str]] = defaultdict(set)
    for word in {word for phrase in phrases for word in phrase}:
        for form in _singulars(word):
            by_singular[form].add(word)

    def occurs(name: tuple[str, ...]) -> bool:
        alike = [set().union(*(by_singular.get(form, set()) for form in _singulars(word))) for word in name]
        return any(phrase in phrases for phrase in product(*alike))

    return tuple(
        shown
        for shown, name in zip(class_names, names, strict=True)
        if name and (occurs(name) or (len(name) > 1 and occurs(("".join(name),))))
    )
