"""Options of the SLURM engine, as a file for ``--engine-config``."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from bench.plan.graph import JobKind
from bench.spec import Frozen

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\n]+$")]
Flag = str | int | float | bool
"""Value of an option of sbatch; true for an option without a value."""

_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_MEMORY = re.compile(r"[1-9]\d*[KMGT]?")
_OWN = frozenset({
    "array", "dependency", "error", "kill-on-invalid-dep", "open-mode", "output", "requeue", "signal", "job-name",
    "partition", "account", "qos", "time", "mem", "cpus-per-task", "gpus-per-node", "nodes", "ntasks-per-node",
})  # fmt: skip
"""Options of sbatch that the engine sets, or that have a field."""


class Resources(Frozen):
    """Resources of a SLURM job; the cluster decides the rest."""

    partition: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    time: str | int | None = None
    """Limit as sbatch takes it: minutes, ``HH:MM:SS`` or ``D-HH:MM:SS``. A job that reaches it goes on in a new one."""
    memory: str | None = None
    """Per job, e.g. ``8G``."""
    cpus: int | None = Field(None, ge=1, le=4096)
    """Cores per job; the threads of the job's networks by default."""
    gpus: int | None = Field(None, ge=0, le=64)
    """GPUs per job; 1 by default for jobs on a GPU, 0 for others."""
    sbatch: dict[Text, Flag] = Field(default_factory=dict)
    """Further options of sbatch, without the dashes: ``{constraint: a100, exclusive: true}``."""

    @field_validator("time")
    @classmethod
    def _is_time(cls, value: str | int | None) -> str | int | None:
        if value is not None:
            minutes(value)
        return value

    @field_validator("memory")
    @classmethod
    def _is_memory(cls, value: str | None) -> str | None:
        if value is not None and not _MEMORY.fullmatch(value):
            raise ValueError("expected a whole number with K, M, G or T, e.g. 8G")
        return value

    @field_validator("sbatch")
    @classmethod
    def _are_free(cls, value: dict[str, Flag]) -> dict[str, Flag]:
        for name in value:
            plain = name.replace("_", "-")
            if not re.fullmatch(r"[a-z][a-z0-9-]*", plain):
                raise ValueError(f"'{name}' is no long option of sbatch; write it without dashes in front")
            if plain in _OWN:
                raise ValueError(f"'{name}' is set by the engine or by a field of its own")
        return value


class SlurmOptions(Resources):
    """Options of the SLURM engine."""

    jobs: dict[JobKind, Resources] = Field(default_factory=dict)
    """Other resources for one kind of job: ``teacher``, ``encoder`` or ``evaluate``."""
    setup: tuple[Text, ...] = ()
    """Lines of shell before the job, e.g. ``module load cuda``."""
    max_array: int | None = Field(None, ge=1, le=10**7)
    """Most tasks of an array; the cluster's MaxArraySize where that is less."""
    parallel: int | None = Field(None, ge=1, le=10**7)
    """Most tasks of an array that run at a time."""
    bundle: int = Field(8, ge=1, le=1000)
    """Most evaluations that share a SLURM job, one after another; those with a trained head stay alone."""
    requeues: int = Field(20, ge=0, le=1000)
    """Times that a job may reach its time limit and go on."""
    warning: int = Field(120, ge=10, le=3600)
    """Seconds before the time limit at which a job saves its state and is queued again."""
    poll: float = Field(5.0, ge=0.1, le=600)
    """Seconds between two looks at SLURM and at what jobs have told."""

    def resources(self, kind: JobKind) -> Resources:
        """Return the resources of a kind of job."""
        own = self.jobs.get(kind, Resources())
        found = {name: getattr(self, name) for name in Resources.model_fields}
        found |= {name: getattr(own, name) for name in own.model_fields_set}
        return Resources(**found)


def minutes(time: str | int) -> int:
    """Return a time limit in minutes, rounded up.

    Raises:
        ValueError: Not a time as sbatch takes it.
    """
    wanted = "expected minutes, HH:MM:SS or D-HH:MM:SS, e.g. 90, 04:00:00 or 1-00:00:00"
    found = _TIME.fullmatch(str(time).strip())
    if found is None:
        raise ValueError(wanted)
    days, first, second, third = (None if part is None else int(part) for part in found.groups())
    if days is not None:
        seconds = ((days * 24 + (first or 0)) * 60 + (second or 0)) * 60 + (third or 0)
    elif third is not None:
        seconds = ((first or 0) * 60 + (second or 0)) * 60 + third
    else:
        seconds = (first or 0) * 60 + (second or 0)
    if not 0 < seconds <= 366 * 24 * 3600:
        raise ValueError(f"{wanted}, more than nothing and at most a year")
    return -(-seconds // 60)
