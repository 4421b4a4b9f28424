"""Tables on the terminal at any width. If these fail, a key copied from a narrow screen is no key."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from bench.report.plain import TextTable, wrapped
from bench.texts import Patient

KEY, METHOD, SCORE = "4c92c5d052c8", "scratch (point-mae)", "39.6 ± 2.3"
ROW = (
    KEY,
    "fewshot 10w10s on shapes-scan-novel, from shapes",
    METHOD,
    SCORE,
    "RuntimeError: it went wrong",
)


def printed(table: TextTable, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [24, 40, 60, 80, 300])
@pytest.mark.parametrize("sink", [(), ("judged by",)])
def test_nothing_that_belongs_together_is_broken(width: int, sink: tuple[str, ...]) -> None:
    """Names and numbers in pieces cannot be read, searched or copied."""
    names = ("key", "judged by", "method", "score", "why")
    lines = printed(TextTable(names, [ROW, ROW], whole=("key", "method"), below=("why",), sink=sink), width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines) if width > 24 else "".join("".join(lines).split())  # no line has room for its words
    for whole in (KEY, METHOD.split()[1], SCORE if width > 24 else "39.6", "shapes-scan-novel,", "RuntimeError:"):
        assert text.count(whole) == 2
    if width >= 80 or (sink and width >= 60):
        assert text.count(METHOD) == 2
        assert sum(KEY in line and SCORE in line for line in lines) == 2


def test_a_narrow_screen_goes_without_what_can_be_spared() -> None:
    """A column that is dropped too early is missing, too late breaks the others."""
    table = TextTable(("key", "code", "method"), [(KEY, "c20421db", METHOD)], whole=("key", "method"), drop=("code",))
    assert "c20421db" in printed(table, 43)[2]
    assert printed(table, 42)[2].split() == [KEY, *METHOD.split()]


def test_a_unit_stays_with_its_heading() -> None:
    """``bench runs`` headed a column "test / accuracy, / %": a reader guesses what the sign belongs to."""
    table = TextTable(("judged by", "test accuracy %"), [("linear on shapes-scan-novel " * 2, "58.7")])
    heads = [line.strip() for line in printed(table, 60)[:3]]
    assert "%" not in heads
    assert any(line.endswith("accuracy %") for line in heads)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab -±1\n日", max_size=60), st.integers(1, 30))
def test_wrapped_text_loses_nothing(text: str, width: int) -> None:
    """A word that is lost or parted says something else."""
    lines = wrapped(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_output_without_a_reader_goes_nowhere() -> None:
    """``bench report | head`` would write no files, ``bench run | head`` would stop its jobs."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        patient = Patient(stream)
        assert patient.write("x" * 100_000) == 100_000
        patient.flush()
        assert patient.write("more") == 4
