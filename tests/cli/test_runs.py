"""``bench runs``: what is stored, without the numbers that may not be looked at."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from compare_runs import Compare, record, reset, rows, shelf

from bench.store.queries import RunRow
from bench.store.records import RunRecord
from bench.store.store import Store


def test_the_score_of_a_trial_is_hidden_by_its_specification(call: Compare, results: Path, tmp_path: Path) -> None:
    """Who picks the trial with the best listed test score has tuned on the test split, with old records too."""
    place = shelf(tmp_path / "trials", results, lambda row, own: reset(own, "trial", True) if row.seed else own)
    assert all("trial" not in row.label for row in rows(place))
    code, output, _ = call("runs", "--results", place)
    assert code == 0
    assert output.count("trial of a search") == 2
    assert len(re.findall(r" \d+\.\d$", output, re.MULTILINE)) == 2


def test_programs_get_json(call: Compare, results: Path, tmp_path: Path) -> None:
    """A script would read columns of a table that is made for eyes, and see the score of a trial."""
    place = shelf(tmp_path / "json", results, lambda row, own: reset(own, "trial", True) if row.seed else own)
    code, output, _ = call("runs", "--results", place, "--json")
    listed = json.loads(output)
    assert code == 0
    assert [one["score"] is None for one in listed] == [one["trial"] for one in listed]
    assert all(one["trial"] == (one["seed"] > 0) and len(one["key"]) == 64 for one in listed)
    code, output, _ = call("why", listed[0]["key"], listed[0]["key"], "--results", place, "--json")
    assert (code, json.loads(output)["same"]) == (0, True)


def test_the_newest_runs_are_listed_with_how_many_more_there_are(call: Compare, results: Path, tmp_path: Path) -> None:
    """A terminal would run over with 100,000 lines, or show some of the runs as if they were all."""
    place = shelf(tmp_path / "many", results, lambda row, own: own)
    everything = json.loads(call("runs", "--results", place, "--json")[1])
    count = len(everything)
    assert count > 2
    code, output, _ = call("runs", "--results", place, "--limit", "2")
    assert code == 0
    assert f"the newest 2 of {count} runs;" in output
    assert "--limit N or --all" in " ".join(output.split())
    assert [one["key"][:12] in output for one in everything] == [False] * (count - 2) + [True] * 2
    assert "the newest" not in call("runs", "--results", place, "--limit", count)[1]
    assert json.loads(call("runs", "--results", place, "--json", "--limit", "2")[1]) == everything[-2:]
    assert json.loads(call("runs", "--results", place, "--json", "--failed")[1]) == []


def test_what_is_not_listed_is_counted_however_runs_are_read(
    call: Compare, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest 200 would pass for all runs where the index is damaged, lost or not believed."""
    monkeypatch.setattr("bench.cli.runs.SHOWN", 3)
    place = shelf(tmp_path / "many", results, lambda row, own: own)
    own = record(results, rows(results, protocol="linear")[0])
    for seed in range(5):
        Store(place).publish(reset(own, "seed", 1000 + seed))
    count = len(json.loads(call("runs", "--results", place, "--json")[1]))
    assert count > 5
    index = Store(place).database.path
    assert index is not None

    def listed(*arguments: str) -> tuple[bool, int]:
        code, output, _ = call("runs", "--results", place, *arguments)
        assert code == 0
        return f"the newest 3 of {count} runs;" in output, len(re.findall(r" \d+\.\d$", output, re.MULTILINE))

    assert listed() == listed("--verify") == (True, 3)
    index.write_bytes(b"no database" * 1000)
    assert listed() == (True, 3)
    index.unlink()
    assert listed() == (True, 3)
    monkeypatch.setattr("bench.cli.runs.SHOWN", count)
    assert listed() == listed("--verify") == (False, count)


