"""Processes of a profile, one per path."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.environment import job_environment
from bench.errors import BenchError, SetupError, UsageError
from bench.profiling.plan import ProfilePlan
from bench.store.scratch import temporary_folder


class PathProcess:
    """Process that measures one path."""

    def __init__(self, path: dict[str, Any], environment: dict[str, str], log: Path) -> None:
        self.name = path["name"]
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "bench.profiling.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        self.send(json.dumps(path))

    def send(self, line: str) -> None:
        """Send one line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def reply(self) -> dict[str, Any]:
        """Wait for one line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failure()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            kinds = {UsageError.exit_code: UsageError, SetupError.exit_code: SetupError}
            raise kinds.get(answer["exit_code"], BenchError)(answer["error"])
        return answer

    def ask(self, command: str) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.send(command)
        return self.reply()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _failure(self) -> BenchError:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        reason = lines[-1] if lines else f"its process ended with code {self._process.wait()}"
        return BenchError(f"profile of the path '{self.name}' failed: {reason}")


@contextmanager
def path_processes(plan: ProfilePlan) -> Iterator[list[PathProcess]]:
    """Start a process per path; wait until all are ready.

    All processes are closed when the context ends.
    """
    with temporary_folder() as folder, ExitStack() as stack:
        environment = job_environment(plan.threads)
        # An empty folder for compiled kernels makes the warm-up that of a first run; a folder set by the user is kept.
        environment.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "inductor"))
        children: list[PathProcess] = []
        for number, path in enumerate(plan.paths()):
            child = PathProcess(path, environment, folder / f"{number}.log")
            stack.callback(child.close)
            children.append(child)
            if number == 0:  # most errors concern every path: wait for the first before starting more
                child.reply()
        for child in children[1:]:
            child.reply()
        yield children
