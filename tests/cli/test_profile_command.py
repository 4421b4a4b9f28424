"""``bench profile`` as a user calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bench.cli.main import main
from tests.conftest import bench_here


def test_a_quick_profile_prints_the_table_and_writes_json(tmp_path: Path) -> None:
    """Neither a person nor a script could read what was measured. A live teacher: tests/execution/test_profile.py."""
    target = tmp_path / "profile.json"
    done = bench_here(
        "profile", "--method", "point-mae", "--preset", "smoke", "--quick", "--batch", 4, "--json", target
    )
    assert done.returncode == 0, done.stderr
    for words in ("matmul peak:", "samples/s", "tokenize", "optimiser", "fast / exact:"):
        assert words in done.stdout
    found = json.loads(target.read_text())
    assert [path["name"] for path in found["paths"]] == ["exact", "fast"]
    assert [path["tokenize"] for path in found["paths"]] == ["all", "visible"]
    for path in found["paths"]:
        assert path["samples_per_second"] == pytest.approx(path["batch"] / path["seconds"][0])
        assert sum(path["stages"].values()) == pytest.approx(path["seconds"][0], rel=0.02)
        assert path["peak_memory_bytes"] > 50e6
        assert path["flops_per_second"] == pytest.approx(path["flops_per_sample"] * path["samples_per_second"])
    assert {ratio["verdict"] for ratio in found["ratios"]} == {"no target at this size"}


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--method", "recno"], "unknown method 'recno': did you mean recon", 2),
        (["--preset", "bsae"], "unknown preset 'bsae': did you mean base", 2),
        (["--method", "scratch"], "method 'scratch' trains nothing in pretraining", 2),
        (["--batch", "1"], "--batch 1: expected at least 2", 2),
        (["--repeats", "0"], "--repeats 0: expected at least 1", 2),
        (["--threads", "0"], "--threads 0: expected at least 1", 2),
        (["--set", "method.tokenize=all"], "the profile sets it itself", 2),
        (["--set", "recipe.batch_size=8"], "say --batch N", 2),
        (["--set", "numerics.precision=fp32"], "unknown --set group 'numerics'", 2),
        (["--set", "method.mask_ratio=2"], "recon.mask_ratio = 2", 2),
        (["--device", "tpu"], "'tpu' is not one of 'auto', 'cpu', 'cuda'", 2),
        (["--json", "no/such/folder/file.json"], "its folder does not exist", 4),
        (["--preset", "smoke", "--quick", "--set", "backbone.width=25"], "not a multiple of backbone.heads", 2),
    ],
)
def test_wrong_input_gives_one_line(
    arguments: list[str],
    message: str,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A traceback, perhaps after minutes of measuring, instead of what to mend."""
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "argv", ["bench", "profile", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.strip()]
    assert stop.value.code == code, captured.err
    assert len(lines) == 1, captured.err
    assert message in lines[0]


def test_a_path_that_breaks_is_named(tmp_path: Path) -> None:
    """A method that fails in a process of its own would end in that process's traceback, or in silence."""
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from bench.methods.point_mae import PointMAE\n\n\n"
        "class Broken(PointMAE):\n"
        '    """Cannot be built."""\n\n'
        '    name = "broken"\n\n'
        "    @classmethod\n"
        "    def build(cls, backbone, options, given):\n"
        '        raise RuntimeError("no such layer")\n'
    )
    done = bench_here("profile", "--plugin", plugin, "--method", "broken", "--preset", "smoke", "--quick")
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert "the path 'exact' failed: RuntimeError: no such layer" in " ".join(lines)
