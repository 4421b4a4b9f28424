"""Studies, results and encoders as Python objects: what the command line does, for notebooks and scripts.

`import bench` is enough; what a notebook needs is listed in `docs/api.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from bench.errors import Interrupted, UsageError, unknown_name
from bench.paths import Workspace
from bench.plan.graph import Plan, Reuse
from bench.plan.request import RunRequest, refuse_infinite, validated, write_request
from bench.registry import METHODS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from pydantic import JsonValue

    from bench.analysis.analyse import Analyst
    from bench.comparing.pairs import Compared
    from bench.data.base import Dataset
    from bench.execution.local import Listener, Outcome
    from bench.models.encoder import Encoder
    from bench.report.model import ReportModel
    from bench.rerun import Rerun
    from bench.store.maintenance import RebuildReport, StoreStatus
    from bench.store.queries import MetricRow
    from bench.store.records import RunRecord
    from bench.store.store import Store
    from bench.tuning.engine import Found

Names = str | Sequence[str]
"""One name or several."""
Seeds = int | str | Sequence[int]
"""A count (5: seeds 0 to 4), a list as on the command line (``"0,4,7"``), or the seeds themselves."""
PathLike = str | Path


class StudyOptions(TypedDict, total=False):
    """Further fields of a request, as `bench.plan.request.RunRequest` describes them."""

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
    form: Literal["fair", "published"]
    legacy: bool
    baseline: bool
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "fp32", "bf16"]
    compile: Literal["auto", "on", "off"]
    threads: int
    overrides: Mapping[str, JsonValue]


class Labels(TypedDict, total=False):
    """Labels by which stored runs are chosen: one value, or several of which one must fit."""

    method: Names
    architecture: Names
    protocol: Names
    form: Names
    setting: Names
    dataset: Names
    pretrain_data: Names
    preset: Names
    seed: int | Sequence[int]
    split_seed: int | Sequence[int]


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

    What is left out is as in ``bench run``: ReCon and scratch, few-shot, on the embedded set, at ``nano``, one seed.

    Args:
        methods: What is pretrained; ``"all"`` for every method.
        protocols: How it is judged.
        dataset: What it is judged on: ``NAME[:ROOT]``.
        seeds: Seeds of pretraining.
        preset: ``smoke``, ``nano``, ``tiny``, ``small`` or ``base``.
        results: Results folder; ``BENCH_RESULTS`` or ``./results`` by default.
        store_url: Database URL instead of the SQLite file in the results folder.
        plugins: Plugin files that runs need.
        **more: Other fields of the request; ``overrides={"recipe.lr": 1e-3}`` is ``--set recipe.lr=0.001``.

    Raises:
        UsageError: A name or a value is wrong; the line says which.
    """
    given = {
        "methods": _listed(methods),
        "protocols": _listed(protocols),
        "datasets": _listed(dataset),
        "seeds": seeds,
        "preset": preset,
        **more,
    }
    for name in ("encoders", "settings"):
        if name in given:
            given[name] = _listed(given[name])  # type: ignore[arg-type]
    return Study.of({name: value for name, value in given.items() if value is not None}, results, store_url, plugins)


