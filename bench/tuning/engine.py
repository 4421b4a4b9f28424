"""Hyperparameter search: trials run one by one, scored on validation.

Every trial is a normal run through planner and pool.

A search can be interrupted like a run: its trials lie in one Optuna file, the next command continues an interrupted
trial, and stored runs are reused. One process at a time draws and runs trials of one search, under a lease; the drawn
values depend on the seed and on the earlier trials only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from pydantic import JsonValue

from bench.errors import BenchError, Interrupted, SetupError
from bench.execution.engines import EngineSetup, Listener, run_plan
from bench.paths import Workspace
from bench.plan.graph import Plan
from bench.plan.planning import make_plan
from bench.plan.request import write_request
from bench.store.once import once
from bench.store.queries import failed_rows, metric_rows
from bench.store.store import Store
from bench.tuning import studies
from bench.tuning.objective import objective, validation_score
from bench.tuning.problems import Problem
from bench.tuning.sampling import open_trial

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

Say = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """Result of one search.

    Attributes:
        problem: The search.
        trials: Number of trials that count.
        failed: Number of those whose run failed.
        number: Best trial, from 1; None where all failed.
        value: Its validation score.
        values: Its values, as assignments of ``--set``.
        config: Request with these values, for ``bench run --config``.
    """

    problem: Problem
    trials: int
    failed: int
    number: int | None = None
    value: float | None = None
    values: dict[str, JsonValue] = field(default_factory=dict)
    config: Path | None = None


class Searcher:
    """Run the trials of searches in one results folder."""

    def __init__(self, workspace: Workspace, setup: EngineSetup, listener: Listener, say: Say) -> None:
        """Open the store and the file of searches.

        Args:
            workspace: Results folder.
            setup: How jobs are run.
            listener: Told about the jobs of each trial.
            say: Told about trials, one line each.
        """
        self._workspace = workspace
        self._setup = setup
        self._listener = listener
        self._say = say
        self._store = Store(workspace.results, setup.store_url)
        self._storage = _open(self._store, workspace.results)
        self._waited = ""

    def search(self, problems: Sequence[Problem], trials: int, timeout: float | None = None) -> list[str]:
        """Run every search up to a number of trials.

        Searches take turns, so that their budgets are equal whenever they are stopped.

        Args:
            problems: The searches.
            trials: Trials of each in all, those of earlier commands included.
            timeout: Seconds after which no further trial is started; None for no limit.

        Returns:
            Searches that cannot go on, with the reason.

        Raises:
            Interrupted: The user stopped it.
        """
        end = None if timeout is None else time.monotonic() + timeout
        broken: dict[str, str] = {}
        for target in range(1, trials + 1):
            for problem in problems:
                if problem.name in broken:
                    continue
                if end is not None and time.monotonic() >= end and self._count(problem) < target:
                    self._say(f"time is up: {problem.label} has {self._count(problem)} of {trials} trials")
                    return [f"{name}: {reason}" for name, reason in broken.items()]
                try:
                    self._advance(problem, target, trials)
                except Interrupted:
                    raise
                except BenchError as error:
                    broken[problem.name] = str(error)
        return [f"{name.partition(' |')[0]}: {reason}" for name, reason in broken.items()]

    def conclude(self, problem: Problem) -> Found:
        """Return a search's result and write its best request."""
        trials = self._counted(problem)
        top = studies.best(trials)
        failed = sum(trial.state.name != "COMPLETE" for trial in trials)
        if top is None:
            return Found(problem, len(trials), failed)
        values = problem.space.values(top.params)
        if len({tuple(trial.user_attrs.get(studies.CODE, ())) for trial in trials}) > 1:
            self._say(f"note: some trials of {problem.label} were made by older code; they count all the same")
        config = self._workspace.results / "tuned" / f"{_slug(problem)}.yaml"
        try:
            config.parent.mkdir(parents=True, exist_ok=True)
            write_request(problem.tuned(values, len(trials)), config)
        except OSError as error:
            raise SetupError(
                f"cannot write {config}: {error.strerror or error}; free the space and run the same command again"
            ) from error
        return Found(problem, len(trials), failed, trials.index(top) + 1, top.value, values, config)

    def _waiting(self, line: str) -> None:
        if line != self._waited:
            self._waited = line
            self._say(line)

    def _counted(self, problem: Problem) -> list[FrozenTrial]:
        if problem.name not in studies.names(self._storage):
            return []
        return studies.counted(studies.load(self._storage, problem.name).get_trials(deepcopy=False))

    def _count(self, problem: Problem) -> int:
        return len(self._counted(problem))

    def _advance(self, problem: Problem, target: int, trials: int) -> None:
        """Ensure that a search has `target` trials."""
        once(
            self._store,
            "search",
            problem.key,
            done=lambda: self._count(problem) >= target,
            work=lambda: self._one(problem, trials),
            on_wait=lambda who: self._waiting(f"waiting: {who} ({problem.label})"),
            note=f"tune {problem.label}",
        )

    def _one(self, problem: Problem, trials: int) -> None:
        """Run one trial; the caller holds the search's lease."""
        whole = len(problem.first) == len(problem.space.dimensions)
        study = studies.create(self._storage, problem.name, problem.facts, problem.first, whole=whole)
        trial = open_trial(self._storage, study, problem.space, problem.request.seeds[0])
        values = problem.space.values(trial.params)
        place = len(studies.counted(study.get_trials(deepcopy=False)))
        self._say(f"{problem.label}, trial {place + 1} of {trials}: {assignments(values)}")
        plan = make_plan(problem.trial(values), self._workspace, self._setup.store_url)
        codes: list[JsonValue] = [*sorted({run.fingerprint.digest for run in plan.runs})]
        facts = {studies.VALUES: values, studies.RUNS: [run.key for run in plan.runs], studies.CODE: codes}
        studies.note(self._storage, study, trial, facts)
        error = self._run(plan)
        if not error:
            value = self._score(plan, str(problem.facts["metric"]))
            study.tell(trial.number, value)
            top = studies.best(study.get_trials(deepcopy=False))
            highest = top.value if top is not None and top.value is not None else value
            self._say(f"  validation {100 * value:.1f} %, best so far {100 * highest:.1f} %")
            return
        if studies.best(study.get_trials(deepcopy=False)) is None:
            raise BenchError(f"the first trial failed and does not count; correct the cause and run again: {error}")
        studies.note(self._storage, study, trial, {studies.ERROR: error})
        # A pruned trial counts as worse than every finished one, so that the sampler keeps away from there.
        study.tell(trial.number, state=studies.state("PRUNED"))
        self._say(f"  failed, counts as a trial: {error}")

    def _run(self, plan: Plan) -> str:
        """Run missing jobs; return the failure's reason, or ""."""
        if plan.jobs:
            outcome = run_plan(plan, self._workspace, self._setup, self._listener)
            if outcome.interrupted:
                raise Interrupted("stopped; run the same command again to continue this trial")
            if outcome.failed:
                return outcome.failed[0][1]
        keys = [run.key for run in plan.runs]
        failed = failed_rows(self._store, keys=keys, unresolved=True)
        return (failed[0].error or "its run failed") if failed else ""

    def _score(self, plan: Plan, metric: str) -> float:
        """Return the validation score of a trial.

        Raises:
            BenchError: A run validated nothing.
        """
        current = {run.key: run.fingerprint.digest for run in plan.runs}
        rows = metric_rows(self._store, keys=current, current=current)
        scores = []
        for run in plan.runs:
            score = validation_score([row for row in rows if row.run_key == run.key], metric)
            if score is None:
                raise BenchError(f"{run.spec.protocol.name} {run.spec.setting} reports no validation score to tune by")
            scores.append(score)
        return objective(scores)


def assignments(values: dict[str, JsonValue]) -> str:
    """Return assignments as a command line has them, unquoted."""
    return " ".join(f"{path}={as_text(value)}" for path, value in values.items())


def as_text(value: JsonValue) -> str:
    """Return a value as text that ``--set`` parses."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000)
    return text.removesuffix("...\n").strip()


def _open(store: Store, results: Path) -> RDBStorage:
    """Open the Optuna file, under a lock."""
    opened: list[RDBStorage] = []
    once(
        store,
        "search",
        "file",
        done=lambda: bool(opened),
        work=lambda: opened.append(studies.open_storage(results)),
        on_wait=lambda who: None,
        note="open the file of searches",
    )
    return opened[0]


def _slug(problem: Problem) -> str:
    parts = [part.strip() for part in problem.name.split("|")]
    text = "-".join([*parts[:4], parts[4], parts[5].rpartition(" ")[2]])
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text).replace("--", "-")
