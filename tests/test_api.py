"""The Python API: what a notebook user writes from memory works, and says the same as the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from tests.conftest import ROOT, bench_here, environment_of_jobs

pytestmark = pytest.mark.long

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def study(place: Path, toy_modelnet: Path) -> bench.Study:
    data = f"modelnet-h5:{toy_modelnet}"
    return bench.study(
        "point-mae",
        ["linear"],
        data,
        seeds=2,
        preset="smoke",
        pretrain_data=data,
        compile="off",
        results=place / "runs",
    )


@pytest.fixture(scope="module")
def results(study: bench.Study) -> bench.Results:
    plan = study.plan()
    assert "4 runs: 0 stored already, 4 to do in 6 jobs" in str(plan)
    assert len(plan.jobs) == 6
    assert not plan.runs["stored"].any()
    made = {path.name for path in study.workspace.results.glob("*")}
    assert made <= {"cache"}, "a plan stores nothing but what it had to read or make of data"
    with environment_of_jobs():
        return study.run(progress=False)


def test_a_study_is_planned_run_and_read(study: bench.Study, results: bench.Results) -> None:
    """A number in a notebook that is not the one in the report would be worse than none."""
    assert "4 stored already, 0 to do in 0 jobs" in str(study.plan())
    runs = results.runs(method="point-mae", seed=1)
    assert len(runs) == 1
    assert runs["metric"][0] == "accuracy"
    answers = results.predictions(runs["key"][0][:12])
    assert runs["score"][0] == pytest.approx(np.mean(answers["predicted"] == answers["labels"]))
    cells = results.cells().set_index(["method", "metric"])
    own = results.runs(method="point-mae")["score"]
    assert cells.loc[("point-mae", "accuracy"), "mean"] == pytest.approx(own.mean())
    page = results.report(study.workspace.results.parent / "reports")
    written = pd.read_csv(page.with_name("results.csv"))
    assert written["mean"].tolist() == results.cells()["mean"].tolist()
    assert results.failures().empty
    metrics = results.metrics(protocol="linear")
    assert set(metrics["run_key"]) == set(results.runs()["key"])
    told = bench_here("compare", "point-mae", "scratch", "--results", study.workspace.results)
    comparison = results.compare("point-mae", "scratch")
    assert comparison.text(200).splitlines()[0] in told.stdout
    assert len(comparison.objects) == 36
    a, b = results.runs()["key"][:2]
    assert any(line.startswith("spec ") for line in results.why(a, b).lines())


def test_an_encoder_is_a_module(results: bench.Results, study: bench.Study, toy_modelnet: Path) -> None:
    """Else weights that cost hours could be used by the harness alone."""
    encoder = bench.encoder(results.encoders()["key"][0][:10], study.workspace.results)
    clouds = bench.dataset(f"modelnet-h5:{toy_modelnet}", results=study.workspace.results).load("test")
    with torch.no_grad():
        output = encoder(torch.tensor(clouds.points[:3]))
    assert output.tokens.shape[0] == 3
    assert encoder.feature(output).shape == (3, encoder.feature_dims["transfer"])
    assert not encoder.training


def test_what_is_stored_is_looked_into(results: bench.Results, study: bench.Study, tmp_path: Path) -> None:
    status = results.index_status()
    assert status.done == len(results.runs())
    assert results.rebuild_index().indexed == status.done
    written = bench.load(study.workspace.results).analyse(methods="point-mae", out=tmp_path / "out").losses()
    assert all(path.is_file() for path in written.files)
    key = results.encoders().query("method == 'point-mae'")["key"].iloc[0]
    file = bench.export_encoder(key, tmp_path / "encoder.pth", results=study.workspace.results)
    again = bench.import_encoder(file, name="back", results=tmp_path / "other")
    assert bench.encoder("back", tmp_path / "other").parameter_count > 0
    assert again.encoder.method == "point-mae"


def test_a_request_is_kept(study: bench.Study, tmp_path: Path) -> None:
    assert bench.study(results=tmp_path).request.methods == ("recon",), "defaults are those of the command line"
    file = study.save(tmp_path / "study.yaml")
    from bench.plan.request import read_request

    assert bench.Study.of(read_request(file), tmp_path).request == study.request


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda place: bench.study("recn", results=place / "none").plan(), "unknown method 'recn': did you mean recon"),
        (lambda place: bench.study(sedes=3), "unknown field of request 'sedes': did you mean seeds"),
        (lambda place: bench.study(seeds=0), "expected a count such as 5"),
        (lambda place: bench.study(overrides={"recipe.lr": float("nan")}), "expected a finite number"),
        (lambda place: bench.load(place / "none"), "no results folder at"),
        (lambda place: bench.load(place / "runs").compare("point-mae", "act"), "unknown stored method 'act'"),
        (lambda place: bench.load(place / "runs").runs(method="x"), "unknown method of a stored run 'x'"),
        (lambda place: bench.load(place / "runs").runs(metod="x"), "did you mean method"),
        (lambda place: bench.encoder("zzzz", place / "runs"), "unknown encoder 'zzzz'"),
        (lambda place: bench.dataset("shapes-cad", results=place / "runs", size=3), "data.size"),
        (lambda place: bench.available("method"), "did you mean methods"),
        (lambda place: bench.load_plugins(place / "none.py"), "none.py"),
    ],
)
def test_wrong_input_is_one_line(results: bench.Results, place: Path, call: object, message: str) -> None:
    with pytest.raises(bench.UsageError) as caught:
        call(place)  # type: ignore[operator]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_importing_costs_nothing() -> None:
    code = "import sys, bench; bench.BenchError; print('torch' in sys.modules or 'pandas' in sys.modules, *dir(bench))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    light, *names = done.stdout.split()
    assert light == "False"
    assert set(bench.__all__) <= set(names)


def test_every_public_name_is_documented() -> None:
    page = (DOCS / "api.md").read_text()
    for name in set(bench.__all__) - {"Comparison", "Tuned", "Interrupted", "DataError", "DivergedError", "SetupError"}:
        assert name in page


def test_page_and_notebook_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a newcomer copies first must work as it stands."""
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((DOCS / "notebooks" / "first-study.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    snippets = re.findall(r"```python\n(.*?)```", (DOCS / "api.md").read_text(), re.DOTALL)
    for texts in (cells, snippets):
        names: dict[str, object] = {}
        for text in texts:
            exec(compile(text, "docs", "exec"), names)
    assert (tmp_path / "reports" / "index.html").is_file()


def test_a_plugin_that_is_loaded_reaches_the_jobs_of_later_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook planned with its own method, and every job failed for not knowing it."""
    monkeypatch.setattr("bench.api.common._loaded", {})
    file = tmp_path / "own.py"
    file.write_text(
        "from bench.methods.point_mae import PointMAE\n\n\n"
        'class Own(PointMAE):\n    """A method of one\'s own."""\n\n    name = \'own\'\n'
    )
    bench.load_plugins(file)
    study = bench.study(methods="own", protocols="linear", dataset="shapes-cad", preset="smoke", results=tmp_path)
    assert study.plugins == (file,)
