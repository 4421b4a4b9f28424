"""Which runs ``bench compare`` takes for alike: judged alike, with networks of one size, by one code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from compare_runs import Compare, reset, rows, shelf

from bench.comparing.groups import Shelf, parse_group
from bench.store.queries import RunRow
from bench.store.records import RunRecord
from bench.store.store import Store

UNLIKE = [
    ("protocol.options.normalise", False, "protocol.options.normalise (false | true)"),
    ("protocol.revision", 9, "protocol.revision (9 | 2)"),
    ("tuned", {"space": "a", "trials": 8, "values": {}}, "tuned.space (a | absent), tuned.trials (8 | absent)"),
    ("data.manifest", "f" * 64, "data.manifest (ffffffffffffffffffff... | "),
    ("encoder.backbone.depth", 7, "differ in size: encoder.backbone.depth (7 | "),
]


@pytest.mark.parametrize(("path", "value", "line"), UNLIKE)
def test_runs_that_were_judged_differently_are_refused(
    compare: Compare, results: Path, tmp_path: Path, path: str, value: object, line: str
) -> None:
    """A difference of the judge (or of the network's size) would be read as one of the methods."""

    def change(row: RunRow, own: RunRecord) -> RunRecord:
        return reset(own, path, value) if row.method == "point-mae" else own

    place = shelf(tmp_path / "unlike", results, change)
    code, output, error = compare("point-mae", "scratch", place=place)
    assert (code, output) == (2, "")
    assert line in error
    assert len(error.strip().splitlines()) == 1
    keys = [rows(place, method=name, seed=0)[0].stored.key[:12] for name in ("point-mae", "scratch")]
    code, output, _ = compare(*keys, place=place)
    assert code == 0
    assert f"{line.partition(' (')[0].rpartition(' ')[2]} (" in output
    assert "as asked for" in output
    code, _, error = compare(keys[0], "scratch", place=place)  # the user did not say which scratch
    assert code == 2
    assert line in error


def test_who_names_the_field_behind_both_gets_the_comparison_and_a_note(
    compare: Compare, results: Path, tmp_path: Path
) -> None:
    """Two forms of one protocol could not be compared, or nobody would be told that they are two."""

    def change(row: RunRow, own: RunRecord) -> RunRecord:
        changed = reset(own, "protocol.options.normalise", False)
        return reset(changed, "protocol.form", "published", label={**own.label, "form": "published"})

    place = shelf(tmp_path / "forms", results, lambda row, own: own)
    shelf(place, results, change)
    code, output, _ = compare("point-mae,form=published", "point-mae,form=fair", place=place)
    assert code == 0
    assert "judged differently: form (published | fair), protocol.options.normalise (false | true), as asked" in output
    code, output, _ = compare("point-mae,form=published", "scratch", place=place)
    assert code == 0
    assert "judged differently" not in output
    shelf(tmp_path / "half", results, lambda row, own: change(row, own) if row.method == "point-mae" else own)
    code, _, error = compare("point-mae,form=published", "scratch", place=tmp_path / "half")
    assert code == 2
    assert "judged differently: form (published | fair), protocol.options.normalise (false | true); run them" in error
    field = "protocol.options.normalise"
    code, output, _ = compare("point-mae,form=published", "scratch,form=fair", place=tmp_path / "half")
    assert (code, "as asked for" in output) == (0, True)
    code, _, error = compare(f"point-mae,{field}=false", f"scratch,{field}=true", place=tmp_path / "half")
    assert "were never judged alike" in error


def test_a_scratch_of_another_architecture_is_no_baseline(compare: Compare, results: Path, tmp_path: Path) -> None:
    """What another network gives without pretraining says nothing about this one's pretraining."""

    def change(row: RunRow, own: RunRecord) -> RunRecord:
        return replace(own, label={**own.label, "architecture": "recon"}) if row.method == "scratch" else own

    place = shelf(tmp_path / "architectures", results, change)
    code, output, error = compare("point-mae", "scratch", place=place)
    assert (code, output) == (2, "")
    assert "point-mae and scratch (recon) differ in architecture: architecture (point-mae | recon)" in error
    code, output, _ = compare("point-mae,architecture=point-mae", "scratch,architecture=recon", place=place)
    assert (code, "differ in architecture" in output, "as asked for" in output) == (0, True, True)
    code, output, _ = compare("point-mae+scratch", "--ensemble", place=place)
    assert code == 2


def taken(place: Path) -> RunRecord:
    """The run of Point-MAE's seed 0 that is compared."""
    (cell,) = Shelf(Store(place), {}).cells(*parse_group("point-mae"))
    return cell.records[0]


def test_runs_with_and_without_legacy_are_seeds_of_one_cell(compare: Compare, results: Path, tmp_path: Path) -> None:
    """A seed that was run with --legacy would be left out, or the method could not be named at all."""

    def mixed(row: RunRow, own: RunRecord) -> RunRecord:
        return reset(own, "protocol.legacy", True) if row.seed == 0 and row.method == "point-mae" else own

    one = shelf(tmp_path / "one", results, mixed)
    code, output, _ = compare("point-mae", "scratch", place=one)
    assert (code, "left out" in output, "of 4 runs follow" in output) == (0, False, True)
    both = shelf(one, results, lambda row, own: own)
    assert len(rows(both, method="point-mae", seed=0)) == 2
    code, again, _ = compare("point-mae", "scratch", place=both)
    assert (code, again) == (0, output)
    assert taken(both).spec["protocol"]["legacy"] is True  # type: ignore[call-overload,index]
    older = shelf(tmp_path / "older", results, lambda row, own: replace(mixed(row, own), fingerprint="0" * 64))
    shelf(older, results, lambda row, own: own if row.seed == 0 else None)
    assert taken(older).spec["protocol"]["legacy"] is False  # type: ignore[call-overload,index]
    keys = [row.stored.key[:12] for row in rows(both, method="point-mae", seed=0)]
    code, _, error = compare("+".join(keys), "scratch", place=both)
    assert code == 2
    assert "names two runs of seed 0" in error


def test_other_pretraining_data_are_noted(compare: Compare, results: Path, tmp_path: Path) -> None:
    """A method that saw a tenth of the data would stand beside one that saw all of it, and nothing would say so."""

    def change(row: RunRow, own: RunRecord) -> RunRecord:
        other = {"method": "other", "architecture": "other", "pretrain_data": "toyset (10 %)"}
        return replace(own, label={**own.label, **other}) if row.method == "scratch" else own

    place = shelf(tmp_path / "parts", results, change)
    code, output, _ = compare("point-mae", "other", place=place)
    assert code == 0
    assert "pretrained on different data: point-mae on modelnet-h5:toyset, other on toyset (10 %)" in output


@pytest.mark.parametrize("changed", ["scratch", "point-mae", "seed 0 of both"])
def test_code_that_changed_between_the_sides_is_noted(
    compare: Compare, results: Path, tmp_path: Path, changed: str
) -> None:
    """A difference that a change of the code made would be read as one of the methods."""

    def change(row: RunRow, own: RunRecord) -> RunRecord:
        if row.method != changed and (row.seed or changed != "seed 0 of both"):
            return own
        modules = {**own.provenance["modules"], "bench.protocols.linear": "0" * 64}  # type: ignore[dict-item]
        return replace(own, fingerprint="0" * 64, provenance={**own.provenance, "modules": modules})

    code, output, _ = compare("point-mae", "scratch", place=shelf(tmp_path / "code", results, change))
    assert code == 0
    assert output.count("different versions of the code: bench.protocols.linear changed in between") == 1
    code, output, _ = compare("point-mae", "scratch", "-p", "linear")
    assert "different versions of the code" not in output
