"""Studies: requests that expand to runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, get_args

from bench.api.common import Names, PathLike, listed, loaded_plugins, looking, registered, workspace_at
from bench.api.results import Results
from bench.errors import Interrupted, UsageError, unknown_name
from bench.paths import Workspace
from bench.plan.request import Reuse, RunRequest, read_request, validated, write_request
from bench.registry import ENGINES, METHODS
from bench.spec import Rotation

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue

    from bench.execution.elsewhere import WrittenPlan
    from bench.execution.engines import EngineSetup, Listener, Outcome
    from bench.plan.graph import Plan
    from bench.report.sensitivity import Sensitivity
    from bench.tuning.engine import Found
    from bench.tuning.problems import Problem

Seeds = int | str | Sequence[int]
"""A count (5: seeds 0 to 4), a list as on the command line (``"0,4,7"``), or the seeds themselves."""


class StudyOptions(TypedDict, total=False):
    """Optional fields of a request (`bench.plan.request.RunRequest`)."""

    encoders: Names
    train_on: str
    transfer: bool
    pretrain_data: str
    pretrain_fractions: Sequence[float]
    budget: Literal["steps", "epochs"]
    label_fractions: Sequence[float]
    match: Literal["none", "params", "flops"]
    settings: Names
    split_seeds: Seeds
    captions: Literal["auto", "none", "dataset", "class-names"]
    teacher: str
    text_teacher: str
    live_teacher: bool
    held_out_losses: bool
    evaluate_at: Sequence[float]
    form: Literal["fair", "published"]
    corruptions: bool
    rotations: Sequence[Rotation]
    legacy: bool
    baseline: bool
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    compile: Literal["auto", "on", "off"]
    threads: int
    gpus: int
    engine: str
    engine_config: PathLike
    overrides: Mapping[str, JsonValue]
    sweep: Mapping[str, Sequence[JsonValue]]


def study(
    methods: Names | None = None,
    protocols: Names | None = None,
    dataset: Names | None = None,
    *,
    seeds: Seeds | None = None,
    preset: str | None = None,
    results: PathLike | None = None,
    store_url: str | None = None,
    plugins: Sequence[PathLike] = (),
    **more: Unpack[StudyOptions],
) -> Study:
    """Describe a study; nothing runs yet.

    Defaults are those of ``bench run``: ReCon and scratch, few-shot, the embedded set, ``nano``, one seed.

    Args:
        methods: Methods to pretrain; ``"all"`` for every method.
        protocols: Protocols to judge by.
        dataset: Data set to judge on: ``NAME[:ROOT]``.
        seeds: Seeds of pretraining.
        preset: ``smoke``, ``nano``, ``tiny``, ``small`` or ``base``.
        results: Results folder; ``BENCH_RESULTS`` or ``./results`` by default.
        store_url: Database URL instead of the SQLite file in the results folder.
        plugins: Plugin files that runs need.
        **more: Other fields of the request; ``overrides={"recipe.lr": 1e-3}`` is ``--set recipe.lr=0.001``, and
            ``sweep={"recon.mask_ratio": [0.2, 0.4]}`` is ``--set recon.mask_ratio=0.2,0.4``.

    Raises:
        UsageError: A name or a value is wrong; the line says which.
    """
    fields = request_fields(more, protocols, dataset, methods=listed(methods), seeds=seeds, preset=preset)
    return Study.of(fields, results, store_url, plugins)


def do_job(
    file: PathLike,
    *,
    results: PathLike | None = None,
    store_url: str | None = None,
    listener: Listener | None = None,
) -> list[tuple[str, str, str]]:
    """Do one job of a written plan (`Study.write_plan`, ``bench worker``).

    Args:
        file: The job file.
        results: Results folder, where it is not at the place that the file names.
        store_url: Database that indexes the runs; None writes their folders only.
        listener: Told of the events of the job.

    Returns:
        What failed: title, error and log.

    Raises:
        DataError: The file is wrong, or of another version.
        UsageError: The code here is not that of the plan, or a job that this one needs is not done.
        SetupError: The results folder cannot be written, or this machine cannot do the job.
        Interrupted: It was stopped; called again, it goes on from there.
    """
    from bench.execution.elsewhere import do_job as do

    place = None if results is None else Path(results)
    outcome = do(Path(file), listener or (lambda job, event: None), results=place, store_url=store_url)
    if outcome.interrupted:
        raise Interrupted("stopped; the same job goes on from its last checkpoint")
    return [(title, error, str(log)) for title, error, log in outcome.failed]


def request_fields(
    more: StudyOptions, protocols: Names | None, dataset: Names | None, **fields: object
) -> dict[str, object]:
    """Return the given fields of a request, single names as lists.

    Args:
        more: Other fields.
        protocols: Protocols.
        dataset: Data sets.
        **fields: Fields that need no change; None leaves one out.
    """
    given: dict[str, object] = {"protocols": listed(protocols), "datasets": listed(dataset), **fields, **more}
    given |= {"encoders": listed(more.get("encoders")), "settings": listed(more.get("settings"))}
    return {name: value for name, value in given.items() if value is not None}


class Study:
    """Requested runs: methods x protocols x data sets x seeds.

    Attributes:
        request: Every field, validated.
        workspace: Results folder and cache.
        store_url: Database URL, or None.
        plugins: Plugin files that every job loads.
    """

    def __init__(
        self,
        request: RunRequest,
        workspace: Workspace,
        store_url: str | None = None,
        plugins: Sequence[Path] = (),
    ) -> None:
        self.request = request
        self.workspace = workspace
        self.store_url = store_url
        self.plugins = tuple(plugins)

    @classmethod
    def of(
        cls,
        fields: Mapping[str, object],
        results: PathLike | None = None,
        store_url: str | None = None,
        plugins: Sequence[PathLike] = (),
    ) -> Study:
        """Build a study from request fields, as in YAML.

        Raises:
            UsageError: A field or a name is unknown, or a value cannot be taken.
        """
        given = dict(fields)
        if isinstance(config := given.get("engine_config"), str | Path):
            given["engine_config"] = str(Path(config).absolute())
        request: RunRequest = validated(RunRequest, given, "request")
        files = registered(*loaded_plugins(), *request.plugins, *plugins)
        request.check_names()
        return cls(request, workspace_at(results), store_url, files)

    @classmethod
    def read(
        cls,
        path: PathLike,
        results: PathLike | None = None,
        store_url: str | None = None,
        plugins: Sequence[PathLike] = (),
    ) -> Study:
        """Read a study saved as YAML (`save`, ``bench run --config``).

        Raises:
            UsageError: The file is missing, is no YAML, or holds a wrong field, name or value.
        """
        return cls.of(read_request(Path(path)), results, store_url, plugins)

    def on(self, engine: str, engine_config: PathLike | None = None) -> Study:
        """Return this study for another engine; its runs stay the same.

        Args:
            engine: Name of the engine.
            engine_config: YAML file with options of the engine.

        Raises:
            UsageError: There is no such engine.
        """
        ENGINES.entry(engine)
        config = None if engine_config is None else str(Path(engine_config).absolute())
        request = self.request.model_copy(update={"engine": engine, "engine_config": config})
        return Study(request, self.workspace, self.store_url, self.plugins)

    def plan(self, reuse: Reuse = "exact") -> StudyPlan:
        """Return what would run and what is stored.

        Nothing is changed but the cache of data.

        Args:
            reuse: Stored results to reuse: ``exact`` (made by the present code) or ``same-spec``.

        Raises:
            UsageError: The request cannot be carried out; the line says why.
        """
        from bench.plan.planning import make_plan

        _check_reuse(reuse)
        place = looking(self.workspace)
        return StudyPlan(make_plan(self.request, place, self.store_url, reuse, readonly=True), place, self.store_url)

    def run(self, *, jobs: int | None = None, reuse: Reuse = "exact", progress: bool = True) -> Results:
        """Run what is missing, each job in its process.

        Pretraining and evaluation.

        A run that fails or diverges is stored as such (`Results.failures`) and the others go on.

        Args:
            jobs: Jobs at a time; None for one per core (at most four), or one on a GPU.
            reuse: See `plan`.
            progress: Print progress and notes as the command line does.

        Returns:
            The study's runs.

        Raises:
            UsageError: The request cannot be carried out.
            SetupError: The results folder cannot be written.
            Interrupted: It was stopped (Ctrl-C); what was finished is stored, and `run` goes on from there.
        """
        from bench.screen import ProgressView
        from bench.texts import screen

        plan = self.prepare(reuse)
        if progress:
            console = screen()
            for note in plan.notes:
                console.print(f"note: {note}", highlight=False, markup=False)
            with ProgressView(console) as view:
                outcome = self.execute(plan, view, jobs=jobs)
        else:
            outcome = self.execute(plan, lambda job, event: None, jobs=jobs)
        if outcome.interrupted:
            raise Interrupted("stopped; everything finished is stored: call run() again to continue")
        return self.results(plan)

    def prepare(self, reuse: Reuse = "exact") -> Plan:
        """Prepare the results folder and plan missing jobs.

        Raises:
            UsageError: The request cannot be carried out.
            SetupError: The results folder cannot be written.
        """
        from bench.execution.engines import engine_options
        from bench.plan.planning import make_plan
        from bench.plan.skips import remember

        _check_reuse(reuse)
        engine_options(self.setup())  # what is wrong with them is said before the planning
        self.workspace.prepare()
        plan = make_plan(self.request, self.workspace, self.store_url, reuse)
        remember(self.workspace.results, plan.skipped)
        return plan

    def execute(self, plan: Plan, listener: Listener, *, jobs: int | None = None, detach: bool = False) -> Outcome:
        """Run a plan's jobs; report events to a listener.

        Args:
            plan: The jobs.
            listener: Told of every event.
            jobs: Jobs at a time; None leaves it to the engine.
            detach: Leave once jobs are submitted to an engine that outlives this process.
        """
        from dataclasses import replace

        from bench.execution.engines import run_plan

        return run_plan(plan, self.workspace, replace(self.setup(jobs), detach=detach), listener)

    def setup(self, jobs: int | None = None) -> EngineSetup:
        """Return how this study's jobs are run.

        Args:
            jobs: Jobs at a time; None leaves it to the engine.
        """
        from bench.execution.engines import EngineSetup

        config = self.request.engine_config
        return EngineSetup(
            workers=jobs,
            store_url=self.store_url,
            plugins=self.plugins,
            engine=self.request.engine,
            config=None if config is None else Path(config),
        )

    def write_plan(self, folder: PathLike, reuse: Reuse = "exact") -> WrittenPlan:
        """Write missing jobs as files for another scheduler (``bench plan``).

        Args:
            folder: Folder that workers see; it gets ``plan.json`` and a file for each job.
            reuse: See `plan`.

        Raises:
            UsageError: The request cannot be carried out.
            SetupError: A folder cannot be written.
        """
        from bench.execution.elsewhere import write_plan

        return write_plan(self.prepare(reuse), self.workspace, self.setup(), Path(folder))

    def tune(
        self,
        trials: int,
        *,
        what: Literal["downstream", "pretrain", "both"] = "downstream",
        baseline: bool = False,
        timeout: float | None = None,
        jobs: int | None = None,
        progress: bool = True,
    ) -> Tuned:
        """Search hyperparameters by validation score (``bench tune``).

        Call it again to continue.

        Args:
            trials: Trials of each method in all, earlier ones included.
            what: ``downstream``, ``pretrain`` or ``both``.
            baseline: Tune scratch of each architecture too.
            timeout: Seconds after which no further trial is started.
            jobs: Jobs of a trial at a time.
            progress: Print progress as the command line does.

        Returns:
            The best trial of each method, with the request that uses its values.

        Raises:
            UsageError: The study is not of one protocol, data set and seed, or nothing of it can be tuned.
            Interrupted: It was stopped; every finished trial is stored.
        """
        search = self.search(trials, what=what, baseline=baseline)
        if progress:
            from bench.screen import ProgressView
            from bench.texts import screen

            console = screen()
            with ProgressView(console) as view:
                found = search.run(
                    view, lambda line: console.print(line, highlight=False, markup=False), timeout=timeout, jobs=jobs
                )
        else:
            found = search.run(lambda job, event: None, lambda line: None, timeout=timeout, jobs=jobs)
        if found.interrupted:
            raise Interrupted("stopped; every finished trial is stored: call tune() again to continue")
        return found

    def search(
        self, trials: int, *, what: Literal["downstream", "pretrain", "both"] = "downstream", baseline: bool = False
    ) -> Search:
        """Plan the searches of `tune` without running them.

        Args:
            trials: As in `tune`; so are the other arguments.
            what: ``downstream``, ``pretrain`` or ``both``.
            baseline: Tune scratch of each architecture too.

        Raises:
            UsageError: The study is not of one protocol, data set and seed, or nothing of it can be tuned.
            SetupError: The results folder cannot be written.
        """
        from bench.tuning.spaces import validated_what

        searched = validated_what(what)
        if trials < 1:
            raise UsageError(f"trials {trials}: expected at least 1")
        request = self.request.model_copy(update={"plugins": tuple(map(str, self.plugins))})
        self.workspace.prepare()
        from bench.tuning.problems import make_problems

        problems, left_out = make_problems(request, searched, self.workspace, baseline=baseline)
        return Search(self, trials, tuple(problems), tuple(left_out))

    def results(self, plan: Plan | None = None) -> Results:
        """Return the stored runs of this study."""
        plan = self.plan().plan if plan is None else plan
        return Results(self.workspace, self.store_url, frozenset(run.key for run in plan.runs))

    def save(self, path: PathLike) -> Path:
        """Write the request as YAML for ``bench run --config``."""
        plugins = tuple(str(path) for path in self.plugins)
        write_request(self.request.model_copy(update={"plugins": plugins}), Path(path))
        return Path(path)

    def __repr__(self) -> str:
        """Name what is requested."""
        fields = ", ".join(
            f"{name}={value!r}" for name, value in self.request.model_dump(exclude_defaults=True).items()
        )
        return f"Study({fields})"


@dataclass(frozen=True)
class Tuned:
    """Result of `Study.tune`.

    Attributes:
        found: One per search: ``value`` (validation score), ``values`` (as overrides), ``config`` (a request).
        left_out: Why methods were left out.
        failed: Searches that cannot go on, with the reason.
        interrupted: Whether it was stopped before all trials were made.
    """

    found: tuple[Found, ...]
    left_out: tuple[str, ...]
    failed: tuple[str, ...]
    interrupted: bool = False


@dataclass(frozen=True)
class Search:
    """Planned searches of a study.

    Attributes:
        study: The study.
        trials: Trials of each search in all.
        problems: One per method: what is varied, and what is noted.
        left_out: Why methods are left out.
    """

    study: Study
    trials: int
    problems: tuple[Problem, ...]
    left_out: tuple[str, ...]

    def run(
        self, listener: Listener, say: Callable[[str], None], *, timeout: float | None = None, jobs: int | None = None
    ) -> Tuned:
        """Run the missing trials.

        A listener is told of every event, and `say` of every trial.

        Args:
            listener: Told of the events of jobs.
            say: Told of each trial in a line.
            timeout: Seconds after which no further trial is started.
            jobs: Jobs of a trial at a time.
        """
        from bench.tuning.engine import Searcher

        study = self.study
        searcher = Searcher(study.workspace, study.setup(jobs), listener, say)
        failed: Sequence[str] = ()
        interrupted = False
        try:
            failed = searcher.search(list(self.problems), self.trials, timeout)
        except (Interrupted, KeyboardInterrupt):
            interrupted = True
        return Tuned(tuple(map(searcher.conclude, self.problems)), self.left_out, tuple(failed), interrupted)


@dataclass(frozen=True)
class StudyPlan:
    """Planned jobs and runs of a study.

    Attributes:
        plan: Jobs and runs.
        workspace: Results folder, whose earlier runs say how long jobs take and how much seeds vary.
        store_url: Database URL, or None.
        effects: Effects that each table of an ablation tests; None of a study that compares methods.
    """

    plan: Plan
    workspace: Workspace
    store_url: str | None = None
    effects: int | None = None

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """Return one row per job to do.

        ``job``, ``what``, ``needs``, ``seconds`` (estimated).
        """
        from bench.api.frames import ShortFrame

        rows = [
            {"job": job.id, "what": job.title, "needs": " ".join(job.needs), "seconds": self._seconds[job.id]}
            for job in self.plan.jobs
        ]
        return ShortFrame.of(rows, ("what", "seconds"), ("job", "what", "needs", "seconds"))

    @cached_property
    def runs(self) -> pd.DataFrame:
        """Return one row per run.

        Its labels, ``key`` and whether it is ``stored``.
        """
        from bench.api.frames import ShortFrame

        rows = [{**run.label, "key": run.key, "stored": run.key in self.plan.reused} for run in self.plan.runs]
        return ShortFrame.of(rows, ("key", "method", "protocol", "setting", "dataset", "seed", "stored"))

    @property
    def axes(self) -> list[str]:
        """Return the swept options, one line each, and the size of their grid."""
        axes = self.plan.axes
        if not axes:
            return []
        lines = [f"sweep {axis}" for axis in axes]
        points = len(self.plan.points)
        sizes = " x ".join(str(len(axis.values)) for axis in axes)
        return [*lines, f"grid: {sizes} = {points} settings"] if len(axes) > 1 else lines

    @property
    def skipped(self) -> list[str]:
        """Return combinations that do not apply, with reasons."""
        from bench.plan.skips import skip_lines

        names = {run.spec.encoder.method for run in self.plan.runs}
        return skip_lines(self.plan.skipped, {name for name in names if METHODS.load(name).has_encoder})

    @property
    def summary(self) -> str:
        """Return a line that counts stored and missing runs."""
        runs, reused = len(self.plan.runs), len(self.plan.reused)
        older = sum(self.plan.reused.values())
        jobs = len(self.plan.jobs)
        work = f"{runs - reused} to do in {jobs} job{'s' * (jobs != 1)}"
        text = f"{runs} run{'s' * (runs != 1)}: {reused} stored already, {work}"
        return f"{text} ({older} made by older code)" if older else text

    @cached_property
    def sensitivity(self) -> str:
        """Return a line on the differences that the seeds can show.

        With the variation of stored runs of the same protocol and preset, else an assumed one; empty where the plan
        compares nothing.
        """
        from bench.report.sensitivity import planned_line, sensitivities
        from bench.reporting import compared_results

        wanted = {name: sorted({run.label[name] for run in self.plan.runs}) for name in ("preset", "protocol")}

        def read() -> list[Sensitivity]:
            if not self.workspace.results.is_dir():
                return []
            try:
                return sensitivities(compared_results(self.workspace, self.store_url, wanted))
            except UsageError:  # no such run is stored
                return []

        missing = {run.spec.seed for run in self.plan.runs if run.key not in self.plan.reused}
        seconds = sum(self._seconds.values()) / len(missing) if missing else None
        return planned_line(self.plan.runs, read, seconds, self.effects)

    @cached_property
    def _seconds(self) -> dict[str, float]:
        from bench.plan.estimate import Estimator

        estimator = Estimator(self.workspace)
        return {job.id: estimator.seconds(job) for job in self.plan.jobs}

    def __str__(self) -> str:
        """Return the plan in lines.

        What is swept and stored, each job with its estimated time, notes, and what is skipped.
        """
        from bench.plan.estimate import duration

        lines = [f"  {job.title}  ~{duration(self._seconds[job.id])}" for job in self.plan.jobs]
        total = [f"  {duration(sum(self._seconds.values()))} one after another"] if lines else []
        total += [self.sensitivity] if self.sensitivity else []
        notes = [f"note: {note}" for note in self.plan.notes]
        skipped = [f"skipped: {line}" for line in self.skipped]
        return "\n".join([*self.axes, self.summary, *lines, *total, *notes, *skipped])


def _check_reuse(reuse: str) -> None:
    if reuse not in get_args(Reuse):
        raise unknown_name("reuse", reuse, get_args(Reuse))
