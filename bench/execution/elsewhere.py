"""Jobs for other schedulers: write a plan's jobs as files, and do one of them anywhere.

``docs/other-schedulers.md`` describes the files. A worker writes sealed run folders and opens no index unless it is
given a database by URL, because SQLite does not work over network file systems.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from bench.environment import job_path
from bench.errors import UsageError
from bench.execution.engines import EngineSetup, Listener, Outcome, Task, resources_of, run_tasks, tasks_of
from bench.execution.jobfile import VERSION, read_job
from bench.fingerprint import Fingerprint, fingerprint
from bench.paths import Workspace
from bench.plan.code import encoder_fingerprint, run_fingerprint
from bench.plan.encoders import encoder_key
from bench.plan.estimate import Estimator
from bench.plan.graph import Job, JobKind, Plan
from bench.plugins import load_entry_points, load_plugin_file
from bench.registry import TEACHERS
from bench.store.artifacts import ArtifactStore
from bench.store.failures import file_failure
from bench.store.publish import write_whole

PLAN_FILE = "plan.json"


class Needed(BaseModel):
    """Estimated needs of a job.

    Attributes:
        device: ``cpu`` or ``cuda``.
        gpus: GPUs; 0 on CPUs.
        cores: CPU cores.
        seconds: Time.
        gpu_bytes: Memory of a GPU.
        host_bytes: Main memory.
    """

    model_config = ConfigDict(frozen=True)

    device: Literal["cpu", "cuda"]
    gpus: int
    cores: int
    seconds: float
    gpu_bytes: int
    host_bytes: int


class ListedJob(BaseModel):
    """A job of a written plan.

    Attributes:
        id: Its name; the same job has the same name in every plan.
        kind: ``teacher``, ``encoder`` or ``evaluate``.
        title: What it does, for people.
        needs: Ids of jobs of this plan that must have ended well before it begins.
        wave: Number of the wave it is in; its needs are in earlier ones.
        resources: What it takes.
        file: Its job file, absolute.
        command: Command line that does it.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: JobKind
    title: str
    needs: tuple[str, ...]
    wave: int
    resources: Needed
    file: str
    command: tuple[str, ...]