class Study:
    """A request that expands to runs: methods x protocols x data sets x seeds.

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
        """Build a study from the fields of a request, such as a YAML file holds.

        Raises:
            UsageError: A field is unknown, or its value cannot be taken.
        """
        refuse_infinite(dict(fields), "study")
        request: RunRequest = validated(RunRequest, dict(fields), "study")
        files = [Path(plugin) for plugin in (*_loaded, *request.plugins, *plugins)]
        return cls(request, workspace_at(results), store_url, registered(*files))

    def plan(self, reuse: Reuse = "exact") -> StudyPlan:
        """Say what would run and what is stored already; nothing is changed but the cache of data.

        Args:
            reuse: Which stored results count: ``exact`` (made by the present code) or ``same-spec``.

        Raises:
            UsageError: The request cannot be carried out; the line says why.
        """
        from bench.plan.planning import make_plan

        place = looking(self.workspace)
        return StudyPlan(make_plan(self.request, place, self.store_url, reuse, readonly=True), place)

    def run(self, *, jobs: int | None = None, reuse: Reuse = "exact", progress: bool = True) -> Results:
        """Pretrain and evaluate what is not stored yet; every job has a process of its own.

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
        """Make the results folder ready and plan what is missing in it.

        Raises:
            UsageError: The request cannot be carried out.
            SetupError: The results folder cannot be written.
        """
        from bench.plan.planning import make_plan

        self.workspace.prepare()
        return make_plan(self.request, self.workspace, self.store_url, reuse)

    def execute(self, plan: Plan, listener: Listener, *, jobs: int | None = None) -> Outcome:
        """Run the jobs of a plan, telling a listener of every event."""
        from bench.execution.local import LocalPool, PoolOptions

        options = PoolOptions(workers=jobs, store_url=self.store_url, plugins=self.plugins)
        return LocalPool(self.workspace, options, listener).run(plan)

    def tune(
        self,
        trials: int,
        *,
        what: Literal["downstream", "pretrain", "both"] = "downstream",
        baseline: bool = False,
        timeout: float | None = None,
        jobs: int | None = None,
    ) -> Tuned:
        """Search learning rates and the like by validation score (``bench tune``); call again to continue.

        Args:
            trials: Trials of each method in all, earlier ones included.
            what: ``downstream``, ``pretrain`` or ``both``.
            baseline: Tune scratch of each architecture too.
            timeout: Seconds after which no further trial is started.
            jobs: Jobs of a trial at a time.

        Returns:
            The best trial of each method, with the request that uses its values.

        Raises:
            UsageError: The study is not of one protocol, data set and seed, or nothing of it can be tuned.
            Interrupted: It was stopped; every finished trial is stored.
        """
        from bench.tuning.spaces import validated_what

        searched = validated_what(what)
        if trials < 1:
            raise UsageError(f"trials {trials}: expected at least 1")
        request = self.request.model_copy(update={"plugins": tuple(map(str, self.plugins))})
        request.check_names()
        self.workspace.prepare()
        from bench.execution.local import PoolOptions
        from bench.tuning.engine import Searcher
        from bench.tuning.problems import make_problems

        problems, left_out = make_problems(request, searched, self.workspace, baseline=baseline)
        options = PoolOptions(workers=jobs, store_url=self.store_url, plugins=self.plugins)
        searcher = Searcher(self.workspace, options, lambda job, event: None, lambda line: None)
        failed = searcher.search(problems, trials, timeout)
        return Tuned(tuple(map(searcher.conclude, problems)), tuple(left_out), tuple(failed))

    def results(self, plan: Plan | None = None) -> Results:
        """Return the runs of this study that are stored."""
        plan = self.plan().plan if plan is None else plan
        return Results(self.workspace, self.store_url, frozenset(run.key for run in plan.runs))

    def save(self, path: PathLike) -> Path:
        """Write the request as YAML for ``bench run --config``."""
        plugins = tuple(str(path) for path in self.plugins)
        write_request(self.request.model_copy(update={"plugins": plugins}), Path(path))
        return Path(path)

    def __repr__(self) -> str:
        """Name what is asked for."""
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
    """

    found: tuple[Found, ...]
    left_out: tuple[str, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class StudyPlan:
    """Jobs and runs of a study that has not run yet.

    Attributes:
        plan: Jobs and runs.
        workspace: Results folder, whose earlier runs say how long jobs take.
    """

    plan: Plan
    workspace: Workspace

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """One row per job to do: ``job``, ``what``, ``needs``, ``seconds`` (estimated)."""
        import pandas as pd

        rows = [(job.id, job.title, " ".join(job.needs), self._seconds[job.id]) for job in self.plan.jobs]
        return pd.DataFrame(rows, columns=["job", "what", "needs", "seconds"])

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run: its labels, ``key`` and whether it is ``stored``."""
        import pandas as pd

        rows = [{**run.label, "key": run.key, "stored": run.key in self.plan.reused} for run in self.plan.runs]
        return pd.DataFrame(rows)

    @property
    def skipped(self) -> list[str]:
        """Combinations that do not apply, with the reason, one line each."""
        from bench.plan.skips import skip_lines

        names = {run.spec.encoder.method for run in self.plan.runs}
        return skip_lines(self.plan.skipped, {name for name in names if METHODS.load(name).has_encoder})

    @property
    def summary(self) -> str:
        """Say in a line how many runs there are, are stored, and are to do."""
        runs, reused = len(self.plan.runs), len(self.plan.reused)
        older = sum(self.plan.reused.values())
        text = f"{runs} runs: {reused} stored already, {runs - reused} to do in {len(self.plan.jobs)} jobs"
        return f"{text} ({older} made by older code)" if older else text

    @cached_property
    def _seconds(self) -> dict[str, float]:
        from bench.plan.estimate import Estimator

        estimator = Estimator(self.workspace)
        return {job.id: estimator.seconds(job) for job in self.plan.jobs}

    def __str__(self) -> str:
        """Return the plan in lines: what is stored, each job with its estimated time, notes and what is skipped."""
        from bench.plan.estimate import duration

        lines = [f"  {job.title}  ~{duration(self._seconds[job.id])}" for job in self.plan.jobs]
        total = [f"  {duration(sum(self._seconds.values()))} one after another"] if lines else []
        notes = [f"note: {note}" for note in self.plan.notes]
        return "\n".join([self.summary, *lines, *total, *notes, *(f"skipped: {line}" for line in self.skipped)])


