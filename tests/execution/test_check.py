"""The accuracy check: a change that ruins accuracy must not pass CI, and an unchanged tree must."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from bench.errors import UsageError
from bench.gate.check import Suite
from tests.conftest import ROOT, bench_command, bench_environment, bench_here

pytestmark = pytest.mark.long

SUITE = """
methods: [point-mae]
protocols: [linear]
datasets: ["modelnet-h5:{data}"]
pretrain_data: "modelnet-h5:{data}"
preset: smoke
seeds: 2
compile: "off"
"""


def check(baseline: Path, *more: object, package_root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Check in this process; in one of its own where the package under test is another."""
    if package_root == ROOT:
        return bench_here("check", "--baseline", baseline, *more)
    return subprocess.run(
        bench_command("check", "--baseline", baseline, *more),
        capture_output=True,
        text=True,
        env=bench_environment(package_root),
        timeout=200,
        check=False,
    )


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory, toy_modelnet: Path) -> Path:
    """A baseline of the toy suite, made by the code under test."""
    path = tmp_path_factory.mktemp("baseline") / "toy.json"
    path.with_suffix(".yaml").write_text(SUITE.format(data=toy_modelnet))
    made = check(path, "--update")
    assert made.returncode == 0, made.stdout + made.stderr
    return path


def test_the_same_code_passes_with_identical_numbers(baseline: Path, tmp_path: Path) -> None:
    """And every output says so: JSON on its own on stdout, JUnit, a step summary."""
    summary, junit = tmp_path / "summary.md", tmp_path / "gate.xml"
    done = check(baseline, "--json", "--summary", summary, "--junit", junit, "--more-seeds")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["verdict"], found["seeds"]) == ("pass", [0, 1])
    assert {line["reason"] for line in found["lines"]} == {"identical numbers"}
    assert "## Accuracy check: pass" in summary.read_text()
    assert 'failures="0"' in junit.read_text()


def test_a_replaced_baseline_needs_a_reason_and_keeps_what_it_replaces(baseline: Path, tmp_path: Path) -> None:
    """Otherwise a drop is waved through by writing the file anew, and nobody can see later that it was."""
    for suffix in (".json", ".yaml"):
        shutil.copy(baseline.with_suffix(suffix), tmp_path)
    copied = tmp_path / baseline.name
    refused = check(copied, "--update")
    assert refused.returncode == 2
    assert "--why" in refused.stderr
    assert check(copied, "--update", "--why", "a wider network").returncode == 0
    history = json.loads(copied.read_text())["history"]
    assert [old["replaced_because"] for old in history] == ["a wider network"]
    assert [cell["values"] for cell in history[0]["cells"]] == [
        cell["values"] for cell in json.loads(baseline.read_text())["cells"]
    ]


