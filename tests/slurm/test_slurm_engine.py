"""``--engine slurm`` on a real SLURM: what is submitted, followed, cancelled, and what comes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import bench_here, wait_for
from tests.slurm.cluster import MAX_ARRAY_SIZE, Cluster

pytestmark = [pytest.mark.timeout(900), pytest.mark.long]  # jobs load torch anew, on two cores
OPTIONS = "partition: main\ntime: 00:05:00\nmemory: 900M\nbundle: 2\npoll: 0.2\n"


def request(data: Path, results: Path, *more: object) -> list[object]:
    """Point-MAE and scratch on the toy set, at the smallest size, with a head on frozen features."""
    return [
        "run", "--method", "point-mae", "--protocol", "linear", "--preset", "smoke", "--dataset", f"modelnet-h5:{data}",
        "--pretrain-data", f"modelnet-h5:{data}", "--results", results, "--compile", "off", *more,
    ]  # fmt: skip


def numbers(results: Path) -> dict[str, object]:
    """Every stored number and prediction but times, by run key."""
    found: dict[str, object] = {}
    for folder in results.glob("runs/*/*"):
        rows = json.loads((folder / "metrics.json").read_text())
        manifest = json.loads((folder / "MANIFEST.json").read_text())["files"]
        found[folder.parent.name] = [rows, manifest["predictions.npz"]]
    return found


@pytest.fixture
def on_slurm(tmp_path: Path) -> list[object]:
    """Options that send a run to the cluster."""
    config = tmp_path / "cluster.yaml"
    config.write_text(OPTIONS)
    return ["--engine", "slurm", "--engine-config", config]


@contextmanager
def closed(cluster: Cluster) -> Iterator[None]:
    """Let the cluster take jobs and start none."""
    cluster.say("scontrol", "update", f"nodename={cluster.host}", "state=drain", "reason=test")
    try:
        yield
    finally:
        cluster.say("scancel", "--user=root")
        cluster.say("scontrol", "update", f"nodename={cluster.host}", "state=resume")


def shown(results: Path) -> list[dict[str, str]]:
    found = bench_here("jobs", "--results", results, "--json")
    assert found.returncode == 0, found.stderr
    listed: list[dict[str, str]] = json.loads(found.stdout)
    return listed


def states(results: Path) -> list[str]:
    return sorted(f"{job['state']} {job['id'].split('-')[0]}" for job in shown(results))


def test_jobs_are_submitted_once_and_cancelled_ones_again(
    cluster: Cluster, toy_modelnet: Path, tmp_path: Path, on_slurm: list[object]
) -> None:
    """Two heads, or one that was closed, must not fill a cluster twice; one job must stop nothing but what needs it."""
    results = tmp_path / "results"
    command = [*request(toy_modelnet, results, "--seeds", 6), *on_slurm, "--detach"]
    with closed(cluster):
        done = bench_here(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "18 jobs are with SLURM, 18 of them new" in done.stdout
        listed = cluster.say("squeue", "--noheader", "--array", "--sort=i", "--format=%i|%j|%E").splitlines()
        arrays: dict[str, int] = {}
        for line in listed:
            array, _, _ = line.split("|")[0].partition("_")
            arrays[array] = arrays.get(array, 0) + 1
        assert max(arrays.values()) == MAX_ARRAY_SIZE == 4
        rows = [line.split("|") for line in listed]
        encoders = [identity for identity, name, _ in rows if name == "bench-encoder"]
        assert len(encoders) == 6
        needs = sorted(re.sub(r"\(.*", "", after) for _, name, after in rows if name == "bench-evaluate")
        # Three bundles of two untrained networks need nothing, each other evaluation its own encoder.
        assert needs == sorted(["", "", "", *(f"afterok:{identity}" for identity in encoders)])

        again = bench_here(*command)
        assert "18 jobs are with SLURM, 0 of them new" in again.stdout
        assert len(cluster.say("squeue", "--noheader", "--array").splitlines()) == len(listed)
        assert states(results) == ["waiting encoder"] * 6 + ["waiting evaluate"] * 12
        waits = "after jobs that it needs (Dependency)"  # said once the controller has looked at the job
        wait_for(lambda: waits in {job["why"] for job in shown(results)}, 60, every=0.5)

        cluster.say("scancel", encoders[2])
        wait_for(lambda: states(results).count("cancelled encoder") == 1, 30, every=0.5)
        assert states(results).count("waiting encoder") == 5
        third = bench_here(*command)
        assert "18 jobs are with SLURM, 2 of them new" in third.stdout
        assert len(shown(results)) == 18

        own = next(job for job in shown(results) if job["title"].startswith("evaluate scratch"))
        ended = bench_here("jobs", "cancel", own["id"], "--results", results)
        assert ended.stdout.count("cancelled evaluate scratch") == 2, "both jobs of the bundle are named"
        wrong = bench_here("jobs", "cancel", "encodr-1", "--results", results)
        assert wrong.returncode == 2
        assert "unknown job that waits or runs 'encodr-1'" in wrong.stderr
        rest = bench_here("jobs", "cancel", "--results", results)
        assert rest.stdout.count("cancelled") == 16
        assert {state.split()[0] for state in states(results)} == {"cancelled"}
        assert cluster.say("squeue", "--noheader", "--states=PENDING,RUNNING") == ""
    assert not (results / "failed").exists(), "what was cancelled is no failure of a run"


def test_a_study_gives_the_numbers_of_one_machine(
    cluster: Cluster, toy_modelnet: Path, tmp_path: Path, on_slurm: list[object]
) -> None:
    """A number that depends on where it was made could not be compared with any other."""
    local, results = tmp_path / "local", tmp_path / "results"
    here = bench_here(*request(toy_modelnet, local))
    assert here.returncode == 0, here.stderr
    with closed(cluster):
        left = bench_here(*request(toy_modelnet, results), *on_slurm, "--detach")
        assert "3 jobs are with SLURM, 3 of them new" in left.stdout
        cluster.say("scontrol", "update", f"nodename={cluster.host}", "state=resume")
        wait_for(lambda: all(word == "COMPLETED" for _, word, _ in cluster.jobs()[-3:]), 600, every=0.5)
        assert states(results) == ["done encoder", "done evaluate", "done evaluate"]
        done = bench_here(*request(toy_modelnet, results), *on_slurm, "--detach")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 stored already, 0 to do" in done.stdout, "it finds what nodes stored while nobody looked"
    assert "2 finished runs" in done.stdout, "it indexed what nodes wrote"
    assert numbers(results) == numbers(local) != {}
    assert shown(results) == []
    assert not [*(results / "slurm").glob("2*")], "nothing is left of a submission that went well"
    assert not [*(results / "leases").iterdir()]

    # A pretraining that diverges takes its evaluation along, and nothing else.
    bad = request(toy_modelnet, results, "--set", "recipe.lr=1e30", "--protocol", "knn")
    failed = bench_here(*bad, *on_slurm)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "needs a job that failed" in failed.stdout
    records = [json.loads(file.read_text()) for file in results.glob("failed/*/*/record.json")]
    assert {record["failure"] for record in records} == {"diverged"}
    assert len(numbers(results)) == 3, "scratch was judged by knn, too"
    assert states(results) == ["failed encoder", "failed evaluate"]
    assert cluster.jobs()[-1][:2] != ("bench-evaluate", "RUNNING")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partition: mian\n", "unknown partition 'mian': did you mean main?"),
        ("partition: [\n", "cannot be read as YAML"),
        ("time: 4 hours\n", "time = '4 hours': expected minutes, HH:MM:SS or D-HH:MM:SS"),
        ("time: 0\n", "more than nothing"),
        ("memroy: 8G\n", "did you mean memory?"),
        ("memory: 8 gigs\n", "expected a whole number with K, M, G or T"),
        ("sbatch: {array: 1-3}\n", "'array' is set by the engine"),
        ("sbatch: {--constraint: a100}\n", "write it without dashes in front"),
        ("jobs: {encoders: {time: 10}}\n", "encoders"),
        ("bundle: 0\n", "bundle = 0: input should be greater than or equal to 1"),
        ("sbatch: {constraint: h100}\n", "SLURM refuses a job"),
        ("memory: 900G\n", "SLURM refuses a job"),
    ],
)
def test_a_wrong_configuration_is_one_line(
    cluster: Cluster, toy_modelnet: Path, tmp_path: Path, text: str, message: str
) -> None:
    config = tmp_path / "cluster.yaml"
    config.write_text(text)
    command = request(toy_modelnet, tmp_path / "results", "--engine", "slurm", "--engine-config", config)
    done = bench_here(*command)
    assert done.returncode in (2, 4), done.stdout + done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "Traceback" not in done.stderr
