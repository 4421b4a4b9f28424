"""Submitted jobs: states, and cancelling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench.api.common import PathLike, existing
from bench.errors import unknown_name

if TYPE_CHECKING:
    from pydantic import JsonValue


@dataclass(frozen=True)
class SubmittedJob:
    """A job of a results folder that SLURM was given.

    Attributes:
        id: Its name in plan and log.
        title: What it does.
        state: ``running``, ``waiting``, ``done``, ``failed``, ``cancelled``, or ``unknown`` (of another cluster).
        why: Why it waits or failed.
        needs: Ids of jobs that it waits for.
        slurm: SLURM's id; several short jobs may share one.
        elapsed: Time that the SLURM job has run, as SLURM writes it.
        node: Node that it runs on.
        submitted: UTC time of submission, ISO 8601.
        log: File with all that its worker prints.
        output: File with what SLURM and submitit print.
    """

    id: str
    title: str
    state: str
    why: str
    needs: tuple[str, ...]
    slurm: str
    elapsed: str
    node: str
    submitted: str
    log: str
    output: str

    def as_json(self) -> dict[str, JsonValue]:
        """Return its fields."""
        return {**asdict(self), "needs": list(self.needs)}


def jobs(results: PathLike | None = None) -> list[SubmittedJob]:
    """Return jobs that SLURM has of a results folder (``bench jobs``).

    Those that wait or run, those that ended since `Study.run` last looked, and failed ones that were not run again.

    Args:
        results: Results folder.

    Raises:
        UsageError: There is no such folder.
        SetupError: SLURM is not here or does not answer.
    """
    from bench.execution.slurm import scheduler
    from bench.execution.slurm.conditions import conditions
    from bench.execution.slurm.submissions import units

    found = units(existing(results).results)
    if not found:
        return []
    scheduler.require()
    return [
        SubmittedJob(
            id=unit.facts.id,
            title=unit.facts.title,
            state=condition.word,
            why=condition.why,
            needs=unit.facts.needs,
            slurm=unit.facts.slurm,
            elapsed="" if condition.state is None else condition.state.elapsed,
            node="" if condition.state is None or condition.word != "running" else condition.state.node,
            submitted=unit.facts.at,
            log=unit.facts.log,
            output=str(unit.output),
        )
        for unit, condition in zip(found, conditions(found, scheduler.facts().name), strict=True)
    ]


def cancel_jobs(ids: Sequence[str] = (), *, results: PathLike | None = None) -> list[SubmittedJob]:
    """Cancel jobs (``bench jobs cancel``); jobs that need them end, too.

    A pretraining that had begun goes on from its last checkpoint when it is submitted again.

    Args:
        ids: Ids of jobs, or first characters of them, or SLURM's ids; all that wait or run if empty.
        results: Results folder.

    Returns:
        The jobs that were cancelled, those in the same SLURM jobs included.

    Raises:
        UsageError: There is no such folder, or no such job that waits or runs.
        SetupError: SLURM is not here or does not answer.
    """
    from bench.execution.slurm import scheduler
    from bench.execution.slurm.submissions import locked, note_ended, units

    found = [job for job in jobs(results) if job.state in ("waiting", "running")]
    chosen = set() if ids else {job.slurm for job in found}
    for asked in ids:
        own = {job.slurm for job in found if job.id.startswith(asked) or asked in (job.slurm, job.slurm.split("_")[0])}
        if not own:
            raise unknown_name("job that waits or runs", asked, [name for job in found for name in (job.id, job.slurm)])
        chosen |= own
    ended = [job for job in found if job.slurm in chosen]
    while more := {job.slurm for job in found if {one.id for one in ended} & {*job.needs}} - chosen:
        chosen |= more
        ended = [job for job in found if job.slurm in chosen]
    scheduler.cancel(sorted(chosen))
    place = existing(results).results
    with locked(place):
        for unit in units(place):
            if unit.facts.slurm in chosen and unit.outcome is None:
                note_ended(unit, "cancelled")
    return ended
