"""What a user would lose: robustness that is measured on other heads, other objects or other labels than accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench.data.corruptions import CLEAN, CONDITIONS, SUITE, Condition, corrupt
from bench.protocols.base import CorruptedTest, Evaluation, Task
from bench.protocols.features import prepared_clouds
from bench.protocols.fewshot.protocol import FewShot
from bench.protocols.finetune import Finetune
from bench.protocols.knn import Knn
from bench.protocols.linear import Linear
from bench.protocols.mlp.protocol import Mlp
from bench.protocols.robustness import METRIC, corrupted_rows
from bench.protocols.svm import Svm
from bench.stats.recomputed import recompute

from .conftest import MakeTask, subject, values

SAME, LOST = "same-1", "lost-1"
CASES: dict[str, Callable[[Task], Evaluation]] = {
    "linear": lambda task: Linear.evaluate(subject("a", "b"), task, "all", Linear.defaults("smoke")),
    "svm": lambda task: Svm.evaluate(subject("a", "b"), task, "all", Svm.defaults("smoke")),
    "knn": lambda task: Knn.evaluate(subject(), task, "all", Knn.defaults("smoke")),
    "mlp": lambda task: Mlp.evaluate(subject(), task, "all", Mlp.defaults("smoke")),
    "finetune": lambda task: Finetune.evaluate(subject(), task, "all", Finetune.defaults("smoke")),
    **{
        f"fewshot {head}": lambda task, head=head: FewShot.evaluate(  # type: ignore[misc]
            subject(), task, "5w2s", FewShot.defaults("smoke").model_copy(update={"head": head})
        )
        for head in ("linear", "mlp", "full")
    },
}


def corrupted(task: Task) -> CorruptedTest:
    """One condition that changes nothing, and one that leaves nothing of a cloud."""
    points = task.test.points
    return CorruptedTest("toy", (SAME, LOST), lambda name: points if name == SAME else np.zeros_like(points) + 1)


def arrays(result: Evaluation) -> dict[str, Any]:
    return dict(result.predictions)


@pytest.mark.parametrize("case", CASES)
def test_the_same_head_is_scored_and_nothing_else_changes(make_task: MakeTask, case: str) -> None:
    """Unchanged clouds give the clean answers, one by one; the clean numbers do not depend on the option."""
    plain = CASES[case](make_task(cache="plain"))
    task = make_task(cache="corrupted")
    task = replace(task, corrupted=corrupted(task), workdir=task.workdir / "corrupted")
    both = CASES[case](task)
    assert task.test.revealed == 1
    rows = [row for row in both.metrics if row.name.partition("[")[0] != METRIC]
    assert rows == plain.metrics
    assert both.split_digest == plain.split_digest
    same, lost = both.predictions["corrupted_predicted"]
    assert np.array_equal(same, both.predictions["predicted"])
    clean = values(both.metrics, name="accuracy", split="test", selection="val", fold=None, headline=True)
    assert values(both.metrics, name=f"{METRIC}[{SAME}]") == pytest.approx(clean)
    fold = both.predictions.get("fold", np.zeros(len(lost)))
    assert all(len(set(lost[fold == one])) == 1 for one in np.unique(fold))  # objects that look alike are named alike
    whole = values(both.metrics, name=METRIC, fold=None)
    assert whole == pytest.approx([np.mean([clean[0], lost_accuracy(both, lost)])])


def lost_accuracy(result: Evaluation, named: np.ndarray) -> float:
    right, fold = named == result.predictions["labels"], result.predictions.get("fold")
    return float(right.mean() if fold is None else np.mean([right[fold == one].mean() for one in np.unique(fold)]))


@pytest.mark.parametrize("case", ["linear", "fewshot linear"])
def test_a_bundle_that_lies_about_robustness_is_found(make_task: MakeTask, case: str) -> None:
    task = make_task()
    task = replace(task, corrupted=corrupted(task))
    result = CASES[case](task)
    checks = recompute(arrays(result), result.metrics)
    own = [row for row in result.metrics if row.name.partition("[")[0] == METRIC]
    assert all(check.holds for check in checks)
    assert sum(check.name.startswith(METRIC) for check in checks) >= len(own)
    better = [
        row.model_copy(update={"value": row.value + 0.05}) if row.name == METRIC else row for row in result.metrics
    ]
    assert not all(check.holds for check in recompute(arrays(result), better))
    made_up = result.metrics[-1].model_copy(update={"name": f"{METRIC}[kind-9]"})
    assert not all(check.holds for check in recompute(arrays(result), [*result.metrics, made_up]))


def test_clean_clouds_of_a_release_are_in_no_mean() -> None:
    """mOA would come out too high by a part of the clean accuracy."""
    names = (CLEAN, "jitter-1", "jitter-2", "scale-1")
    right = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    rows = {row.name: row.value for row in corrupted_rows(right, names, np.ones(4, int), None, "", 4)}
    assert rows[METRIC] == pytest.approx((0.5 + 0) / 2)
    assert rows[f"{METRIC}[{CLEAN}]"] == 1


def test_clouds_with_too_few_points_are_filled_up_with_their_own(make_task: MakeTask) -> None:
    """An encoder that cuts 24 patches must not stop at a cloud of 8 points."""
    task = make_task()
    points = task.test.points
    clouds = {str(c): corrupt(points, c) for c in CONDITIONS if c.kind == "dropout_global"}
    task = replace(task, corrupted=CorruptedTest(SUITE, tuple(clouds), clouds.__getitem__), least_points=20)
    fewest = prepared_clouds(task, str(Condition("dropout_global", 5)), normalise=False)
    assert fewest.shape == (len(points), 20, 3)
    assert {p.tobytes() for p in fewest[3]} == {p.tobytes() for p in clouds["dropout_global-5"][3]}
    most = prepared_clouds(task, str(Condition("dropout_global", 1)), normalise=False)
    assert most.shape[1] == min(24, clouds["dropout_global-1"].shape[1])


def test_features_of_corrupted_clouds_are_made_once(make_task: MakeTask) -> None:
    asked: list[str] = []
    task = make_task()
    points = task.test.points

    def clouds(name: str) -> np.ndarray:
        asked.append(name)
        return points

    task = replace(task, corrupted=CorruptedTest("toy", (SAME, LOST), clouds))
    for case in ("linear", "knn", "svm"):
        one = CASES[case](task)
        assert one.predictions["corruptions"].tolist() == [SAME, LOST]
    assert asked.count(SAME) == asked.count(LOST) == 1
