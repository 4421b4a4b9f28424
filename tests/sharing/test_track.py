"""Stored runs reach MLflow and Weights & Biases once, whole, and without torch."""

from __future__ import annotations

import importlib.util
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sharing_runs import a_run, store_runs

import bench
from bench.sharing import rescoring, tracking
from bench.sharing.to_mlflow import ToMlflow, _name
from bench.store import Metric
from tests.conftest import bench_environment, bench_here

with_mlflow = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("mlflow", "flask", "flask_cors"))),
    reason="mlflow, flask or flask-cors is not installed: pip install 'recon-bench[mlflow,dev]'",
)
with_wandb = pytest.mark.skipif(
    importlib.util.find_spec("wandb") is None, reason="wandb is not installed: pip install 'recon-bench[wandb]'"
)


# --- MLflow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server."""
    place = tmp_path_factory.mktemp("mlflow")
    script = Path(__file__).with_name("mlflow_server.py")
    environment = bench_environment(MLFLOW_DISABLE_TELEMETRY="true")
    with (place / "log").open("w") as log:
        asked = [sys.executable, script, place]
        process = subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=place)
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, (place / "log").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a command says on stderr beside its progress."""
    return [line for line in done.stderr.splitlines() if not line.startswith("reading ")]


def runs_at(server: str, experiment: str) -> dict[str, Any]:
    """Everything that the server has of an experiment's runs, by run folder."""
    client: Any = ToMlflow(server)._client
    there = client.get_experiment_by_name(experiment)
    found = {}
    for run in client.search_runs([there.experiment_id]) if there else []:
        series = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        folder = run.data.tags["bench.folder"]
        assert folder not in found, "a run is there twice"
        found[folder] = {
            "status": run.info.status,
            "name": run.info.run_name,
            "tags": {name: text for name, text in run.data.tags.items() if name.startswith("bench.")},
            "params": run.data.params,
            "series": {name: sorted((m.step, m.value) for m in points) for name, points in series.items()},
            "files": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
            "id": run.info.run_id,
        }
    return found


@with_mlflow
def test_runs_arrive_in_mlflow_once(server: str, results: Path, tmp_path: Path) -> None:
    """A lab's dashboard would lack numbers, or count a seed twice."""
    words = ("track", "mlflow", "--tracking-uri", server, "--results", results)
    done = bench_here(*words)
    assert (done.returncode, complaints(done)) == (0, [])
    assert done.stdout == f"7 runs added, 0 were there: {server}, experiment shapes-scan\n"
    there = runs_at(server, "shapes-scan")
    stored = bench.load(results)
    for row in stored.runs().itertuples():
        record = stored.record(row.key)
        run = there[Path(row.folder).relative_to(results).as_posix()]
        assert (run["status"], run["name"]) == ("FINISHED", f"{row.method} linear seed {row.seed}")
        assert run["tags"]["bench.key"] == row.key
        assert run["tags"]["bench.code"] == row.code
        assert run["params"] | {"method": row.method, "seed": str(row.seed), "dataset": "shapes-scan"} == run["params"]
        if row.method == "recon":
            assert run["params"]["encoder.options.mask_ratio"] == "0.6"
            assert run["series"]["pretrain/total"] == [(1, 0.9), (2, 0.5)]
        assert run["series"]["test/accuracy"] == [(0, row.score)]
        assert run["series"]["val/accuracy"] == [(0, 0.5)]
        assert run["series"]["cost/pretrain_seconds"] == [(0, record.cost["pretrain_seconds"])]
        assert run["files"] == sorted(tracking.FILES)
        file = ToMlflow(server)._client.download_artifacts(run["id"], "metrics.json", str(tmp_path))
        assert Path(file).read_bytes() == (Path(row.folder) / "metrics.json").read_bytes()
    (failed,) = (run for folder, run in there.items() if folder.startswith("failed/"))
    assert (failed["status"], failed["tags"]["bench.error"]) == ("FAILED", "RuntimeError: the loss is not finite")
    again = bench_here(*words)
    assert again.stdout == f"0 runs added, 7 were there: {server}, experiment shapes-scan\n"
    assert runs_at(server, "shapes-scan") == there


