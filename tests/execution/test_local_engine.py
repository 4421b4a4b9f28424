"""Jobs on this machine: what real workers see of its GPUs, and a GPU without memory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import bench
from bench.execution.engines import EngineSetup, Ledger, Task, tasks_of
from bench.execution.events import Event
from bench.execution.local import LocalEngine, LocalOptions
from bench.execution.seats import Gpu, Machine
from bench.paths import Workspace
from bench.plan.graph import Job, Plan
from tests.conftest import environment_of_jobs

PLUGIN = '''
"""A method that finds no memory the first time."""
import time
from pathlib import Path
import torch
from bench.methods.point_mae import PointMAE

class Short(PointMAE):
    """Point-MAE."""
    name = "short-of-memory"

    @classmethod
    def build(cls, backbone, options, given):
        """Fail once, while another job does."""
        place = Path(__file__).parent
        mine = place / f"tried-{torch.initial_seed()}"
        if not mine.exists():
            mine.touch()
            until = time.monotonic() + 60
            while len(list(place.glob("tried-*"))) < 2 and time.monotonic() < until:
                time.sleep(0.05)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().build(backbone, options, given)
'''


def for_gpus(tasks: list[Task]) -> list[Task]:
    """The same jobs, as if a GPU were needed for them; their specs still say that they run on the CPU."""
    return [replace(one, resources=replace(one.resources, device="cuda", gpus=1, gpu_bytes=1)) for one in tasks]


def run(
    plan: Plan, place: Workspace, setup: EngineSetup, options: LocalOptions, *gpus: str
) -> tuple[Ledger, list[str]]:
    """Run a plan on made-up GPUs, with real workers; return its ledger and what it told."""
    told: list[str] = []

    def listen(job: Job, event: Event) -> None:
        if event.kind in ("warning", "failed") or event.stage in ("start", "end"):
            told.append(f"{event.stage or event.kind} {event.note}".rstrip())

    ledger = Ledger(for_gpus(tasks_of(plan, place, setup)), place, setup, listen)
    with environment_of_jobs():
        LocalEngine(ledger, place, setup, options, Machine(tuple(map(Gpu, gpus)), 2)).run()
    return ledger, told


def request(methods: str, data: Path, results: Path, **more: object) -> bench.Study:
    toy = f"modelnet-h5:{data}"
    return bench.study(
        methods, "knn", toy, pretrain_data=toy, preset="smoke", seeds=2, baseline=False, compile="off",
        results=results, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_worker_sees_its_own_gpu_only(tmp_path: Path, toy_modelnet: Path) -> None:
    """Two jobs on one GPU while another is idle would take twice as long, or run out of memory."""
    study = request("point-mae", toy_modelnet, tmp_path / "results")
    plan = study.prepare()
    ledger, _ = run(plan, study.workspace, study.setup(), LocalOptions(), "GPU-1f", "MIG-7a")
    assert ledger.outcome.failed == []
    assert len(ledger.outcome.done) == 2
    seen = {}
    for kind in ("artifacts/encoder", "runs"):
        files = study.workspace.results.glob(f"{kind}/*/*/provenance.json")
        seen[kind] = {json.loads(file.read_text())["environment"]["CUDA_VISIBLE_DEVICES"] for file in files}
    assert seen["artifacts/encoder"] == {"GPU-1f", "MIG-7a"}
    assert seen["runs"] <= {"GPU-1f", "MIG-7a"}


def test_jobs_that_ran_out_of_memory_side_by_side_run_again_alone(tmp_path: Path, toy_modelnet: Path) -> None:
    plugin = tmp_path / "short.py"
    plugin.write_text(PLUGIN)
    study = request("short-of-memory", toy_modelnet, tmp_path / "results", plugins=[plugin])
    plan = study.prepare()
    plan.jobs = [job for job in plan.jobs if job.kind == "encoder"]
    ledger, told = run(plan, study.workspace, study.setup(), LocalOptions(jobs_per_gpu=2), "0")
    assert ledger.outcome.failed == []
    again = "warning GPU 0 had too little memory for it beside other jobs; it runs again alone"
    assert told == ["start", "start", again, "end", again, "end", "start", "end", "start", "end"]
