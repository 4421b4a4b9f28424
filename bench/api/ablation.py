"""Ablations: studies of a method's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from bench.api.common import Names, PathLike, existing, listed, looking
from bench.api.study import Seeds, Study, StudyOptions, StudyPlan, request_fields
from bench.errors import Interrupted
from bench.paths import Workspace

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue

    from bench.ablation.stored import StoredAblation
    from bench.ablation.study import Ablation as Planned
    from bench.execution.engines import Listener, Outcome
    from bench.report.ablation import AblationTable
    from bench.report.document import Document

Design = Literal["full", "one-at-a-time", "fractional"]


def ablate(
    method: str,
    axes: Mapping[str, Sequence[JsonValue]] | None = None,
    *,
    design: Design | None = None,
    paper: bool = False,
    protocols: Names | None = None,
    dataset: Names | None = None,
    seeds: Seeds = 3,
    preset: str = "nano",
    results: PathLike | None = None,
    store_url: str | None = None,
    plugins: Sequence[PathLike] = (),
    **more: Unpack[StudyOptions],
) -> Ablation:
    """Describe an ablation (``bench ablate``); nothing runs yet.

    Args:
        method: Method whose options are varied.
        axes: Values by option: ``{"mask_ratio": [0.2, 0.4], "recipe.lr": [1e-3, 5e-4]}``.
        design: ``full`` (default), ``one-at-a-time`` (default with `paper`) or ``fractional``.
        paper: Whether the axes that the method's paper varied are added.
        protocols: Protocols to judge by.
        dataset: Data set to judge on: ``NAME[:ROOT]``.
        seeds: Seeds of pretraining.
        preset: ``smoke``, ``nano``, ``tiny``, ``small`` or ``base``.
        results: Results folder; ``BENCH_RESULTS`` or ``./results`` by default.
        store_url: Database URL instead of the SQLite file in the results folder.
        plugins: Plugin files that runs need.
        **more: Other fields of the request, as in `study`.

    Raises:
        UsageError: A name or a value is wrong, or the design does not fit the axes.
    """
    import json

    texts = [f"{name}={','.join(json.dumps(value) for value in values)}" for name, values in (axes or {}).items()]
    given = request_fields(more, protocols, dataset, seeds=seeds, preset=preset)
    return Ablation.of(
        method, texts, given, design=design, paper=paper, results=results, store_url=store_url, plugins=plugins
    )


@dataclass(frozen=True)
class Ablation:
    """A planned ablation.

    Attributes:
        base: The request that its settings change; it says where results are.
        study: Axes, design and settings.
    """

    base: Study
    study: Planned

    @classmethod
    def of(
        cls,
        method: str,
        axes: Sequence[str],
        fields: Mapping[str, object],
        *,
        design: Design | None = None,
        paper: bool = False,
        results: PathLike | None = None,
        store_url: str | None = None,
        plugins: Sequence[PathLike] = (),
    ) -> Ablation:
        """Plan an ablation from axes as typed and request fields.

        Raises:
            UsageError: A name or a value is wrong, or the design does not fit the axes.
        """
        from bench.ablation.study import make_ablation

        base = Study.of({"methods": (method,), "baseline": False, **fields}, results, store_url, plugins)
        return cls(base, make_ablation(base.request, axes, looking(base.workspace), design, paper=paper))

    def plan(self) -> StudyPlan:
        """Return what would run and what is stored; change nothing."""
        return self._plan(looking(self.base.workspace), readonly=True)

    def prepare(self) -> StudyPlan:
        """Prepare the results folder, plan, and keep the study there.

        Raises:
            SetupError: The results folder cannot be written.
        """
        from bench.ablation.stored import keep

        self.base.workspace.prepare()
        planned = self._plan(self.base.workspace, readonly=False)
        keep(self.base.workspace.results, self.study.stored(planned.plan))
        return planned

    def _plan(self, place: Workspace, *, readonly: bool) -> StudyPlan:
        from bench.plan.planning import plan_runs

        resolution = self.study.resolve(place)
        plan = plan_runs(resolution, place, self.base.store_url, readonly=readonly)
        return StudyPlan(plan, place, self.base.store_url, self.study.stored(plan).effects)

    def plan_facts(self, planned: StudyPlan) -> dict[str, object]:
        """Return a plan as plain values, for JSON."""
        from bench.plan.sweeps import shown

        return {
            "method": self.study.method,
            "design": self.study.design,
            "axes": {axis.path: [shown(value) for value in axis.values] for axis in self.study.axes},
            "base": dict(zip((axis.path for axis in self.study.axes), map(shown, self.study.base), strict=True)),
            "settings": len(self.study.points),
            "runs": len(planned.plan.runs),
            "stored": len(planned.plan.reused),
            "jobs": len(planned.plan.jobs),
            "seconds": float(planned.jobs["seconds"].sum()) if planned.plan.jobs else 0.0,
            "left_out": list(self.study.left_out),
        }

    def execute(self, planned: StudyPlan, listener: Listener, *, jobs: int | None = None) -> Outcome:
        """Run the jobs of a plan; report events to a listener."""
        return self.base.execute(planned.plan, listener, jobs=jobs)

    def run(self, *, jobs: int | None = None, progress: bool = True) -> Ablated:
        """Run what is missing; return effects and the best setting.

        Args:
            jobs: Jobs at a time.
            progress: Print progress as the command line does.

        Raises:
            SetupError: The results folder cannot be written.
            Interrupted: It was stopped (Ctrl-C); what was finished is stored, and `run` goes on from there.
        """
        from bench.screen import ProgressView
        from bench.texts import screen

        planned = self.prepare()
        if progress:
            with ProgressView(screen()) as view:
                outcome = self.execute(planned, view, jobs=jobs)
        else:
            outcome = self.execute(planned, lambda job, event: None, jobs=jobs)
        if outcome.interrupted:
            raise Interrupted("stopped; everything finished is stored: call run() again to continue")
        return self.results()

    def results(self) -> Ablated:
        """Return what is stored of the study.

        Raises:
            UsageError: Nothing is: it was never run.
        """
        from bench.ablation.stored import stored_ablation as read

        place = self.base.workspace
        return Ablated(place, self.base.store_url, (read(place.results, self.study.name),))

    def __str__(self) -> str:
        """Return axes and plan in lines."""
        axes = [f"axis {axis}" for axis in self.study.axes]
        left = [f"left out {line}" for line in self.study.left_out]
        return "\n".join([*axes, f"design {self.study.design}: {len(self.study.points)} settings", *left])


def stored_ablation(
    method: str,
    axes: Names = (),
    design: Design | None = None,
    *,
    results: PathLike | None = None,
    store_url: str | None = None,
    verify: bool = False,
) -> Ablated:
    """Read the stored ablations of a method (``bench ablate --no-run``).

    Args:
        method: The method.
        axes: Only studies of exactly these axes, by option; all by default.
        design: Only studies of this design.
        results: Results folder.
        store_url: Database URL instead of the SQLite file in the results folder.
        verify: Ignore the index and verify every run folder.

    Raises:
        UsageError: There is none.
    """
    from bench.ablation.stored import stored_ablations

    place = existing(results)
    return Ablated(place, store_url, tuple(stored_ablations(place.results, method, listed(axes) or (), design)), verify)


@dataclass(frozen=True)
class Ablated:
    """Effects and best settings of stored ablations.

    Attributes:
        workspace: Results folder.
        store_url: Database URL, or None.
        studies: The studies.
        verify: Whether to ignore the index.
    """

    workspace: Workspace
    store_url: str | None
    studies: tuple[StoredAblation, ...]
    verify: bool = False

    @cached_property
    def _read(self) -> list[tuple[StoredAblation, list[AblationTable], list[str]]]:
        from bench.ablation.tables import read_tables

        return [
            (study, *read_tables(study, self.workspace, self.store_url, verify=self.verify)) for study in self.studies
        ]

    @property
    def tables(self) -> list[AblationTable]:
        """Scores by setting: one table per protocol, data set and setting."""
        return [table for _, tables, _ in self._read for table in tables]

    @cached_property
    def document(self) -> Document:
        """The whole as a document."""
        return self._document(self._read)

    def _document(self, read: Sequence[tuple[StoredAblation, list[AblationTable], list[str]]]) -> Document:
        from bench.report.ablation import document

        notes = [note for _, _, own in read for note in own]
        left = dict.fromkeys(line for study, _, _ in read for line in study.left_out)
        return document([table for _, tables, _ in read for table in tables], notes, tuple(left))

    @property
    def effects(self) -> pd.DataFrame:
        """Return one row per effect: ``difference``, ``low``, ``high`` (fractions), ``p``, ``p_holm``, ``verdict``."""
        from bench.api.frames import ShortFrame

        rows = [
            {
                **_judged(table),
                "effect": " x ".join(one.axes),
                "values": ", ".join(one.values),
                "against": ", ".join(one.reference),
                "difference": one.comparison.difference,
                "low": one.comparison.low,
                "high": one.comparison.high,
                "p": one.comparison.p,
                "p_holm": one.comparison.p_holm,
                "verdict": one.comparison.verdict,
                "seeds": one.comparison.n,
            }
            for table in self.tables
            for one in table.effects
        ]
        return ShortFrame.of(rows, ("effect", "values", "against", "difference", "low", "high", "p_holm", "verdict"))

    @property
    def settings(self) -> pd.DataFrame:
        """Return one row per setting: its values, ``validation`` and ``test`` means, ``seeds``, ``best``."""
        from bench.api.frames import ShortFrame
        from bench.stats.intervals import summarise

        rows = [
            {
                **_judged(table),
                **dict(zip(table.axes, one.values, strict=True)),
                "validation": summarise(one.validation).mean if one.validation else None,
                "test": summarise(one.test).mean if one.test else None,
                "seeds": len({unit.seed for unit in one.test}),
                "best": table.best is not None and table.best.values == one.values,
            }
            for table in self.tables
            for one in table.tried
        ]
        return ShortFrame.of(
            rows, (*dict.fromkeys(axis for table in self.tables for axis in table.axes), "validation", "test", "best")
        )

    @property
    def best(self) -> list[str]:
        """Name the best setting of each table, and how sure it is the best."""
        from bench.report.ablation import best_words

        return [line for table in self.tables for line in best_words(table) or ()]

    def json(self) -> str:
        """Return everything as JSON, with raw numbers (docs/report.md)."""
        from bench.report.data import to_json

        return to_json(self.document)

    def write(self, out: PathLike) -> list[Path]:
        """Write page, tables and figures, one folder per study.

        ``index.html``, ``results.md``, ``report.json``, and each figure as PNG, SVG and PDF.

        Returns:
            The folders.

        Raises:
            SetupError: A file cannot be written.
        """
        from bench.report.data import to_json
        from bench.report.figure_files import write_figures
        from bench.report.html import to_html
        from bench.report.markdown import to_markdown
        from bench.store.publish import write_whole

        folders = []
        for read in self._read:
            document, folder = self._document([read]), Path(out) / read[0].name
            write_whole(folder / "report.json", to_json(document), "the report")
            write_whole(folder / "results.md", to_markdown(document), "the report")
            write_whole(folder / "index.html", to_html(document, ["results.md", "report.json"]), "the report")
            write_figures(document, folder)
            folders.append(folder)
        return folders


def _judged(table: AblationTable) -> dict[str, str]:
    protocol, form, dataset, setting = table.place
    return {
        "method": table.method,
        "protocol": protocol,
        "form": form,
        "dataset": dataset,
        "setting": setting,
        "metric": table.metric,
        "preset": table.preset,
    }