@with_mlflow
def test_an_interrupted_copy_to_mlflow_is_completed(
    server: str, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed copy left would stay half, or get its numbers twice."""
    from mlflow import MlflowClient

    place = bench.load(results)
    two = {"method": "recon", "seed": [0, 1]}
    whole = place.to_mlflow(server, experiment="whole", **two)
    assert (whole.added, whole.there) == (2, 0)
    for step in ("log_batch", "log_artifact", "set_tag"):
        real, calls = getattr(MlflowClient, step), []

        def broken(*args: Any, real: Callable[..., Any] = real, calls: list[int] = calls, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == 2:
                raise ConnectionResetError("the network is gone")
            return real(*args, **kwargs)

        monkeypatch.setattr(MlflowClient, step, broken)
        with pytest.raises(bench.SetupError, match="no MLflow server answers at"):
            place.to_mlflow(server, experiment=step, **two)
        monkeypatch.undo()
        found = place.to_mlflow(server, experiment=step, **two)
        assert (found.added + found.completed + found.there, found.completed) == (2, 1)
        ids = {"id": None}
        assert {folder: run | ids for folder, run in runs_at(server, step).items()} == {
            folder: run | ids for folder, run in runs_at(server, "whole").items()
        }


@with_mlflow
def test_a_rescored_run_takes_its_old_place(server: str, tmp_path: Path) -> None:
    """A dashboard would go on showing a number that the metric code has corrected."""
    run = a_run("recon", 0)
    truth = run.metrics[1].value
    run.metrics[1] = run.metrics[1].model_copy(update={"value": 0.9})
    place = bench.load(store_runs(tmp_path / "results", run))
    assert place.to_mlflow(server, experiment="rescored").added == 1
    rescoring.rescore(place.workspace, None)
    assert place.to_mlflow(server, experiment="rescored").completed == 1
    (there,) = runs_at(server, "rescored").values()
    newest = ToMlflow(server)._client.get_run(there["id"]).data.metrics
    assert newest["test/accuracy"] == truth
    assert there["series"]["pretrain/total"] == [(1, 0.9), (2, 0.5)]


@with_mlflow
def test_an_experiment_that_was_deleted_is_said(server: str, results: Path) -> None:
    client = ToMlflow(server)._client
    client.delete_experiment(client.create_experiment("gone"))
    done = bench_here("track", "mlflow", "--tracking-uri", server, "--experiment", "gone", "--results", results)
    assert done.returncode == 2
    assert "experiment gone was deleted" in done.stderr


@pytest.mark.parametrize(
    ("address", "code", "message"),
    [
        ("http://127.0.0.1:9", 4, "no MLflow server answers at http://127.0.0.1:9; start it"),
        ("localhost:5000", 2, "localhost:5000: expected the address of a server (http://HOST:PORT"),
        ("sqlite:///", 2, "expected the address of a server"),
        ("mlruns", 2, "expected the address of a server"),
        ("http://", 2, "expected the address of a server"),
        ("", 2, "--tracking-uri (or MLFLOW_TRACKING_URI) is missing"),
        ("sqlite:////proc/none/mlflow.db", 4, "MLflow at sqlite:////proc/none/mlflow.db"),
    ],
)
def test_a_wrong_address_is_one_line(results: Path, address: str, code: int, message: str) -> None:
    if code == 4 and importlib.util.find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed")
    done = bench_here("track", "mlflow", "--tracking-uri", address, "--results", results)
    (line,) = complaints(done)
    assert done.returncode == code
    assert message in line


# --- Weights & Biases


def read_wandb(folder: Path) -> dict[str, Any]:
    """Read an offline run: a log of LevelDB whose records are wandb's own messages."""
    from wandb.proto import wandb_internal_pb2 as messages

    (file,) = folder.glob("run-*.wandb")
    content, at, whole = file.read_bytes(), 7, b""
    found: dict[str, Any] = {"config": {}, "summary": {}, "history": [], "files": [], "exit": None}
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        whole = content[at + 7 : at + 7 + length] if kind in (1, 2) else whole + content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind not in (1, 4):
            continue
        record: Any = messages.Record()
        record.ParseFromString(whole)
        for update in (*record.run.config.update, *record.config.update):
            found["config"][update.key or update.nested_key[0]] = json.loads(update.value_json)
        for update in record.summary.update:
            found["summary"]["/".join(update.nested_key) or update.key] = json.loads(update.value_json)
        if record.history.item:
            items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            found["history"].append({name: value for name, value in items.items() if not name.startswith("_")})
        found["files"] += [one.path for one in record.files.files]
        for name in ("project", "run_id", "display_name"):
            found[name] = getattr(record.run, name) or found.get(name)
        found["exit"] = record.exit.exit_code if record.WhichOneof("record_type") == "exit" else found["exit"]
    return found


def offline_runs(place: Path) -> list[dict[str, Any]]:
    return [read_wandb(folder) for folder in sorted((place / "wandb").iterdir())]


@with_wandb
def test_runs_arrive_in_folders_of_wandb_once(results: Path, tmp_path: Path) -> None:
    """What `wandb sync` uploads would lack numbers, or be there twice."""
    words = ("track", "wandb", "--mode", "offline", "--dir", tmp_path, "--results", results)
    done = bench_here(*words)
    assert (done.returncode, complaints(done)) == (0, [])
    assert done.stdout == f"7 runs added, 0 were there: {tmp_path / 'wandb'}, project shapes-scan\n"
    there = {run["config"]["bench"]["folder"]: run for run in offline_runs(tmp_path)}
    assert len(there) == len({run["run_id"] for run in there.values()}) == 7
    for row in bench.load(results).runs().itertuples():
        run = there[Path(row.folder).relative_to(results).as_posix()]
        assert (run["project"], run["display_name"]) == ("shapes-scan", f"{row.method} linear seed {row.seed}")
        assert (run["config"]["bench"]["key"], run["config"]["seed"], run["exit"]) == (row.key, str(row.seed), 0)
        assert run["config"]["spec"] == json.loads((Path(row.folder) / "spec.json").read_bytes())
        assert (run["summary"]["test/accuracy"], run["summary"]["val/accuracy"]) == (row.score, 0.5)
        curve = [{"pretrain/total": 0.9}, {"pretrain/total": 0.5}] if row.method == "recon" else []
        assert run["history"] == curve
        assert set(run["files"]) >= set(tracking.FILES)
    (failed,) = (run for folder, run in there.items() if folder.startswith("failed/"))
    assert (failed["exit"], failed["config"]["bench"]["error"]) == (1, "RuntimeError: the loss is not finite")
    assert {file.stat().st_nlink for file in results.rglob("*.json")} == {1}, "a change there would change a stored run"
    before = sorted((tmp_path / "wandb").rglob("*"))
    assert "0 runs added, 7 were there" in bench_here(*words).stdout
    assert sorted((tmp_path / "wandb").rglob("*")) == before


@with_wandb
def test_an_interrupted_copy_to_wandb_is_completed(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a run in a folder would be uploaded as a whole one."""
    from wandb import Run

    real, calls = Run.finish, []

    def broken(self: Run, *args: Any, **kwargs: Any) -> None:
        calls.append(1)
        real(self, *args, **kwargs)
        if len(calls) == 2:
            raise OSError("the disk is full")

    place = bench.load(results)
    monkeypatch.setattr(Run, "finish", broken)
    with pytest.raises(bench.SetupError, match="the disk is full"):
        place.to_wandb("mine", mode="offline", out=tmp_path, method="recon")
    monkeypatch.undo()
    assert len(offline_runs(tmp_path)) == 1
    found = place.to_wandb("mine", mode="offline", out=tmp_path, method="recon")
    assert (found.added, found.there) == (3, 1)
    assert len(offline_runs(tmp_path)) == 4


@with_wandb
def test_wandb_is_told_in_one_line_and_without_torch(results: Path, tmp_path: Path) -> None:
    """A laptop without torch could not export; a missing login would be told by a traceback."""
    program = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(('torch', 'timm', 'open_clip', 'sklearn'))  # importing one of them fails\n"
        "from bench.cli.main import main\n"
        "for more in (['--mode', 'offline', '-m', 'scratch'], []):  # the second beside a folder named wandb\n"
        "    sys.argv = ['bench', 'track', 'wandb', '--results', RESULTS, *more]\n"
        "    try: main()\n"
        "    except SystemExit as stop: print('code', stop.code)\n"
    )
    environment = bench_environment(HOME=str(tmp_path), NETRC=str(tmp_path / "none"))
    environment = {name: text for name, text in environment.items() if not name.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program.replace("RESULTS", repr(str(results)))],
        capture_output=True, text=True, env=environment, check=False, cwd=tmp_path,
    )  # fmt: skip
    (line,) = complaints(done)
    assert [line for line in done.stdout.splitlines() if line.startswith("code")] == ["code 0", "code 2"]
    assert len(offline_runs(tmp_path)) == 3
    assert "nobody is logged in at https://api.wandb.ai: run wandb login" in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--project a/b", "project 'a/b' has '/'; expected 1 to 128"),
        ("--project NULL", "has 0 characters"),
        ("--mode never", "'never' is not one of 'online', 'offline'"),
        ("-m recno", "did you mean recon"),
    ],
)
@with_wandb
def test_what_wandb_would_refuse_is_refused(results: Path, tmp_path: Path, words: str, message: str) -> None:
    asked = [word.replace("NULL", "") for word in words.split()]
    mode = () if "--mode" in words else ("--mode", "offline")
    done = bench_here("track", "wandb", *asked, *mode, "--dir", tmp_path, "--results", results)
    (line,) = complaints(done)
    assert done.returncode == 2
    assert message in line


# --- both


@pytest.mark.parametrize(
    ("words", "extra"), [(["mlflow", "--tracking-uri", "http://x"], "mlflow"), (["wandb"], "wandb")]
)
def test_a_missing_package_is_said_with_its_extra(
    results: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], extra: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = bench_here("track", *words, "--results", results)
    assert done.returncode == 4
    assert done.stderr.endswith(f"pip install 'recon-bench[{extra}]'\n")


def test_names_tell_how_a_number_was_chosen() -> None:
    """Two numbers under one name would be one curve; one chosen on test would pass for one chosen on validation."""
    rows = [
        Metric(
            value=0.5, split=split, selection=selection, variant=variant, headline=headline, votes=votes, n_objects=9
        )
        for split in ("val", "test")
        for selection in ("val", "last", "test")
        for variant, headline in (("a+b", True), ("a", False), ("a b", False))
        for votes in (1, 10)
    ]
    names = [tracking.metric_name(row) for row in rows]
    assert len(set(names)) == len(names)
    assert len(set(map(_name, names))) == len(names)
    assert names[0] == "val/accuracy"
    assert {"test/accuracy", "test/accuracy/chosen-on-test", "test/accuracy/last-epoch/candidate-a/10-votes"} < set(
        names
    )
    fold = Metric(value=0.5, split="test", variant="a", headline=False, fold=2, n_objects=9)
    assert tracking.metric_name(fold) == ""
    assert tracking.metric_name(fold.model_copy(update={"headline": True})) == "test/accuracy/fold-2"
