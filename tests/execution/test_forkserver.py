"""Workers forked from one process that has loaded torch: as separate as processes started one by one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bench.environment import job_environment
from bench.errors import SetupError
from bench.execution.forkserver import ForkServer, server_for
from tests.conftest import bench_environment, environment_of_jobs

LOOKS_FOR_A_GPU = """
import importlib, threading, torch
asked = []
torch._C._cuda_getDeviceCount = lambda *more: asked.append(1) or 0
torch._C._cuda_init = lambda *more: asked.append(1)
from bench.execution.forkserver import _LOADED
for name in _LOADED:
    importlib.import_module(name)
print(len(asked), torch.cuda.is_initialized(), threading.active_count())
"""


def test_loading_asks_for_no_gpu_and_starts_no_thread() -> None:
    """A process that looked at the GPU cannot fork workers that use it; threads can leave them a held lock."""
    done = subprocess.run(
        [sys.executable, "-c", LOOKS_FOR_A_GPU], capture_output=True, text=True, env=bench_environment(), check=True
    )
    assert done.stdout.split() == ["0", "False", "1"]


def test_a_killed_server_takes_its_workers_along_and_is_started_anew(tmp_path: Path) -> None:
    """Else a study would hang, or end with jobs that nobody hears of, when memory ran out."""
    payload = {"job": "none"}  # the worker ends with a traceback, exit code 1
    with (tmp_path / "job.log").open("a") as log, environment_of_jobs():
        server = server_for(1)  # the one of all commands in this process: they go on with the one started anew
        for attempt in ("killed", "started anew"):
            with tempfile.TemporaryFile("w+") as job:
                json.dump(payload, job)
                job.seek(0)
                worker = server.start(job, log)
                assert list(worker.lines()) == []
            assert worker.returncode == 1
            if attempt == "killed":
                assert server._server is not None
                os.kill(server._server.pid, signal.SIGKILL)
                wait_until_gone(server._server.pid)


def wait_until_gone(pid: int) -> None:
    """Wait until a process is dead; one that nobody has asked how it ended counts."""
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)


def test_a_server_that_cannot_start_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a broken installation would look like a hang, or like a fault of the run."""
    broken = tmp_path / "torch.py"
    broken.write_text("raise ImportError('this library is broken')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    log = tmp_path / "job.log"
    server = ForkServer(job_environment(1))
    with (
        tempfile.TemporaryFile("w+") as job,
        log.open("a") as file,
        pytest.raises(SetupError, match=r"job\.log says why"),
    ):
        server.start(job, file)
    assert "this library is broken" in log.read_text()