def test_a_broken_shared_module_fails(baseline: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bench", tmp_path / "bench")  # with what is compiled, which saves seconds
    shared = tmp_path / "bench" / "models" / "ops" / "gather.py"
    broken = (
        "\n\n_intact = gather_points\n\n\ndef gather_points(points, index):\n    return 0 * _intact(points, index)\n"
    )
    shared.write_text(shared.read_text() + broken)
    done = check(baseline, "--seeds", 1, package_root=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "accuracy check: fail" in done.stdout
    assert "more than draws explain" in " ".join(done.stdout.split())


def test_what_cannot_be_judged_is_broken_not_passed(baseline: Path, tmp_path: Path, toy_modelnet: Path) -> None:
    """Of numbers about other labels, under another recipe, or not measured at all, none says anything of the code."""
    data = shutil.copytree(toy_modelnet, tmp_path / "other" / toy_modelnet.name)
    with h5py.File(data / "ply_data_test0.h5", "r+") as file:
        file["label"][...] = np.roll(file["label"][...], 1, axis=0)
    path = tmp_path / "toy.json"
    path.with_suffix(".yaml").write_text(SUITE.format(data=data))
    stored = json.loads(baseline.read_text())
    pretrained, _ = stored["cells"]
    assert pretrained["options"]["encoder.recipe.weight_decay"] == "0.05"
    pretrained["options"]["encoder.recipe.weight_decay"] = "0.5"
    stored["cells"].append({**pretrained, "cell": "point-mae | linear | another set | all | accuracy | smoke"})
    path.write_text(json.dumps({**stored, "suite": Suite.beside(path).name}))
    done = check(path, "--seeds", 1)
    assert done.returncode == 4, done.stdout + done.stderr
    said = "".join(done.stdout.split())
    for reason in ("missing", "other test labels", "weight_decay 0.5 -> 0.05"):
        assert "".join(reason.split()) in said, reason


def test_other_clouds_of_pretraining_alone_are_broken(baseline: Path, tmp_path: Path, toy_modelnet: Path) -> None:
    """Pretraining on clouds that are no longer normalised may cost no accuracy here, and much elsewhere."""
    data = shutil.copytree(toy_modelnet, tmp_path / "other" / toy_modelnet.name)
    with h5py.File(data / "ply_data_train0.h5", "r+") as file:
        file["data"][...] *= 2
    path = tmp_path / "toy.json"
    suite = SUITE.format(data=toy_modelnet).replace(
        f'pretrain_data: "modelnet-h5:{toy_modelnet}"', f'pretrain_data: "modelnet-h5:{data}"'
    )
    path.with_suffix(".yaml").write_text(suite)
    path.write_text(json.dumps({**json.loads(baseline.read_text()), "suite": Suite.beside(path).name}))
    done = check(path, "--seeds", 1, "--json")
    assert done.returncode == 4, done.stdout + done.stderr
    told = {line["cell"].split(" | ")[0]: line["reason"] for line in json.loads(done.stdout)["lines"]}
    assert told["point-mae"].startswith("other pretraining clouds than the baseline's")
    assert told["scratch (point-mae)"] == "identical numbers"


PLUGIN = """
from bench.methods.point_mae import PointMAE


class Mine(PointMAE):
    \'\'\'A method of the user's own.\'\'\'

    name = "mine"
"""


def test_a_suite_brings_its_plugins_and_tells_parts_of_the_data_apart(tmp_path: Path, toy_modelnet: Path) -> None:
    """A suite of a plugin's method could not be checked; one with two parts of a set gave two cells one name."""
    path = tmp_path / "parts.json"
    suite = SUITE.format(data=toy_modelnet).replace("seeds: 2", "seeds: 1").replace("point-mae", "mine")
    path.with_suffix(".yaml").write_text(f"{suite}pretrain_fractions: [1, 0.5]\nplugins: [mine.py]\n")
    with pytest.raises(UsageError, match=r"plugin file '.*mine.py' does not exist"):
        Suite.beside(path).load_plugins(())
    (tmp_path / "mine.py").write_text(PLUGIN)
    made = check(path, "--update")
    assert made.returncode == 0, made.stdout + made.stderr
    names = [cell["cell"] for cell in json.loads(path.read_text())["cells"]]
    assert len(set(names)) == len(names) == 3
    assert all("| accuracy |" in name for name in names), "the headline metric alone: balanced classes repeat it"
    assert sum("pretrained on" in name for name in names) == 2
    moved = shutil.copytree(tmp_path, tmp_path / "moved", ignore=shutil.ignore_patterns("moved"))
    assert Suite.beside(moved / "parts.json").name == json.loads(path.read_text())["suite"]


@pytest.mark.parametrize(("content", "message"), [(None, "no suite at"), ("methods: [nothing]\n", "no baseline at")])
def test_a_missing_part_is_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "some.json"
    if content is not None:
        path.with_suffix(".yaml").write_text(content)
    done = check(path)
    assert done.returncode == 4
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_check_goes_on(baseline: Path, tmp_path: Path) -> None:
    """The nightly suite takes an hour, and its baseline as long; but nothing that other code left may count."""
    folder = tmp_path / "kept"
    assert check(baseline, "--results", folder, "--resume", "--seeds", 1).returncode == 0
    lost = next((folder / "runs").iterdir())
    kept = {file: file.stat().st_mtime_ns for file in (folder / "runs").glob("*/*/*") if lost not in file.parents}
    shutil.rmtree(lost)
    done = check(baseline, "--results", folder, "--resume", "--seeds", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lost.exists()
    assert kept
    assert all(file.stat().st_mtime_ns == written for file, written in kept.items()), "nothing runs twice"
    fewer = check(baseline, "--results", folder, "--resume", "--seeds", 1)
    assert (fewer.returncode, "runs of other code or options" in fewer.stderr) == (4, True), fewer.stderr
    (folder / ".suite").write_text("another")
    other = check(baseline, "--results", folder, "--resume")
    assert (other.returncode, "holds no interrupted check of 'toy.yaml" in other.stderr) == (4, True), other.stderr


def test_the_check_refuses_a_folder_with_results(baseline: Path, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "something").write_text("x")
    done = check(baseline, "--results", tmp_path / "results")
    assert done.returncode == 4
    assert "is not empty" in done.stderr
    done = check(baseline, "--results", baseline)
    assert done.returncode == 4
    assert "is a file; give a folder" in done.stderr
