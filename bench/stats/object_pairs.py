"""Compare two cells on the same objects, seed by seed.

Also over all seeds, and as ensembles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from bench.stats.answers import Answers, Average, ensemble
from bench.stats.comparisons import holm
from bench.stats.equivalence import Equivalence, judge_together, of_comparison
from bench.stats.objects import ClassDifference, Crossed, Paired, class_differences, cross, pair_answers, pair_values


@dataclass(frozen=True)
class Side:
    """One of the two sides of a comparison.

    Attributes:
        name: Name.
        titles: Name of each run, e.g. ``recon seed 0``.
        runs: Answers of each run, in the order of the first side's first run.
        joined: Answers of their ensemble; None where none was asked for.
    """

    name: str
    titles: tuple[str, ...]
    runs: tuple[Answers, ...]
    joined: Answers | None = None


@dataclass(frozen=True)
class ObjectPair:
    """Two cells compared object by object, or one ensemble alone.

    Attributes:
        where: Protocol, data and preset of both, in words.
        labels: Preset, protocol, form, data set and setting, by name.
        sides: The two (or the only one).
        seeds: Seeds of each comparison, e.g. ``0``.
        per_seed: The comparisons, seed by seed; empty where the sides are ensembles of several cells.
        pooled: All seeds, each object counted once; None likewise.
        methods: The comparison of the methods, over other pretrainings and other objects; None with fewer than
            `bench.stats.objects.FEWEST_SEEDS` pairs of seeds, which say nothing about methods.
        joined: The two ensembles; None where there are not two.
        classes: Class by class, the most different first.
        class_names: Name by class; empty if unknown.
        notes: Remarks for the reader, one line each.
        p_holm: p value of `methods` after Holm's correction over all pairs.
        lost: Runs of the two cells that ended without a number, in words; then nothing is said about the methods.
        equivalence: Whether the methods differ by less than a margin; None where no margin was asked for.
    """

    where: str
    labels: Mapping[str, str]
    sides: tuple[Side, ...]
    seeds: tuple[str, ...]
    per_seed: tuple[Paired, ...]
    pooled: Paired | None
    methods: Crossed | None
    joined: Paired | None
    classes: tuple[ClassDifference, ...]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]
    p_holm: float | None = None
    lost: str = ""
    equivalence: Equivalence | None = None

    @property
    def main(self) -> Paired | None:
        """The main comparison: of ensembles, else of all seeds.

        That of the ensembles where they were asked for, else of all seeds.
        """
        return self.joined or self.pooled

    @property
    def measure(self) -> str:
        """Name of the score: accuracy, or the IoU of parts."""
        return "accuracy" if self.sides[0].runs[0].iou is None else "instance IoU"

    def class_name(self, label: int) -> str:
        """Return the name of a class, or its number."""
        return self.class_names[label] if 0 <= label < len(self.class_names) else str(label)


def align(reference: Answers, other: Answers) -> Answers:
    """Reorder answers to match another run's questions.

    Raises:
        ValueError: The questions or their right answers are not the same; the message says how they differ.
    """
    if (reference.fold is None) != (other.fold is None):
        raise ValueError("one run has folds and the other has none")
    if reference.positions != other.positions:
        raise ValueError("one of them stores names of objects and the other, by an earlier bench, only positions")
    if (reference.iou is None) != (other.iou is None):
        raise ValueError("one of them classifies objects and the other labels their parts")
    keys = [_keys(answers) for answers in (reference, other)]
    if keys[0] != keys[1]:
        places = {key: at for at, key in enumerate(keys[1])}
        if len(places) < len(keys[1]) or len(set(keys[0])) < len(keys[0]):
            raise ValueError("objects share names and stand in another order, so that they cannot be told apart")
        lacking = [key for key in keys[0] if key not in places]
        extra = set(keys[1]) - set(keys[0])
        if lacking or extra:
            example = _words((lacking or sorted(extra))[0])
            raise ValueError(
                f"of {len(keys[0])} and {len(keys[1])} objects {len(keys[0]) - len(lacking)} are the same "
                f"(not in both is e.g. {example})"
            )
        other = other.take(np.array([places[key] for key in keys[0]], np.int64))
    wrong = np.flatnonzero(reference.labels != other.labels)
    if len(wrong):
        at = int(wrong[0])
        raise ValueError(
            f"{len(wrong)} of {len(reference.labels)} objects have other labels (e.g. {_words(keys[0][at])}: class "
            f"{reference.labels[at]} and class {other.labels[at]})"
        )
    return other


Key = tuple[int | None, str]


def _keys(answers: Answers) -> list[Key]:
    folds: Sequence[int | None] = [None] * len(answers.ids) if answers.fold is None else answers.fold.tolist()
    return list(zip(folds, answers.ids.tolist(), strict=True))


def _words(key: Key) -> str:
    return f"'{key[1]}'" if key[0] is None else f"'{key[1]}' in fold {key[0]}"


def pair_sides(
    where: str,
    labels: Mapping[str, str],
    sides: tuple[Side, Side],
    objects: Sequence[str],
    seeds: Sequence[tuple[int, int]],
    class_names: tuple[str, ...] = (),
    notes: Sequence[str] = (),
    lost: str = "",
) -> ObjectPair:
    """Compare two cells seed by seed and over all seeds.

    Args:
        where: Protocol, data and preset of both, in words.
        labels: The same by name.
        sides: The two, run by run in the same order of seeds.
        objects: Test object behind each question (`bench.data.splits.object_groups`): views of one thing are one.
        seeds: Seeds of each pair of runs.
        class_names: Names of the classes.
        notes: Remarks for the reader.
        lost: Runs of the two cells that ended without a number, in words; empty for none.
    """
    weights = sides[0].runs[0].weights
    first, second = (np.stack([run.score for run in side.runs]) for side in sides)
    by_seed = [_paired(first[at : at + 1], second[at : at + 1], objects, weights) for at in range(len(first))]
    return ObjectPair(
        where=where,
        labels=labels,
        sides=sides,
        seeds=tuple(str(a) if a == b else f"{a} and {b}" for a, b in seeds),
        per_seed=tuple(by_seed),
        pooled=_paired(first, second, objects, weights),
        methods=None if lost else cross(first, second, objects, weights),
        lost=lost,
        joined=_pair_joined(sides, objects, weights),
        classes=tuple(class_differences(sides[0].runs[0].labels, first, second)),
        class_names=class_names,
        notes=tuple(notes),
    )


def pair_ensembles(
    where: str,
    labels: Mapping[str, str],
    sides: tuple[Side, ...],
    objects: Sequence[str],
    notes: Sequence[str] = (),
) -> ObjectPair:
    """Compare ensembles of several cells, or show one.

    Their runs have no seeds to pair.
    """
    joined = _pair_joined(sides, objects, sides[0].runs[0].weights)
    return ObjectPair(where, labels, sides, (), (), None, None, joined, (), (), tuple(notes))


def join(side: Side, average: Average) -> Side:
    """Return a side with the ensemble of its runs.

    Raises:
        ValueError: See `bench.stats.answers.ensemble`.
    """
    return replace(side, joined=ensemble(side.runs, average))


def holm_pairs(pairs: Sequence[ObjectPair]) -> list[ObjectPair]:
    """Return the pairs with Holm-corrected p values."""
    tested = [pair.methods.p for pair in pairs if pair.methods is not None and pair.methods.p is not None]
    corrected = iter(holm(tested))
    return [
        pair if pair.methods is None or pair.methods.p is None else replace(pair, p_holm=next(corrected))
        for pair in pairs
    ]


def judge_equivalence(pairs: Sequence[ObjectPair], margin: float) -> list[ObjectPair]:
    """Return the pairs with tests of equivalence.

    Of the methods, over seeds and objects; Holm's correction is over all pairs.

    Args:
        pairs: Pairs of cells, not of ensembles of several.
        margin: Largest difference that counts as none, a fraction.
    """
    tests = [
        Equivalence(margin, len(pair.seeds), None) if pair.methods is None else of_comparison(pair.methods, margin)
        for pair in pairs
    ]
    return [replace(pair, equivalence=found) for pair, found in zip(pairs, judge_together(tests), strict=True)]


def _paired(
    first: npt.NDArray[np.generic],
    second: npt.NDArray[np.generic],
    objects: Sequence[str],
    weights: npt.NDArray[np.float64],
) -> Paired:
    if first.dtype == np.bool_:
        return pair_answers(first.astype(np.bool_), second.astype(np.bool_), objects, weights)
    return pair_values(first.astype(np.float64), second.astype(np.float64), objects)


def _pair_joined(sides: Sequence[Side], objects: Sequence[str], weights: npt.NDArray[np.float64]) -> Paired | None:
    answers = [side.joined for side in sides if side.joined is not None]
    if len(answers) != 2:
        return None
    return pair_answers(answers[0].right[None], answers[1].right[None], objects, weights)
