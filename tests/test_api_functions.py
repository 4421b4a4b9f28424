"""The smaller commands as functions: a notebook reaches what the command line does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import typer

import bench
from bench.analysis.analyse import Analyst
from bench.api.frames import ShortFrame
from bench.cli.main import app
from tests.conftest import ROOT, bench_here


def test_data_sets_are_checked_drawn_audited_and_named(toy_modelnet: Path, tmp_path: Path) -> None:
    """A notebook that looks at data must not need internal modules."""
    data, results = f"modelnet-h5:{toy_modelnet}", tmp_path / "results"
    assert bench.check_data(data, results=results).splits["train"].objects > 0
    assert bench.show_data(data, out=tmp_path / "x.png", results=results).path.read_bytes().startswith(b"\x89PNG")
    assert bench.audit_data(data, results=results).report.within
    assert "train" in bench.add_data("mine", "modelnet-h5", toy_modelnet, results=results).contents
    assert list(bench.local_data(results=results)) == ["mine"]
    assert bench.dataset("mine", results=results).classes()
    assert "mine" in bench_here("data", "list", "--results", results).stdout
    bench.remove_data("mine", results=results)
    assert not bench.local_data(results=results)


def test_cards_and_teachers_are_said() -> None:
    fair, published = bench.card("linear"), bench.card("svm", form="published")
    assert fair.metric
    assert fair.hash != published.hash
    assert "ready" in bench.teacher("tiny-clip")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda place: bench.check_data("modelnt"), "modelnt"),
        (lambda place: bench.show_data("shapes-cad", out=place / "x.jpg", results=place), "PNG"),
        (lambda place: bench.audit_data("shapes-cad", threshold=-1, results=place), "above 0"),
        (lambda place: bench.add_data("x", "modlnet-h5", place, results=place), "did you mean modelnet"),
        (lambda place: bench.remove_data("x", results=place), "local data set 'x'"),
        (lambda place: bench.import_encoder(place / "none.pth", results=place), "no such file"),
        (lambda place: bench.import_encoder(place / "none.pth", method="x", results=place), "unknown method 'x'"),
        (lambda place: bench.export_encoder("x", place / "x.pth", results=place), "no encoder 'x'"),
        (lambda place: bench.profile("recn"), "did you mean recon"),
        (lambda place: bench.profile(preset="bse"), "did you mean base"),
        (lambda place: bench.profile(device="gpu"), "unknown device 'gpu'"),
        (lambda place: bench.profile(repeats=0), "expected at least 1"),
        (lambda place: bench.check(place / "none.json"), "no suite at"),
        (lambda place: bench.check_plugin(place / "none.py"), "none.py"),
        (lambda place: bench.check_plugin(place / "none.py", device="gpu"), "unknown device 'gpu'"),
        (lambda place: bench.check(place / "none.json", seeds=0), "expected at least 1"),
        (lambda place: bench.simulate_check(place / "none.json", 5), "expected at least 100"),
        (lambda place: bench.profile_probes(objects=5), "expected at least 2000 objects"),
        (lambda place: bench.show_data("shapes-cad", split="tets"), "did you mean test"),
        (lambda place: bench.show_data("shapes-cad", index=-1), "counted from 0"),
        (lambda place: bench.audit_data("shapes-cad", a_split="vall"), "unknown a_split"),
        (lambda place: bench.add_data("x", "nope", place, results=place), "unknown dataset 'nope'"),
        (lambda place: bench.export_encoder("x", place / "x.pth", layout="y", results=place), "unknown layout 'y'"),
        (lambda place: bench.available("method"), "did you mean methods"),
        (lambda place: bench.describe("methods", "recno"), "did you mean recon"),
        (lambda place: bench.new_plugin("blok", "x"), "did you mean block"),
        (lambda place: bench.local_data(results=place / "none"), "no results folder"),
        (lambda place: bench.Study.read(place / "none.yaml"), "does not exist"),
        (lambda place: bench.study(results=place).plan("always"), "unknown reuse 'always'"),
        (lambda place: bench.study(methods="recno"), "did you mean recon"),
        (lambda place: bench.study(protocols="liner").search(1), "did you mean linear"),
        (lambda place: bench.verify(place / "none"), "not a folder"),
        (lambda place: bench.teacher("tiny"), "unknown teacher 'tiny'"),
        (lambda place: bench.card("linear", form="fare"), "no fare form"),
        (lambda place: bench.load(place).analyse("x"), "no encoder 'x'"),
        (lambda place: bench.load(place).analyse(methods="x"), "unknown method 'x'"),
        (lambda place: bench.study(results=place).tune(0), "expected at least 1"),
    ],
)
def test_wrong_input_is_one_line(tmp_path: Path, call: object, message: str) -> None:
    with pytest.raises(bench.BenchError) as caught:
        call(tmp_path)  # type: ignore[operator]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_argument_is_refused_before_torch_is_loaded(tmp_path: Path) -> None:
    """Loading torch takes seconds, for a line that needs none of it."""
    code = (
        "import sys, bench\n"
        f"place = {str(tmp_path)!r}\n"
        "for call in (lambda: bench.profile('recn'), lambda: bench.profile(repeats=0),\n"
        "             lambda: bench.export_encoder('x', 'x.pth', results=place),\n"
        "             lambda: bench.import_encoder('none.pth', results=place),\n"
        "             lambda: bench.load(place).analyse('x'), lambda: bench.load(place).rerun('x'),\n"
        "             lambda: bench.profile_probes(objects=5), lambda: bench.check_plugin('none.py'),\n"
        "             lambda: bench.study(protocols='liner'), lambda: bench.card('liner'),\n"
        "             lambda: bench.check_data('nope'), lambda: bench.teacher('x'),\n"
        "             lambda: bench.new_plugin('x', 'y')):\n"
        "    try: call()\n"
        "    except bench.BenchError: print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 13


def leaves(command: object, words: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every command of the command line, groups left out."""
    command = getattr(command, "real", command)
    inner = getattr(command, "commands", None)
    if inner is None or getattr(command, "invoke_without_command", False):
        yield " ".join(words)
    if inner is None:
        return
    for name, one in inner.items():
        yield from leaves(one, (*words, name))


