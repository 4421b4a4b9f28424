"""Stored runs of a results folder: tables, comparisons, reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from bench.api.common import Names, PathLike, existing, fraction_of_points, listed, looking, registered
from bench.errors import UsageError, unknown_name
from bench.paths import Workspace
from bench.registry import METHODS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd
    from pydantic import JsonValue

    from bench.analysis.analyse import Analyst
    from bench.comparing.differences import Differences
    from bench.comparing.pairs import Compared
    from bench.execution.engines import Listener
    from bench.models.encoder import Encoder
    from bench.plan.encoders import StoredEncoder
    from bench.progress import Progress
    from bench.protocols.cards import ProtocolCard
    from bench.report.document import Document
    from bench.report.forms import FigureWidth, Format
    from bench.report.model import ReportModel
    from bench.report.sensitivity import Question, Sensitivity
    from bench.rerun import Rerun
    from bench.sharing.bundling import Bundled
    from bench.sharing.rescoring import Rescored
    from bench.sharing.tracking import Tracked, Tracker
    from bench.store.maintenance import RebuildReport, StoreStatus
    from bench.store.queries import MetricRow
    from bench.store.records import RunRecord
    from bench.store.store import Store

Average = Literal["probabilities", "logits", "votes"]
"""Ways to average the runs of an ensemble."""


class Labels(TypedDict, total=False):
    """Labels that select stored runs: one value or several."""

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


class Results:
    """Stored runs of a results folder; reading changes nothing.

    Attributes:
        workspace: Results folder.
        store_url: Database URL, or None.
        keys: The runs this is about; None for all.
        verify: Whether to ignore the index and verify every run folder.
    """

    def __init__(
        self,
        workspace: Workspace,
        store_url: str | None = None,
        keys: frozenset[str] | None = None,
        *,
        verify: bool = False,
    ) -> None:
        self.workspace = workspace
        self.store_url = store_url
        self.keys = keys
        self.verify = verify

    def where(self, fields: Mapping[str, Names]) -> Results:
        """Return the runs whose specification has these values.

        Untrained networks and teachers alone are not asked for fields of an encoder that they lack.

        Args:
            fields: Values of fields of the specification, as ``bench why`` prints them; ``absent`` for none.

        Raises:
            UsageError: No run has such a field, such a value, or all of them together.
        """
        from bench.reporting import keys_where

        if not fields:
            return self
        wanted = {name: listed(values) or () for name, values in fields.items()}
        return Results(self.workspace, self.store_url, keys_where(self._store(), self.keys, wanted), verify=self.verify)

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
        from bench.api.frames import ShortFrame
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
        shown = ("key", "method", "protocol", "setting", "dataset", "seed", "score", "metric", "preset", "split_seed")
        return ShortFrame.of(rows, shown)

    def metrics(self, **labels: Unpack[Labels]) -> pd.DataFrame:
        """Return every stored number with its provenance.

        Split, selection, variant, fold, epoch, votes and number of objects.

        Trials of searches are left out: their test scores must not influence any choice.

        Raises:
            UsageError: No run has such a label.
        """
        from bench.api.frames import ShortFrame
        from bench.store.queries import narrow

        rows = (asdict(row) for row in narrow(self._metric_rows(), _wanted(labels)))
        return ShortFrame.of(
            rows, ("method", "seed", "setting", "split", "variant", "name", "value", "protocol", "fold")
        )

    def failures(self) -> pd.DataFrame:
        """Return failed runs that were not repeated since.

        Columns are their labels, ``key`` and ``error``.
        """
        from bench.api.frames import ShortFrame
        from bench.store.queries import LABELS, failed_rows

        rows = failed_rows(self._store(), keys=self.keys, unresolved=True)
        table = [
            {"key": row.stored.key, **{name: getattr(row, name) for name in LABELS}, "error": row.error} for row in rows
        ]
        return ShortFrame.of(table, ("key", "method", "seed", "error"), ["key", *LABELS, "error"])

    def record(self, key: str) -> RunRecord:
        """Return everything stored about a run, checksums verified.

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
        """Return a run's predictions by object.

        ``ids``, ``labels``, ``predicted``, and ``logits`` where it has them.

        Raises:
            UsageError: No run fits, or several do.
        """
        return self.record(key).predictions

    def cells(self) -> pd.DataFrame:
        """Return one row per cell, as in the report's ``results.csv``.

        Among its columns: ``mean``, ``low``, ``high`` (fractions, 95 % Student-t over seeds), ``n_seeds``, and against
        scratch ``paired_difference``, ``paired_low``, ``paired_high``, ``p``, ``p_holm``, ``verdict``.
        """
        from bench.api.frames import ShortFrame
        from bench.report.records import COLUMNS, cell_rows

        shown = ("method", "protocol", "setting", "dataset", "metric", "mean", "low", "high", "n_seeds", "verdict")
        return ShortFrame.of(
            [dict(zip(COLUMNS, row, strict=True)) for row in cell_rows(self._model)], shown, list(COLUMNS)
        )

    def compare(
        self,
        first: str,
        second: str | None = None,
        *,
        ensemble: Average | None = None,
        margin: float | None = None,
        where: Mapping[str, Names] | None = None,
        **labels: Unpack[Labels],
    ) -> Comparison:
        """Compare two methods or runs object by object.

        Nothing is run.

        Args:
            first: ``METHOD``, ``METHOD,FIELD=VALUE``, or a run's key.
            second: The same; None with `ensemble` to see the first alone.
            ensemble: Join the seeds of each side, averaging this.
            margin: Also test whether the two differ by less than this many points; it takes five paired seeds.
            where: Values of further fields of the specification that both must have, as ``bench why`` prints them.
            **labels: Only runs with these labels.

        Raises:
            NotComparableError: What was found lacks answers by object, or was judged in different ways.
            UsageError: Nothing stored fits.
        """
        from bench.comparing.groups import Shelf
        from bench.comparing.pairs import Comparer

        common = {name: list(values) for name, values in _wanted(labels).items()}
        common |= {name: list(listed(values) or ()) for name, values in (where or {}).items()}
        least = None if margin is None else fraction_of_points("margin", margin)
        shelf = Shelf(self._store(), common)
        return Comparison(Comparer(looking(self.workspace), shelf, ensemble, least).compare(first, second))

    def power(
        self, effect: float = 1.0, *, target: float = 80.0, seeds: int | None = None, **labels: Unpack[Labels]
    ) -> Power:
        """Return the seeds that a difference needs, table by table.

        From the variation of stored paired differences; nothing is run.

        Args:
            effect: Difference to show, in points of accuracy.
            target: Chance of showing it, in percent.
            seeds: Planned seeds; those that are stored by default.
            **labels: Only runs with these labels; scratch stays beside chosen methods.

        Raises:
            UsageError: No run has such a label, no comparison varies over seeds, or a value is out of range.
        """
        from bench.report.sensitivity import Question, sensitivities
        from bench.reporting import compared_results
        from bench.stats.power import MOST_SEEDS

        if not 50 <= target < 100:
            raise UsageError(f"power {target:g}: expected percent from 50 to below 100, e.g. 80")
        if seeds is not None and not 2 <= seeds <= MOST_SEEDS:
            raise UsageError(f"seeds {seeds}: expected 2 to {MOST_SEEDS}")
        asked = Question(fraction_of_points("effect", effect), target / 100, seeds)
        model = compared_results(self.workspace, self.store_url, _wanted(labels), keys=self.keys, verify=self.verify)
        found = sensitivities(model)
        if not found:
            raise UsageError(
                "no stored comparison varies over seeds: store two seeds or more of a method and of scratch "
                "(bench run --seeds 3), not at smoke; bench run --dry-run says what planned seeds can show"
            )
        return Power(tuple(found), asked)

    def why(self, first: str, second: str) -> Differences:
        """Return the fields and modules that make runs differ.

        Printed, it is one line each.

        Raises:
            UsageError: A key fits no run, or several.
        """
        from bench.comparing.differences import differences

        return differences(self.workspace, self.store_url, first, second, verify=self.verify)

    def report(
        self,
        out: PathLike = "reports",
        *,
        file: Format | None = None,
        figures: FigureWidth | None = None,
        title: str = "",
        also: PathLike | Sequence[PathLike] = (),
        where: Mapping[str, Names] | None = None,
        group_by: str = "",
        published: bool = False,
        **labels: Unpack[Labels],
    ) -> Path:
        """Write ``index.html``, ``results.csv``, ``results.md`` and ``report.json``.

        Args:
            out: Folder for the files.
            file: Write this file only: ``latex`` (tables for a paper), ``latex-report``, ``html``, ``csv``,
                ``markdown`` or ``json``.
            figures: Also write all figures as PDF, SVG and PNG to ``figures/``: ``column`` (85 mm wide) or ``page``
                (175 mm).
            title: Title of the files.
            also: Further results folders; a run that two of them have counts once.
            where: Values of further fields of the specification, as ``bench why`` prints them.
            group_by: Field whose values have tables of their own.
            published: Set published figures beside the runs.
            **labels: Only runs with these labels.

        Returns:
            The page, which needs no other file; or the file of the form asked for.

        Raises:
            UsageError: No run fits, or two folders have other numbers of one run.
            SetupError: The folder cannot be written.
        """
        from bench.report.forms import ALWAYS, NAMES, WIDTHS
        from bench.reporting import write_report

        if file is not None and file not in NAMES:
            raise unknown_name("format of a report", file, NAMES)
        if figures is not None and figures not in WIDTHS:
            raise unknown_name("width of figures", figures, WIDTHS)
        folders = [also] if isinstance(also, str | Path) else also
        made = write_report(
            [self.workspace, *map(existing, folders)],
            self.store_url,
            Path(out),
            keys=self.keys,
            labels=_wanted(labels),
            where={name: listed(values) or () for name, values in (where or {}).items()},
            verify=self.verify,
            forms=ALWAYS if file is None else (file,),
            title=title,
            group_by=group_by,
            figures=figures,
            published=published,
        )
        return made.file(file or "html")

    def bundle(self, out: PathLike, *, force: bool = False, **labels: Unpack[Labels]) -> Bundled:
        """Write runs with predictions and report into one file.

        The same runs give the same bytes; ``bench bundle verify`` recomputes its numbers.

        Args:
            out: The file, which appears whole or not at all.
            force: Replace an existing file.
            **labels: Only runs with these labels.

        Raises:
            UsageError: The file exists, or no run fits.
            SetupError: A run folder is damaged, or the file cannot be written.
        """
        from bench.sharing.bundling import create

        wanted = _wanted(labels)
        return create(
            self.workspace,
            self.store_url,
            Path(out),
            keys=self.keys,
            labels=wanted,
            verify=self.verify,
            force=force,
        )

    def to_mlflow(
        self,
        tracking_uri: str | None = None,
        *,
        experiment: str | None = None,
        progress: Progress | None = None,
        **labels: Unpack[Labels],
    ) -> Tracked:
        """Copy runs to MLflow, each once (``bench track mlflow``).

        Args:
            tracking_uri: A server (``http://HOST:PORT``) or a database file (``sqlite:////FOLDER/mlflow.db``);
                ``MLFLOW_TRACKING_URI`` by default.
            experiment: Experiment of all runs; one per data set by default.
            progress: Told of runs done.
            **labels: Only runs with these labels.

        Raises:
            UsageError: No run fits, or there is no such address.
            SetupError: MLflow is not installed, or the server does not answer.
        """
        from bench.sharing.to_mlflow import ToMlflow

        return self._track(ToMlflow(tracking_uri), experiment, progress, labels)

    def to_wandb(
        self,
        project: str | None = None,
        *,
        mode: Literal["online", "offline"] = "online",
        entity: str | None = None,
        out: PathLike = ".",
        progress: Progress | None = None,
        **labels: Unpack[Labels],
    ) -> Tracked:
        """Copy runs to Weights & Biases, each once (``bench track wandb``).

        Args:
            project: Project of all runs; one per data set by default.
            mode: ``offline`` writes folders that ``wandb sync`` uploads.
            entity: User or team.
            out: Folder whose subfolder ``wandb`` takes offline runs.
            progress: Told of runs done.
            **labels: Only runs with these labels.

        Raises:
            UsageError: No run fits, nobody is logged in, or no project may have the name.
            SetupError: wandb is not installed, the server does not answer, or the folder cannot be written.
        """
        from bench.sharing.to_wandb import MODES, ToWandb

        if mode not in MODES:
            raise unknown_name("mode", mode, MODES)
        return self._track(ToWandb(mode, Path(out), entity), project, progress, labels)

    def tables(self, width: int = 120) -> str:
        """Return the tables and sentences that ``bench report`` prints."""
        import io

        from rich.console import Console

        from bench.report import contents
        from bench.report.terminal import render_terminal

        text = io.StringIO()
        render_terminal(contents.report(self._model), Console(file=text, width=width))
        return text.getvalue()

    def rerun(
        self,
        key: str,
        *,
        datasets: Sequence[str] = (),
        plugins: Sequence[PathLike] = (),
        listener: Listener = lambda job, event: None,
    ) -> Rerun:
        """Repeat a stored run and compare; both attempts stay.

        Args:
            key: Beginning of its key.
            datasets: Folders of data sets that were moved, ``NAME:DIR``.
            plugins: Plugin files, if they moved.
            listener: Told of the events of jobs.

        Raises:
            UsageError: No run fits, or it cannot be done here.
        """
        record = self.record(key)
        from bench.execution.engines import EngineSetup
        from bench.rerun import load_plugins_of, rerun

        self.workspace.prepare()
        files = load_plugins_of(record, [Path(path).resolve() for path in plugins])
        setup = EngineSetup(workers=1, store_url=self.store_url, plugins=files)
        return rerun(self.workspace, setup, record, list(datasets), listener)

    def encoders(self) -> pd.DataFrame:
        """Return a table of the folder's encoders.

        ``name``, ``key``, ``method``, ``trained_on``, ``seed``, ``created``.
        """
        from bench.api.frames import ShortFrame

        columns = ("name", "key", "method", "trained_on", "seed", "created", "folder")
        rows = [
            (one.name, one.key, one.spec.method, one.trained_on, one.spec.seed, one.created_at, str(one.folder))
            for one in self.stored_encoders()
        ]
        shown = ("key", "method", "trained_on", "seed", "created")
        return ShortFrame.of([dict(zip(columns, row, strict=True)) for row in rows], shown, columns)

    def stored_encoders(self) -> list[StoredEncoder]:
        """Return the folder's encoders with their specifications."""
        from bench.plan.encoders import stored_encoders

        return stored_encoders(self.workspace.results, digests=self.verify)

    def split_digests(self, card: ProtocolCard) -> dict[str, str]:
        """Return digests of the splits drawn for a card.

        By data set, setting and split seed.
        """
        from bench.store.queries import run_rows

        wanted = {"name": card.name, "revision": card.revision, "form": card.form, "options": card.options}
        found = {}
        store = self._store()
        for row in run_rows(store, keys=self.keys):
            if (row.protocol, row.form) != (card.name, card.form):
                continue
            judged = store.load(row.stored).spec.get("protocol")
            if isinstance(judged, dict) and {name: judged.get(name) for name in wanted} == wanted:
                split = f", split seed {row.split_seed}" if row.split_seed else ""
                found[f"{row.dataset}, {row.setting}{split}"] = str(row.provenance.get("split_digest", ""))
        return dict(sorted(found.items()))

    def analyse(
        self, encoders: Names = (), methods: Names = (), *, seed: int | None = None, out: PathLike = "reports/analyses"
    ) -> Analyst:
        """Analyse stored encoders (``bench analyse``).

        Call ``.losses()``, ``.embedding(...)`` and so on on what is returned.

        Args:
            encoders: Names, or beginnings of keys.
            methods: Every stored encoder of these.
            seed: Of those, the ones of this seed.
            out: Folder for pictures, tables and summaries.

        Raises:
            UsageError: No such encoder or method.
        """
        from bench.plan.encoders import find_encoder

        subjects = listed(encoders) or (), listed(methods) or ()
        for name in subjects[0]:
            find_encoder(self.workspace.results, name)
        for name in subjects[1]:
            METHODS.entry(name)
        from bench.analysis.analyse import Analyst
        from bench.analysis.sources import Subjects

        return Analyst(looking(self.workspace), Subjects(*subjects, seed), Path(out))

    def rebuild_index(self) -> RebuildReport:
        """Recreate the index from run folders (``bench db rebuild``).

        Damaged folders are set aside and named.

        Raises:
            SetupError: It cannot be written.
        """
        from bench.store.maintenance import rebuild

        return rebuild(self.workspace.results, self.store_url)

    def rescore(self, *, dry_run: bool = False, **labels: Unpack[Labels]) -> Rescored:
        """Score stored predictions with today's metric code (``bench db rescore``).

        Runs whose numbers change get a new folder, which names the old values; the old folders are kept.

        Args:
            dry_run: Change nothing; only say what would change.
            **labels: Only runs with these labels.

        Raises:
            UsageError: No run has such a label.
            SetupError: The folder cannot be written.
        """
        from bench.sharing.rescoring import rescore

        return rescore(self.workspace, self.store_url, _wanted(labels), keys=self.keys, dry_run=dry_run)

    def index_status(self) -> StoreStatus:
        """Return counts, sizes and agreement with folders (``bench db status``).

        Says whether the index agrees with the run folders.
        """
        from bench.store.maintenance import status

        return status(self.workspace.results, self.store_url)

    def encoder(self, name: str) -> Encoder:
        """Load an encoder of the folder (see `bench.encoder`)."""
        from bench.analysis.sources import Sources, Subjects

        sources = Sources(self.workspace, Subjects(encoders=(name,)))
        return sources.encoder(sources.chosen(several=False)[0])

    def __repr__(self) -> str:
        """Name the folder and its runs."""
        about = "all runs" if self.keys is None else f"{len(self.keys)} runs"
        return f"Results({str(self.workspace.results)!r}, {about})"

    def _track(self, tracker: Tracker, project: str | None, progress: Progress | None, labels: Labels) -> Tracked:
        from bench.progress import silent
        from bench.sharing.tracking import track

        return track(
            self.workspace,
            self.store_url,
            tracker,
            keys=self.keys,
            labels=_wanted(labels),
            verify=self.verify,
            project=project,
            progress=progress or silent,
        )

    def _store(self) -> Store:
        from bench.store.store import Store

        return Store.open_readonly(self.workspace.results, self.store_url, keys=self.keys, verify=self.verify)

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
class Power:
    """Seeds that a difference needs, table by table.

    Printed, it says what ``bench power`` says.

    Attributes:
        found: Families of comparisons whose variation is stored.
        asked: Difference, power and seeds that are asked about.
    """

    found: tuple[Sensitivity, ...]
    asked: Question

    @property
    def answers(self) -> list[dict[str, JsonValue]]:
        """Return one mapping per family, as ``bench power --json``."""
        from bench.report.sensitivity import answers

        return [answers(one, self.asked) for one in self.found]

    @property
    def table(self) -> pd.DataFrame:
        """Return `answers` as a table; differences are fractions."""
        from bench.api.frames import ShortFrame

        shown = ("protocol", "dataset", "against", "seeds", "deviation", "smallest_difference", "seeds_needed")
        return ShortFrame.of(self.answers, shown)

    @property
    def document(self) -> Document:
        """Return the document that ``bench power`` prints."""
        from bench.report.sensitivity import document

        return document(self.found, self.asked)

    def __str__(self) -> str:
        """Return what ``bench power`` prints."""
        import io

        from rich.console import Console

        from bench.report.terminal import render_terminal

        text = io.StringIO()
        render_terminal(self.document, Console(file=text, width=120))
        return text.getvalue().rstrip()


