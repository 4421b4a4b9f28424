"""Whole runs in real processes: nothing done twice, nothing lost, failures told apart from results."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import bench_command, bench_environment, bench_here, children, meanwhile, wait_for

pytestmark = pytest.mark.long

LONG = ("--set", "recipe.epochs=30")


def request(data: Path, results: Path, *more: object) -> list[object]:
    """Point-MAE and scratch on the toy set, at the smallest size, with a head on frozen features."""
    return [
        "run", "--method", "point-mae", "--protocol", "linear", "--preset", "smoke", "--dataset", f"modelnet-h5:{data}",
        "--pretrain-data", f"modelnet-h5:{data}", "--results", results, "--compile", "off", *more,
    ]  # fmt: skip


def metrics(results: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every stored number, by run key."""
    found = {}
    for file in results.glob("runs/*/*/metrics.json"):
        rows = json.loads(file.read_text())
        found[file.parent.parent.name] = sorted(tuple(map(str, row.items())) for row in rows)
    return found


def computed(results: Path) -> list[str]:
    """What workers computed, from their logs."""
    lines = [line for log in results.glob("logs/*.log") for line in log.read_text().splitlines()]
    return sorted(line for line in lines if line.startswith("computing "))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, toy_modelnet: Path) -> Path:
    """Results of an uninterrupted run."""
    results = tmp_path_factory.mktemp("finished") / "results"
    done = bench_here(*request(toy_modelnet, results, *LONG))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SMOKE" in done.stdout
    assert len(metrics(results)) == 2
    return results


def test_a_second_run_computes_nothing(finished: Path, toy_modelnet: Path) -> None:
    before = computed(finished)
    again = bench_here(*request(toy_modelnet, finished, *LONG))
    assert again.returncode == 0
    assert "2 stored already, 0 to do" in again.stdout
    assert computed(finished) == before


def test_another_protocol_reuses_the_encoder(finished: Path, toy_modelnet: Path) -> None:
    before = [line for line in computed(finished) if " encoder " in line]
    more = bench_here(*request(toy_modelnet, finished, *LONG, "--protocol", "fewshot", "--dry-run"))
    assert more.returncode == 0, more.stderr
    assert "evaluate point-mae" in more.stdout
    assert "pretrain point-mae" not in more.stdout
    assert [line for line in computed(finished) if " encoder " in line] == before


def test_records_carry_their_path(finished: Path) -> None:
    """A number without its provenance could not be trusted in a paper."""
    for folder in finished.glob("runs/*/*"):
        provenance = json.loads((folder / "provenance.json").read_text())
        for field in ("commit", "dirty", "modules", "versions", "host", "machine", "seeds", "started", "split_digest"):
            assert field in provenance
        rows = json.loads((folder / "metrics.json").read_text())
        headline = [row for row in rows if row["headline"] and row["split"] == "test" and row["name"] == "accuracy"]
        assert len(headline) == 1
        assert headline[0]["n_objects"] == 36


def test_every_encoder_may_calibrate_batch_norm(finished: Path) -> None:
    """Were it offered to the untrained network alone, "below scratch" could mean "not calibrated"."""
    found = {}
    for folder in finished.glob("runs/*/*"):
        rows = json.loads((folder / "metrics.json").read_text())
        method = json.loads((folder / "spec.json").read_text())["encoder"]["method"]
        found[method] = {
            row["variant"]: row["value"] for row in rows if (row["name"], row["split"]) == ("accuracy", "test")
        }
    assert set(found["point-mae"]) == {"trained", "trained+bn"}
    assert set(found["scratch"]) == {"default", "trunc", "default+bn", "trunc+bn"}