def test_every_command_has_a_documented_function() -> None:
    """What only the command line does is out of reach for a notebook."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `bench ")]
    documented = {command: python for left, python in rows for command in re.findall(r"`bench ([^`]+)`", left)}
    commands = set(leaves(typer.main.get_command(app)))
    assert len(commands) > 30
    assert set(documented) == commands
    for command, python in documented.items():
        assert "bench." in python, command
    for name in re.findall(r"`bench\.(\w+)", page):
        assert hasattr(bench, name), name
    for name in bench.__all__:
        assert re.search(rf"\b{name}\b", page), f"docs/api.md does not name bench.{name}"


def test_methods_named_beside_a_command_exist() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `bench ")]
    kinds = (bench.Results, bench.Study, bench.Claims, Analyst)
    missing = [
        name
        for line in lines
        for name in re.findall(r"\)\.(\w+)\(|`\.(\w+)\(", line)
        if not any(hasattr(kind, "".join(name)) for kind in kinds)
    ]
    assert missing == []


def test_a_frame_prints_what_fits_a_terminal() -> None:
    """Thirty columns of a run in a terminal were lines cut in the middle, the score among those left out."""
    rows = [
        {"key": "0123456789abcdef", "method": "point-mae", "score": number / 7, "folder": "x" * 90} for number in (3, 4)
    ]
    frame = ShortFrame.of(rows, ("key", "method", "nothing", "score"))
    lines = str(frame).splitlines()
    assert lines[0].split() == ["key", "method", "score"]
    assert lines[1].split() == ["0123456789ab", "point-mae", "0.4286"]
    assert "folder" in lines[-1]
    assert all(len(line) <= 80 for line in lines)
    assert type(frame[frame["score"] > 0.5]) is pd.DataFrame
    assert str(ShortFrame.of([], ("key",))) == "no rows"
