"""Cosine learning-rate schedule with warm-up (docs/reference.md#learning-rate-schedule).

The rate is constant within an epoch. With `T` the stated number of epochs, `W` the warm-up, `b` the base rate, `w` the
warm-up rate and `m` the minimum, the rate as a function of schedule time `t` is::

    t < W        w + t (b - w) / W
    W <= t < T   m + (b - m) (1 + cos(pi t / T)) / 2      (the cosine starts at t = 0, not at W)
    t >= T       m

Only the map from epoch to `t` differs:

* default: epoch `e` of `0 .. T-1` runs at the schedule's value in the middle of that epoch, `t = e + 1/2`. No
  epoch is spent at the warm-up rate, none at the minimum, and a run lasts exactly `T` epochs;
* `reference_schedule`: the released loops set the rate at the *end* of an epoch and run one epoch more than
  stated, so `t = max(e - 1, 0)` for `e` of `0 .. T`: epochs 0 and 1 both run at the warm-up rate;
* ``reference_schedule="late"``: the same without the additional epoch, as in the released segmentation loops;
* ``reference_schedule="early"``: CrossPoint's loop steps the schedule at the *start* of an epoch already, so
  `t = e + 1` for `e` of `0 .. T-1`: no epoch runs at the first rate, the last one runs at the minimum.
"""

from __future__ import annotations

import math

from bench.spec import Recipe


def epochs_run(recipe: Recipe) -> int:
    """Return the number of epochs that the loop runs.

    One more than stated with ``reference_schedule=True``.
    """
    return recipe.epochs + int(recipe.reference_schedule is True)


def step_at(share: float, steps: int) -> int:
    """Return the step at which a share of a training is done.

    The nearest whole one, at least the first.

    Args:
        share: Share, above 0 and up to 1.
        steps: Optimiser steps of the whole training.
    """
    return max(round(share * steps), 1)


def rate_at(time: float, recipe: Recipe, scale: float = 1.0) -> float:
    """Return the learning rate at a schedule time.

    Args:
        time: Schedule time `t` in epochs, at least 0.
        recipe: Holds base, warm-up and minimum rate and the two durations.
        scale: Factor on the base rate of a parameter group. The warm-up and minimum rates are not scaled, as
            in the releases, where each group anneals from the same start to the same end.

    Returns:
        The learning rate.
    """
    base = recipe.lr * scale
    if time < recipe.warmup_epochs:
        return recipe.warmup_lr + time * (base - recipe.warmup_lr) / recipe.warmup_epochs
    if time >= recipe.epochs:
        return recipe.min_lr
    return recipe.min_lr + 0.5 * (base - recipe.min_lr) * (1.0 + math.cos(math.pi * time / recipe.epochs))


def rate(epoch: int, recipe: Recipe, scale: float = 1.0) -> float:
    """Return the learning rate of a whole epoch.

    Args:
        epoch: Epoch index from 0 to ``epochs_run(recipe) - 1``.
        recipe: See `rate_at`.
        scale: See `rate_at`.

    Returns:
        The learning rate every step of that epoch uses.

    Example:
        >>> recipe = Recipe(epochs=300, lr=1e-3, warmup_epochs=10, warmup_lr=0.0, min_lr=0.0)
        >>> round(rate(0, recipe), 9), round(rate(9, recipe), 9)
        (5e-05, 0.00095)
    """
    if recipe.reference_schedule == "early":
        return rate_at(epoch + 1, recipe, scale)
    time = max(epoch - 1, 0) if recipe.reference_schedule else epoch + 0.5
    return rate_at(time, recipe, scale)
