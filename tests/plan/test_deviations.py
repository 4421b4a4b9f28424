"""Deviations from a preset. If these fail, a changed run passes for the preset it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.paths import Workspace
from bench.plan.deviations import deviations, deviations_of
from bench.plan.request import RunRequest
from bench.plan.resolve import resolve
from bench.spec import RunSpec


def runs(folder: Path, **asked: Any) -> list[RunSpec]:
    given = {"methods": ("point-mae",), "protocols": ("linear",), "datasets": ("shapes-cad",), "preset": "smoke"}
    return resolve(RunRequest.model_validate({**given, **asked}), Workspace(folder, folder / "cache")).runs


def told(run: RunSpec) -> set[str]:
    return {one.short for one in deviations(run)}


@pytest.mark.parametrize("method", ["point-mae", "crosspoint"])
@pytest.mark.parametrize("protocol", ["linear", "fewshot", "finetune", "svm"])
def test_a_run_as_shipped_deviates_in_nothing(tmp_path: Path, method: str, protocol: str) -> None:
    """A table headed by changes that nobody made would hide those that somebody did."""
    for run in runs(tmp_path, methods=(method,), protocols=(protocol,)):
        assert told(run) == set(), run.encoder.method


@pytest.mark.parametrize(
    ("asked", "pretrained", "scratch"),
    [
        ({"overrides": {"recipe.epochs": 7}}, {"recipe.epochs=7"}, set()),
        ({"overrides": {"backbone.depth": 3}}, {"backbone.depth=3"}, {"backbone.depth=3"}),
        ({"overrides": {"data.train_per_class": 7}}, {"data.train_per_class=7"}, {"data.train_per_class=7"}),
        ({"overrides": {"pretrain_data.objects": 80}}, {"pretrain_data.objects=80"}, set()),
        ({"overrides": {"linear.strengths": [1.0]}}, {"protocol.strengths=[1.0]"}, {"protocol.strengths=[1.0]"}),
        ({"pretrain_fractions": (0.5,)}, {"pretrain_fraction=0.5"}, set()),
        ({"label_fractions": (0.5,)}, {"label_fraction=0.5"}, {"label_fraction=0.5"}),
        ({"seeds": (4,), "split_seeds": (2,), "legacy": True}, set(), set()),
    ],
)
def test_every_change_is_named(tmp_path: Path, asked: dict[str, Any], pretrained: set[str], scratch: set[str]) -> None:
    """Runs with --set recipe.epochs=1 were reported as the preset."""
    found = runs(tmp_path, **asked)
    assert {frozenset(told(run)) for run in found if run.encoder.method != "scratch"} == {frozenset(pretrained)}
    assert {frozenset(told(run)) for run in found if run.encoder.method == "scratch"} == {frozenset(scratch)}


def test_a_spec_that_cannot_be_read_here_says_so(tmp_path: Path) -> None:
    """Without its plugin nothing is known of a run's defaults; "as shipped" would be made up."""
    (run, *_) = runs(tmp_path)
    plain = run.model_dump(mode="json")
    plain["protocol"] = {**plain["protocol"], "name": "absent"}
    (only,) = deviations_of(plain)
    assert only.field == "defaults"
    assert "absent" in only.value
