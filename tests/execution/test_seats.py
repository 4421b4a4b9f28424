"""Which job runs on which GPU, beside which others: decided without a GPU, for machines that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.execution import seats
from bench.execution.engines import EngineSetup, Resources, Task, tasks_of
from bench.execution.local import LocalOptions
from bench.execution.seats import Gpu, Limits, Machine, Seat, in_order, limits, machine_here, seat, visible
from bench.fingerprint import Fingerprint
from bench.paths import Workspace
from bench.plan.graph import Job, Plan
from bench.plan.request import validated

GIB = 1 << 30


def task(name: str, seconds: float = 60, needs: tuple[str, ...] = (), **resources: object) -> Task:
    """A job that trains on one GPU, unless told otherwise."""
    code = Fingerprint(digest=name.ljust(6, "-"), modules={})
    job = Job(kind="encoder", key=name.ljust(12, "-"), fingerprint=code, title=name, needs=needs)
    (made,) = tasks_of(Plan(jobs=[job]), Workspace(Path("r"), Path("c")), EngineSetup())
    own = Resources("cuda", 1, 4, seconds, GIB)
    return Task(job, Resources(**{**vars(own), **resources}), made.log, made._file)  # type: ignore[arg-type]


def frozen(name: str, **resources: object) -> Task:
    return task(name, frozen=True, **resources)


def on_cpu(name: str, **resources: object) -> Task:
    return task(name, **{"device": "cpu", "gpus": 0, "cores": 1, "gpu_bytes": 0, **resources})  # type: ignore[arg-type]


def titles(found: list[Seat]) -> dict[str, str | None]:
    """GPUs of jobs by title."""
    return {one.task.job.title: None if one.gpus is None else ",".join(one.gpus) for one in found}


def box(count: int, free: int | None = None, cores: int = 32) -> Machine:
    return Machine(tuple(Gpu(str(number), free) for number in range(count)), cores)


def seated(machine: Machine, tasks: list[Task], alone: set[str] = frozenset(), **asked: int) -> dict[str, str | None]:  # type: ignore[assignment]
    """Seats of a machine on which nothing runs yet."""
    most = limits(machine, tasks, asked.get("jobs"), asked.get("per_gpu"), asked.get("on_cpus"))
    return titles(seat(machine, most, [], tasks, alone))


def test_every_gpu_trains_one_job_and_frozen_features_are_judged_beside() -> None:
    tasks = [task("a"), frozen("judge"), task("b"), task("c")]
    assert seated(box(2), tasks) == {"a": "0", "judge": "1", "b": "1"}
    assert seated(box(1), tasks) == {"a": "0", "judge": "0"}
    assert seated(box(4), tasks) == {"a": "0", "judge": "1", "b": "2", "c": "3"}
    assert seated(box(2), tasks, jobs=1) == {"a": "0"}


def test_work_for_a_cpu_takes_no_memory_of_a_gpu() -> None:
    assert seated(box(1), [on_cpu("teacher"), task("a")]) == {"teacher": "", "a": "0"}


def test_jobs_share_a_gpu_only_where_the_user_and_its_memory_allow_it() -> None:
    tasks = [task(name, gpu_bytes=3 * GIB) for name in "abcd"]
    assert seated(box(1, 10 * GIB), tasks) == {"a": "0"}
    assert seated(box(1, 10 * GIB), tasks, per_gpu=4) == {"a": "0", "b": "0", "c": "0"}
    assert seated(box(2, 10 * GIB), tasks, per_gpu=2) == {"a": "0", "b": "1", "c": "0", "d": "1"}
    assert seated(box(1), tasks, per_gpu=2) == {"a": "0", "b": "0"}  # its memory is not known
    assert seated(box(1, 10 * GIB), tasks, jobs=2) == {"a": "0", "b": "0"}  # --jobs asks for as many
    assert seated(box(1, 2 * GIB), tasks, per_gpu=4) == {"a": "0"}  # an estimate keeps no job from an empty GPU


def test_a_job_that_ran_out_of_memory_gets_a_gpu_to_itself() -> None:
    tasks = [task("a"), task("b"), frozen("judge")]
    assert seated(box(1), tasks, {tasks[0].job.id}, per_gpu=4) == {"a": "0"}
    running = [Seat(tasks[1], ("0",))]
    most = Limits(9, 4, 4)
    assert seat(box(1), most, running, [tasks[0]], {tasks[0].job.id}) == []
    assert seat(box(1), most, [Seat(tasks[0], ("0",))], tasks[1:], {tasks[0].job.id}) == []


def test_a_job_for_several_gpus_is_not_starved_by_small_ones() -> None:
    large, small = task("large", gpus=2), [task("a"), task("b")]
    assert seated(box(3), [large, *small]) == {"large": "0,1", "a": "2"}
    running = [Seat(small[0], ("0",))]
    assert seat(box(2), Limits(9, 1, 4), running, [large, small[1]], ()) == []
    assert titles(seat(box(2), Limits(9, 1, 4), running, [large, frozen("judge")], ())) == {"judge": "1"}


def test_the_longest_chain_comes_first_and_one_at_a_time_keeps_the_order() -> None:
    """Else the longest pretraining would run on alone at the end, with every other GPU idle."""
    short, judged = task("short", 10), task("judged", 20)
    first = task("first", 15)
    last = task("last", 50, needs=(first.job.id,))
    tasks = [short, judged, first, last]
    assert [one.job.title for one in in_order(tasks, 2)] == ["first", "last", "judged", "short"]
    assert in_order(tasks, 1) == tasks


@pytest.mark.parametrize(
    ("cores", "threads", "asked", "expected"),
    [(2, 1, None, 2), (64, 1, None, 4), (8, 4, None, 2), (2, 4, None, 1), (2, 1, 6, 6), (64, 1, 1, 1)],
)
def test_without_a_gpu_there_is_a_job_per_core(cores: int, threads: int, asked: int | None, expected: int) -> None:
    machine = Machine((), cores)
    tasks = [on_cpu(str(number), cores=threads) for number in range(9)]
    most = limits(machine, tasks, asked, None, None)
    found = seat(machine, most, [], tasks, ())
    assert (most.jobs, len(found)) == (expected, expected)
    assert {one.gpus for one in found} == {None}


@pytest.mark.parametrize(
    ("told", "count", "names"),
    [
        (None, 2, ["0", "1"]),
        ("", 0, []),
        ("3,1", 2, ["3", "1"]),
        ("GPU-8932f937-d72c, GPU-1,", 2, ["GPU-8932f937-d72c", "GPU-1"]),
        ("MIG-GPU-1/3/0", 1, ["MIG-GPU-1/3/0"]),
        ("0,-1,2", 1, ["0"]),
    ],
)
def test_gpus_are_named_as_the_allocation_names_them(told: str | None, count: int, names: list[str]) -> None:
    assert visible(told, count) == names


def test_what_a_user_cannot_have_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task("a", gpus=2)]
    with pytest.raises(UsageError, match="gpus: '7' is not one of the visible GPUs: there are none"):
        machine_here(tasks, ("7",))
    monkeypatch.setattr(seats, "visible", lambda told, count: ["0"])
    with pytest.raises(UsageError, match="a job needs 2 GPUs, and 1 may be used here: 0"):
        machine_here(tasks, None)
    for wrong in ({"jobs_per_gpu": 0}, {"jobs_on_cpus": "many"}, {"gpu": 1}):
        with pytest.raises(UsageError):
            validated(LocalOptions, wrong, "engine.yaml")
    assert validated(LocalOptions, {"gpus": [0, "MIG-1"]}, "engine.yaml").gpus == ("0", "MIG-1")
    assert validated(LocalOptions, {"gpus": "0,2"}, "engine.yaml").gpus == ("0", "2")
