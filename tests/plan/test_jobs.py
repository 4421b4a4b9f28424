"""How runs are cut into jobs, and how long they are said to take."""

from __future__ import annotations

from pathlib import Path

from bench.paths import Workspace
from bench.plan.estimate import Estimator
from bench.plan.graph import Job, Stored, build_plan
from bench.plan.planning import make_plan
from bench.plan.request import RunRequest
from bench.plan.resolve import resolve
from bench.spec import content_key


def evaluations(folder: Path, preset: str) -> list[Job]:
    request = RunRequest(
        methods=("scratch",),
        protocols=("fewshot", "finetune", "linear", "knn"),
        datasets=("shapes-scan",),
        preset=preset,
        overrides={"fewshot.head": "full"},
    )
    return [job for job in make_plan(request, Workspace.at(folder), None).jobs if job.kind == "evaluate"]


def test_runs_that_train_the_encoder_go_side_by_side(tmp_path: Path) -> None:
    """Hours of few-shot fine-tuning would keep one core busy and leave the others idle."""
    jobs = evaluations(tmp_path, "nano")
    sizes = sorted(len(job.runs) for job in jobs)
    assert sizes == [1, 1, 1, 1, 1, 2]  # four settings and a fine-tuning apart, the two frozen heads together
    assert len({job.id for job in jobs}) == len(jobs)
    estimator = Estimator(Workspace.at(tmp_path))
    frozen = min(jobs, key=estimator.seconds)
    assert {run.spec.protocol.name for run in frozen.runs} == {"linear", "knn"}
    longest = max(jobs, key=estimator.seconds)
    assert longest.runs[0].spec.setting == "10w20s"
    (finetune,) = (job for job in jobs if job.runs[0].spec.protocol.name == "finetune")
    assert estimator.seconds(finetune) > 30


def test_smoke_runs_share_a_process(tmp_path: Path) -> None:
    """Starting a process takes longer than the runs."""
    assert len(evaluations(tmp_path, "smoke")) == 1


def test_a_stored_run_with_legacy_is_not_done_again_without(tmp_path: Path) -> None:
    """It holds the same score and more; hours of fine-tuning would be repeated for nothing."""
    request = RunRequest(methods=("scratch",), protocols=("linear",), datasets=("shapes-scan",), preset="smoke")
    resolution = resolve(request, Workspace.at(tmp_path))
    fuller = [
        content_key(spec.model_copy(update={"protocol": spec.protocol.model_copy(update={"legacy": True})}))
        for spec in resolution.runs
    ]
    stored = Stored(run=lambda key, code: key in fuller, encoder=lambda key, code: False, teacher=lambda spec: True)
    plan = build_plan(resolution, stored)
    assert plan.jobs == []
    assert [run.key for run in plan.runs] == fuller == list(plan.reused)
    asked = resolve(request.model_copy(update={"legacy": True}), Workspace.at(tmp_path))
    plain = [content_key(spec) for spec in resolution.runs]
    known = Stored(run=lambda key, code: key in plain, encoder=lambda key, code: False, teacher=lambda spec: True)
    assert len(build_plan(asked, known).jobs) == 1, "a run without --legacy does not hold what is asked for"
