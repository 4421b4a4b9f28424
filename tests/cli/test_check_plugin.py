"""``bench check-plugin`` on the command line: what an author sees, and the exit code a pipeline acts on."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.main import main
from bench.conformance.encoder_checks import METHOD_CHECKS
from bench.conformance.protocol_checks import PROTOCOL_CHECKS
from bench.conformance.suites import file_suites, method_suite
from bench.plugins import load_plugin_file
from bench.registry import METHODS
from bench.spec import BackboneSpec
from tests.conftest import ROOT, bench_here, names_as_before

Call = Callable[..., tuple[int, str, str]]

DOC = ROOT / "docs" / "add-a-method.md"
PROTOCOL_DOC = ROOT / "docs" / "add-a-protocol.md"
SMALL = BackboneSpec(points=64, groups=12, group_size=8, width=24, depth=2, heads=3, tokenizer_width=16, drop_path=0.0)

NO_PROCESS = {"import": "starts a process; the documented protocol's shows it"}


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call ``bench check-plugin`` in this process; returns exit code, output and error output."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["bench", "check-plugin", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return run


def complete_file(page: Path = DOC) -> str:
    """The first Python block of a page, which is a whole plugin file."""
    return page.read_text().split("```python\n")[1].partition("```")[0]


def test_the_documented_protocol_is_what_is_written_and_conforms(check: Call, tmp_path: Path) -> None:
    """Who adds a protocol copies that page; what it says of the kit must be what the kit says."""
    file = tmp_path / "prototypes.py"
    assert bench_here("new", "protocol", "prototypes", "--out", file).returncode == 0
    assert file.read_text() == complete_file(PROTOCOL_DOC)
    code, out, error = check(file)
    assert (code, error) == (0, ""), out
    shown = [line[4:] for line in PROTOCOL_DOC.read_text().splitlines() if line.startswith("      pass  ")]
    said = [line for line in out.splitlines() if line.startswith("  pass  ")]
    assert [line[:26] for line in shown] == [line[:26] for line in said], "figures differ from machine to machine"
    for one in PROTOCOL_CHECKS:
        assert f"| `{one.name}` | {one.what} |" in PROTOCOL_DOC.read_text(), one.name


def test_the_documented_method_is_short_conforms_and_runs(tmp_path: Path, toy_modelnet: Path) -> None:
    """The first thing an author does is copy that page; every step on it must work as it stands."""
    file = tmp_path / "my_masked.py"
    file.write_text(complete_file())
    with names_as_before():
        load_plugin_file(file)
        suite = method_suite(METHODS.load("my-masked"), size=SMALL, steps=9, device="cpu", left_out=NO_PROCESS)
        outcomes = list(suite.run())
    assert suite.subject == "method my-masked"
    assert [outcome for outcome in outcomes if outcome.status == "fail"] == []
    skipped = [outcome.check for outcome in outcomes if outcome.status == "skip"]
    assert skipped == ["import", "no captions", "devices", "several gpus"]
    results = ("--results", tmp_path / "results")
    command = ("--method", "my-masked", "--protocol", "linear", "--preset", "smoke")
    assert f"bench run --plugin my_masked.py {' '.join(command)}" in DOC.read_text()
    toys = f"modelnet-h5:{toy_modelnet}"  # smaller than the default, and made already
    ran = bench_here("run", "--plugin", file, *command, "--dataset", toys, "--pretrain-data", toys, *results)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "scratch (point-mae)" in ran.stdout
    reported = bench_here("report", *results, "--out", tmp_path / "reports")
    assert reported.returncode == 0, reported.stdout + reported.stderr
    page = (tmp_path / "reports" / "index.html").read_text()
    assert "Methods in this report" in page
    assert "never: only point coordinates enter the loss" in page


def test_the_page_explains_every_check() -> None:
    """A check that fails is looked up on the page."""
    text = DOC.read_text()
    for check in METHOD_CHECKS:
        assert f"| `{check.name}` | {check.what} |" in text, check.name


def test_a_plugin_of_the_first_contract_still_conforms(check: Call) -> None:
    """Files that people have written would break with the next version."""
    file = ROOT / "tests" / "conformance" / "orientation_plugin.py"
    (suite,) = file_suites(file, device="cpu")
    for name in ("options", "metadata", "builds", "losses", "encoder shapes", "checkpoint"):
        assert suite.outcome(name).status == "pass", suite.outcome(name)


BROKEN = """
    from bench.methods.point_mae import PointMAE, PointMAEModel

    class Network(PointMAEModel):
        def compute(self, prepared):
            return {"mdm": super().compute(prepared)["mdm"]}

    class Mine(PointMAE):
        '''Forgets the total [bold].'''
        name = "mine"

        @classmethod
        def build(cls, backbone, options, given):
            return Network(backbone, options)
"""


def test_a_broken_method_gets_one_reason_and_exit_code_1(check: Call, tmp_path: Path) -> None:
    """A pipeline must go red, and the author read which contract is broken."""
    file = tmp_path / "mine.py"
    file.write_text(textwrap.dedent(BROKEN))
    code, out, error = check(file, "--method", "mine", "--device", "cpu")
    assert code == 1
    (line,) = (line for line in out.splitlines() if line.startswith("  FAIL"))
    assert "losses" in line
    assert "expected a dict of losses with 'total'" in line
    assert "1 failed" in out
    assert not error


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (None, (), "does not exist"),
        (
            "x = 1",
            (),
            "defines no FrozenEncoder, Method, Protocol, Dataset, Teacher, Block, Norm, Tokenizer or Engine subclass",
        ),
        ("def broken(:", (), "fails to import: SyntaxError"),
        (BROKEN, ("--method", "mien"), "unknown plugin of bad.py 'mien': did you mean mine"),
        (BROKEN, ("--device", "gpu"), "is not one of 'auto', 'cpu', 'cuda'"),
    ],
    ids=["missing", "no plugin", "syntax", "name", "device"],
)
def test_a_file_that_cannot_be_checked_is_one_line_and_exit_code_2(
    check: Call, tmp_path: Path, content: str | None, arguments: tuple[str, ...], message: str
) -> None:
    """A traceback would look like a fault of the harness."""
    file = tmp_path / "bad.py"
    if content is not None:
        file.write_text(textwrap.dedent(content))
    code, out, error = check(file, *arguments)
    lines = [line for line in error.splitlines() if line.strip()]
    assert len(lines) == 1, error
    assert message in lines[0]
    assert code == 2
    assert not out.strip()
