"""``bench ablate``: runs what is missing once, says what follows, and reads it again without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bench
from bench.ablation.papers import PAPERS, cited_once
from bench.cli.main import main
from bench.paths import Workspace
from bench.plan.inputs import read_inputs
from bench.registry import METHODS
from tests.conftest import bench_environment, bench_here

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call the real command line in this process, 80 columns wide; returns exit code, output and error output."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", "80")
            patch.setattr(sys, "argv", ["bench", *map(str, arguments)])
            with pytest.raises(SystemExit) as stop:
                main()
        captured = capsys.readouterr()
        return (stop.value.code if isinstance(stop.value.code, int) else 0), captured.out, captured.err

    return run


def test_a_study_from_plan_to_a_copied_folder(call: Call, toy_modelnet: Path, tmp_path: Path) -> None:
    """The whole way of a user; the settings are ordinary runs, and reading needs no torch."""
    results, out = tmp_path / "results", tmp_path / "out"
    judged = ["-p", "linear", "--dataset", f"modelnet-h5:{toy_modelnet}", "--preset", "smoke", "--results", results]
    study = ["ablate", "point-mae", "--axis", "mask_ratio=0.4,0.6", "--seeds", "2", *judged, "--out", out]
    fixed = ["--set", "pretrain_data.objects=32", "--set", "recipe.epochs=1"]
    code, text, _ = call(*study, *fixed, "--dry-run", "--json")
    plan = json.loads(text)
    assert (code, plan["settings"], plan["runs"], plan["stored"]) == (0, 2, 4, 0)
    assert not (results / "ablations").exists(), "a plan changes nothing"
    done = bench_here(*study, *fixed, "-j", 1)
    assert done.returncode == 0, done.stderr
    code, text, errors = call(*study, *fixed)
    assert code == 0, errors
    assert "effect of" in text
    assert "mask_ratio=0.4" in text
    assert "Best on validation: mask_ratio=" in text
    assert max(map(len, text.splitlines())) <= 80 or "page, tables" in max(text.splitlines(), key=len)
    (folder,) = out.iterdir()
    assert {path.suffix for path in folder.iterdir()} == {".html", ".md", ".json", ".png", ".svg", ".pdf"}
    assert json.loads(call(*study, *fixed, "--dry-run", "--json")[1])["stored"] == 4
    alone = ["run", "-m", "point-mae", "--no-baseline", "--seeds", "2", *judged]
    code, text, _ = call(*alone, *fixed, "--set", "point-mae.mask_ratio=0.4", "--dry-run")
    assert "2 runs: 2 stored already" in text, "a setting must be the run asked for alone"

    copied = tmp_path / "copied"
    shutil.copytree(results, copied, ignore=shutil.ignore_patterns("artifacts", "cache", "work"))
    lines = [
        "import sys",
        "sys.modules |= dict.fromkeys(('torch', 'timm', 'open_clip', 'sklearn'))  # importing one of them fails",
        "from bench.cli.main import main",
        f"sys.argv = 'bench ablate point-mae --no-run --results {copied} --out {tmp_path}/again'.split()",
        "main()",
    ]
    seen = subprocess.run(
        [sys.executable, "-P", "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        env=bench_environment(),
        check=False,
    )
    assert "Best on validation" in seen.stdout, seen.stderr
    read = bench.stored_ablation("point-mae", ["mask_ratio"], results=copied)
    assert list(read.effects["values"]) == ["0.4"]
    assert list(read.settings["mask_ratio"]) == ["0.4", "0.6"]
    shutil.rmtree(next((copied / "runs").iterdir()))
    assert "1 of 4 runs of " in bench.stored_ablation("point-mae", results=copied).json(), "half a study says so"
    (broken,) = (copied / "ablations").iterdir()
    broken.write_text("{")
    code, _, errors = call("ablate", "point-mae", "--no-run", "--results", copied, "--out", out)
    assert (code, errors.count("\n")) == (2, 1)
    assert "cannot be read as an ablation" in errors


@pytest.mark.parametrize("method", PAPERS)
def test_the_papers_axes_exist(method: str, tmp_path: Path) -> None:
    """Every axis of a paper is run or named with the reason; an option that was renamed would be missed otherwise."""
    study = bench.ablate(method, paper=True, protocols="linear", preset="smoke", results=tmp_path).study
    rows = PAPERS[method]
    assert len(study.axes) + len(study.left_out) == len(rows)
    assert study.design == "one-at-a-time"
    changed = (sum(value != base for value in axis.values) for axis, base in zip(study.axes, study.base, strict=True))
    assert len(study.points) == 1 + sum(changed)
    options = set()
    for point in study.points:  # every value is one that the option takes, and makes a setting of its own
        inputs = read_inputs(point.request, Workspace(tmp_path, tmp_path / "cache"))
        (name,) = inputs.methods
        stages = [name, METHODS.load(name).first_stage]
        options.add(tuple((stage, str(inputs.method(stage).stored)) for stage in stages if stage is not None))
    assert len(options) == len(study.points)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("recn --axis mask_ratio=0.2,0.4", "did you mean recon"),
        ("recon", "name an axis"),
        ("recon --axis mask_ratoi=0.2,0.4", "did you mean mask_ratio"),
        ("recon --axis mask_ratio", "is not of the form OPTION=A,B,C"),
        ("recon --axis mask_ratio=0.2", "has one value"),
        ("recon --axis mask_ratio=0.6 --design one-at-a-time", "nothing to compare"),
        ("recon --axis mask_ratio=0,05", "--axis recon.mask_ratio=0,05: is that a decimal comma"),
        ("recon --axis mask_ratio=0.2,0.2", "the value 0.2 stands twice"),
        ("recon --axis mask_ratio=0.2,1.4", "recon.mask_ratio = 1.4: input should be less than 1"),
        ("recon --axis mask_ratio=0.2,0.4 --axis mask_ratio=0.6,0.8", "given twice"),
        ("recon --axis mask_ratio=0.2,0.4 --axis recon.mask_ratio=0.6,0.8", "given twice"),
        ("recon --axis mask_ratio=0.2,0.4 --set recon.mask_ratio=0.6", "leave one of the two out"),
        ("recon --axis mask_ratio=0.2,0.4 --set recipe.lr=1e-3,1e-4", "give it as --axis recipe.lr"),
        ("recon --axis mask_ratio=0.2,0.4 --design fractional", "four axes or more of two values each"),
        ("recon --axis teacher=tiny-clip,tiny-clap", "unknown teacher 'tiny-clap'"),
        ("recon --axis captions=none,all", "captions"),
        ("recon --axis method=recon,recno", "did you mean recon"),
        ("point-mae --paper", "--paper: no axes of a paper are written down for point-mae"),
        ("scratch --axis architecture=recon,act", "scratch has none"),
        ("all --axis mask_ratio=0.2,0.4", "all has none"),
        ("recon --axis mask_ratio=0.2,0.4 --no-run", "no such ablation of recon is stored"),
        ("recon --no-run --paper", "leave --paper out"),
        ("point-mae --axis mask_ratio=0.2,0.4 --gpus 3 --device cpu", "does not divide among 3 ranks"),
    ],
)
def test_slips_are_named_in_one_line(call: Call, tmp_path: Path, words: str, told: str) -> None:
    (tmp_path / "results").mkdir()
    code, _, errors = call(
        "ablate", *words.split(), "-p", "linear", "--preset", "smoke", "--results", tmp_path / "results"
    )
    assert code == 2
    assert told in errors
    assert errors.count("\n") == 1


def test_one_name_is_as_good_as_a_list(tmp_path: Path) -> None:
    """`bench.study` takes a single name for every list; an ablation is asked for in the same words."""
    asked = bench.ablate(
        "recon", {"mask_ratio": [0.2, 0.4]}, protocols="fewshot", settings="5w2s", preset="smoke", results=tmp_path
    )
    assert {run.label["setting"] for run in asked.plan().plan.runs} == {"5w2s"}


def test_a_paper_is_cited_once_and_what_it_says_of_an_axis_stays() -> None:
    """The same citation on each of ten axes hides the axes."""
    for rows in PAPERS.values():
        lines = [
            f"{row.what}: {row.source}" if row.axis else f"{row.what}: {row.missing} ({row.source})" for row in rows
        ]
        paper, short = cited_once(lines)
        assert paper
        assert not any("et al." in line or ": ;" in line or "()" in line for line in short)
        assert all(line.startswith(row.what) for line, row in zip(short, rows, strict=True))
    assert cited_once(["", ""]) == ("", ["", ""])
