"""Effects of options in a study of several settings of one method.

A setting is one value for each axis. Its runs have the same seeds as those of every other setting, so that each effect
is a contrast within a seed: means over settings first, differences second, the interval over seeds last.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.comparisons import Comparison, Lost, compare, judge_family
from bench.stats.intervals import Scores, Summary, Unit, run_means, summarise

Values = tuple[str, ...]
"""A setting: the value of each axis, as text."""
MOST_EXACT = 5
"""Seeds up to which every resample is counted; more are drawn."""
DRAWS = 10_000


@dataclass(frozen=True)
class Tried:
    """Scores of one setting.

    Attributes:
        values: Value of each axis.
        test: Test scores by run and fold.
        validation: Validation scores by run; empty where the protocol validates nothing.
        lost: Runs that ended without a score, and what became of them.
        planned: Runs that the study has of it.
    """

    values: Values
    test: Scores
    validation: Scores
    lost: Mapping[Unit, str]
    planned: int


@dataclass(frozen=True)
class Effect:
    """Effect of one value of an axis, or of two values together.

    Attributes:
        axes: Names of the axes: one for a main effect, two for an interaction.
        values: Values whose effect it is.
        reference: Values that it is against.
        comparison: Difference paired by seed. Of an interaction: how much the effect of the first value changes where
            the second axis has its value instead of its reference.
        contexts: Settings of the other axes that it is averaged over.
        aliases: Interactions that the design cannot tell it from.
    """

    axes: tuple[str, ...]
    values: Values
    reference: Values
    comparison: Comparison
    contexts: int
    aliases: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Verdict as a phrase."""
        found, told = self.comparison, {"above": "larger", "below": "smaller"}
        if len(self.axes) == 1 or found.verdict not in told:
            return found.words
        first, second = (f"{axis}={value}" for axis, value in zip(self.axes, self.values, strict=True))
        return f"{told[found.verdict]} effect of {first} with {second}"


@dataclass(frozen=True)
class Best:
    """The setting with the highest mean validation score.

    Attributes:
        values: Its values.
        validation: Its validation scores.
        test: Its test scores, in which no choice was made.
        others: It against every other setting on validation, judged as one family.
        probability: Share of resamples of the seeds in which it is the best; None with one seed.
        resamples: Their number.
        exact: Whether these are all resamples.
        seeds: Seeds that all settings have.
        level: Other settings with the same mean validation score; the first in order is taken.
    """

    values: Values
    validation: Summary
    test: Summary | None
    others: tuple[Comparison, ...]
    probability: float | None
    resamples: int
    exact: bool
    seeds: int
    level: tuple[Values, ...] = ()


def effects(axes: Sequence[str], tried: Sequence[Tried], reference: Values, *, fraction: bool = False) -> list[Effect]:
    """Estimate main effects and two-way interactions.

    Each is averaged over the settings of the other axes in which all its values were tried. In a fraction of a grid,
    where there are none, means over all settings with a value are compared, which its balance allows. All effects are
    judged as one family (`bench.stats.comparisons.judge_family`).

    Args:
        axes: Names of the axes.
        tried: Settings, each once.
        reference: Value of each axis that the others are compared with.
        fraction: Whether the settings are a balanced fraction of a grid.
    """
    by_values = {one.values: one for one in tried if fraction or one.test or one.lost}
    levels = [list(dict.fromkeys(one.values[at] for one in tried)) for at in range(len(axes))]
    found = []
    for size in (1, 2):
        for places in itertools.combinations(range(len(axes)), size):
            others = [[value for value in levels[at] if value != reference[at]] for at in places]
            for values in itertools.product(*others):
                effect = _effect(axes, by_values, places, values, reference, fraction)
                if effect is not None:
                    found.append(effect)
    judged = judge_family([effect.comparison for effect in found])
    return [
        Effect(one.axes, one.values, one.reference, comparison, one.contexts, one.aliases)
        for one, comparison in zip(_aliased(found, by_values, axes, reference, fraction), judged, strict=True)
    ]


def _effect(
    axes: Sequence[str],
    tried: Mapping[Values, Tried],
    places: tuple[int, ...],
    values: Values,
    reference: Values,
    fraction: bool,
) -> Effect | None:
    """Estimate one effect; None if the settings that it needs were not tried.

    Its corners are the combinations of value and reference: two for a main effect, four for an interaction.
    """
    against = tuple(reference[at] for at in places)
    corners = list(itertools.product(*zip(values, against, strict=True)))
    members: dict[Values, list[Tried]]
    if fraction:
        members = {
            corner: [one for own, one in tried.items() if tuple(own[at] for at in places) == corner]
            for corner in corners
        }
        contexts = min(map(len, members.values()))
    else:
        rests = dict.fromkeys(_without(own, places) for own in tried)
        kept = [rest for rest in rests if all(_within(rest, places, corner) in tried for corner in corners)]
        members = {corner: [tried[_within(rest, places, corner)] for rest in kept] for corner in corners}
        contexts = len(kept)
    if not contexts:
        return None
    means = {corner: _mean([one.test for one in members[corner]]) for corner in corners}
    first, second = means[values], means[(against[0], *values[1:])]
    if len(places) == 2:  # the effect of the first value, at the value and at the reference of the second
        plain = (means[values[0], against[1]], means[against])
        first, second = _minus(first, second), _minus(*plain)
    own = _named(axes, places)
    lost = [Lost(setting_name(axes, one.values), one.lost, one.planned) for group in members.values() for one in group]
    comparison = compare((setting_name(own, values), setting_name(own, against)), first, second, lost)
    return Effect(own, values, against, comparison, contexts)


