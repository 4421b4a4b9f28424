"""The test of the check itself takes an hour: what it breaks must be there, and what its page says must be true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks.gate_selftest import BREAKS, ROOT, Row, keep, kept_rows, page, planned

ROW = Row("the learning rate is 0", False, "fail", "recon (gain) fail", 4.26, 1, "a machine", "0123456", "state")


def test_every_line_to_break_is_there_once() -> None:
    """Else an hour's test ends with nothing tested."""
    for fault in BREAKS:
        source = (ROOT / "bench" / fault.file).read_text(encoding="utf-8")
        assert source.count(fault.text) == 1, f"{fault.what}: mend BREAKS"
        compile(source.replace(fault.text, fault.broken), fault.file, "exec")


def test_the_page_says_what_was_run_and_what_was_not() -> None:
    """A sentence written by hand beside a table is false after the next run, or lost."""
    unseen = replace(ROW, what="the optimiser never steps", verdict="pass")
    fresh = replace(ROW, what="nothing, fresh seed 100", fresh=True, verdict="undecided")
    text = page([unseen, fresh, ROW], ["labels"], "ci.json")
    assert "The check noticed 1 of 2 breaks that were run; unseen: the optimiser never steps." in text
    assert "Verdicts without a break: 1 undecided." in text
    assert text.endswith("Not run: labels.\n")
    assert text.index(ROW.what) < text.index("| the optimiser never steps"), "in the order of the breaks"
    whole = page([ROW], [], "ci.json")
    assert "Not run" not in whole
    assert "Nothing broken" not in whole


@pytest.mark.parametrize(
    ("fresh", "verdict", "good"),
    [
        (False, "fail", True),
        (False, "broken", True),
        (False, "pass", False),
        (False, "undecided", False),
        (False, "exit 2", False),
        (True, "pass", True),
        (True, "undecided", True),
        (True, "fail", False),
    ],
)
def test_a_break_must_alarm_and_an_unbroken_package_must_not(fresh: bool, verdict: str, good: bool) -> None:
    assert replace(ROW, fresh=fresh, verdict=verdict).good is good


def test_finished_rows_are_kept_each_for_itself(tmp_path: Path) -> None:
    """Else a test of an hour begins anew, or one row is shown in place of another."""
    every = [replace(ROW, what=what, seeds=seeds) for what in planned(tmp_path / "ci.json", 2, 5) for seeds in (1, 2)]
    for row in every:
        keep(row, tmp_path)
    assert sorted(kept_rows(tmp_path), key=str) == sorted(every, key=str)
    assert kept_rows(tmp_path / "none") == kept_rows(None) == []
