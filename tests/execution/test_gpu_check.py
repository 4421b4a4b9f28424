"""``make gpu-check``: a GPU machine is lent for minutes, so the script has to work at the first try."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu_check.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["gpu_check"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_whole_check_runs_small_on_a_cpu(tmp_path: Path) -> None:
    """The command lines of its parts, and what it reads of them, would be wrong where a GPU costs money."""
    only = [word for part in ("tests", "rate", "pretrain", "report") for word in ("--only", part)]
    done = subprocess.run(
        [
            sys.executable, str(SCRIPT), "--device", "cpu", "--preset", "smoke", "--method", "point-mae",
            "--seconds", "1500", "--out", str(tmp_path / "out"), *only,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    logs = "".join(file.read_text() for file in (tmp_path / "out").glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    facts = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [(part["name"], part["outcome"]) for part in facts["parts"]] == [
        ("tests", "done"),
        ("rate point-mae", "done"),
        ("pretrain point-mae", "done"),
        ("report", "done"),
    ]
    (cost,) = facts["pretraining"]
    assert (cost["method"], cost["epochs"]) == ("point-mae", 2)
    assert cost["pretrain_samples"] == 2 * 96
    assert facts["machine"]["torch"] == torch.__version__
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| point-mae | 2 | 16 |" in page
    assert "## rate-point-mae: point-mae, preset smoke, cpu" in page
    assert "linear" in (tmp_path / "out" / "tables" / "results.csv").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: gpu-check measures a GPU, and torch finds none here")
    assert not (tmp_path / "out").exists()


def test_a_part_that_hangs_or_fails_does_not_stop_the_others(script: ModuleType, tmp_path: Path) -> None:
    """Time on the machine would be gone, and processes of the part go on beside the next one."""
    child = tmp_path / "child"
    hang = (
        "import subprocess, time; p = subprocess.Popen(['sleep', '60']); "
        f"open({str(child)!r}, 'w').write(str(p.pid)); time.sleep(60)"
    )

    def says(code: str) -> object:
        return lambda check, limit: [sys.executable, "-c", code]

    parts = [
        script.Part("hang", 1.0, says(hang)),
        script.Part("fail", 1.0, says("import sys; print('more'); sys.exit('no such thing')")),
        script.Part("write", 1.0, says(f"open({str(tmp_path / 'out' / 'large.bin')!r}, 'wb').truncate(17 * 10**6)")),
    ]
    (tmp_path / "out").mkdir()
    check = script.Check("cpu", "smoke", [], tmp_path / "out", tmp_path / "work", parts)
    facts = script.check_all(check, 12.0)
    assert [part.outcome for part in parts] == ["out of time", "failed", "done"]
    assert parts[0].limit == pytest.approx(4.0, abs=0.5)
    assert parts[1].told == "no such thing"
    assert facts["left_out"] == ["large.bin (17 MB)"]
    assert not (tmp_path / "out" / "large.bin").exists()
    assert "| hang | out of time |" in script.page(facts)
    until = time.monotonic() + 5
    while Path(f"/proc/{child.read_text()}").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{child.read_text()}").exists()


def test_verdicts_are_those_of_the_figures(script: ModuleType, tmp_path: Path) -> None:
    """A missed target would read as reached, or one that nobody measured."""
    check = script.Check("cuda", "tiny", ["recon"], tmp_path, tmp_path)
    assert {one.verdict for one in script.verdicts(check)} == {"not measured"}
    ratios = [
        {"name": "fast / exact", "value": 3.0, "target": None, "verdict": "no target at this size"},
        {"name": "fast / exact + teacher", "value": 4.5, "target": 5.0, "verdict": "not reached"},
    ]
    (tmp_path / "profile.json").write_text(json.dumps({"ratios": ratios}))
    name = script.WAITS
    (tmp_path / "tests.xml").write_text(
        f'<testsuites><testsuite><testcase name="{name}[a]"/><testcase name="{name}[b]"><failure/></testcase>'
        f'<testcase name="{name}[c]"><skipped/></testcase></testsuite></testsuites>'
    )
    found = {one.target: (one.found, one.verdict) for one in script.verdicts(check)}
    assert found == {
        "fast / exact + teacher: at least 5": ("4.5", "not reached"),
        "a step waits for the CPU nowhere": ("1 methods do not, 1 do", "not reached"),
    }
    name_in_tests = Path(__file__).parents[1] / "training" / "test_on_a_gpu.py"
    assert f"def {name}(" in name_in_tests.read_text(), "the verdict looks for a test of this name"


def test_time_decides_how_long_is_trained(script: ModuleType, tmp_path: Path) -> None:
    """A pretraining would be cut off before its evaluation, or end long before its time."""
    check = script.Check("cuda", "tiny", ["recon"], tmp_path, tmp_path)
    (tmp_path / "rate-recon.json").write_text(json.dumps({"paths": [{"name": "fast", "samples_per_second": 4000.0}]}))
    words = script.pretrained("recon")(check, 80.0)
    assert "recipe.epochs=80" in words, "half of 80 s at 4000 samples/s on 2000 objects"
    assert "teacher.objects=500" in words
    assert not any(word.startswith("recipe.warmup_epochs") for word in words)
    words = script.pretrained("point-mae")(check, 80.0)
    assert {"recipe.epochs=1", "recipe.warmup_epochs=0"} <= set(words), "nothing is known of its speed"
    assert not any(word.startswith("teacher") for word in words)
