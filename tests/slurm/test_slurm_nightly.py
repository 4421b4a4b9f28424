"""What happens to a study on a real SLURM when things go wrong; minutes each, for ``make slurm-nightly``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import bench_command, bench_environment, bench_here, wait_for
from tests.slurm.cluster import Cluster
from tests.slurm.test_slurm_engine import numbers, request, shown

pytestmark = [
    pytest.mark.skipif(not os.environ.get("BENCH_SLURM_NIGHTLY"), reason="takes minutes; make slurm-nightly runs it"),
    pytest.mark.timeout(3600),
]
LONG = ("--set", f"recipe.epochs={os.environ.get('BENCH_SLURM_EPOCHS', '1500')}", "--no-baseline")
OPTIONS = "partition: main\ntime: 30\nmemory: 900M\npoll: 0.3\n"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, toy_modelnet: Path) -> Path:
    """The study on this machine, without a break."""
    results = tmp_path_factory.mktemp("local") / "results"
    command = bench_command(*request(toy_modelnet, results, *LONG))
    subprocess.run(command, env=bench_environment(BENCH_CHECKPOINT_SECONDS="1"), check=True, capture_output=True)
    return results


class Head:
    """A ``bench run`` that follows a study in a process of its own."""

    def __init__(self, data: Path, folder: Path, options: str = OPTIONS) -> None:
        self.results = folder / "results"
        (folder / "cluster.yaml").write_text(options)
        self._out = folder / "out.txt"
        more = (*LONG, "--engine", "slurm", "--engine-config", folder / "cluster.yaml")
        self._command = bench_command(*request(data, self.results, *more))

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        with self._out.open("ab") as out:
            process = subprocess.Popen(
                self._command, env=bench_environment(BENCH_CHECKPOINT_SECONDS="1"), stdout=out, stderr=out
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self) -> str:
        return " ".join(self._out.read_text(encoding="utf-8").split())

    def told(self, kind: str) -> list[dict[str, object]]:
        """Lines of workers that hold a word."""
        lines = [line for path in self.results.glob("slurm/*/*.events") for line in path.read_text().splitlines()]
        return [values for values in map(json.loads, lines) if kind in values]

    def training(self) -> bool:
        return any(values.get("stage") == "pretrain" for values in self.told("kind"))


def test_a_job_that_reaches_its_limit_goes_on_in_another(
    cluster: Cluster, toy_modelnet: Path, tmp_path: Path, local: Path
) -> None:
    """A pretraining longer than the queue allows would never end, or give other numbers."""
    head = Head(toy_modelnet, tmp_path, OPTIONS.replace("30", "2") + "warning: 45\n")
    with head.running() as process:
        assert process.wait(3000) == 0, head.said()
    attempts = [values for file in head.results.glob("logs/encoder-*.log") for values in file.read_text().split("--- ")]
    assert len(attempts) > 2, "it was done in one go: raise BENCH_SLURM_EPOCHS"
    assert any("stopped by SIG" in attempt for attempt in attempts)
    assert numbers(head.results) == numbers(local) != {}


def test_a_study_survives_a_drained_node_and_a_killed_controller(
    cluster: Cluster, toy_modelnet: Path, tmp_path: Path, local: Path
) -> None:
    """Every cluster has maintenance; a command that waits for days must outlive it."""
    head = Head(toy_modelnet, tmp_path)
    cluster.say("scontrol", "update", f"nodename={cluster.host}", "state=drain", "reason=test")
    with head.running() as process:
        wait_for(lambda: "nothing runs yet: " in head.said(), 300)
        assert "DRAINED" in head.said() or "drained" in head.said()
        assert not head.told("began")
        cluster.say("scontrol", "update", f"nodename={cluster.host}", "state=resume")
        wait_for(head.training, 600)
        cluster.kill_controller()
        wait_for(lambda: "waiting for it, jobs go on" in head.said(), 300)
        assert bench_here("jobs", "--results", head.results).returncode == 4, "one line, no guess"
        cluster.start_controller()
        wait_for(lambda: "SLURM answers again" in head.said(), 300)
        assert process.wait(1500) == 0, head.said()
    assert numbers(head.results) == numbers(local) != {}


def test_a_cancelled_pretraining_goes_on_from_its_checkpoint(
    cluster: Cluster, toy_modelnet: Path, tmp_path: Path, local: Path
) -> None:
    """Hours of a GPU would be lost, or the second part would start from other numbers."""
    head = Head(toy_modelnet, tmp_path)
    with head.running() as process:
        wait_for(head.training, 600)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert "bench jobs shows them" in head.said()
        (job,) = [job for job in shown(head.results) if job["state"] == "running"]
    with head.running() as process:  # another head finds them
        wait_for(lambda: "0 of them new" in head.said(), 300)
        cluster.say("scancel", job["slurm"])
        assert process.wait(300) == 130, head.said()
    assert not (head.results / "failed").exists()
    with head.running() as process:
        assert process.wait(1500) == 0, head.said()
    (log,) = head.results.glob("logs/encoder-*.log")
    assert "stopped by SIGTERM" in log.read_text()
    assert numbers(head.results) == numbers(local) != {}