class Results:
    """Stored runs of a results folder; reading never changes it.

    Attributes:
        workspace: Results folder.
        store_url: Database URL, or None.
        keys: The runs this is about; None for all.
    """

    def __init__(self, workspace: Workspace, store_url: str | None = None, keys: frozenset[str] | None = None) -> None:
        self.workspace = workspace
        self.store_url = store_url
        self.keys = keys

    def runs(self, **labels: Unpack[Labels]) -> pd.DataFrame:
        """Return finished runs, oldest first.

        Args:
            **labels: Only runs with these labels, e.g. ``method="recon", seed=[0, 1]``.

        Returns:
            One row per run: ``key``, ``code``, its labels, ``score`` (the headline test score that validation chose,
            a fraction for accuracies; None where several folds have no mean), ``metric``, ``created``, ``folder``,
            and every figure of its cost (``pretrain_seconds`` ...).

        Raises:
            UsageError: No run has such a label.
        """
        import pandas as pd

        from bench.store.queries import LABELS, narrow, run_rows

        chosen = narrow(run_rows(self._store(), keys=self.keys), _wanted(labels))
        # A run's main metric is stored first.
        scores = {(row.run_key, row.fingerprint): row for row in reversed(self._metric_rows()) if _is_headline(row)}
        rows = []
        for row in chosen:
            score = scores.get((row.stored.key, row.stored.fingerprint))
            rows.append(
                {
                    "key": row.stored.key,
                    "code": row.stored.fingerprint,
                    **{name: getattr(row, name) for name in LABELS},
                    "metric": None if score is None else score.name,
                    "score": None if score is None else score.value,
                    "created": row.stored.created_at,
                    "folder": str(row.stored.folder),
                    **row.cost,
                }
            )
        return pd.DataFrame(rows)

    def metrics(self, **labels: Unpack[Labels]) -> pd.DataFrame:
        """Return every stored number with its path: split, selection, variant, fold, epoch, votes, objects.

        Trials of searches are left out: their test scores may not be looked at.

        Raises:
            UsageError: No run has such a label.
        """
        import pandas as pd

        from bench.store.queries import narrow

        return pd.DataFrame([asdict(row) for row in narrow(self._metric_rows(), _wanted(labels))])

    def failures(self) -> pd.DataFrame:
        """Return runs that failed or diverged and were not done since: their labels, ``key`` and ``error``."""
        import pandas as pd

        from bench.store.queries import LABELS, failed_rows

        rows = failed_rows(self._store(), keys=self.keys, unresolved=True)
        columns = ["key", *LABELS, "error"]
        table = [(row.stored.key, *(getattr(row, name) for name in LABELS), row.error) for row in rows]
        return pd.DataFrame(table, columns=columns)

    def record(self, key: str) -> RunRecord:
        """Return everything stored about one run, every checksum verified.

        Args:
            key: Beginning of its key, optionally ``@`` and the beginning of its code fingerprint.

        Raises:
            UsageError: No run fits, or several do.
        """
        from bench.comparing.differences import find_run
        from bench.store.queries import run_rows

        store = self._store()
        return store.load(find_run([row.stored for row in run_rows(store, every_fingerprint=True)], key))

    def predictions(self, key: str) -> dict[str, npt.NDArray[np.generic]]:
        """Return a run's answers by object: ``ids``, ``labels``, ``predicted``, ``logits`` where it has them.

        Raises:
            UsageError: No run fits, or several do.
        """
        return self.record(key).predictions

    def cells(self) -> pd.DataFrame:
        """Return one row per cell, as in ``results.csv`` of the report.

        Among its columns: ``mean``, ``low``, ``high`` (fractions, 95 % Student-t over seeds), ``n_seeds``, and against
        scratch ``paired_difference``, ``paired_low``, ``paired_high``, ``p``, ``p_holm``, ``verdict``.
        """
        import pandas as pd

        from bench.report.text import CSV_COLUMNS, cell_records

        return pd.DataFrame(cell_records(self._model), columns=list(CSV_COLUMNS))

    def compare(
        self,
        first: str,
        second: str | None = None,
        *,
        ensemble: Literal["probabilities", "logits", "votes"] | None = None,
        where: Mapping[str, str] | None = None,
        **labels: Unpack[Labels],
    ) -> Comparison:
        """Compare two methods, or two runs, object by object; nothing is run.

        Args:
            first: ``METHOD``, ``METHOD,FIELD=VALUE``, or a run's key.
            second: The same; None with `ensemble` to see the first alone.
            ensemble: Join the seeds of each side, averaging this.
            where: Further fields of the specification that both must have, as ``bench why`` prints them.
            **labels: Only runs with these labels.

        Raises:
            UsageError: Nothing stored fits, or the two were judged differently.
        """
        from bench.comparing.groups import Shelf
        from bench.comparing.pairs import Comparer

        common = {name: list(values) for name, values in _wanted(labels).items()}
        common |= {name: [value] for name, value in (where or {}).items()}
        shelf = Shelf(self._store(), common)
        return Comparison(Comparer(self.workspace, shelf, ensemble).compare(first, second))

    def why(self, first: str, second: str) -> list[str]:
        """Say which fields and modules make two runs differ, one line each.

        Raises:
            UsageError: A key fits no run, or several.
        """
        from bench.comparing.differences import differences

        return differences(self.workspace, self.store_url, first, second).lines()

    def report(self, out: PathLike = "reports") -> Path:
        """Write ``index.html``, ``results.csv`` and ``results.md``.

        Returns:
            The page, which needs no other file.

        Raises:
            SetupError: The folder cannot be written.
        """
        from bench.reporting import write_report

        return write_report(self.workspace, self.store_url, Path(out), keys=self.keys)

    def tables(self, width: int = 120) -> str:
        """Return the tables and sentences that ``bench report`` prints."""
        import io

        from rich.console import Console

        from bench.report.summary import summarise_report
        from bench.report.terminal import print_report

        text = io.StringIO()
        print_report(self._model, tuple(summarise_report(self._model)), Console(file=text, width=width))
        return text.getvalue()

    def rerun(self, key: str, *, datasets: Sequence[str] = (), plugins: Sequence[PathLike] = ()) -> Rerun:
        """Do a stored run again from nothing and compare; both attempts stay.

        Args:
            key: Beginning of its key.
            datasets: Where data sets lie now, ``NAME:DIR``, if not where they lay.
            plugins: Plugin files, if they moved.

        Raises:
            UsageError: No run fits, or it cannot be done here.
        """
        from bench.execution.local import PoolOptions
        from bench.rerun import load_plugins_of, rerun, stored_run

        record = stored_run(self.workspace, self.store_url, key)
        files = load_plugins_of(record, [Path(path).resolve() for path in plugins])
        options = PoolOptions(workers=1, store_url=self.store_url, plugins=files)
        return rerun(self.workspace, options, record, list(datasets), lambda job, event: None)

    def encoders(self) -> pd.DataFrame:
        """Return the encoders of the folder: ``name``, ``key``, ``method``, ``trained_on``, ``seed``, ``created``."""
        import pandas as pd

        from bench.plan.encoders import stored_encoders

        rows = [
            (one.name, one.key, one.spec.method, one.trained_on, one.spec.seed, one.created_at, str(one.folder))
            for one in stored_encoders(self.workspace.results)
        ]
        return pd.DataFrame(rows, columns=["name", "key", "method", "trained_on", "seed", "created", "folder"])

    def analyse(
        self, encoders: Names = (), methods: Names = (), *, seed: int | None = None, out: PathLike = "reports/analyses"
    ) -> Analyst:
        """Look into stored encoders (``bench analyse``): ``.losses()``, ``.embedding(...)`` ... of what is returned.

        Args:
            encoders: Names, or beginnings of keys.
            methods: Every stored encoder of these.
            seed: Of those, the ones of this seed.
            out: Folder for pictures, tables and summaries.

        Raises:
            UsageError: No such encoder or method.
        """
        from bench.plan.encoders import find_encoder

        subjects = _listed(encoders) or (), _listed(methods) or ()
        for name in subjects[0]:
            find_encoder(self.workspace.results, name)
        for name in subjects[1]:
            METHODS.entry(name)
        from bench.analysis.analyse import Analyst
        from bench.analysis.sources import Subjects

        return Analyst(looking(self.workspace), Subjects(*subjects, seed), Path(out))

    def rebuild_index(self) -> RebuildReport:
        """Recreate the index from the run folders (``bench db rebuild``); damaged folders are set aside and named.

        Raises:
            SetupError: It cannot be written.
        """
        from bench.store.maintenance import rebuild

        return rebuild(self.workspace.results, self.store_url)

    def index_status(self) -> StoreStatus:
        """Return counts, sizes, and whether the index agrees with the run folders (``bench db status``)."""
        from bench.store.maintenance import status

        return status(self.workspace.results, self.store_url)

    def encoder(self, name: str) -> Encoder:
        """Load an encoder of the folder (see `bench.encoder`)."""
        from bench.analysis.sources import Sources, Subjects

        sources = Sources(self.workspace, Subjects(encoders=(name,)))
        return sources.encoder(sources.chosen(several=False)[0])

    def __repr__(self) -> str:
        """Say what it is about."""
        about = "all runs" if self.keys is None else f"{len(self.keys)} runs"
        return f"Results({str(self.workspace.results)!r}, {about})"

    def _store(self) -> Store:
        from bench.store.store import Store

        return Store.open_readonly(self.workspace.results, self.store_url, keys=self.keys)

    def _metric_rows(self) -> list[MetricRow]:
        from bench.store.queries import metric_rows, run_rows

        store = self._store()
        trials = {row.stored.key for row in run_rows(store, keys=self.keys) if row.trial}
        return [row for row in metric_rows(store, keys=self.keys) if row.run_key not in trials]

    @property
    def _model(self) -> ReportModel:
        from bench.reporting import read_model

        return read_model(self.workspace, self.store_url, self.keys)


