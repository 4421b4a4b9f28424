"""The smaller commands as functions: a notebook reaches what the command line does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import bench
from tests.conftest import bench_here


def test_data_sets_are_checked_drawn_audited_and_named(toy_modelnet: Path, tmp_path: Path) -> None:
    """A notebook that looks at data must not need internal modules."""
    data, results = f"modelnet-h5:{toy_modelnet}", tmp_path / "results"
    assert bench.check_data(data, results=results).splits["train"].objects > 0
    assert bench.show_data(data, out=tmp_path / "x.png", results=results).read_bytes().startswith(b"\x89PNG")
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
        "             lambda: bench.load(place).analyse('x'), lambda: bench.load(place).rerun('x')):\n"
        "    try: call()\n"
        "    except bench.BenchError: print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"] * 6