@dataclass(frozen=True)
class Comparison:
    """Two methods compared object by object.

    Printed, it says what ``bench compare`` says.

    Attributes:
        found: Every pair, what was left out, and stored numbers that do not follow from the stored answers.
    """

    found: Compared

    @property
    def objects(self) -> pd.DataFrame:
        """Return one row per object and setting.

        Its label, and what each side's runs answered.
        """
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

        from bench.report.object_pairs import document
        from bench.report.terminal import render_terminal

        text = io.StringIO()
        render_terminal(document(self.found.pairs, classes), Console(file=text, width=width))
        lines = [f"left out {line}" for line in self.found.left_out]
        lines += [f"cannot be reproduced {line}" for line in self.found.wrong]
        return "\n".join([text.getvalue().rstrip(), *lines])

    def __str__(self) -> str:
        """Return `text` at its defaults."""
        return self.text()


def load(
    results: PathLike | None = None,
    *,
    store_url: str | None = None,
    verify: bool = False,
    plugins: Sequence[PathLike] = (),
) -> Results:
    """Open a results folder for reading.

    Args:
        results: Results folder; ``BENCH_RESULTS`` or ``./results`` by default.
        store_url: Database URL instead of the SQLite file in it.
        verify: Believe nothing of the index: read every run folder and check every checksum.
        plugins: Plugin files that runs or encoders need.

    Raises:
        UsageError: There is no such folder.
        SetupError: A file is in its way.
    """
    place = existing(results)
    registered(*plugins)
    return Results(place, store_url, verify=verify)


def encoder(name: str, results: PathLike | None = None) -> Encoder:
    """Load a stored encoder, on CPU, in evaluation mode.

    ``encoder(points)`` takes clouds ``[B, N, 3]`` (float32, in the unit sphere as protocols give them) and returns
    patch tokens, centres and global features; ``encoder.feature(encoder(points))`` is what probes are trained on.

    Args:
        name: Name it was imported under, or the beginning of its key (`Results.encoders` lists them).
        results: Results folder.

    Raises:
        UsageError: None fits, several do, or its weights do not fit the present code.
    """
    return load(results).encoder(name)


def _wanted(labels: Labels) -> dict[str, tuple[str, ...]]:
    """Return the accepted values of labels as texts."""
    found = {}
    for name, value in labels.items():
        several = isinstance(value, Sequence) and not isinstance(value, str)
        found[name] = tuple(map(str, value)) if several else (str(value),)  # type: ignore[call-overload]
    return found


def _is_headline(row: MetricRow) -> bool:
    return row.headline and row.split == "test" and row.selection == "val" and row.fold is None
