"""Names from outside are shown as they are: no terminal, spreadsheet or markup obeys them."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.cli.main import main
from bench.texts import csv_text, screen, visible

NASTY = [
    "\x1b[31mred",
    "\x1b]0;title\x07",
    "a\rb",
    "x\u202eexe",
    "\x9b2J",
    "\ud800",
    "[/b]",
    "scans[v2]",
    "a\\",
    "\u2066x",
]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(text=st.text())
def test_nothing_a_terminal_obeys_is_left(text: str) -> None:
    shown = visible(text)
    obeyed = (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    assert not set(shown) & set(map(chr, obeyed))
    shown.encode()
    assert len(shown) == len(text)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+cmd", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1", '=HYPERLINK("x")', "-", "\uff1d1"]
)
def test_a_text_is_never_a_formula(text: str) -> None:
    (_, [value, number]) = csv.reader(io.StringIO(csv_text(["a", "b"], [[text, -0.5]])))
    assert value.startswith("'")
    assert float(number) == -0.5
    ((heading,),) = csv.reader(io.StringIO(csv_text([text], [])))
    assert heading.startswith("'")


@pytest.mark.parametrize("value", [-1, -0.25, 1e-9, "-0.5", "+3", "-1.5e-07", "", None, "plain", "a=b", "5w10s"])
def test_numbers_and_plain_words_stay(value: object) -> None:
    assert csv_text(["x"], [[value]]) == f"x\n{'' if value is None else value}\n".replace("\n\n", '\n""\n')


@pytest.mark.parametrize("name", NASTY)
def test_a_screen_shows_what_it_is_given(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(name if "[" not in name else "x")
    table.add_row(Text(name))
    screen().print(table)
    screen().print(name, markup=False)
    output = capsys.readouterr().out
    assert not {"\x1b", "\x9b", "\u202e", "\u2066", "\ud800", "\x07", "\r"} & set(output)


def test_local_names_and_errors_are_literal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`scans[v2]` was listed as `scans`, and `[/b]` ended in a traceback."""
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    entry = {"format": "modelnet-h5", "root": "/d/[v2]/\x1b[31m", "options": {}}
    (tmp_path / "datasets.yaml").write_text(json.dumps({"datasets": {"scans[v2]": entry, "[/b]": entry}}))
    for command in (
        ["data", "list"],
        ["run", "--dataset", "scans[/b]\x1b[31m"],
        ["why", "[/b]", "x"],
        ["runs", "-m", "[/b]"],
    ):
        monkeypatch.setattr(sys, "argv", ["bench", *command])
        with pytest.raises(SystemExit):
            main()
    captured = capsys.readouterr()
    assert "scans[v2]" in captured.out
    assert "[/b]" in captured.out
    assert "'scans[/b]␛[31m'" in captured.err
    assert "\x1b[31m" not in captured.out + captured.err
