"""``bench rerun`` of what is hardest to do again: imported weights, a plugin's protocol, numbers that differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from compare_runs import Compare, perform, rows
from test_weights import SIZES, write_recon

from bench.paths import Workspace
from bench.plan.presets import preset
from bench.plan.request import RunRequest
from bench.plugins import load_plugin_file
from bench.registry import PROTOCOLS
from bench.store.store import Store
from tests.conftest import bench_here, environment_of_jobs

PLUGIN = """
from bench.protocols.knn import Knn


class Mine(Knn):
    \'\'\'Neighbours of the user's own.\'\'\'

    name = "mine"
"""


def test_imported_weights_and_a_plugin_are_found_again_and_what_differs_is_told(
    call: Compare, toy_modelnet: Path, tmp_path: Path
) -> None:
    """A number that cannot be had again must be told apart from one that is."""
    torch.manual_seed(0)
    official = write_recon(tmp_path / "recon.pth", preset("smoke").backbone)
    assert call("import", official, *SIZES)[0] == 0
    plugin, results = tmp_path / "mine.py", tmp_path / "results"
    plugin.write_text(PLUGIN)
    load_plugin_file(plugin)
    request = RunRequest(
        encoders=("recon",), protocols=("mine",), datasets=(f"modelnet-h5:{toy_modelnet}",), preset="smoke",
        baseline=False,
    )  # fmt: skip
    with environment_of_jobs():
        perform(Workspace.at(results), request, plugin)
    store = Store(results)
    (row,) = rows(results)
    true = store.load(row.stored)
    named = [replace_value(metric) if metric.headline and metric.split == "test" else metric for metric in true.metrics]
    turned = {**true.predictions, "predicted": true.predictions["predicted"][::-1].copy()}
    row.stored.folder.rename(tmp_path / "true")
    store.tidy()
    store.publish(replace(true, metrics=named, predictions=turned))

    moved = plugin.rename(tmp_path / "new.py")
    code, _, error = call("rerun", true.key[:10])
    assert code == 2
    assert error.splitlines()[-1].endswith(f"with the plugin {plugin}, which is gone; give it with --plugin FILE")
    (tmp_path / "elsewhere").mkdir()
    moved = moved.rename(tmp_path / "elsewhere" / "mine.py")
    PROTOCOLS._entries.pop("mine")  # as in a process that has never seen it
    done = bench_here("rerun", true.key[:10], "--plugin", moved, "--results", results)
    output = done.stdout
    assert done.returncode == 1, output + done.stderr
    differing = sum(metric != other for metric, other in zip(true.metrics, named, strict=True))
    assert f"different: {differing} of {len(named)} numbers differ, and the predictions (predicted)" in output
    assert "other code than then" not in output
    (line,) = [line.split() for line in output.splitlines() if line.startswith("accuracy, test")]
    assert line[-1] == "+0.25"
    (attempt,) = results.glob("reruns/*/*")
    assert (attempt / "predictions.npz").read_bytes() == (tmp_path / "true" / "predictions.npz").read_bytes()
    assert not list(results.glob(".incoming-*"))

    (folder,) = results.glob("artifacts/encoder/*/*")
    folder.rename(tmp_path / "gone")
    code, _, error = call("rerun", true.key[:10], "--plugin", moved)
    assert (code, len(error.splitlines())) == (2, 1)
    assert "none is stored yet; bench import FILE reads one" in error


def replace_value(metric: object) -> object:
    """The same number, a quarter lower."""
    return metric.model_copy(update={"value": metric.value - 0.25})  # type: ignore[attr-defined]