@dataclass(frozen=True)
class Comparison:
    """Two methods compared object by object; printed, it says what ``bench compare`` says.

    Attributes:
        found: Every pair, what was left out, and stored numbers that do not follow from the stored answers.
    """

    found: Compared

    @property
    def objects(self) -> pd.DataFrame:
        """One row per object and setting: its label and what each side's runs answered."""
        import io

        import pandas as pd

        from bench.report.object_pairs import pairs_as_csv

        return pd.read_csv(io.StringIO(pairs_as_csv(self.found.pairs)))

    def text(self, width: int = 120, classes: int = 5) -> str:
        """Return the comparison in words and tables.

        Args:
            width: Characters of a line.
            classes: Classes that differ most to show.
        """
        import io

        from rich.console import Console

        from bench.report.object_pairs import print_pairs

        text = io.StringIO()
        print_pairs(self.found.pairs, classes, Console(file=text, width=width))
        lines = [f"left out {line}" for line in self.found.left_out]
        lines += [f"cannot be reproduced {line}" for line in self.found.wrong]
        return "\n".join([text.getvalue().rstrip(), *lines])

    def __str__(self) -> str:
        """Return `text` at its defaults."""
        return self.text()


def load(results: PathLike | None = None, *, store_url: str | None = None) -> Results:
    """Open a results folder for reading.

    Args:
        results: Results folder; ``BENCH_RESULTS`` or ``./results`` by default.
        store_url: Database URL instead of the SQLite file in it.

    Raises:
        UsageError: There is no such folder.
        SetupError: A file is in its way.
    """
    place = workspace_at(results)
    if not place.results.is_dir():
        place.refuse_file()
        raise UsageError(f"no results folder at {place.results}; bench.study(...).run() makes one")
    registered()
    return Results(place, store_url)