def setting_name(axes: Sequence[str], values: Values) -> str:
    """Name a setting: ``mask_ratio=0.4, loss=cdl2``."""
    return ", ".join(f"{axis}={value}" for axis, value in zip(axes, values, strict=True))


def _named(axes: Sequence[str], places: Iterable[int]) -> tuple[str, ...]:
    return tuple(axes[at] for at in places)


def _without(values: Values, places: tuple[int, ...]) -> Values:
    return tuple(value for at, value in enumerate(values) if at not in places)


def _within(rest: Values, places: tuple[int, ...], corner: Values) -> Values:
    """Return the setting with the corner's values at their places."""
    own, left = dict(zip(places, corner, strict=True)), iter(rest)
    return tuple(own[at] if at in own else next(left) for at in range(len(rest) + len(corner)))


def _mean(scores: Sequence[Scores]) -> Scores:
    """Average settings within each run that all of them have."""
    means = [run_means(one) for one in scores]
    units = set.intersection(*(set(one) for one in means)) if means else set()
    return {unit: {None: statistics.fmean(one[unit] for one in means)} for unit in sorted(units)}


def _minus(first: Scores, second: Scores) -> Scores:
    return {unit: {None: first[unit][None] - second[unit][None]} for unit in first if unit in second}


def _aliased(
    found: Sequence[Effect], tried: Mapping[Values, Tried], axes: Sequence[str], reference: Values, fraction: bool
) -> list[Effect]:
    """Name the interactions that a fraction cannot tell apart."""
    if not fraction:
        return list(found)
    signs = np.array(
        [[-1 if value == base else 1 for value, base in zip(own, reference, strict=True)] for own in tried]
    )
    place = {axis: at for at, axis in enumerate(axes)}
    columns = {one.axes: np.prod([signs[:, place[axis]] for axis in one.axes], axis=0) for one in found}
    return [
        Effect(
            one.axes,
            one.values,
            one.reference,
            one.comparison,
            one.contexts,
            tuple(
                " x ".join(other)
                for other, column in columns.items()
                if other != one.axes and abs(int(column @ columns[one.axes])) == len(signs)
            ),
        )
        for one in found
    ]


def level_scores(tried: Sequence[Tried], at: int, reference: Values, *, fraction: bool = False) -> dict[str, Scores]:
    """Return the scores of each value of an axis, averaged as in `effects`.

    Over the settings of the other axes in which most of its values were tried; in a fraction over all.

    Args:
        tried: Settings, each once.
        at: Place of the axis.
        reference: Value of each axis that the others are compared with.
        fraction: Whether the settings are a balanced fraction of a grid.
    """
    by_rest: dict[Values, dict[str, Scores]] = {}
    for one in tried:
        if one.test:
            by_rest.setdefault(_without(one.values, (at,)), {})[one.values[at]] = one.test
    most = max(map(len, by_rest.values()), default=0)
    kept = [own for own in by_rest.values() if fraction or len(own) == most]
    if not fraction and most < 2 and _without(reference, (at,)) in by_rest:
        kept = [by_rest[_without(reference, (at,))]]
    levels = dict.fromkeys(one.values[at] for one in tried)
    means = {level: _mean([own[level] for own in kept if level in own]) for level in levels}
    return {level: scores for level, scores in means.items() if scores}


def best_setting(axes: Sequence[str], tried: Sequence[Tried]) -> Best | None:
    """Find the best setting by validation, and say how sure it is the best.

    Two answers: the share of resamples of the pretraining seeds (with replacement, every setting on the same ones) in
    which it has the highest mean, and paired tests against every other setting, corrected by Holm. Settings that lost
    a run are no candidates: what is left of their seeds is a choice that nobody made.

    Returns:
        None where fewer than two settings have validation scores of the same runs.
    """
    scored = [(one, run_means(one.validation)) for one in tried if one.validation and not one.lost]
    units = sorted(set.intersection(*(set(means) for _, means in scored))) if scored else []
    if len(scored) < 2 or not units:
        return None
    seeds = sorted({unit.seed for unit in units})
    table = np.array(
        [[statistics.fmean(means[u] for u in units if u.seed == seed) for seed in seeds] for _, means in scored]
    )
    highest = np.isclose(table.mean(1), table.mean(1).max(), rtol=0, atol=1e-12).nonzero()[0].tolist()
    at = highest[0]
    chosen = scored[at][0]
    kept: list[Scores] = [{unit: {None: means[unit]} for unit in units} for _, means in scored]
    name = setting_name(axes, chosen.values)
    others = judge_family(
        [
            compare((name, setting_name(axes, one.values)), kept[at], kept[place])
            for place, (one, _) in enumerate(scored)
            if place != at
        ]
    )
    exact = len(seeds) <= MOST_EXACT
    drawn = _resamples(len(seeds), exact)
    means = np.stack([table[:, own].mean(1) for own in drawn])
    ties = np.isclose(means, means.max(1, keepdims=True), rtol=0, atol=1e-12)
    probability = float((ties[:, at] / ties.sum(1)).mean()) if len(seeds) > 1 else None
    test = {unit: folds for unit, folds in chosen.test.items() if unit in units}
    return Best(
        values=chosen.values,
        validation=summarise(kept[at]),
        test=summarise(test) if test else None,
        others=tuple(others),
        probability=probability,
        resamples=len(drawn),
        exact=exact,
        seeds=len(seeds),
        level=tuple(scored[place][0].values for place in highest[1:]),
    )


def _resamples(seeds: int, exact: bool) -> list[list[int]]:
    """Return resamples of seeds: all of them, or draws."""
    if exact:
        return [list(own) for own in itertools.product(range(seeds), repeat=seeds)]
    drawn: list[list[int]] = np.random.default_rng(0).integers(0, seeds, (DRAWS, seeds)).tolist()
    return drawn
