"""SLURM's own commands: states of jobs, facts of the cluster, cancelling."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.errors import SetupError, unknown_name

_PROGRAMS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
_SECONDS = 60.0
"""Longest wait for an answer."""
_LIVE = frozenset({
    "PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD",
    "RESV_DEL_HOLD", "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED",
})  # fmt: skip
_WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
_WORDS = {
    "Resources": "no free node",
    "Priority": "other jobs come first",
    "Dependency": "after jobs that it needs",
    "JobArrayTaskLimit": "as many of its array run as may",
    "BeginTime": "its time has not come",
    "ReqNodeNotAvail": "nodes are drained, down or reserved",
    "JobHeldUser": "held by its user",
    "JobHeldAdmin": "held by the administrator",
    "PartitionDown": "its partition is down",
    "PartitionTimeLimit": "its time limit is longer than its partition's",
    "AssocGrpCpuLimit": "its account uses all its cores",
    "QOSMaxJobsPerUserLimit": "as many jobs run as its user may",
}
"""Why jobs wait, in words; SLURM's word stands behind."""


class SilentSchedulerError(SetupError):
    """SLURM's controller does not answer now."""


@dataclass(frozen=True)
class State:
    """State of a SLURM job.

    Attributes:
        name: SLURM's word, e.g. ``RUNNING``.
        reason: Why it waits, or ended so.
        elapsed: Time that it has run, as SLURM writes it.
        node: Node it runs on.
    """

    name: str
    reason: str = ""
    elapsed: str = ""
    node: str = ""

    @property
    def live(self) -> bool:
        """Whether it waits or runs."""
        return self.name in _LIVE

    @property
    def waits(self) -> bool:
        """Whether it waits."""
        return self.name in _WAITING

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled it, or SLURM for what it needs."""
        return self.name.startswith("CANCELLED")

    @property
    def why(self) -> str:
        """Why it waits, in words."""
        if self.reason in ("", "None"):
            return ""
        reason = self.reason.partition(",")[0]
        return f"{_WORDS[reason]} ({reason})" if reason in _WORDS else self.reason


@dataclass(frozen=True)
class ClusterFacts:
    """Name and caps of a cluster."""

    name: str
    max_array: int
    """Most tasks of an array."""


def require() -> None:
    """Check that SLURM's commands are here.

    Raises:
        SetupError: One is missing.
    """
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing:
        raise SetupError(
            f"SLURM's commands are not on PATH here ({', '.join(missing)}): run this on a login node of the cluster, "
            "or load its module first"
        )


def facts() -> ClusterFacts:
    """Ask the cluster for its name and caps.

    Raises:
        SetupError: It does not answer.
    """
    found = {}
    for line in say("scontrol", "show", "config").splitlines():
        name, sign, value = line.partition("=")
        if sign:
            found[name.strip()] = value.strip()
    size = found.get("MaxArraySize", "")
    return ClusterFacts(found.get("ClusterName", ""), max(int(size) if size.isdecimal() else 1001, 1))


def check_partition(name: str) -> None:
    """Check that partitions exist.

    Raises:
        UsageError: There is none of that name; several may be given, with commas.
    """
    known = say("sinfo", "--noheader", "--all", "--format=%R").split()
    for one in name.split(","):
        if one not in known:
            raise unknown_name("partition", one, known)


def states() -> dict[str, State]:
    """Return the states of this user's jobs that SLURM knows.

    Ended ones are known for some minutes. Tasks of arrays are named ``ARRAY_TASK``.

    Raises:
        SilentSchedulerError: The controller does not answer.
    """
    said = say(
        "squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%M|%N|%r"
    )  # fmt: skip
    found = {}
    for line in said.splitlines():
        parts = line.split("|", 4)
        if len(parts) == 5:
            identity, name, elapsed, node, reason = (part.strip() for part in parts)
            found[identity] = State(name, reason, elapsed, node)
    return found


def past_states(identities: Iterable[str]) -> dict[str, State]:
    """Ask the accounting for jobs that SLURM has forgotten.

    Empty where there is none.
    """
    asked = sorted(set(identities))
    if not asked or shutil.which("sacct") is None:
        return {}
    try:
        said = say(
            "sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State", f"--jobs={','.join(asked)}"
        )
    except SetupError:  # there is no accounting
        return {}
    lines = [line.partition("|") for line in said.splitlines()]
    return {identity: State(state.partition(" ")[0]) for identity, sign, state in lines if sign}


def cancel(identities: Iterable[str]) -> None:
    """Cancel jobs; those that have ended are no error.

    Raises:
        SetupError: SLURM refuses.
    """
    asked = list(identities)
    for start in range(0, len(asked), 500):
        say("scancel", *asked[start : start + 500])


def say(*command: str) -> str:
    """Run one of SLURM's commands and return what it prints.

    Raises:
        SilentSchedulerError: The controller does not answer.
        SetupError: It failed; the line holds its words.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, env=_plain())
    except FileNotFoundError:
        raise SetupError(f"{command[0]} is not on PATH: run this on a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise SilentSchedulerError(f"{command[0]} has not answered for {_SECONDS:.0f} s") from None
    if done.returncode == 0:
        return done.stdout
    lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
    words = lines[-1].removeprefix(f"{command[0]}: ")
    silent = ("Unable to contact slurm controller", "Socket timed out", "Connection refused", "connect failure")
    kind = SilentSchedulerError if any(word in done.stderr for word in silent) else SetupError
    raise kind(f"{' '.join(command[:2])} failed: {words}")


def _plain() -> Mapping[str, str]:
    """Return this environment without the user's formats for squeue."""
    names = ("SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_")
    return {name: value for name, value in os.environ.items() if not name.startswith(names)}
