"""Build the page of protocol cards (docs/protocols.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from bench.protocols.cards import ProtocolCard

_INTRO = (
    "What each protocol does, in both of its forms where it has two, with the options of preset `base` (the published "
    "sizes). Written by `bench protocols docs`; edit the protocols, not this file. `bench protocols show NAME` prints "
    "the card of any preset, with its options; every run carries the hash of its card."
)


def protocol_page(cards: Sequence[ProtocolCard], summaries: Mapping[str, str]) -> str:
    """Return Markdown with one section per protocol and form.

    Args:
        cards: The cards, those of one protocol together.
        summaries: One-line summaries by protocol.
    """
    parts = ["# Protocol cards", "", _INTRO, ""]
    for name, forms in groupby(cards, key=lambda card: card.name):
        parts += [f"## {name}", "", f"{summaries[name]}.", ""]
        for card in forms:
            parts += [f"### {name}, {card.form} form (revision {card.revision})", "", card.statement.strip(), ""]
            parts += ["| point | what is done |", "|---|---|"]
            parts += [f"| {point} | {_cell(words)} |" for point, words in card.points.items()]
            parts += ["", "| paper | what it does instead |", "|---|---|"]
            parts += [f"| {paper} | {_cell(text)} |" for paper, text in card.deviations.items()]
            parts += [""]
    return "\n".join(parts).rstrip("\n") + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
