"""``bench rerun``: a stored number can be asked for again, and what differs is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.conftest import bench_here


def test_a_stored_run_is_done_again_and_compared(tmp_path: Path, toy_modelnet: Path) -> None:
    """A reviewer's first question; the old attempt stays, and a number that is another is named with its difference."""
    data, results = tmp_path / "data", tmp_path / "results"
    shutil.copytree(toy_modelnet, data)
    done = bench_here(
        "run", "-m", "point-mae", "-p", "linear", "--preset", "smoke", "--dataset", f"modelnet-h5:{data}",
        "--pretrain-data", f"modelnet-h5:{data}", "--results", results,
        "--no-baseline", "--set", "recipe.epochs=1", "--split-seeds", "2,",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = results.glob("runs/*/*")
    key, before = folder.parent.name, {file.name: file.read_bytes() for file in folder.iterdir()}
    moved = data.rename(tmp_path / "moved")
    again = bench_here("rerun", key[:8], "--results", results)
    assert again.returncode == 2, again.stdout + again.stderr
    assert "is not found" in again.stderr
    again = bench_here("rerun", key[:8], "--results", results, "--dataset", f"modelnet-h5:{moved}")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "identical: all" in again.stdout
    assert "typed then: bench run -m point-mae" in again.stdout
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    (attempt,) = results.glob("reruns/*/*")
    assert json.loads((attempt / "metrics.json").read_text()) == json.loads(before["metrics.json"])
    assert json.loads((attempt / "provenance.json").read_text())["identical"] is True
