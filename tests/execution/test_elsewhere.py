"""Jobs of a plan done by another scheduler: the same numbers, nothing twice, and wrong files told in a line."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

import bench
from bench.errors import BenchError, DataError, Interrupted, UsageError
from bench.execution.events import Event
from bench.execution.jobfile import _digest
from bench.plan.graph import Job
from tests.conftest import ROOT, bench_command, bench_environment, bench_here, environment_of_jobs

pytestmark = pytest.mark.long

LONG = "recipe.epochs=20"
PAGE = (ROOT / "docs" / "other-schedulers.md").read_text(encoding="utf-8")


def metrics(results: Path) -> dict[str, object]:
    """Every stored number, by run key."""
    return {file.parent.parent.name: json.loads(file.read_text()) for file in results.glob("runs/*/*/metrics.json")}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, toy_modelnet: Path) -> Path:
    """A study of a pretrained and an untrained encoder."""
    path, toy = tmp_path_factory.mktemp("config") / "study.yaml", f"modelnet-h5:{toy_modelnet}"
    bench.study(
        "point-mae", "knn", toy, pretrain_data=toy, preset="smoke", compile="off", overrides={"recipe.epochs": 20}
    ).save(path)
    return path


@pytest.fixture(scope="module")
def plain(config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Numbers of a plain ``bench run``."""
    results = tmp_path_factory.mktemp("plain") / "results"
    done = bench_here("run", "--config", config, "--results", results)
    assert done.returncode == 0, done.stdout + done.stderr
    return metrics(results)


