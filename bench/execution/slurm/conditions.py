"""States of submitted jobs, from SLURM and from their workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.execution.slurm import scheduler
from bench.execution.slurm.scheduler import State
from bench.execution.slurm.submissions import Unit
from bench.signals import INTERRUPTED

Word = Literal["running", "waiting", "done", "failed", "cancelled", "unknown"]


@dataclass(frozen=True)
class Condition:
    """State of a submitted job.

    Attributes:
        word: The state.
        why: Why it waits or failed.
        state: SLURM's last word on it.
    """

    word: Word
    why: str = ""
    state: State | None = None


def lives(unit: Unit, states: Mapping[str, State]) -> bool:
    """Whether a job waits or runs."""
    state = states.get(unit.facts.slurm)
    return state is not None and state.live


def ended(unit: Unit, state: State | None) -> tuple[int, str]:
    """Return the exit code of a job that neither waits nor runs, and why.

    Args:
        unit: The job.
        state: SLURM's last word on it, if there is one.
    """
    unit.reader.news()
    told = unit.reader.told
    if told.code is not None:
        return told.code, told.error or ("" if told.code == 0 else "it failed; its log says more")
    where = f"SLURM job {unit.facts.slurm}, {unit.output}"
    if state is not None and state.cancelled:
        return INTERRUPTED, f"cancelled ({where})"
    if told.skipped:
        return INTERRUPTED, f"{told.skipped}, which it needs, was cancelled or failed ({where})"
    if state is None and not told.began:
        return INTERRUPTED, f"cancelled before it began ({where})"  # SLURM keeps no record of such tasks of arrays
    if state is None:
        return 1, f"SLURM has forgotten it, and it told no end ({where})"
    if state.name == "TIMEOUT":
        return 1, f"SLURM ended it at its time limit; raise time or requeues in --engine-config ({where})"
    return 1, f"SLURM ended it: {state.name} ({where})"


def conditions(units: Sequence[Unit], cluster: str) -> list[Condition]:
    """Ask SLURM how jobs stand.

    Args:
        units: Submitted jobs.
        cluster: Name of the cluster that answers here.

    Raises:
        SetupError: SLURM does not answer.
    """
    open_ = [unit for unit in units if unit.outcome is None]
    states = scheduler.states() if open_ else {}
    gone = [unit.facts.slurm for unit in open_ if unit.facts.cluster == cluster and unit.facts.slurm not in states]
    states = scheduler.past_states(gone) | states
    return [_condition(unit, states, cluster) for unit in units]


def _condition(unit: Unit, states: Mapping[str, State], cluster: str) -> Condition:
    if unit.outcome is not None:
        return Condition(unit.outcome, unit.error)
    if unit.facts.cluster != cluster:
        return Condition("unknown", f"it was submitted on cluster {unit.facts.cluster}")
    unit.reader.news()
    told, state = unit.reader.told, states.get(unit.facts.slurm)
    if state is not None and state.live and told.code is None:
        if state.waits:
            again = f"{len(told.began)} times begun; " if told.began else ""
            return Condition("waiting", again + state.why, state)
        return Condition("running" if told.began else "waiting", "" if told.began else "its SLURM job has begun", state)
    code, why = ended(unit, state)
    if state is not None and state.reason == "DependencyNeverSatisfied":
        return Condition("cancelled", "needs a job that failed", state)
    return Condition("done" if code == 0 else "cancelled" if code == INTERRUPTED else "failed", why, state)
