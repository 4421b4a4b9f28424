"""Name encoders by the fields in which they differ.

A reader follows a name from setting to setting and from part to part of the data, and so do sentences and curves. What
differs is therefore looked for in all that one protocol judged on one data set, not in one setting alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

TUNED_VALUES = "tuned.values."
_PART = re.compile(r"setting|label_fraction|protocol\.rotation|encoder\.(first_stage\.)*(fraction|budget)")
"""Fields for settings and parts of the data, which have their own columns in tables."""
_SCALED = re.compile(r"encoder\.(first_stage\.)*(recipe\.(epochs|warmup_epochs)|numerics\.compile)")
"""Fields that follow from the part of the pretraining data (`bench.plan.recipes.part_of`)."""
_LIMIT = 3
"""Most fields in a name, unless two encoders differ only in further ones."""


class Labels(NamedTuple):
    """Labels of a cell; those about judging may be empty."""

    preset: str
    protocol: str = ""
    form: str = ""
    dataset: str = ""
    setting: str = ""
    metric: str = ""
    method: str = ""
    architecture: str = ""
    pretrain_data: str = ""
    """Name of the pretraining data, without the part that was used."""
    fraction: float = 1.0
    """Part of the pretraining data."""
    budget: str = "steps"
    """Quantity kept equal between parts: ``steps`` or ``epochs``."""

    @property
    def family(self) -> Labels:
        """The labels without setting, metric and part of the data."""
        return self._replace(setting="", metric="", fraction=1.0, budget="")


Key = tuple[Labels, str]
"""Labels of a cell and the digest of its spec."""


def percent(fraction: float) -> str:
    """Format a fraction for tables, ``12.5 %``."""
    return f"{100 * fraction:.6g} %"


def pretrained_suffix(fraction: float, budget: str) -> str:
    """Return a suffix for part of the pretraining data.

    Such as `` (25 %)``; empty for all of it.
    """
    return f" ({percent(fraction)}{', same epochs' * (budget == 'epochs')})" if fraction < 1 else ""


def labelled_suffix(fraction: float) -> str:
    """Return a suffix for part of the labels.

    Such as ``, 10 % of labels``; empty for all of them.
    """
    return f", {percent(fraction)} of labels" if fraction < 1 else ""


def turned_suffix(rotation: str) -> str:
    """Return a suffix for turned clouds, such as ``, z/SO3``."""
    return f", {rotation}" if rotation != "none" else ""


def name_encoders(specs: Mapping[Key, Mapping[str, str]]) -> dict[Key, str]:
    """Name the fields in which encoders of a family differ.

    Empty where nothing differs.

    Values that a search chose are told apart within one table only: each setting may have been searched on its own.

    Args:
        specs: Fields of flat specs that say what was encoded, and `TUNED_VALUES`; how it is judged is named elsewhere.
    """
    told: dict[Key, dict[str, str]] = {key: {} for key in specs}

    def tell(group: Callable[[Key], Hashable], wanted: Callable[[str], bool]) -> None:
        """Note the wanted fields that differ within a group.

        Cells without a group are left alone.
        """
        groups: dict[Hashable, list[Key]] = defaultdict(list)
        for key in filter(specs.get, specs):  # an unknown spec differs from nothing
            groups[group(key)].append(key)
        groups.pop(None, None)
        for members in groups.values():
            for name in {name for key in members for name in specs[key] if wanted(name)}:
                if len({specs[key].get(name) for key in members}) > 1:
                    for key in members:
                        told[key] |= {name: specs[key][name]} if name in specs[key] else {}

    def tuned(name: str) -> bool:
        return name.startswith(TUNED_VALUES)

    tell(lambda key: key[0].family, lambda name: not (_PART.fullmatch(name) or _SCALED.fullmatch(name) or tuned(name)))
    tell(lambda key: (key[0].family, key[0].fraction, key[0].budget), lambda name: _SCALED.fullmatch(name) is not None)
    tell(lambda key: key[0] if any(map(tuned, specs[key])) else None, tuned)
    return _named({key: _words(key[0], told[key]) for key in specs})


def _words(labels: Labels, values: Mapping[str, str]) -> tuple[str, ...]:
    """Return ``field=value`` texts, those of the encoder first.

    Fields that follow from the part of the data are shown with that part.
    """
    words = []
    for name, value in sorted(values.items(), key=lambda item: (item[0].startswith(TUNED_VALUES), item[0])):
        if value in ("{}", "[]"):  # an empty value needs no word: the other encoder's name shows the difference
            continue
        shown = value[:8] if re.fullmatch(r"[0-9a-f]{32,}", value) else value
        where = f" on {percent(labels.fraction)}" if labels.fraction < 1 and _SCALED.fullmatch(name) else ""
        words.append(f"{name.removeprefix('encoder.').removeprefix(TUNED_VALUES)}={shown}{where}")
    return tuple(dict.fromkeys(words))


def _named(words: Mapping[Key, tuple[str, ...]]) -> dict[Key, str]:
    """Join words to names; never give two encoders one name."""
    short = {key: ", ".join(own[:_LIMIT]) for key, own in words.items()}
    short = {
        key: f"{name}, and {len(words[key]) - _LIMIT} more" if len(words[key]) > _LIMIT else name
        for key, name in short.items()
    }
    meant: dict[tuple[Labels, str], set[tuple[str, ...]]] = defaultdict(set)
    for key, name in short.items():
        meant[key[0].family, name].add(words[key])
    return {key: name if len(meant[key[0].family, name]) == 1 else ", ".join(words[key]) for key, name in short.items()}