def written(config: Path, place: Path) -> tuple[Path, dict[str, Any]]:
    """Write the plan of a study into a new results folder; return the job files' folder and the plan."""
    done = bench_here("plan", config, "--out", place / "jobs", "--results", place / "results", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert json.loads((place / "jobs" / "plan.json").read_text()) == plan
    return place / "jobs", plan


def test_gnu_parallel_computes_the_numbers_of_a_plain_run(config: Path, plain: object, tmp_path: Path) -> None:
    """By the commands of the page, with real processes; nothing is left to do afterwards."""
    if shutil.which("parallel") is None:
        pytest.skip("GNU parallel is not installed")
    jobs, plan = written(config, tmp_path)
    assert [job["wave"] for job in plan["jobs"]] == [0, 1, 0]
    (line,) = re.findall(r"parallel .* bench worker .*", PAGE)
    words = " ".join(["parallel", "--will-cite", *line.replace("jobs/", f"{jobs}/").split()[1:]])
    command = words.replace("bench worker", f"{shlex.join(bench_command())} worker")
    script = f"for wave in 0 1; do {command} || exit 1; done"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=bench_environment(), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert metrics(tmp_path / "results") == plain
    indexed = bench_here("db", "rebuild", "--results", tmp_path / "results")
    assert "indexed 2 finished and 0 failed runs" in indexed.stdout
    again = bench_here("run", "--config", config, "--results", tmp_path / "results")
    assert "2 stored already, 0 to do" in again.stdout
    assert written(config, tmp_path)[1] | {"jobs": []} == plan | {"waves": 0, "jobs": []}
    assert not list(jobs.glob("wave-*"))


def test_a_stopped_job_goes_on_and_two_workers_do_it_once(config: Path, plain: object, tmp_path: Path) -> None:
    """A scheduler may start a job twice, or kill it: no work is lost, and no number changes."""
    jobs, plan = written(config, tmp_path)
    order = [Path(job["file"]) for job in plan["jobs"]]
    assert {file.parent for file in order} == {jobs}
    told: list[str] = []

    def stop(job: Job, event: Event) -> None:
        if event.stage == "pretrain" and 0 < event.done < event.total:
            raise KeyboardInterrupt

    with environment_of_jobs():
        with pytest.raises(Interrupted, match="goes on from its last checkpoint"):
            bench.do_job(order[0], listener=stop)
        with ThreadPoolExecutor(2) as pool:
            both = [
                pool.submit(bench.do_job, order[0], listener=lambda job, event: told.append(event.kind)) for _ in "ab"
            ]
            assert [one.result(timeout=200) for one in both] == [[], []]
        for file in order[1:]:
            assert bench.do_job(file) == []
    assert metrics(tmp_path / "results") == plain
    log = next((tmp_path / "results" / "logs").glob("encoder-*.log")).read_text()
    assert log.count("computing encoder") == 2  # the stopped one, and one of the two
    assert "failed" not in told


def edited(file: Path, whole: str, *, sealed: bool = False, **fields: object) -> None:
    """Change fields of a job file; with a right checksum if it is `sealed` again."""
    content = json.loads(whole) | fields
    content.pop("sha256")
    file.write_text(json.dumps({**content, "sha256": _digest(content) if sealed else "0" * 64}))


def test_wrong_files_are_one_line_and_store_nothing(config: Path, tmp_path: Path) -> None:
    jobs, plan = written(config, tmp_path)
    encoder, judged, _ = (jobs / f"{job['id']}.json" for job in plan["jobs"])
    whole = encoder.read_text()

    def refused(file: Path, kind: type[BenchError], message: str, **more: Any) -> None:
        with pytest.raises(kind, match=message) as error:
            bench.do_job(file, **more)
        assert "\n" not in str(error.value)

    refused(jobs / "none.json", DataError, "does not exist")
    refused(jobs / "plan.json", DataError, "is a whole plan: give the file of one of its jobs")
    refused(config, DataError, "cannot be read as JSON")
    refused(jobs, DataError, "cannot be read")
    edited(encoder, whole, version=2)
    refused(encoder, DataError, "has version 2, this bench reads version 1; write it again")
    edited(encoder, whole, results="/elsewhere")
    refused(encoder, DataError, "was changed after it was planned")
    edited(encoder, whole, sealed=True, id="encoder-1")
    refused(encoder, DataError, "id: expected 'encoder-")
    edited(encoder, whole, sealed=True, job={"kind": "encoder"})
    refused(encoder, DataError, r"job\.key: Field required; write it again")
    encoder.write_text(whole[: len(whole) // 2])
    refused(encoder, DataError, "cannot be read as JSON")
    encoder.write_text(whole)
    refused(judged, UsageError, f"needs job {encoder.stem}, which is not done in .*: do that one first")
    refused(encoder, UsageError, "is not here: mount it, or give its place by --results", results=tmp_path / "gone")
    other = json.loads(whole)["job"]
    other["fingerprint"]["modules"]["bench.methods.point_mae"] = other["fingerprint"]["digest"] = "1" * 64
    name = f"{encoder.stem[:-6]}111111"
    edited(encoder, whole, sealed=True, job=other, id=name)
    refused(encoder, UsageError, r"planned with other code than is here \(bench.methods.point_mae differs\)")
    other = json.loads(whole)["job"]
    other["encoder"]["numerics"]["torch"] = "1.0"
    encoder.write_text(whole)
    edited(encoder, whole, sealed=True, job=other)
    refused(encoder, UsageError, "was planned for torch 1.0, which is in its key")
    assert not [*(tmp_path / "results").glob("failed/*")]
    done = bench_here("worker", encoder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_the_page_holds_a_kubernetes_job_that_parses() -> None:
    """A reader would apply it."""
    (text,) = re.findall(r"```yaml\n(apiVersion.*?)```", PAGE, re.DOTALL)
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"], job["spec"]["completionMode"]) == ("batch/v1", "Job", "Indexed")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert job["spec"]["template"]["spec"]["restartPolicy"] in ("Never", "OnFailure")
    shell = container["command"]
    assert shell[:2] == ["sh", "-c"]
    assert "JOB_COMPLETION_INDEX" in shell[2]
    checked = subprocess.run(["sh", "-n", "-c", shell[2]], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
