"""Published figures, with their sources and how each was selected.

`figures.csv` holds what was read, one figure a row: nothing in it is remembered or guessed. What a row says of its
selection stands in words (`setting`, `note`); here these words are read into fields, so that programs need not.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Literal

from bench.errors import UsageError, unknown_name

Standing = Literal["authors", "third party", "user report", "reading note"]
"""Who stands behind a figure: the method's authors, another group, a user, or a note that somebody took of a paper."""
STANDING_WORDS: dict[Standing, str] = {
    "authors": "the authors' own figure",
    "third party": "third party's table",
    "user report": "user report",
    "reading note": "reading note, not the paper itself",
}
Votes = Literal["yes", "no", "maximum", "not said"]
Epoch = Literal["best on test", "not said"]

_OWN_SOURCES: dict[str, tuple[str, ...]] = {
    "ReCon": ("ReCon README",),
    "ReCon++": ("ShapeLLM README",),
    "ACT": ("ACT model_zoo", "arXiv 2212.08320 abstract", "ShapeLLM README table"),
    "Point-MAE": ("Point-MAE README", "Point-MAE paper"),
    "CrossPoint": ("CrossPoint eval_ssl notebook",),
    "Point-BERT": ("Point-BERT README", "Point-BERT paper", "arXiv 2111.14819 abstract"),
    "POS-BERT": ("POS-BERT paper",),
    "Point-M2AE": ("Point-M2AE README",),
    "I2P-MAE": ("I2P-MAE README",),
    "PointCLIP": ("PointCLIP README",),
    "Transformer (from scratch)": ("Point-BERT paper",),
    "OcCo (Transformer)": ("Point-BERT paper",),
}
"""Beginnings of sources that are a method's own authors'; of a baseline, of those who introduced it."""
_NOT_OWN = ("third-party table", "figures taken over")
_BEST_EPOCH = re.compile(r"best (?:epoch on test|epoch on the test|test epoch)")
_BEST_OF = re.compile(r"best of (\d+)")
_AVERAGED = re.compile(r"\b(10 (?:runs|folds))\b|(average of several runs|linear protocol, mean and std)")
_OTHER = (
    ("ratio chosen per data set", "ratio of prompts chosen per data set"),
    ("one checkpoint per data set", "one checkpoint chosen per data set"),
    ("best of typically 8 fine-tuning seeds", "its group recommends the best of typically 8 seeds"),
    ('"best results in the original papers"', "best results of the original papers"),
)
"""Further choices that raise a number: words of the note, and ours."""
_UNVOTED = re.compile(r"\b(?:no|without) vot(?:e|ing)|this one is not$|author says no voting", re.I)
_UNTOLD = re.compile(
    r"voting (?:is )?not (?:stated|mentioned)|voting not stated|mixes voted and unvoted|printed in the voted column"
    r"|another public table lists it under voting",
    re.I,
)
_VOTED = re.compile(r"\bvote\b|with voting|also use the standard voting|voting implied|, vote\)|Monte Carlo \d+", re.I)

PROTOCOLS: dict[str, tuple[str, ...]] = {
    "finetune": ("full", "listed as encoder fine-tuned"),
    "linear": ("linear probe",),
    "mlp": ("MLP-3 probe",),
    "svm": ("linear SVM",),
    "fewshot": ("few-shot full", "few-shot SVM", "few-shot (16 per class)"),
    "zeroshot": ("zero-shot",),
    "partseg": ("part segmentation", "part segmentation, frozen backbone"),
    "semseg": ("semantic segmentation",),
}
"""The literature's protocols by ours."""
METHODS = {
    "recon": "ReCon",
    "point-mae": "Point-MAE",
    "act": "ACT",
    "crosspoint": "CrossPoint",
    "scratch": "Transformer (from scratch)",
}
"""The literature's methods by ours."""


@dataclass(frozen=True)
class Chosen:
    """Selection of a published figure, as far as its source says.

    Attributes:
        epoch: ``best on test`` where the epoch with the highest test score was taken.
        best_of: Number of seeds of which the best was taken; None where the source says nothing of it.
        votes: Whether predictions were averaged over draws of points; ``maximum`` for the best of repeated votes.
        averaged: Words for what the figure is a mean of, e.g. ``10 runs``; empty where it is not said.
        other: Another choice made on the test data, in words; empty for none.
    """

    epoch: Epoch
    best_of: int | None
    votes: Votes
    averaged: str
    other: str

    def __str__(self) -> str:
        """Say it in words: ``best epoch on test, best of 8 seeds``."""
        votes = {"yes": "voted", "no": "no votes", "maximum": "maximum of votes", "not said": ""}[self.votes]
        parts = [
            "best epoch on test" if self.epoch == "best on test" else "",
            f"best of {self.best_of} seeds" if self.best_of else "",
            votes,
            f"mean of {self.averaged}" if self.averaged else "",
            self.other,
        ]
        return ", ".join(filter(None, parts)) or "not said"


