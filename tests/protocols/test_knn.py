"""The neighbours' vote: against scikit-learn, and its choices on validation."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from bench.errors import UsageError
from bench.protocols.knn import Knn
from bench.protocols.probe_heads import NeighbourHead

from .conftest import MakeTask, subject, values


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_votes_are_those_of_the_nearest(distance: str) -> None:
    """The same neighbours as scikit-learn finds, one vote each."""
    rng = np.random.default_rng(1)
    x, q, y = rng.normal(size=(80, 6)) + 1, rng.normal(size=(700, 6)) + 1, rng.integers(0, 3, 80)
    head = NeighbourHead((distance,), (1, 7))  # type: ignore[arg-type]
    scores = head.scores(x, y, 3, q, (0, 1))
    scaler = StandardScaler().fit(x)
    for found, k in zip(scores, (1, 7), strict=True):
        near = KNeighborsClassifier(k, metric=distance, algorithm="brute").fit(scaler.transform(x), y)
        votes = near.predict_proba(scaler.transform(q)) * k
        np.testing.assert_array_equal(np.floor(found), np.round(votes))


def test_the_nearest_of_equals_decides_and_few_objects_are_enough() -> None:
    """Ties must not go to the class that happens to have the lowest number."""
    x, y = np.array([[0.0], [1.0], [2.1], [3.0]]), np.array([0, 1, 1, 0])
    head = NeighbourHead(("euclidean",), (2, 10))
    scores = head.scores(x, y, 2, np.array([[0.9], [0.1]]), (0, 1))
    assert scores[0].argmax(1).tolist() == [1, 0]
    assert np.floor(scores[1]).tolist() == [[2, 2], [2, 2]], "k above the number of objects takes all"


def test_distance_and_k_are_chosen_on_validation(make_task: MakeTask) -> None:
    task = make_task()
    result = Knn.evaluate(subject("a", "b"), task, "all", Knn.Options())
    assert task.test.revealed == 1
    chosen = f"accuracy[{result.notes['distance']}, k={result.notes['k']}]"
    tried = {m.name: m.value for m in result.metrics if m.variant == result.notes["candidate"] and "k=" in m.name}
    assert len(tried) == 10
    assert tried[chosen] == max(tried.values())
    assert values(result.metrics, name="accuracy", split="val", headline=True) == [tried[chosen]]
    again = Knn.evaluate(subject("a", "b"), make_task(), "all", Knn.Options())
    assert again.metrics == result.metrics


def test_wrong_settings_are_one_line(make_task: MakeTask) -> None:
    with pytest.raises(UsageError, match="unknown setting of knn"):
        Knn.evaluate(subject(), make_task(), "5w10s", Knn.Options())
    with pytest.raises(ValidationError, match="at least 1"):
        Knn.Options(ks=(0, 3))