def encoder(name: str, results: PathLike | None = None) -> Encoder:
    """Load a stored encoder, on the CPU, in evaluation mode.

    ``encoder(points)`` takes clouds ``[B, N, 3]`` (float32, in the unit sphere as protocols give them) and returns
    patch tokens, centres and global features; ``encoder.feature(encoder(points))`` is what probes are trained on.

    Args:
        name: Name it was imported under, or the beginning of its key (`Results.encoders` lists them).
        results: Results folder.

    Raises:
        UsageError: None fits, several do, or its weights do not fit the present code.
    """
    return load(results).encoder(name)


def dataset(name: str, *, results: PathLike | None = None, preset: str = "nano", **options: JsonValue) -> Dataset:
    """Open a data set: ``bench.dataset("shapes-scan-novel").load("test").points`` is ``[n, N, 3]``.

    Args:
        name: ``NAME[:ROOT]``, or a name given with ``bench data add``.
        results: Results folder, whose cache holds what is made or converted.
        preset: Gives embedded sets their size.
        **options: Options of the data set.

    Raises:
        UsageError: The name or an option is wrong.
        DataError: Its files are missing or broken.
    """
    from bench.plan.located import locate, open_dataset
    from bench.plan.overrides import Overrides
    from bench.plan.presets import preset as find_preset

    registered()
    place = looking(workspace_at(results))
    overrides = Overrides({f"data.{key}": value for key, value in options.items()}, frozenset({"data"}))
    located = locate(name, "data", find_preset(preset), overrides, place)
    overrides.check_all_taken()
    return open_dataset(located, place)


