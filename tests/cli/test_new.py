"""``bench new`` on the command line: the first file of an author has to work before anything is changed in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from compare_runs import Compare

from bench.conformance.suites import file_suites, method_suite
from bench.plugins import load_plugin_file
from bench.registry import METHODS
from bench.scaffold.building_blocks import page as building_blocks
from bench.scaffold.writing import example
from bench.spec import BackboneSpec
from tests.conftest import ROOT

DOCS = ROOT / "docs"
SMALL = BackboneSpec(points=64, groups=12, group_size=8, width=24, depth=2, heads=3, tokenizer_width=16, drop_path=0.0)
NO_PROCESS = {"import": "tests/conformance tries all examples in one process"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["dataset", "teacher", "block"])  # the protocol: test_check_plugin.py
def test_what_is_written_passes_every_check(call: Compare, folder: Path, kind: str) -> None:
    """An author would begin by mending our file."""
    code, out, error = call("new", kind, f"own-{kind}-2")
    file = folder / f"own_{kind}_2.py"
    assert (code, error) == (0, "")
    assert f"bench check-plugin {file.name}" in out
    (suite,) = file_suites(file, device="cpu")
    suite.left_out = NO_PROCESS
    assert suite.subject.endswith(f" own-{kind}-2")
    assert [outcome.check for outcome in suite.run() if outcome.status != "pass"] == ["import", "texts"]


def test_a_method_that_is_written_passes_every_check(call: Compare, folder: Path) -> None:
    """An author would begin by mending our file. The other style is the page's: test_check_plugin.py."""
    style = "contrastive"
    code, _, error = call("new", "method", f"own-{style}", "--style", style, "--out", "deep.py")
    assert (code, error) == (0, "")
    (entry,) = load_plugin_file(folder / "deep.py")
    suite = method_suite(METHODS.load(f"own-{style}"), size=SMALL, steps=9, device="cpu", left_out=NO_PROCESS)
    assert entry.name == f"own-{style}"
    outcomes = {outcome.check: outcome for outcome in suite.run()}
    without = [outcomes.pop(name).status for name in ("import", "no captions", "devices", "several gpus")]
    assert set(without) == {"skip"}
    assert [name for name, outcome in outcomes.items() if outcome.status != "pass"] == ["texts"]
    test = (folder / "test_deep.py").read_text(encoding="utf-8")
    assert "from deep import Own" in test
    compile(test, "test_deep.py", "exec")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("method", "My-Method"), "expected at most 60 lower-case letters"),
        (("method", ""), "expected at most 60 lower-case letters"),
        (("method", "my_method"), "such as my-method"),
        (("method", "-x"), "no such option"),
        (("method", "a--b"), "single hyphens"),
        (("method", "../x"), "single hyphens"),
        (("method", "x" * 61), "at most 60"),
        (("method", "recon"), "the name 'recon' of a method is taken"),
        (("teacher", "timm"), "the name 'timm' of a teacher is taken"),
        (("method", "all"), "is taken"),
        (("dataset", "json"), "it is a Python keyword or standard module"),
        (("protocol", "class"), "it is a Python keyword or standard module"),
        (("decoder", "mine"), "is not one of"),
        (("protocol", "mine", "--style", "masked"), "--style masked is for methods"),
        (("method", "mine", "--style", "other"), "is not one of"),
        (("method", "mine", "--out", "here.py"), "here.py exists already"),
        (("method", "mine", "--out", "tested.py"), "test_tested.py exists already"),
        (("method", "mine", "--out", "none/mine.py"), "folder 'none' does not exist"),
        (("method", "mine", "--out", "my-method.py"), "has to be one that Python imports"),
        (("method", "mine", "--out", "mine.txt"), "has to be one that Python imports"),
        (("method", "mine", "--out", "torch.py"), "has to be one that Python imports"),
        (("method", "mine", "--out", "here.py/mine.py"), "folder 'here.py' does not exist"),
    ],
)
def test_what_cannot_be_written_is_one_line(
    call: Compare, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    """A file of the author's would be overwritten, or one be made that nothing can import."""
    for name in ("here.py", "test_tested.py"):
        (folder / name).write_text("mine")
    code, out, error = call("new", *arguments)
    assert code == 2
    assert out == ""
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["here.py", "test_tested.py"]
    assert (folder / "here.py").read_text() == "mine"


@pytest.mark.parametrize("style", ["masked", "contrastive"])
def test_the_page_shows_what_the_command_writes(style: str) -> None:
    """A reader would copy from the page what no check has seen."""
    shown = example("method", style, f"my-{style}")  # type: ignore[arg-type]
    assert f"```python\n{shown}```" in (DOCS / "add-a-method.md").read_text("utf-8"), (
        f"paste: bench new method my-{style} --style {style}"
    )


def test_the_page_of_building_blocks_is_that_of_the_code() -> None:
    """A reader would look for an augmentation that is gone, and miss one that is there."""
    written = (DOCS / "building-blocks.md").read_text(encoding="utf-8")
    assert written == building_blocks(), "python -m bench.scaffold.building_blocks > docs/building-blocks.md"
