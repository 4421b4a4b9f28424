"""Seats of jobs on one machine: which GPU, beside which other jobs.

Nothing here starts a process or looks at a GPU but `machine_here`.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from bench.environment import usable_cores
from bench.errors import UsageError
from bench.execution.engines import Task

VISIBLE = "CUDA_VISIBLE_DEVICES"
_MOST_ON_CPUS = 4
"""Jobs side by side on the CPU unless the user asks for more; each holds its data in memory."""


@dataclass(frozen=True)
class Gpu:
    """A GPU, or a part of one.

    Attributes:
        id: Its entry in ``CUDA_VISIBLE_DEVICES``: a number, a UUID, or a MIG id.
        free: Bytes of free memory; None if not known.
    """

    id: str
    free: int | None = None


@dataclass(frozen=True)
class Machine:
    """GPUs and cores that jobs may use."""

    gpus: tuple[Gpu, ...]
    cores: int


@dataclass(frozen=True)
class Limits:
    """Numbers of jobs at a time.

    Attributes:
        jobs: In all.
        per_gpu: That train networks on one GPU.
        on_cpus: That run on the CPU, or evaluate frozen features.
    """

    jobs: int
    per_gpu: int
    on_cpus: int


@dataclass(frozen=True)
class Seat:
    """Place of a running job.

    Attributes:
        task: The job.
        gpus: Ids of the GPUs it sees; None if nothing is said to it about GPUs.
    """

    task: Task
    gpus: tuple[str, ...] | None

    @property
    def environment(self) -> dict[str, str]:
        """Variables of its worker."""
        return {} if self.gpus is None else {VISIBLE: ",".join(self.gpus)}


def limits(
    machine: Machine, tasks: Sequence[Task], jobs: int | None, per_gpu: int | None, on_cpus: int | None
) -> Limits:
    """Return how many jobs run at a time.

    Args:
        machine: What there is.
        tasks: The jobs.
        jobs: Asked for in all, or None.
        per_gpu: Asked for on a GPU, or None: one, or as many as `jobs` needs.
        on_cpus: Asked for on the CPU, or None: one per so many cores as a job has threads, at most four.
    """
    trained = [task for task in tasks if _trains(machine, task)]
    others = [task for task in tasks if not _trains(machine, task)]
    if per_gpu is None:
        per_gpu = max(math.ceil((jobs or 1) / max(len(machine.gpus), 1)), 1)
    if on_cpus is None:
        threads = max((task.resources.cores for task in others), default=1)
        cores = machine.cores - (len(machine.gpus) if trained else 0)  # a training keeps a core busy with its GPU
        on_cpus = max(min(cores // threads, _MOST_ON_CPUS), 1)
        on_cpus = on_cpus if jobs is None or trained else jobs
    seats = (per_gpu * len(machine.gpus) if trained else 0) + (on_cpus if others else 0)
    return Limits(max(seats, 1) if jobs is None else jobs, per_gpu, on_cpus)


def in_order(tasks: Sequence[Task], most: int) -> list[Task]:
    """Return jobs in the order in which they are tried.

    Where several run at a time, those come first after which the longest chain of jobs follows. Otherwise the plan's
    order stays: the first results come first.
    """
    if most == 1:
        return list(tasks)
    chain: dict[str, float] = {}
    for task in reversed(tasks):  # whatever needs a job comes after it
        chain[task.job.id] = chain.get(task.job.id, 0.0) + task.resources.seconds
        for need in task.job.needs:
            chain[need] = max(chain.get(need, 0.0), chain[task.job.id])
    return sorted(tasks, key=lambda task: -chain[task.job.id])


def seat(
    machine: Machine, limits: Limits, running: Iterable[Seat], ready: Sequence[Task], alone: Collection[str]
) -> list[Seat]:
    """Return seats for jobs that may begin now.

    Args:
        machine: What there is.
        limits: How many jobs run at a time.
        running: Seats that are taken.
        ready: Jobs in the order in which they are tried.
        alone: Ids of jobs that need a GPU to themselves.

    Returns:
        New seats. A job that waits for whole GPUs lets no later training go first.
    """
    taken, found = list(running), list[Seat]()
    room = len(machine.gpus) * limits.per_gpu - sum(_trains(machine, one.task) for one in taken)
    cpus = limits.on_cpus - sum(not _trains(machine, one.task) for one in taken)
    for task in ready:
        if len(taken) >= limits.jobs or (room <= 0 and cpus <= 0):
            break
        trains = _trains(machine, task)
        if (room if trains else cpus) <= 0:
            continue
        gpus: tuple[str, ...] | None = None
        if machine.gpus and task.resources.device == "cpu":
            gpus = ()  # it must take no memory of a GPU
        elif machine.gpus:
            whole = task.job.id in alone or task.resources.gpus > 1
            gpus = _gpus(machine, limits, taken, task, alone, whole=whole)
            if not gpus:
                if trains and whole:
                    room = 0
                continue
        if trains:
            room -= 1
        else:
            cpus -= 1
        found.append(Seat(task, gpus))
        taken.append(found[-1])
    return found


def _gpus(
    machine: Machine, limits: Limits, taken: Sequence[Seat], task: Task, alone: Collection[str], *, whole: bool
) -> tuple[str, ...]:
    """Return the GPUs for a job; none if it must wait."""
    beside: dict[str, list[Task]] = {gpu.id: [] for gpu in machine.gpus}
    for one in taken:
        for name in one.gpus or ():
            beside[name].append(one.task)
    if whole:
        empty = [gpu.id for gpu in machine.gpus if not beside[gpu.id]]
        return tuple(empty[: task.resources.gpus]) if len(empty) >= task.resources.gpus else ()
    trains = _trains(machine, task)
    possible = []
    for gpu in machine.gpus:
        others = beside[gpu.id]
        if any(other.job.id in alone or other.resources.gpus > 1 for other in others):
            continue
        if trains and sum(_trains(machine, other) for other in others) >= limits.per_gpu:
            continue
        needed = sum(one.resources.gpu_bytes for one in (*others, task))
        if not others or gpu.free is None or needed <= gpu.free:
            possible.append(gpu.id)
    trainings = {name: sum(_trains(machine, other) for other in beside[name]) for name in possible}
    return (min(possible, key=lambda name: (trainings[name], len(beside[name]))),) if possible else ()


def _trains(machine: Machine, task: Task) -> bool:
    """Whether a job trains networks on a GPU of this machine."""
    return bool(machine.gpus) and task.resources.gpus > 0 and not task.resources.frozen


def machine_here(tasks: Sequence[Task], only: Sequence[str] | None) -> Machine:
    """Return what jobs may use of this machine.

    Args:
        tasks: The jobs; without one for a GPU, none is looked for.
        only: Ids of the GPUs to use, as in ``CUDA_VISIBLE_DEVICES``; None for all.

    Raises:
        UsageError: One of these is not visible, or a job needs more GPUs.
    """
    most = max((task.resources.gpus for task in tasks), default=0)
    if not most:
        return Machine((), usable_cores())
    import torch

    names = visible(os.environ.get(VISIBLE), torch.cuda.device_count())
    for name in only or ():
        if name not in names:
            raise UsageError(f"gpus: '{name}' is not one of the visible GPUs: {', '.join(names) or 'there are none'}")
    names = [name for name in names if only is None or name in only]
    if names and most > len(names):
        raise UsageError(f"a job needs {most} GPUs, and {len(names)} may be used here: {', '.join(names)}")
    free = _free_memory()
    return Machine(tuple(Gpu(name, free.get(name)) for name in names), usable_cores())


def visible(told: str | None, count: int) -> list[str]:
    """Return the GPUs of a process, by their entries.

    Args:
        told: ``CUDA_VISIBLE_DEVICES``: numbers, UUIDs or MIG ids, as a user or an allocation sets them; None if unset.
        count: Number of GPUs that CUDA finds under it.
    """
    if told is None:
        return [str(number) for number in range(count)]
    return [name.strip() for name in told.split(",")][:count]  # CUDA takes entries up to the first that is wrong


def _free_memory() -> dict[str, int]:
    """Return free bytes by number and by UUID, where told."""
    fields = ("nvidia-smi", "--query-gpu=index,uuid,memory.free", "--format=csv,noheader,nounits")
    try:
        said = subprocess.run(fields, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    found: dict[str, int] = {}
    for line in said.splitlines():
        number, uuid, free = (part.strip() for part in f"{line},,".split(",")[:3])
        if free.isdecimal():
            found |= dict.fromkeys((number, uuid), int(free) << 20)
    return found