@dataclass(frozen=True)
class Figure:
    """A published figure.

    Attributes:
        row: Its line in `figures.csv`; the first figure is on line 2.
        method: Method, as the literature names it.
        variant: Size or version of the method.
        dataset: Data set; empty for sizes of networks.
        split: Split or variant of the data set.
        protocol: Protocol, as the literature names it.
        setting: Setting within it.
        metric: Name of the metric.
        value: Percent, unless the metric names another unit.
        std: Standard deviation as printed, or None.
        source: Where it was read.
        note: What its source says of it, and where sources disagree.
    """

    row: int
    method: str
    variant: str
    dataset: str
    split: str
    protocol: str
    setting: str
    metric: str
    value: float
    std: float | None
    source: str
    note: str

    @cached_property
    def chosen(self) -> Chosen:
        """Selection, read from setting and note."""
        best, averaged = _BEST_OF.search(self.note), _AVERAGED.search(self.note)
        return Chosen(
            epoch="best on test"
            if re.search(r"best (?:epoch on test|epoch on the test|test epoch)", self.note)
            else "not said",
            best_of=int(best[1]) if best else None,
            votes=self._votes(),
            averaged=(averaged[1] or "several runs") if averaged else "",
            other=", ".join(words for told, words in _OTHER if told in self.note),
        )

    def _votes(self) -> Votes:
        """Read whether predictions were voted on.

        The setting is of the figure itself and comes first; a note may speak of another figure, too.
        """
        if "voting maximum" in self.note:
            return "maximum"
        for text in (self.setting, self.note.split("; user measures")[0]):
            if _UNTOLD.search(text):
                return "not said"
            if _UNVOTED.search(text):
                return "no"
            if _VOTED.search(text):
                return "yes"
        return "not said"

    @property
    def standing(self) -> Standing:
        """Standing, read from source and note."""
        if self.source.startswith("Reading note"):
            return "reading note"
        if "user report" in self.note or "user quoting" in self.source:
            return "user report"
        if self.setting == "maintainer re-test":
            return "authors"
        own = self.source.startswith(_OWN_SOURCES.get(self.method, ()) or ("\0",))
        return "authors" if own and not any(words in self.note for words in _NOT_OWN) else "third party"

    @property
    def doubtful(self) -> bool:
        """Whether it is probably another method's figure."""
        return "probably misplaced" in self.note

    @property
    def where(self) -> str:
        """Data set with its split."""
        plain = self.split in ("", "test") or self.dataset == ""
        return self.dataset if plain else f"{self.dataset} {self.split}"

    @property
    def shown(self) -> str:
        """Value with standard deviation, as printed by the source."""
        value = f"{self.value:g}"
        return value if self.std is None else f"{value} ± {self.std:g}"

    def as_json(self) -> dict[str, object]:
        """Return the fields of ``bench published show --json``."""
        return {
            **asdict(self),
            "standing": self.standing,
            "doubtful": self.doubtful,
            "chosen": {**asdict(self.chosen), "words": str(self.chosen)},
        }


@cache
def figures() -> tuple[Figure, ...]:
    """Return every published figure, in the order of the file."""
    text = resources.files("bench.published").joinpath("figures.csv").read_text(encoding="utf-8")
    found = []
    for at, row in enumerate(csv.DictReader(text.splitlines()), start=2):
        numbers = {"value": float(row.pop("value")), "std": float(std) if (std := row.pop("std")) else None}
        found.append(Figure(row=at, **row, **numbers))  # type: ignore[arg-type]
    return tuple(found)


def select(methods: Sequence[str] = (), datasets: Sequence[str] = (), protocols: Sequence[str] = ()) -> list[Figure]:
    """Return the figures of some methods, data sets and protocols.

    Names are the literature's or ours, in any case; none given means all.

    Raises:
        UsageError: There is no figure of that name, or none has the names together.
    """
    every = figures()
    kept = _kept("method", every, methods, "method", {name: (own,) for name, own in METHODS.items()})
    kept &= _kept("data set", every, datasets, "dataset", {})
    kept &= _kept("protocol", every, protocols, "protocol", PROTOCOLS)
    if not kept:
        raise UsageError(f"no published figure is of {', '.join((*methods, *datasets, *protocols))} together")
    return [figure for figure in every if figure.row in kept]


def _kept(
    kind: str, every: Iterable[Figure], names: Sequence[str], field: str, ours: dict[str, tuple[str, ...]]
) -> set[int]:
    """Return the rows of figures whose field has one of the names."""
    known: dict[str, set[str]] = {}
    for figure in every:
        if own := getattr(figure, field):
            known.setdefault(own.casefold(), set()).add(own)
    shown = {*ours, *(own for theirs in known.values() for own in theirs)}
    for name, theirs in ours.items():
        known.setdefault(name, set()).update(theirs)
    wanted: set[str] = set()
    for name in names:
        if name.casefold() not in known:
            raise unknown_name(f"{kind} with published figures", name, shown)
        wanted |= known[name.casefold()]
    return {figure.row for figure in every if not names or getattr(figure, field) in wanted}
