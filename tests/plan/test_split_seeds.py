"""Split seeds: every encoder is judged on each of them, nothing is pretrained twice, no stored key changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.gate.check import cell_names
from bench.paths import Workspace
from bench.plan.graph import Plan
from bench.plan.planning import make_plan
from bench.plan.request import RunRequest, validated
from bench.registry import PROTOCOLS
from bench.spec import RunSpec, content_key
from bench.stats.cells import group_cells
from bench.store.queries import MetricRow, by_run
from bench.tuning.problems import make_problems


def planned(folder: Path, **fields: Any) -> Plan:
    values = {"methods": ["point-mae"], "protocols": ["linear"], "datasets": ["shapes-scan"], "preset": "smoke"}
    request = RunRequest.model_validate({**values, "device": "cpu", **fields})
    return make_plan(request, Workspace(folder / "results", folder / "cache"), None)


def drawn(plan: Plan) -> Counter[tuple[int, int]]:
    return Counter((run.spec.seed, run.spec.split_seed) for run in plan.runs)


def test_pretraining_seeds_and_split_seeds_are_crossed_and_share_encoders(tmp_path: Path) -> None:
    """Pretraining again for each split would take hours for weights that are the same."""
    plan = planned(tmp_path, seeds=2, split_seeds="0,3,", protocols=["linear", "fewshot"])
    assert drawn(plan) == {(seed, split): 4 for seed in (0, 1) for split in (0, 3)}  # two protocols, two methods
    assert len([job for job in plan.jobs if job.kind == "encoder"]) == 2
    assert len({content_key(run.spec.encoder) for run in plan.runs}) == 4  # two of them untrained
    assert len({run.key for run in plan.runs}) == len(plan.runs)
    assert any("split seed 0, 3" in job.title for job in plan.jobs if job.kind == "evaluate")
    plain = planned(tmp_path, seeds=2, protocols=["linear", "fewshot"])
    assert {run.key for run in plain.runs} == {run.key for run in plan.runs if run.spec.split_seed == 0}
    assert not any("split seed" in job.title for job in plain.jobs)


def test_what_draws_nothing_is_judged_once_and_says_so(tmp_path: Path) -> None:
    """The same number under five split seeds would look like five agreeing draws."""
    plan = planned(tmp_path, methods=["recon"], protocols=["retrieval", "zeroshot", "linear"], split_seeds=2)
    splits = {name: {r.spec.split_seed for r in plan.runs if r.label["protocol"] == name} for name in PROTOCOLS.names()}
    assert (splits["retrieval"], splits["zeroshot"], splits["linear"]) == ({0}, {0, 1}, {0, 1})
    assert any("retrieval draws nothing" in note for note in plan.notes)
    published = planned(tmp_path, methods=["recon"], protocols=["zeroshot"], form="published", split_seeds="4,")
    assert drawn(published) == {(0, 0): 2}  # the method and its teacher alone


@pytest.mark.parametrize("field", ["seeds", "split_seeds"])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("many", "expected a count such as 5"),
        ("0", "expected a count"),
        ("-3", "expected a count"),
        (",", "expected a count"),
        (True, "expected a count|not true or false"),
        ("1000000000", "at most 1000 seeds"),
        ("0,0", "distinct"),
        ("-1,2", "distinct numbers from 0"),
        ([2**63], "up to 9223372036854775807"),
        ("9223372036854775808,", "9223372036854775807"),
        ([], "at least 1"),
        ([1.5], "integer"),
        (["x"], "integer"),
    ],
)
def test_wrong_seeds_are_named_with_their_field(field: str, value: object, why: str) -> None:
    with pytest.raises(UsageError, match=rf"request\.{field}.*({why})") as error:
        validated(RunRequest, {field: value}, "request")
    assert "\n" not in str(error.value)


def test_a_search_scores_its_trials_on_every_split_asked_for(tmp_path: Path) -> None:
    request = RunRequest(
        methods=("scratch",), protocols=("linear",), datasets=("shapes-scan",), preset="smoke", split_seeds=(0, 2)
    )
    (problem,), _ = make_problems(request, "downstream", Workspace.at(tmp_path), baseline=False)
    trial = make_plan(problem.trial({}), Workspace.at(tmp_path), None)
    assert drawn(trial) == {(0, 0): 1, (0, 2): 1}
    other = request.model_copy(update={"split_seeds": (0,)})
    (single,), _ = make_problems(other, "downstream", Workspace.at(tmp_path), baseline=False)
    assert single.name != problem.name, "trials of another split are no trials of this search"


def test_cells_of_different_splits_have_names_of_their_own(tmp_path: Path) -> None:
    """A baseline that holds both must be able to tell which one dropped."""
    plan = planned(tmp_path, methods=["scratch"], split_seeds=2)
    rows = [row(run.spec, run.key, run.label) for run in plan.runs]
    cells = group_cells(by_run(rows), {run.key: run.spec.model_dump(mode="json") for run in plan.runs})
    names = cell_names(cells)
    assert len(names) == len(set(names))


def row(spec: RunSpec, key: str, label: dict[str, str]) -> MetricRow:
    fields = {name: label[name] for name in ("preset", "method", "architecture", "protocol", "form", "setting")}
    return MetricRow(
        **fields, dataset=label["dataset"], pretrain_data=label["pretrain_data"], run_key=key, fingerprint="f",
        seed=spec.seed, split_seed=spec.split_seed, split="test", selection="val", variant="", headline=True, fold=None,
        epoch=None, votes=0, name="accuracy", value=0.5, n_objects=10, seen=None, seen_total=None, status="done",
        older_code=False, created_at="2026", folder=Path("runs"),
    )  # fmt: skip