class WrittenPlan(BaseModel):
    """A plan as other schedulers read it, ``plan.json``.

    Attributes:
        format: Says what the file is.
        version: Version of the format, and of the job files.
        results: Results folder.
        waves: Number of waves; the jobs of one do not need each other.
        jobs: Missing jobs in an order that respects their needs.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["recon-bench plan"] = "recon-bench plan"
    version: int = VERSION
    results: str
    waves: int
    jobs: tuple[ListedJob, ...]


def write_plan(plan: Plan, workspace: Workspace, setup: EngineSetup, folder: Path) -> WrittenPlan:
    """Write a plan's jobs as files.

    A file ``ID.json`` for each, ``wave-N.txt`` with the files of each wave, one a line, and ``plan.json``. Lists of an
    earlier plan are replaced; job files of it stay, for jobs that may still run.

    Args:
        plan: The jobs.
        workspace: Results folder and cache.
        setup: Plugins that workers load.
        folder: Where to write them.

    Raises:
        SetupError: They cannot be written.
    """
    folder = folder.absolute()
    waves: dict[str, int] = {}
    jobs: list[ListedJob] = []
    for task in tasks_of(plan, workspace, setup):
        job, file = task.job, task.write(folder)
        needs = tuple(need for need in job.needs if need in waves)
        waves[job.id] = 1 + max((waves[need] for need in needs), default=-1)
        needed = Needed.model_validate({name: getattr(task.resources, name) for name in Needed.model_fields})
        jobs.append(
            ListedJob(
                id=job.id, kind=job.kind, title=job.title, needs=needs, wave=waves[job.id], resources=needed,
                file=str(file), command=("bench", "worker", str(file)),
            )
        )  # fmt: skip
    written = WrittenPlan(results=str(workspace.results), waves=1 + max(waves.values(), default=-1), jobs=tuple(jobs))
    try:
        for old in folder.glob("wave-*.txt"):
            old.unlink()
    except OSError as error:
        raise file_failure("write", folder, error) from error
    for wave in range(written.waves):
        lines = [f"{job.file}\n" for job in jobs if job.wave == wave]
        write_whole(folder / f"wave-{wave}.txt", "".join(lines), "list of jobs")
    write_whole(folder / PLAN_FILE, written.model_dump_json(indent=1) + "\n", "plan")
    return written


def do_job(path: Path, listener: Listener, *, results: Path | None = None, store_url: str | None = None) -> Outcome:
    """Do the job of a file; what is done already takes a moment.

    A second worker for the same job waits for the first one. One that is stopped leaves a checkpoint, from which the
    next one goes on.

    Args:
        path: The job file.
        listener: Told of every event.
        results: Results folder, where it is not at the place that the file names.
        store_url: Database that indexes the runs; None leaves that to whoever reads the folders.

    Returns:
        What came of it.

    Raises:
        DataError: The file is wrong, or of another version.
        UsageError: The code here is not that of the plan, or a job that this one needs is not done.
        SetupError: The results folder cannot be written, or this machine cannot do it.
    """
    content = read_job(path)
    job = content.job
    if results is None:
        workspace = Workspace(Path(content.results), Path(os.environ.get("BENCH_CACHE") or content.cache))
    else:
        workspace = Workspace.at(results)
    if not workspace.results.is_dir():
        raise UsageError(f"results folder '{workspace.results}' is not here: mount it, or give its place by --results")
    load_entry_points()
    for file in content.plugins:
        load_plugin_file(Path(file))
    _check_machine(job)
    _check_code(job)
    _check_needs(job, workspace)
    workspace.prepare()
    setup = EngineSetup(
        workers=1, store_url=store_url, plugins=tuple(map(Path, content.plugins)), indexes=store_url is not None
    )
    here = content.model_copy(
        update={
            "results": str(workspace.results),
            "cache": str(workspace.cache),
            "path": tuple(job_path()),
            "store_url": store_url,
            "indexes": setup.indexes,
        }
    )
    resources = resources_of(job, Estimator(workspace).seconds(job))
    task = Task(job, resources, workspace.logs / f"{job.id}.log", lambda: here)
    return run_tasks([task], workspace, setup, listener)


def _check_machine(job: Job) -> None:
    """Refuse a job that this machine would compute differently."""
    if job.encoder is None:
        return
    numerics = job.encoder.numerics
    here = ".".join(version("torch").split("+")[0].split(".")[:2])
    if numerics.torch != here:
        raise UsageError(
            f"job {job.id} was planned for torch {numerics.torch}, which is in its key; here is torch {here}"
        )
    if numerics.device == "cuda":
        from bench.training.precision import resolve_device

        resolve_device("cuda")


def _check_code(job: Job) -> None:
    """Refuse a job that was planned with other code.

    Its results would be stored as that code's.
    """
    for planned, here in _codes(job):
        if planned.digest != here.digest:
            names = sorted(
                name
                for name in {*planned.modules, *here.modules}
                if planned.modules.get(name) != here.modules.get(name)
            )
            told = f"{names[0]} differs" if names else "it differs"
            raise UsageError(f"job {job.id} was planned with other code than is here ({told}): write the plan again")


def _codes(job: Job) -> Sequence[tuple[Fingerprint, Fingerprint]]:
    """Return the code a job was planned with, and that here."""
    if job.runs:
        return [(run.fingerprint, run_fingerprint(run.spec)) for run in job.runs]
    if job.teacher is not None:
        return [(job.fingerprint, fingerprint([TEACHERS.entry(job.teacher.name).module]))]
    assert job.encoder is not None
    return [(job.fingerprint, encoder_fingerprint(job.encoder))]


def _check_needs(job: Job, workspace: Workspace) -> None:
    """Refuse a job whose encoder is not there yet.

    A teacher that is missing is fitted by the job itself.
    """
    needed = None
    if job.encoder is not None:
        needed = job.encoder.first_stage if job.kind == "encoder" else job.encoder
    if needed is None or needed.recipe is None:
        return
    key, code = encoder_key(needed), encoder_fingerprint(needed).digest
    if ArtifactStore(workspace.results).find_folder("encoder", key, code) is None:
        made = encoder_key(needed.whole)
        name = next((need for need in job.needs if made[:12] in need), f"encoder {key[:12]}")
        raise UsageError(f"job {job.id} needs job {name}, which is not done in {workspace.results}: do that one first")
