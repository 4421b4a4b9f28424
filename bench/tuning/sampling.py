"""Draw a trial's values from the seed and earlier trials.

A resumed search samples the same trials as an uninterrupted one, because the sampler is seeded anew for every trial.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from bench.seeds import derive
from bench.tuning import studies
from bench.tuning.spaces import Dimension, SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

STARTUP_TRIALS = 10
"""Random trials before the sampler fits its model (Optuna's default)."""


def open_trial(storage: RDBStorage, study: Study, space: SearchSpace, seed: int) -> FrozenTrial:
    """Return the unfinished trial, or draw a new one.

    Only the process that holds the search's lease may call this: a trial in state RUNNING then belongs to a dead
    process.

    Args:
        storage: The file the search lies in.
        study: The search.
        space: Dimensions to draw.
        seed: Seed of the search.
    """
    wanted = {dimension.path for dimension in space.dimensions}
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "RUNNING" and trial.params.keys() >= wanted:
            return trial
        if trial.state.name == "RUNNING":  # its process died while drawing; the next draw gives the same values
            studies.note(storage, study, trial, {studies.LOST: True})
            study.tell(trial.number, state=studies.state("FAIL"))
    study.sampler = _sampler(seed, len(studies.counted(study.get_trials(deepcopy=False))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        number = study.ask({d.path: _distribution(d) for d in space.dimensions}).number
    return next(trial for trial in study.get_trials(deepcopy=False) if trial.number == number)


def _sampler(seed: int, place: int) -> BaseSampler:
    """Return the sampler of the trial with number `place`.

    Methods share the seed, so their random trials are the same points.
    """
    import optuna

    return optuna.samplers.TPESampler(
        n_startup_trials=STARTUP_TRIALS,
        multivariate=False,
        constant_liar=False,
        seed=derive(seed, "search", place) % 2**32,
    )


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    choices: list[Any] = [name for name, _ in dimension.choices]
    if dimension.kind == "choice":
        return CategoricalDistribution(choices)
    if dimension.kind == "integer":
        return IntDistribution(int(dimension.low), int(dimension.high), log=True)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.kind == "log")
