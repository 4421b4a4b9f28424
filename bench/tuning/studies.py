"""Stored searches: one Optuna file in the results folder.

Optuna stores the trials (parameters, values, states); the runs of a trial are stored like every other run.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import SetupError
from bench.report.studies import StudyFacts, TrialFacts

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial, TrialState

FILE = "tuning.sqlite"
FACTS, VALUES, RUNS, CODE, ERROR, LOST, SHIPPED = "facts", "values", "runs", "code", "error", "lost", "shipped"
"""Names of the attributes that are stored with a study and its trials."""
_BUSY_SECONDS = 60.0
_ENOUGH = 5
"""Number of finished trials below which importances are noise."""


def open_storage(results: Path) -> RDBStorage:
    """Open the Optuna file; create it if absent.

    Raises:
        SetupError: It cannot be used, or is no such file.
    """
    import logging

    import optuna
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(logging.WARNING)
    path = results / FILE
    url = URL.create("sqlite", database=str(path)).render_as_string().replace("{", "{{").replace("}", "}}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental parts of Optuna say so every time
            return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _BUSY_SECONDS}})
    except (SQLAlchemyError, RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise SetupError(
            f"the file of searches {path} cannot be used ({reason}); move it away and run the same command again: "
            "stored runs are reused"
        ) from error


def names(storage: RDBStorage) -> list[str]:
    """Return the names of the searches, oldest first."""
    return [study.study_name for study in storage.get_all_studies()]


def load(storage: RDBStorage, name: str) -> Study:
    """Load a search.

    Its sampler is set where trials are drawn (`bench.tuning.sampling`).
    """
    import optuna

    return optuna.load_study(study_name=name, storage=storage)


def create(storage: RDBStorage, name: str, facts: dict[str, Any], first: dict[str, Any], *, whole: bool) -> Study:
    """Load a search, or create it with its first trial.

    Args:
        storage: The Optuna file.
        name: Name of the search.
        facts: Description of the search for reports.
        first: Parameters of the first trial; missing ones are drawn.
        whole: Whether none is missing, so that the first trial has exactly the default values.
    """
    import optuna

    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    if FACTS not in study.user_attrs:
        study.set_user_attr(FACTS, facts)
    if first and not study.trials:
        study.enqueue_trial(first, user_attrs={SHIPPED: True} if whole else None)
    return study


def note(storage: RDBStorage, study: Study, trial: FrozenTrial, facts: dict[str, Any]) -> None:
    """Store facts with an unfinished trial."""
    identity = storage.get_study_id_from_name(study.study_name)
    row = storage.get_trial_id_from_study_id_trial_number(identity, trial.number)
    for name, value in facts.items():
        storage.set_trial_user_attr(row, name, value)


def state(name: str) -> TrialState:
    """Return Optuna's trial state of a name."""
    from optuna.trial import TrialState

    return TrialState[name]


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that count: finished and failed ones.

    Those lost before their values were drawn do not count.
    """
    return [trial for trial in trials if trial.state.is_finished() and LOST not in trial.user_attrs]


def best(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the trial with the highest score, earliest on ties."""
    scored = [trial for trial in trials if trial.value is not None and trial.state.name == "COMPLETE"]
    return max(scored, key=lambda trial: (trial.value or 0.0, -trial.number), default=None)


def read_studies(results: Path) -> tuple[StudyFacts, ...]:
    """Read every search of a results folder, for reports.

    Searches without a trial that counts are left out.

    Raises:
        SetupError: The file is damaged.
    """
    if not (results / FILE).is_file():
        return ()
    storage = open_storage(results)
    found = (read_study(load(storage, name)) for name in names(storage))
    return tuple(study for study in found if study is not None)


def read_study(study: Study) -> StudyFacts | None:
    """Read one search for reports.

    None if ``bench tune`` did not make it or no trial counts yet.
    """
    facts = study.user_attrs.get(FACTS)
    trials = counted(study.get_trials(deepcopy=False))
    if not isinstance(facts, dict) or not trials:
        return None
    top = best(trials)
    shipped = next((trial.number for trial in trials if SHIPPED in trial.user_attrs), None)
    return StudyFacts(
        name=study.study_name,
        method=str(facts["method"]),
        protocol=str(facts["protocol"]),
        dataset=str(facts["dataset"]),
        preset=str(facts["preset"]),
        settings=tuple(map(str, facts["settings"])),
        what=str(facts["what"]),
        seed=int(facts["seed"]),
        metric=str(facts["metric"]),
        space=str(facts["space"]),
        dimensions=tuple(map(str, facts["dimensions"])),
        trials=tuple(_trial(trial) for trial in trials),
        best=top.number if top is not None else None,
        importance=_importance(study),
        shipped=shipped,
    )


def _trial(trial: FrozenTrial) -> TrialFacts:
    return TrialFacts(
        number=trial.number,
        value=trial.value if trial.state.name == "COMPLETE" else None,
        values=tuple((path, json.dumps(value)) for path, value in trial.user_attrs.get(VALUES, {}).items()),
        error=str(trial.user_attrs.get(ERROR, "")),
    )


def _importance(study: Study) -> tuple[tuple[str, float], ...]:
    """Return the importance of each parameter (PED-ANOVA).

    Empty if there are too few or too similar trials.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    values = [t.value for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if len(values) < _ENOUGH or len(set(values)) < 2:
        return ()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError):  # e.g. trials without a parameter in common
        return ()
    return tuple(sorted(((name, float(share)) for name, share in found.items()), key=lambda item: (-item[1], item[0])))