def test_an_altered_number_is_named_and_never_shown(tmp_path: Path, finished: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(finished, results, ignore=shutil.ignore_patterns("cache", "artifacts"))
    victim = next(results.glob("runs/*/*/metrics.json"))
    text = victim.read_text()
    victim.write_text(text.replace("0.", "9.", 1))
    told = bench_here("report", "--results", results, "--out", tmp_path / "reports")
    assert told.returncode == 0, told.stderr
    assert f"left out {victim.parent.relative_to(results)}: metrics.json does not match its checksum" in told.stderr
    assert victim.is_file()
    rebuilt = bench_here("db", "rebuild", "--results", results)
    assert rebuilt.returncode == 1
    assert len(metrics(results)) == 1
    assert list(results.glob("quarantine/**/metrics.json"))


def test_an_altered_cache_is_made_again_with_a_line(tmp_path: Path, finished: Path, toy_modelnet: Path) -> None:
    """Features in another order would be stored as another accuracy under the same key."""
    results = tmp_path / "results"
    shutil.copytree(finished, results, copy_function=shutil.copy2)
    clouds, features = (list(results.glob(f"cache/{kind}/*.npy")) for kind in ("clouds", "features"))
    assert clouds
    assert features
    for file in (*clouds, *features):
        stamp = file.stat()
        mapped = np.load(file, mmap_mode="r+")
        mapped[:] = mapped[::-1].copy()
        mapped.flush()
        os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    shutil.rmtree(results / "runs")
    again = bench_here(*request(toy_modelnet, results, *LONG, "--no-baseline"))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "cached file does not match its digest; made again" in " ".join(again.stdout.split())
    found = metrics(results)
    assert len(found) == 1
    assert found.items() <= metrics(finished).items()


def test_why_names_the_field_that_differs(finished: Path) -> None:
    keys = sorted(metrics(finished))
    told = bench_here("why", keys[0][:12], keys[1][:12], "--results", finished)
    assert told.returncode == 0, told.stderr
    assert re.search(r"spec encoder\.method: (point-mae|scratch) \| (point-mae|scratch)", told.stdout)
    same = bench_here("why", keys[0], keys[0], "--results", finished)
    assert "no difference" in same.stdout


def living(pids: list[int]) -> list[int]:
    """Those of the processes that have not ended."""
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def checkpoints(results: Path) -> dict[Path, int]:
    """When each checkpoint was written."""
    return {file: file.stat().st_mtime_ns for file in results.glob("work/*/*.safetensors")}


def checkpointed(results: Path, before: dict[Path, int]) -> bool:
    """Whether a checkpoint was written since."""
    return any(before.get(file) != written for file, written in checkpoints(results).items())


def workers(pid: int) -> list[int]:
    """Processes of the jobs that a command is at, which servers of its own forked."""
    return [worker for server in children(pid) for worker in children(server)]


def test_whoever_is_killed_or_waits_the_numbers_are_the_same(
    tmp_path: Path, finished: Path, toy_modelnet: Path
) -> None:
    """A worker is killed, then the next command, while another one waits for what that is at: hours must not be lost.

    The second command was started with Ctrl-C and a closed terminal ignored, as under nohup: neither stops it.
    """
    results = tmp_path / "results"
    command = request(toy_modelnet, results, *LONG)
    with meanwhile(lambda: checkpointed(results, {}), lambda: os.kill(*workers(os.getpid()), signal.SIGKILL)):
        lost = bench_here(*command, "--jobs", 1)  # one job at a time: the worker is the one that trains
    assert lost.returncode == 1, lost.stdout + lost.stderr
    failed = [json.loads(file.read_text()) for file in results.glob("failed/*/*/record.json")]
    assert any("killed by signal 9" in record["error"] for record in failed)
    before = checkpoints(results)
    assert before, "the second command has to go on from a checkpoint"
    ignored = (signal.SIGINT, signal.SIGHUP)
    process = subprocess.Popen(
        bench_command(*command, "--jobs", 1),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=bench_environment(),
        preexec_fn=lambda: [signal.signal(number, signal.SIG_IGN) for number in ignored] and None,
    )
    wait_for(lambda: checkpointed(results, before))
    started = [*children(process.pid), *workers(process.pid)]
    assert len(started) == 2, "a server and the worker it forked"
    for number in ignored:
        for pid in (process.pid, *started):
            os.kill(pid, number)
    heard = checkpoints(results)
    wait_for(lambda: checkpointed(results, heard))  # it goes on
    os.kill(started[1], signal.SIGSTOP)  # for as long as the other one has not begun to wait

    def kill_it() -> None:
        time.sleep(1)  # the worker of the other one begins to wait for this
        assert living([process.pid, *started]) == [process.pid, *started]
        process.kill()
        os.kill(started[1], signal.SIGCONT)
        process.wait(timeout=120)

    with meanwhile(lambda: workers(os.getpid()), kill_it):
        resumed = bench_here(*command, "--jobs", 1)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    wait_for(lambda: not living(started))
    assert metrics(results) == metrics(finished)
    assert not list(results.glob("quarantine/*"))


ENDLESS = ("--no-baseline", "--set", "recipe.epochs=2000")


def stopped_cleanly(results: Path, code: int, output: str) -> bool:
    """Whether a command that was asked to stop kept its state, and says how to go on."""
    assert code == 130, output
    assert "Run the same command again to continue" in output
    assert "Traceback" not in output
    assert not list(results.glob("runs/*/*"))
    return checkpointed(results, {})


def test_a_closed_terminal_stops_cleanly_and_says_how_to_go_on(tmp_path: Path, toy_modelnet: Path) -> None:
    """As Ctrl-C and SIGTERM do: hours of training would be lost, or go on unseen."""

    def deaf(number: int, frame: object) -> None:
        raise AssertionError("the command did not listen")

    results, stopped = tmp_path / "results", list[int]()

    def hang_up() -> None:
        stopped.extend(workers(os.getpid()))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, deaf)
    try:
        with meanwhile(lambda: checkpointed(results, {}), hang_up):
            done = bench_here(*request(toy_modelnet, results, *ENDLESS))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stopped_cleanly(results, done.returncode, done.stdout + done.stderr)
    assert stopped
    assert not living(stopped)