def available(kind: Literal["methods", "protocols", "datasets", "teachers"]) -> pd.DataFrame:
    """Return what can be named: ``name``, ``what``, ``needs``, ``source``, ``unusable`` (why not here, or None).

    Raises:
        UsageError: There is no such kind.
    """
    import pandas as pd

    from bench.registry import REGISTRIES

    registered()
    if kind not in REGISTRIES:
        raise unknown_name("kind", kind, REGISTRIES)
    rows = [(one.name, one.summary, one.needs, one.source, one.unusable()) for one in REGISTRIES[kind]]
    return pd.DataFrame(rows, columns=["name", "what", "needs", "source", "unusable"])


_loaded: dict[Path, None] = {}
"""Plugin files of this process, in the order of their registration: jobs of its studies load them too."""


def load_plugins(*files: PathLike) -> tuple[Path, ...]:
    """Register plugin files in this process and in the jobs of every study that is made afterwards.

    Returns:
        The files, absolute.

    Raises:
        UsageError: A file is missing, cannot be imported, or takes a name that is taken.
    """
    paths = registered(*files)
    _loaded.update(dict.fromkeys(paths))
    return paths


def registered(*files: PathLike) -> tuple[Path, ...]:
    """Register installed plugins and the given plugin files; loading one twice does nothing.

    Returns:
        The files, absolute.

    Raises:
        UsageError: A file is missing, cannot be imported, or takes a name that is taken.
    """
    from bench.plugins import load_entry_points, load_plugin_file

    load_entry_points()
    paths = tuple(dict.fromkeys(Path(file).resolve() for file in files))
    for path in paths:
        load_plugin_file(path)
    return paths


def workspace_at(results: PathLike | None) -> Workspace:
    """Return the results folder meant, or the default one."""
    return Workspace.at(None if results is None else Path(results))


def looking(place: Workspace) -> Workspace:
    """Return a workspace in which nothing is written but the cache, and that only where it may be."""
    from bench.store.scratch import lent_cache

    place.refuse_file()
    return replace(place, cache=lent_cache(place.cache))


def _listed(names: Names | None) -> tuple[str, ...] | None:
    return None if names is None else (names,) if isinstance(names, str) else tuple(names)


def _wanted(labels: Labels) -> dict[str, tuple[str, ...]]:
    """Return the accepted values of every label as texts."""
    found = {}
    for name, value in labels.items():
        several = isinstance(value, Sequence) and not isinstance(value, str)
        found[name] = tuple(map(str, value)) if several else (str(value),)  # type: ignore[call-overload]
    return found


def _is_headline(row: MetricRow) -> bool:
    return row.headline and row.split == "test" and row.selection == "val" and row.fold is None


__all__ = [
    "Comparison",
    "Results",
    "Study",
    "StudyPlan",
    "Tuned",
    "available",
    "dataset",
    "encoder",
    "load",
    "load_plugins",
    "study",
]
