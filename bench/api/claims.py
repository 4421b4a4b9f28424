"""Claims of papers, and of users, judged by stored runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.common import DeviceName, Names, PathLike, existing, listed, registered, workspace_at
from bench.errors import BenchError, Interrupted, UsageError
from bench.paths import Workspace
from bench.plan.presets import preset as preset_of
from bench.published.claimfile import OPPONENTS, Claim, find_claims

if TYPE_CHECKING:
    import pandas as pd

    from bench.api.study import Study, StudyPlan
    from bench.execution.engines import Listener
    from bench.published.verdicts import Judged


@dataclass(frozen=True)
class ClaimCost:
    """Work that a claim's missing runs need.

    Attributes:
        claim: The claim.
        runs: Runs of the claim.
        stored: Those of them that are stored.
        jobs: Jobs to do, each once: by id, the estimated seconds.
        problem: Why it cannot be planned here; empty if it can.
        complete: Whether a verdict needs no further run.
    """

    claim: Claim
    runs: int = 0
    stored: int = 0
    jobs: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""
    complete: bool = False

    @property
    def seconds(self) -> float:
        """Estimated seconds, one job after another."""
        return sum(self.jobs.values())

    def as_json(self) -> dict[str, Any]:
        """Return the fields of ``bench claims --dry-run --json``."""
        return {
            "claim": self.claim.id,
            "runs": self.runs,
            "stored": self.stored,
            "complete": self.complete,
            "jobs": len(self.jobs),
            "seconds": self.seconds,
            "problem": self.claim.not_testable or self.problem,
        }


class Claims:
    """Claims with the verdicts of a results folder; reading changes nothing.

    Attributes:
        claims: The claims, in order.
        preset: Preset of the verdicts.
    """

    def __init__(
        self,
        claims: Sequence[Claim],
        preset: str,
        workspace: Workspace,
        store_url: str | None,
        plugins: Sequence[Path],
    ) -> None:
        self.claims, self.preset = tuple(claims), preset
        self._place, self._store_url, self._plugins = workspace, store_url, tuple(plugins)

    @cached_property
    def judged(self) -> tuple[Judged, ...]:
        """Verdicts with parts, p values and seeds; Holm's correction runs over these claims."""
        from bench.published.evidence import Evidence
        from bench.published.verdicts import judge
        from bench.report.claims import evidence_of
        from bench.report.model import build_model
        from bench.reporting import deviations_by_key, read_results

        evidence = Evidence(())
        if self._place.results.is_dir():
            numbers, records = read_results(self._place, self._store_url)
            model = build_model(numbers, records, deviations_by_key(records))
            evidence = evidence_of(model, numbers, records, self._labels())
        return tuple(judge(self.claims, evidence, self.preset))

    @property
    def verdicts(self) -> pd.DataFrame:
        """One row per claim.

        ``claim``, ``paper``, ``preset``, ``verdict``, ``seeds``, ``p_holm``, ``seconds``, ``sentence``.
        """
        from bench.api.frames import ShortFrame

        rows = [{name: value for name, value in one.items() if name != "parts"} for one in self.as_json()]
        return ShortFrame.of(rows, ("claim", "paper", "preset", "verdict", "seeds", "p_holm"))

    def text(self, width: int = 120) -> str:
        """Return what ``bench claims`` prints."""
        import io

        from rich.console import Console

        from bench.report.claims import document
        from bench.report.terminal import render_terminal

        text = io.StringIO()
        render_terminal(document(self.judged), Console(file=text, width=width))
        return text.getvalue()

    def __str__(self) -> str:
        """Return `text` at its default width."""
        return self.text()

    def as_json(self) -> list[dict[str, Any]]:
        """Return the fields of ``bench claims --json``."""
        from bench.report.claims import as_json

        return [as_json(one) for one in self.judged]

    def studies(self, claim: Claim, device: DeviceName = "auto") -> list[Study]:
        """Return the studies that make a claim's runs.

        Arms that differ in their method or encoder only share a study.

        Raises:
            UsageError: An arm cannot be requested; the line names the claim.
        """
        from bench.api.study import Study

        if claim.study is None:
            return []
        beside = {one.first for one in claim.contrasts if one.second in OPPONENTS}
        asked: dict[str, dict[str, Any]] = {}
        for name in claim.pretrained:
            fields = self._request(claim, name, device, baseline=name in beside)
            own = {kind: fields.pop(kind) for kind in ("methods", "encoders")}
            known = asked.setdefault(repr(sorted(fields.items())), {**fields, "methods": [], "encoders": []})
            for kind, names in own.items():
                known[kind] += [one for one in names if one not in known[kind]]
        try:
            found = [Study.of(fields, self._place.results, self._store_url, self._plugins) for fields in asked.values()]
        except BenchError as error:
            raise UsageError(f"claim {claim.id}: {error}") from None
        return found

    def cost(self, claim: Claim, device: DeviceName = "auto") -> ClaimCost:
        """Estimate what a claim's missing runs take.

        Args:
            claim: One of the claims.
            device: ``cuda`` estimates a GPU, also on a machine without one.
        """
        from bench.plan.estimate import Estimator

        jobs: dict[str, float] = {}
        runs = stored = 0
        if not self._missing(claim):
            return ClaimCost(claim, complete=True)
        try:
            for study in self.studies(claim):
                planned = self._planned(study)
                estimator = Estimator(self._place, "cuda" if device == "cuda" else None)
                jobs |= {job.id: estimator.seconds(job) for job in planned.plan.jobs}
                runs += len(planned.plan.runs)
                stored += len(planned.plan.reused)
        except BenchError as error:
            return ClaimCost(claim, problem=str(error).removeprefix(f"claim {claim.id}: "))
        return ClaimCost(claim, runs, stored, jobs)

    def run(
        self,
        *,
        device: DeviceName = "auto",
        jobs: int | None = None,
        engine: str = "local",
        engine_config: PathLike | None = None,
        listener: Listener | None = None,
    ) -> list[tuple[str, str, str]]:
        """Run what is missing of every claim; results of older code count as stored.

        Args:
            device: Device of the jobs.
            jobs: Jobs at a time; None for one per core (at most four), or one on a GPU.
            engine: Where they run.
            engine_config: YAML file with options of the engine.
            listener: Told of the events of jobs.

        Returns:
            Jobs that failed: title, error and log.

        Raises:
            UsageError: A claim cannot be carried out.
            SetupError: The results folder cannot be written.
            Interrupted: It was stopped; what was finished is stored.
        """
        failed = []
        missing = [claim for claim in self.claims if self._missing(claim)]
        planned = [study.on(engine, engine_config) for claim in missing for study in self.studies(claim, device)]
        for study in planned:
            self._planned(study)
        for study in planned:
            plan = study.prepare("same-spec")
            if not plan.jobs:
                continue
            outcome = study.execute(plan, listener or (lambda job, event: None), jobs=jobs)
            failed += [(title, error, str(log)) for title, error, log in outcome.failed]
            if outcome.interrupted:
                raise Interrupted("stopped; everything finished is stored: run the same command again to continue")
        self.__dict__.pop("judged", None)
        return failed

    def write_page(self, path: PathLike) -> Path:
        """Write a Markdown page of the claims, with the cost of what is not run.

        Raises:
            UsageError: Its folder is missing.
            SetupError: It cannot be written.
        """
        from bench.report.build import write_text
        from bench.report.claims import page
        from bench.report.markdown import to_markdown

        out = Path(path)
        if not out.absolute().parent.is_dir():
            raise UsageError(f"--page {path}: there is no folder {out.absolute().parent}")
        costs = {}
        for one in self.judged:
            if one.verdict == "not run":
                own, gpu = self.cost(one.claim), self.cost(one.claim, "cuda")
                costs[one.claim.id] = own.problem or (own.seconds, gpu.seconds)
        write_text(out, to_markdown(page(self.judged, costs, self.preset, str(path))))
        return out

    def _missing(self, claim: Claim) -> bool:
        """Whether a verdict needs further runs."""
        judged = {one.claim.id: one for one in self.judged}
        return any(part.missing for part in judged[claim.id].parts)

    def _planned(self, study: Study) -> StudyPlan:
        planned = study.plan("same-spec")
        if planned.axes:
            raise UsageError(f"an arm has one value of every option, and this one sweeps: {planned.axes[0]}")
        if not planned.plan.runs:
            skipped = planned.skipped
            raise UsageError(f"nothing of it applies: {skipped[0]}" if skipped else "nothing of it applies")
        return planned

    def _request(self, claim: Claim, name: str, device: DeviceName, *, baseline: bool) -> dict[str, Any]:
        study, arm = claim.study, claim.arm(name)
        assert study is not None
        more = {
            name: value
            for name, value in {
                "teacher": arm.teacher,
                "text_teacher": arm.text_teacher,
                "pretrain_fractions": None if arm.pretrain_fraction == 1 else (arm.pretrain_fraction,),
                "budget": None if arm.pretrain_fraction == 1 else arm.budget,
            }.items()
            if value is not None
        }
        return {
            "methods": [arm.method] if arm.method else [],
            "encoders": [arm.encoder] if arm.encoder else [],
            "protocols": study.protocols,
            "datasets": study.datasets,
            "settings": study.settings,
            "pretrain_data": study.pretrain_data,
            "form": study.form,
            "preset": arm.preset or self.preset,
            "seeds": tuple(range(study.seeds)),
            "captions": arm.captions,
            "overrides": {**study.overrides, **arm.overrides},
            "baseline": baseline,
            "device": device,
            **more,
        }

    def _labels(self) -> dict[str, str]:
        """Return the labels in tables of the data sets that claims name."""
        from bench.data.local import resolve_dataset_ref
        from bench.registry import DATASETS

        found = {}
        for study in (claim.study for claim in self.claims if claim.study is not None):
            for name in (*study.datasets, study.pretrain_data):
                try:
                    found[name] = resolve_dataset_ref(name, self._place.results, DATASETS.names()).label
                except BenchError:
                    continue
        return found


def claims(
    names: Names = (),
    *,
    preset: str = "nano",
    results: PathLike | None = None,
    store_url: str | None = None,
    plugins: Sequence[PathLike] = (),
    new: bool = False,
) -> Claims:
    """Judge claims by stored runs (``bench claims``); nothing is run.

    Args:
        names: Ids of the package's claims, or files; all of the package by default.
        preset: Preset that the verdicts are about.
        results: Results folder; ``BENCH_RESULTS`` or ``./results`` by default, where it may be missing: then nothing
            was run.
        store_url: Database URL instead of the SQLite file in the results folder.
        plugins: Plugin files that claims need.
        new: Whether the results folder may be missing, too.

    Raises:
        UsageError: There is no such claim, preset or results folder, or a file holds no claim.
    """
    files = registered(*plugins)
    chosen = find_claims(listed(names) or ())
    preset_of(preset)
    place = workspace_at(results) if results is None or new else existing(results)
    place.refuse_file()
    return Claims(chosen, preset, place, store_url, files)


def total_seconds(costs: Iterable[ClaimCost]) -> float:
    """Return the estimated seconds of several claims, shared jobs once."""
    jobs: dict[str, float] = {}
    for cost in costs:
        jobs |= cost.jobs
    return sum(jobs.values())
