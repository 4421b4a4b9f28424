"""What jobs inherit: nothing that changes a number under the same key, everything a plugin needs to be imported."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.environment import quoted, settle, typed_command, without_secrets
from bench.errors import UsageError
from bench.fingerprint import fingerprint
from bench.paths import Workspace
from bench.plan.request import RunRequest
from bench.plan.resolve import resolve
from bench.spec import content_key
from tests.conftest import bench_command, bench_environment, bench_here

HOSTILE = {
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "2",
    "OMP_THREAD_LIMIT": "1",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "NPY_DISABLE_CPU_FEATURES": "AVX2",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "PYTHONHASHSEED": "3",
}
PLUGIN = '''
"""Point-MAE under another name, with modules of the user's own."""
import torch
from bench.methods.point_mae import PointMAE
from beside import NAME
from userlib.inner import VALUE

torch.set_num_threads(2)  # a plugin may do that; jobs do not follow

class Mine(PointMAE):
    """Point-MAE."""
    name = NAME
'''


def numbers(results: Path) -> dict[str, list[tuple[str, bytes]]]:
    """Every stored prediction and metric, by run key."""
    found: dict[str, list[tuple[str, bytes]]] = {}
    for folder in results.glob("runs/*/*"):
        with np.load(folder / "predictions.npz") as arrays:
            rows = [(name, arrays[name].tobytes()) for name in arrays.files]
        found[folder.parent.name] = [*rows, ("metrics", (folder / "metrics.json").read_bytes())]
    return found


def test_inherited_variables_change_no_number(
    tmp_path: Path, toy_modelnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One key, one number: on a node where somebody exports OMP_NUM_THREADS=2, too."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "beside.py").write_text("NAME = 'mine'\n")
    (tmp_path / "lib" / "userlib").mkdir(parents=True)
    (tmp_path / "lib" / "userlib" / "__init__.py").write_text("")
    (tmp_path / "lib" / "userlib" / "inner.py").write_text("VALUE = 1\n")
    for name in HOSTILE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "lib")

    def command(place: str) -> list[object]:
        return [
            "run", "-m", "mine", "-p", "linear", "--preset", "smoke", "--dataset", f"modelnet-h5:{toy_modelnet}",
            "--pretrain-data", f"modelnet-h5:{toy_modelnet}", "--results", tmp_path / place, "--no-baseline",
            "--jobs", "1", "--set", "recipe.epochs=1", "--plugin", tmp_path / "plugin.py",
        ]  # fmt: skip

    threads = torch.get_num_threads()
    here = bench_here(*command("plain"))
    torch.set_num_threads(threads)
    assert here.returncode == 0, here.stdout + here.stderr
    assert "not used" not in here.stdout
    environment = {**bench_environment(), **HOSTILE}
    environment["PYTHONPATH"] += os.pathsep + str(tmp_path / "lib")
    done = subprocess.run(
        bench_command(*command("hostile")), capture_output=True, text=True, env=environment, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OMP_NUM_THREADS=2" in " ".join(done.stdout.split())
    plain, hostile = tmp_path / "plain", tmp_path / "hostile"
    assert numbers(hostile) == numbers(plain)
    for results in (plain, hostile):
        (file,) = results.glob("runs/*/*/provenance.json")
        facts = json.loads(file.read_text())
        assert (facts["threads"], facts["environment"]["OMP_NUM_THREADS"]) == (1, "1")
        assert facts["command"].startswith("bench run -m mine -p linear")
        assert facts["plugin_files"] == [str(tmp_path / "plugin.py")]


def test_threads_that_are_asked_for_are_in_the_key(tmp_path: Path) -> None:
    def keys(**fields: object) -> list[str]:
        values = {"methods": ["scratch"], "protocols": ["linear"], "preset": "smoke", "device": "cpu", **fields}
        found = resolve(RunRequest.model_validate(values), Workspace(tmp_path, tmp_path / "cache"))
        return [content_key(run) for run in found.runs]

    plain, two = keys(), keys(threads=2)
    assert plain == keys(threads=1)
    assert plain != two == keys(overrides={"numerics.threads": 2})
    for wrong in (0, "two", True, 2.5, 10**30):
        with pytest.raises(UsageError, match=r"numerics.threads is .*expected"):
            keys(overrides={"numerics.threads": wrong})


@pytest.mark.parametrize("name", [*HOSTILE, "SKLEARN_WORKING_MEMORY", "KMP_DETERMINISTIC_REDUCTION", "TIMM_FUSED_ATTN"])
def test_a_variable_of_a_library_is_fixed_or_taken_out(name: str) -> None:
    one, two = ({name: value, "HOME": "/h", "PYTORCH_CUDA_ALLOC_CONF": "x"} for value in ("1", "strange"))
    for environment in (one, two):
        settle(environment, 1)
    assert one == two
    assert one["HOME"] == "/h"
    assert "PYTORCH_CUDA_ALLOC_CONF" in one


def test_a_module_beside_a_plugin_is_part_of_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else results of an old helper would be reused for a new one."""
    digests = []
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        monkeypatch.syspath_prepend(folder)
        (folder / f"plugin_{value}.py").write_text(f"import beside_{value}, torch, os.path\nimport numpy.linalg as n\n")
        (folder / f"beside_{value}.py").write_text("X = 1\n")
        digests.append(fingerprint([f"plugin_{value}"]).modules)
    assert [set(found) for found in digests] == [{"plugin_1", "beside_1"}, {"plugin_2", "beside_2"}]


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("--store-url=postgresql+psycopg://me:p%40s:/x@host:5432/db", "--store-url=postgresql+psycopg://me:***@host:5432/db"),
        ("postgresql://host/db?user=me&password=s3cret&sslmode=no", "postgresql://host/db?user=me&password=***&sslmode=no"),
        ("modelnet-h5:/data/a b", "modelnet-h5:/data/a b"),
        ("recipe.lr=0.001", "recipe.lr=0.001"),
    ],
)  # fmt: skip
def test_a_command_is_kept_without_its_secrets(typed: str, stored: str) -> None:
    assert without_secrets(typed) == stored
    kept = typed_command(["/somewhere/bench/__main__.py", "run", typed])
    assert kept == ["bench", "run", stored]
    assert "s3cret" not in quoted(kept)