PLUGIN = '''
"""A method whose loss breaks."""
from bench.methods.point_mae import PointMAE, PointMAEModel

class BrokenModel(PointMAEModel):
    def compute(self, prepared):
        raise RuntimeError("the loss of this method is broken, not diverged")

class Broken(PointMAE):
    """Point-MAE with a broken loss."""
    name = "broken"

    @classmethod
    def build(cls, backbone, options, dims):
        return BrokenModel(backbone, cls.Options.model_validate(options.model_dump()))

class DivergingModel(PointMAEModel):
    def compute(self, prepared):
        return {name: loss * float("nan") for name, loss in super().compute(prepared).items()}

class Diverging(Broken):
    """Point-MAE whose loss stops being a number."""
    name = "diverging"

    @classmethod
    def build(cls, backbone, options, dims):
        return DivergingModel(backbone, cls.Options.model_validate(options.model_dump()))
'''


def test_a_failing_run_is_stored_and_the_others_go_on(tmp_path: Path, toy_modelnet: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text(PLUGIN)
    results = tmp_path / "results"
    more = ("-m", "broken", "-m", "diverging", "--plugin", plugin, "--no-baseline")
    done = bench_here(*request(toy_modelnet, results, *more))
    assert done.returncode == 1
    assert "the loss of this method is broken" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert len(metrics(results)) == 1, "point-mae's"
    records = [json.loads(file.read_text()) for file in results.glob("failed/*/*/record.json")]
    failed = {record["label"]["method"]: record for record in records}
    assert {name: record["failure"] for name, record in failed.items()} == {
        "broken": "failed",
        "diverging": "diverged",
    }
    assert "the loss of this method is broken" in failed["broken"]["error"]
    log = Path(re.search(r"log: (\S+?)\)?$", failed["broken"]["error"]).group(1))  # type: ignore[union-attr]
    assert "Traceback" in log.read_text(), "the log must hold what a developer needs"


UNFIT = '''
"""A protocol that breaks when it judges."""
from bench.protocols.knn import Knn

class Unfit(Knn):
    """Neighbours that nobody finds."""
    name = "unfit"

    @classmethod
    def evaluate(cls, subject, task, setting, options):
        raise RuntimeError("this protocol is broken")
'''


def test_a_run_that_fails_is_told_once_and_listed_with_its_reason(tmp_path: Path, toy_modelnet: Path) -> None:
    """Told twice, a user looks for two failures; not listed, nobody finds it next week."""
    plugin = tmp_path / "unfit.py"
    plugin.write_text(UNFIT)
    results = tmp_path / "results"
    done = bench_here(*request(toy_modelnet, results, "-p", "unfit", "--no-baseline", "--plugin", plugin))
    assert done.returncode == 1
    words = " ".join(done.stdout.split())
    assert words.count("failed evaluate") == 1
    assert "ended with code" not in words
    listed = bench_here("runs", "--results", results)
    assert "linear" in listed.stdout
    assert "unfit" not in listed.stdout
    assert "1 failed runs are not listed: bench runs --failed" in listed.stdout
    failed = " ".join(bench_here("runs", "--failed", "--results", results).stdout.split())
    assert "unfit" in failed
    assert "this protocol is" in failed
    narrowed = bench_here("runs", "-p", "lineer", "--results", results)
    assert narrowed.returncode == 2
    assert "did you mean linear?" in narrowed.stderr


def test_encoders_along_a_pretraining_leave_its_end_as_it_is(
    finished: Path, toy_modelnet: Path, tmp_path: Path
) -> None:
    """The encoder at the end would be another one because others were kept before, or be trained twice for them."""
    results = tmp_path / "results"
    ran = bench_here(*request(toy_modelnet, results, *LONG, "--evaluate-at", "0.2,1"))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "point-mae [at=0.2]" in ran.stdout
    assert sum(line.startswith("computing encoder") for line in computed(results)) == 1
    found = metrics(results)
    assert len(found) == 3
    assert {key: found[key] for key in metrics(finished)} == metrics(finished)
    kept = {}
    for file in results.glob("runs/*/*/provenance.json"):
        at = json.loads((file.parent / "spec.json").read_text())["encoder"].get("at", 1.0)
        kept |= {at: place} if (place := json.loads(file.read_text()).get("kept")) else {}
    steps = kept[1.0]["steps"]
    assert kept[0.2] == {"step": 18, "steps": steps, "epoch": 6.0, "epochs": 30}
    assert kept[1.0] == {"step": steps, "steps": steps, "epoch": 30.0, "epochs": 30}
    again = bench_here(*request(toy_modelnet, results, *LONG, "--evaluate-at", "0.1,0.2,1"))
    assert again.returncode == 0
    assert "1 finished pretraining did not keep this, and is done again up to there" in " ".join(again.stdout.split())
    assert len(metrics(results)) == 4
    compared = bench_here("compare", "point-mae,encoder.at=0.2", "point-mae,encoder.at=1", "--results", results)
    assert compared.returncode == 0, compared.stdout + compared.stderr


def test_a_killed_pretraining_still_keeps_every_encoder(toy_modelnet: Path, tmp_path: Path) -> None:
    """After kill -9 an encoder would be missing, or be of another step."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    shares = ("--evaluate-at", "0.2,0.5,1", "--no-baseline")
    ran = bench_here(*request(toy_modelnet, whole, *LONG, *shares))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    command = request(toy_modelnet, killed, *LONG, *shares)

    def kept() -> bool:
        return any(killed.glob("artifacts/encoder/*/*/kept.json"))

    with meanwhile(kept, lambda: os.kill(*workers(os.getpid()), signal.SIGKILL)):
        lost = bench_here(*command, "--jobs", 1)
    assert lost.returncode == 1, lost.stdout + lost.stderr
    assert len([*killed.glob("artifacts/encoder/*")]) < 3, "it was killed too late to test anything"
    again = bench_here(*command)
    assert again.returncode == 0, again.stdout + again.stderr
    assert metrics(killed) == metrics(whole)
