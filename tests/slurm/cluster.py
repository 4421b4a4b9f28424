"""A real SLURM of one node, started in a temporary folder.

    python -m tests.slurm.cluster COMMAND...

runs a command on such a cluster and ends it afterwards.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CPUS = 2
MAX_ARRAY_SIZE = 4
"""Most tasks of an array: their indices are less than this."""

CONFIGURATION = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
MinJobAge={min_job_age}
KillWait=5
InactiveLimit=0
OverTimeLimit=0
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=30
MaxArraySize={max_array}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def unavailable() -> str:
    """Why no cluster can be started here; empty if it can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no SLURM here: {', '.join(missing)} missing (Debian: slurm-wlm, munge)"
    return "" if os.getuid() == 0 else "SLURM's daemons are started as root here"


class Cluster:
    """Munge, a controller and one node.

    Attributes:
        folder: Everything it writes.
        environment: What a client needs to find it.
    """

    def __init__(self, folder: Path, *, min_job_age: int = 300) -> None:
        self.folder = folder
        self.host = socket.gethostname().partition(".")[0]
        for name in ("munge", "state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge" / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o600)
        (folder / "munge").chmod(0o755)
        folder.chmod(0o755)
        conf = folder / "slurm.conf"
        conf.write_text(
            CONFIGURATION.format(
                host=self.host,
                ports=_free_ports(2),
                folder=folder,
                cpus=CPUS,
                max_array=MAX_ARRAY_SIZE,
                min_job_age=min_job_age,
            )
        )
        self.environment = {"SLURM_CONF": str(conf)}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, seconds: float = 20.0) -> None:
        """Start the daemons and wait until the node is idle.

        Raises:
            RuntimeError: It does not come up; says what the logs say.
        """
        munge = self.folder / "munge"
        self._launch(
            "munged", "--foreground", f"--key-file={munge}/key", f"--socket={munge}/socket", f"--pid-file={munge}/pid",
            f"--log-file={munge}/log", f"--seed-file={munge}/seed", "--num-threads=1",
        )  # fmt: skip
        self._wait(lambda: (munge / "socket").exists(), seconds)
        self.start_controller()
        self._launch("slurmd", "-D")
        self._wait(lambda: self.say("sinfo", "--noheader", "--format=%T") == "idle", seconds)

    def start_controller(self) -> None:
        """Start slurmctld, for the first time or again."""
        self._launch("slurmctld", "-D")

    def kill_controller(self) -> None:
        """End slurmctld as a crash does."""
        process = self._processes.pop("slurmctld")
        process.kill()
        process.wait()

    def say(self, *command: str) -> str:
        """Run a client of SLURM; return what it prints, both ways."""
        done = subprocess.run(
            command, env=os.environ | self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip
        return done.stdout.strip()

    def jobs(self) -> list[tuple[str, str, str]]:
        """Name, state and reason of every job that the controller knows, in the order of their ids."""
        listed = self.say("squeue", "--noheader", "--array", "--states=all", "--sort=i", "--format=%j|%T|%r")
        return [tuple(line.split("|")) for line in listed.splitlines() if "|" in line]  # type: ignore[misc]

    def stop(self) -> None:
        """End all jobs and daemons."""
        if "slurmctld" in self._processes:
            self.say("scancel", "--user=root", "--signal=KILL", "--full")
            self.say("scancel", "--user=root")
        for name in ("slurmd", "slurmctld", "munged"):
            if (process := self._processes.pop(name, None)) is not None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _launch(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self._processes[name] = subprocess.Popen(
                [name, *arguments], env=os.environ | self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    def _wait(self, ready: object, seconds: float) -> None:
        assert callable(ready)
        until = time.monotonic() + seconds
        while not ready():
            ended = [name for name, process in self._processes.items() if process.poll() is not None]
            if ended or time.monotonic() > until:
                raise RuntimeError(f"SLURM does not start: {self._why(ended)}")
            time.sleep(0.05)

    def _why(self, ended: list[str]) -> str:
        lines = [f"{', '.join(ended)} ended"] if ended else ["the node is not idle in time"]
        for log in ("munged.out", "slurmctld.log", "slurmd.log", "slurmctld.out", "slurmd.out"):
            with suppress(OSError):
                said = [
                    line for line in (self.folder / log).read_text().splitlines() if "rror" in line or "atal" in line
                ]
                lines += [f"{log}: {line}" for line in said[-2:]]
        return "; ".join(lines)


@contextmanager
def running(**options: int) -> Iterator[Cluster]:
    """Run a cluster within the block."""
    folder = Path(tempfile.mkdtemp(prefix="bench-slurm-"))  # not below pytest's folder: sockets have short names
    cluster = Cluster(folder, **options)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


if __name__ == "__main__":
    if why := unavailable():
        sys.exit(why)
    with running() as own:
        code = subprocess.run(sys.argv[1:] or ["bash"], env=os.environ | own.environment, check=False).returncode
    sys.exit(code)
