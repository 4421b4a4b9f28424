"""What a user would lose: runs that answer another question than --corruptions or --rotation ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.data.corruptions import SUITE
from bench.errors import UsageError
from bench.paths import Workspace
from bench.plan.labels import run_label
from bench.plan.request import RunRequest, validated
from bench.plan.resolve import Resolution, resolve
from bench.spec import content_key
from bench.stats.cells import cell_digest


def resolved(tmp_path: Path, **fields: object) -> Resolution:
    values = {"methods": ["point-mae"], "protocols": ["linear"], "preset": "smoke", "device": "cpu", **fields}
    return resolve(RunRequest.model_validate(values), Workspace(tmp_path / "results", tmp_path / "cache"))


def test_keys_without_the_options_stay(tmp_path: Path) -> None:
    """Stored results would otherwise be lost to every later request."""
    plain = resolved(tmp_path).runs[0].protocol.model_dump(mode="json")
    assert "corruptions" not in plain
    assert "rotation" not in plain


def test_corrupted_runs_are_seeds_of_the_same_cell(tmp_path: Path) -> None:
    plain, more = resolved(tmp_path).runs, resolved(tmp_path, corruptions=True).runs
    assert [run.protocol.corruptions for run in more] == [SUITE] * len(plain)
    for one, other in zip(plain, more, strict=True):
        assert content_key(one) != content_key(other)
        digests = {cell_digest(run.model_dump(mode="json")) for run in (one, other)}
        assert len(digests) == 1


def test_rotations_are_cells_of_their_own(tmp_path: Path) -> None:
    found = resolved(tmp_path, rotations="none,z/SO3,SO3/SO3")
    assert {run_label(run, found)["setting"] for run in found.runs} == {"all", "all, z/SO3", "all, SO3/SO3"}
    assert len({cell_digest(run.model_dump(mode="json")) for run in found.runs}) == len(found.runs)


@pytest.mark.parametrize("fields", [{"corruptions": True}, {"rotations": ["z/z"]}])
def test_protocols_that_cannot_say_so(tmp_path: Path, fields: dict[str, object]) -> None:
    names = ["linear", "retrieval", "partseg", "semseg", "zeroshot"]
    found = resolved(tmp_path, protocols=names, datasets=["shapes-scan"], **fields)
    assert {run.protocol.name for run in found.runs} == {"linear"}
    refused = {skipped.protocol: skipped.reason for skipped in found.skipped}
    assert set(refused) == set(names[1:])
    assert all("--corruptions" in reason for name, reason in refused.items() if name == "retrieval")
    episodes = {"overrides": {"fewshot.episodes": "crosspoint", "fewshot.head": "svm"}, "form": "published"}
    none = resolved(tmp_path, protocols=["fewshot"], **episodes, **fields)
    assert not none.runs
    assert "no test split" in none.skipped[0].reason


@pytest.mark.parametrize("text", ["", "x/y", "z/z,z/z", "SO3/z", "z"])
def test_wrong_rotations_are_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"request\.rotations") as error:
        validated(RunRequest, {"rotations": text}, "request")
    assert "\n" not in str(error.value)
