"""Worker processes forked from a server that has loaded torch.

Loading torch takes seconds of processor time, a job at the smallest size less. A server process loads it once, in the
environment of jobs, and forks a worker for every job: each job still has a process of its own. The server loads no
CUDA context, so that workers can use a GPU, and starts no thread. It serves every plan that its process runs, trial
after trial of a search or cell after cell of a notebook, and ends when that process ends.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from bench.environment import job_environment
from bench.errors import SetupError
from bench.fingerprint import fingerprint
from bench.provenance import commit, versions
from bench.signals import stop_signals

_ENDED = "ended "
"""First characters of the server's last line on a worker's channel, before the exit code (negative: a signal)."""

_LOADED = (
    "bench.execution.evaluate",
    "bench.execution.pretrain",
    "bench.execution.worker",
    "h5py",
    "sqlalchemy.dialects.sqlite",
    "torch._dynamo",  # the first step of any optimiser loads it
)
"""Modules that most jobs need; none of them looks for a GPU while it is loaded."""


class WorkerProcess:
    """A running worker.

    Attributes:
        pid: Process.
        returncode: Exit code once `lines` has ended, negative for a signal.
    """

    def __init__(self, pid: int, channel: IO[str]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._channel = channel

    def lines(self) -> Iterator[str]:
        """Yield the worker's output lines until it ends."""
        code = -int(signal.SIGKILL)  # the server was killed, and its workers stop with it
        with self._channel:
            for line in self._channel:
                if line.startswith(_ENDED):
                    code = int(line.removeprefix(_ENDED))
                    break  # processes that the worker started may outlive it and keep the channel open
                if line != "\n":  # the server terminates the unfinished line of a killed worker
                    yield line
        self.returncode = code

    def send(self, number: signal.Signals) -> None:
        """Send a signal unless the worker has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ForkServer:
    """Starts workers in one environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(self, job: IO[str], log: IO[str]) -> WorkerProcess:
        """Start a worker.

        Args:
            job: File that holds the job, at its beginning; becomes standard input.
            log: File that takes all that is printed.

        Raises:
            SetupError: The server cannot start, or ended; why is in the log.
        """
        with self._lock:
            if self._server is not None and self._server.poll() is not None:
                self.close()  # killed since the last job
            if self._socket is None:
                self._socket = self._launch(log)
            reader, writer = os.pipe()
            try:
                socket.send_fds(self._socket, [b"\0"], [job.fileno(), log.fileno(), writer])
                told = self._socket.recv(32)
            except OSError:
                told = b""
            finally:
                os.close(writer)
        channel = os.fdopen(reader, encoding="utf-8")
        if not told:
            channel.close()
            self.close()
            raise SetupError(f"no worker process could be started; {log.name} says why")
        return WorkerProcess(int(told), channel)

    def _launch(self, log: IO[str]) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-P", "-m", "bench.execution.forkserver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[theirs.fileno()],
                env=self._environment,
                start_new_session=True,  # Ctrl-C reaches us alone; we pass it on once
            )
        return ours

    def close(self) -> None:
        """End the server; running workers stop as on Ctrl-C."""
        if self._socket is not None:
            self._socket.close()
        if self._server is not None:
            self._server.wait()
        self._socket = self._server = None


_lock = threading.Lock()
_servers: dict[int, tuple[object, ForkServer]] = {}


def server_for(threads: int) -> ForkServer:
    """Return the server for jobs of so many threads.

    A new one is started if jobs would inherit another environment.
    """
    environment = job_environment(threads)
    inherited = {**environment, "PYTHONPATH": "", "PWD": str(Path.cwd())}  # each job brings the path it imports from
    with _lock:
        if threads in _servers and _servers[threads][0] != inherited:
            _servers.pop(threads)[1].close()
        return _servers.setdefault(threads, (inherited, ForkServer(environment)))[1]


def start_worker(payload: Mapping[str, Any], threads: int, log: Path) -> WorkerProcess:
    """Start a worker on a job.

    Args:
        payload: The job as a worker reads it (`bench.execution.jobfile.JobFile.payload`).
        threads: Threads of an operator on the CPU.
        log: File to which all that it prints is added.

    Raises:
        SetupError: The server cannot start, or ended; why is in the log.
    """
    # A nameless file: nothing is left behind when we or the worker are killed.
    with log.open("a", encoding="utf-8") as log_file, tempfile.TemporaryFile("w+", encoding="utf-8") as job_file:
        json.dump(payload, job_file)
        job_file.seek(0)
        return server_for(threads).start(job_file, log_file)


@atexit.register
def close_servers() -> None:
    """End all servers; running workers stop as on Ctrl-C."""
    while _servers:
        _servers.popitem()[1][1].close()


def serve(control: socket.socket) -> None:
    """Fork a worker per request until the socket is closed."""
    # Ignore stop signals until the parent ends: it stops the workers, and needs their exit codes from us.
    handlers = {number: signal.signal(number, _ignore) for number in stop_signals()}
    handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _ignore)
    ends, end = os.pipe()
    os.set_blocking(ends, False)
    os.set_blocking(end, False)
    signal.set_wakeup_fd(end, warn_on_full_buffer=False)
    channels: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(ends, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if ends in ready:
                os.read(ends, 4096)
                _reap(channels)
            if control in ready:
                message, files, _, _ = socket.recv_fds(control, 1, 3)
                if not message:
                    return
                job, log, channel = files
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    for number, handler in handlers.items():
                        signal.signal(number, handler)
                    control.close()
                    for descriptor in (ends, end, *channels.values()):
                        os.close(descriptor)
                    _work(job, log, channel)
                os.close(job)
                os.close(log)
                channels[pid] = channel
                control.sendall(str(pid).encode())


def _work(job: int, log: int, channel: int) -> None:
    """Become a worker; never return."""
    parent = os.getppid()
    code = 1
    try:
        os.setsid()
        for descriptor, place in ((job, 0), (channel, 1), (log, 2)):
            os.dup2(descriptor, place)
            os.close(descriptor)
        from bench.execution.worker import main

        code = main(parent)
    finally:
        sys.stderr.flush()
        os._exit(code)  # no teardown: heartbeat threads and compiled kernels need none, and it can take seconds


def _reap(channels: dict[int, int]) -> None:
    """Report the exit codes of ended workers."""
    while channels:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        channel = channels.pop(pid)
        with suppress(OSError):  # nobody listens any more
            os.write(channel, f"\n{_ENDED}{os.waitstatus_to_exitcode(status)}\n".encode())
        os.close(channel)


def _ignore(number: int, frame: object) -> None:
    """Ignore a signal.

    Unlike with SIG_IGN, a forked worker does not inherit this.
    """


def main() -> None:
    """Load modules, then serve on the socket given by descriptor."""
    for name in _LOADED:
        importlib.import_module(name)
    gc.freeze()  # keeps the garbage collector from touching memory pages shared with workers
    # Each job stores the code's fingerprint; modules are read here once, in the state in which they were loaded.
    fingerprint(name for name in _LOADED if name.startswith("bench."))
    commit()
    versions()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as control:
        serve(control)


if __name__ == "__main__":
    main()
