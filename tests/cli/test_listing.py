"""``bench list``: the first thing a newcomer types, and where the declarations of a method are read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from bench.cli.main import main
from bench.methods.base import Deviation, MethodCard
from bench.registry import METHODS

List = Callable[..., str]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> List:
    """Call ``bench list`` in this process and return what it printed."""

    def run(*arguments: str, columns: int = 100) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["bench", "list", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code == 0
        return capsys.readouterr().out

    return run


def paragraphs(text: str) -> dict[str, str]:
    """The metadata of each method, white space squeezed."""
    found: dict[str, list[str]] = {}
    for line in text.partition("\n\n")[2].splitlines():
        name = line.partition("  ")[0]
        if name in METHODS:
            found[name] = []
        elif found:
            found[list(found)[-1]].append(line)
    return {name: " ".join(" ".join(lines).split()) for name, lines in found.items()}


def test_every_method_declares_itself(listed: List) -> None:
    """Without these fields nobody knows what a method's number may claim."""
    text = listed("methods", "-v")
    told = paragraphs(text)
    for name in METHODS.names():
        for field in ("paper", "modalities", "sees class names", "release splits", "stages", "parameters"):
            assert field in told[name], (name, field)
    recon = told["recon"]
    assert "points, images, text" in recon
    assert "through captions" in recon
    assert "[--captions class-names]" in recon
    assert "transfer: " in recon
    assert "tiny 11,085,696, small 19,400,192, base 43,107,072" in recon
    assert "mask = 'rand' (or block)" in recon
    assert "none: nothing is trained" in told["scratch"]
    assert ", then " in told["act"].partition("stages")[2].partition("differs")[0]
    assert "(stage of act)" in " ".join(text.split())
    assert "usable" not in listed("methods")  # what is the case everywhere is noise
    assert "act-dvae  stage of act" in text


@pytest.mark.parametrize("columns", [60, 200])
def test_lines_are_wrapped_within_the_terminal(listed: List, columns: int) -> None:
    """Long sentences must wrap in their column instead of running across the screen."""
    text = listed("methods", "-v", columns=columns)
    assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize(
    ("kind", "words"),
    [("protocols", "strengths ="), ("datasets", "licence"), ("teachers", "epochs ="), ("presets", "nano")],
)
def test_the_other_kinds_are_listed_with_their_options(listed: List, kind: str, words: str) -> None:
    """--set needs the names of options."""
    assert words in listed(kind, "-v")


def test_a_plain_list_imports_no_torch() -> None:
    """bench list must answer at once."""
    code = (
        "import sys; sys.argv = ['bench', 'list', 'methods']\n"
        "from bench.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'numpy', 'bench.methods.base') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("sentence", "what", "restored_by"),
    [
        ("hidden patches are skipped (tokenize=all restores it)", "hidden patches are skipped", "tokenize=all"),
        ("ties (first) differ (reference=true restores the sampler)", "ties (first) differ", "reference=true"),
        ("two things (a=1 and b=2 restore them).", "two things", "a=1 and b=2"),
        ("another head (restored by head=old)", "another head", "head=old"),
        ("our own backbone", "our own backbone", "nothing"),
        ("fewer steps (by design)", "fewer steps (by design)", "nothing"),
    ],
)
def test_a_deviation_may_be_one_sentence(sentence: str, what: str, restored_by: str) -> None:
    """Cards written as sentences must tell the option apart from the words."""
    fields = {"paper": "p", "modalities": ["points"], "sees_class_names": "never", "release_splits": "none"}
    pair = {"what": "w", "restored_by": "o"}
    card = MethodCard.model_validate({**fields, "deviations": [sentence, pair]})
    assert card.deviations == (Deviation(what=what, restored_by=restored_by), Deviation(what="w", restored_by="o"))
    assert MethodCard.model_validate(card.model_dump(mode="json")) == card
    assert card.stages == ("pretraining",)
