"""What CI systems read of a gate's decision."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.errors import SetupError
from bench.gate.output import append_summary, as_json, brief, markdown, write_junit
from bench.stats.gate import GateLine, GateReport, numerics_line

NASTY = 'a | b <c> & "d" \x1b[31m\x00 é'
REPORT = GateReport(
    "broken",
    (
        GateLine("recon", "accuracy", "pass", 50.0, 51.0, 3.0, 1.0, "within the margin"),
        GateLine("recon", "gain", "fail", 10.0, 2.0, 3.0, 0.001, "lower by 8.0, more than draws explain"),
        GateLine(NASTY, "accuracy", "broken", 50.0, None, 3.0, None, f"missing: {NASTY}"),
        GateLine("mean of the suite", "mean", "undecided", 50.0, 48.5, 2.0, 0.07, "lower by 1.5"),
    ),
    (0, 1, 2),
    0.05,
    ("refresh it",),
)


@pytest.mark.parametrize(("passes", "skipped", "failures"), [(True, 1, 1), (False, 0, 2)])
def test_junit_says_which_line_failed_and_why(tmp_path: Path, passes: bool, skipped: int, failures: int) -> None:
    """A CI system that cannot parse the file, or counts otherwise, shows a green build."""
    path = tmp_path / "gate.xml"
    write_junit(REPORT, path, NASTY, undecided_passes=passes)
    suite = ElementTree.parse(path).getroot()
    assert {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": 4,
        "failures": failures,
        "errors": 1,
        "skipped": skipped,
    }
    cases = {case.attrib["name"]: [child.tag for child in case] for case in suite}
    assert cases["recon"] == ["system-out"]
    assert cases["recon: gain over scratch"] == ["failure", "system-out"]
    error = next(element for element in suite.iter("error"))
    assert error.attrib["message"].startswith("broken: missing: a | b <c>")


def test_markdown_keeps_its_table_whatever_the_names_are(tmp_path: Path) -> None:
    """The step summary is what people look at; a cell's name is full of bars."""
    lines = [line for line in markdown(REPORT, "ci.json").splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(REPORT.lines)
    assert {line.replace("\\|", "").count("|") for line in lines} == {7}
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    append_summary(REPORT, path, "ci.json")
    assert path.read_text().startswith("before\n## Accuracy check: broken")
    with pytest.raises(SetupError, match="give a writable path"):
        append_summary(REPORT, tmp_path, "ci.json")


def test_json_has_every_line_and_only_finite_numbers() -> None:
    found = json.loads(json.dumps(as_json(REPORT), allow_nan=False))
    assert (found["verdict"], found["exit_code"]) == ("broken", 4)
    assert [line["drop"] for line in found["lines"]] == [-1.0, 8.0, None, 1.5]


def test_reference_numbers_stand_beside_the_cells(tmp_path: Path) -> None:
    """A suite of small networks can pass although a released network is computed wrongly."""
    sound = replace(REPORT, verdict="pass", lines=REPORT.lines[:1])
    names = ["chamfer.npz", "fps_knn.npz"]
    assert sound.with_line(numerics_line(names, {})).exit_code == 0
    report = sound.with_line(numerics_line(names, {"chamfer.npz": "out/loss differs"}))
    assert report.exit_code == 1
    row = next(line for line in markdown(report, "ci.json").splitlines() if "recorded" in line)
    assert "| fail | 2 | 1 | 0 | no longer reproduced: chamfer.npz: out/loss differs" in row
    assert REPORT.with_line(numerics_line(names, {"chamfer.npz": ""})).verdict == "broken"


def test_names_are_shortened_by_what_all_share_and_stay_distinct() -> None:
    """Six names that differ in their first word fill the screen and hide the verdict."""
    names = ["recon | fewshot | scan | nano", "scratch | fewshot | scan | nano"]
    assert brief(names) == ("fewshot | scan | nano", {names[0]: "recon", names[1]: "scratch"})
    odd = [*names, "recon | fewshot | scan | nano | pretrained on b"]
    assert brief(odd) == ("", {name: name for name in odd})
    assert brief(names[:1]) == ("", {names[0]: names[0]})