def test_a_damaged_run_is_named_and_the_others_are_listed(
    call: Compare, results: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One broken file would hide every run of the folder."""
    place = shelf(tmp_path / "damaged", results, lambda row, own: own)
    cut, lost = (row.stored.folder / "spec.json" for row in rows(place, method="scratch"))
    cut.write_text("{")
    lost.unlink()
    code, output, _ = call("runs", "--results", place)
    assert (code, caplog.text.count("'bench db rebuild' sets it aside")) == (0, 2)
    assert caplog.text.count("left out runs/") == 2
    assert len(re.findall(r" \d+\.\d$", output, re.MULTILINE)) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("runs", "-m", "point-may"), "unknown method of a stored run 'point-may': did you mean point-mae?"),
        (("runs", "-m", "none", "-p", "linear"), "unknown method of a stored run 'none': known: point-mae, scratch"),
        (("runs", "-m", "scratch", "-p", "knn"), "unknown protocol of a stored run 'knn': known: linear"),
        (("runs", "--all", "--limit", "3"), "--all and --limit contradict each other; give one of them"),
        (("why", "abc"), "missing argument 'B'"),
        (("why", "zz", "zz"), "no stored run has a key beginning with 'zz'; bench runs lists them"),
    ],
)
def test_wrong_input_is_one_line(
    call: Compare, results: Path, tmp_path: Path, arguments: tuple[str, ...], line: str
) -> None:
    """The user would get a traceback, or an empty table that says nothing."""
    place = shelf(tmp_path / "linear", results, lambda row, own: own)
    code, output, error = call(*arguments, "--results", place)
    assert line in error
    assert (code, output) == (2, "")
    assert len(error.strip().splitlines()) == 1


def test_values_that_no_run_has_together_are_named(call: Compare, results: Path, tmp_path: Path) -> None:
    """An option that another run has would be called unknown, and the user would look for a spelling mistake."""
    place = shelf(tmp_path / "one", results, lambda row, own: own if row.method == "scratch" else None)
    store = Store(place)
    store.publish(record(results, rows(results, method="point-mae", protocol="svm")[0]))
    code, _, error = call("runs", "-m", "scratch", "-p", "svm", "--results", place)
    assert code == 2
    assert "no stored run has method scratch, protocol svm together" in error


def test_a_folder_without_runs_is_named(call: Compare, tmp_path: Path) -> None:
    """Who mistypes the folder would believe that his runs are lost."""
    for command in (
        ["runs"],
        ["report"],
        ["compare", "recon", "scratch"],
        ["why", "a", "b"],
        ["encoders"],
        ["db", "status"],
    ):
        code, _, error = call(*command, "--results", tmp_path / "typo")
        assert (code, f"no results folder at {tmp_path / 'typo'}" in error) == (2, True)
        assert not (tmp_path / "typo").exists()
    (tmp_path / "empty").mkdir()
    code, output, _ = call("runs", "--results", tmp_path / "empty")
    assert (code, f"no runs stored in {tmp_path / 'empty'} yet" in output) == (0, True)
    code, _, error = call("compare", "recon", "scratch", "--results", tmp_path / "empty")
    assert (code, f"no runs stored in {tmp_path / 'empty'} yet" in error) == (2, True)
    assert not list((tmp_path / "empty").iterdir())


def test_a_line_of_why_names_a_run(call: Compare, compare: Compare, results: Path, tmp_path: Path) -> None:
    """Its values were written in another way than bench compare reads them: nothing stored would fit."""

    def change(row: RunRow, own: RunRecord) -> RunRecord:
        return reset(own, "protocol.options.normalise", None) if row.seed else own

    place = shelf(tmp_path / "why", results, change)
    keys = [rows(place, method="point-mae", seed=seed)[0].stored.key for seed in (0, 1)]
    code, told, _ = call("why", *keys, "--results", place)
    assert code == 0
    assert "spec seed: 0 | 1" in told
    found = re.search(r"spec (protocol.options.normalise): (\S+) \| (\S+)", told)
    assert found is not None
    field, first, second = found.groups()
    code, output, _ = compare(f"point-mae,{field}={first}", f"scratch,{field}={first}", place=place)
    assert (code, "2 runs follow" in output) == (0, True)
    assert (first, second) == ("true", "null")
    assert compare(f"point-mae,{field}={second}", f"scratch,{field}={second}", place=place)[0] == 0


def test_why_tells_that_a_protocol_was_described_otherwise(call: Compare, results: Path, tmp_path: Path) -> None:
    """Two codes gave one key other descriptions; the report joins them, so somebody has to say it."""
    stored = rows(results, method="point-mae", protocol="linear", seed=0)[0]
    place = tmp_path / "cards"
    for code, card in (("a", "1" * 64), ("b", "2" * 64)):
        own = record(results, stored)
        provenance = {**own.provenance, "card_hash": card, "modules": {}}
        Store(place).publish(replace(own, fingerprint=code * 64, provenance=provenance))
    key = stored.stored.key
    code, told, _ = call("why", f"{key}@a", f"{key}@b", "--results", place)
    assert (code, "card: the protocol's description differs (111111111111 | 222222222222)" in told) == (0, True)
