"""The linear probe: what the table calls accuracy is what scikit-learn would find by the stated rules."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bench.data.splits import carve_validation
from bench.errors import UsageError
from bench.protocols.features import frozen_features
from bench.protocols.linear import Linear

from .conftest import MakeTask, cloud_set, subject, values

OPTIONS = Linear.Options()


def test_agrees_with_scikit_learn_by_the_stated_rules(make_task: MakeTask) -> None:
    """Carve, choose C on validation, refit on everything: redone by hand with another solver."""
    easy = cloud_set(40, 1, noise=0.05), cloud_set(20, 2, noise=0.05)
    task, one = make_task(*easy), subject()
    result = Linear.evaluate(one, task, "all", OPTIONS)
    features = frozen_features(one.candidates[""], task, "transfer", normalise=True)
    train, val = carve_validation(task.train.labels, OPTIONS.validation_fraction, task.split_seed)
    labels = task.train.labels

    def right(index: np.ndarray, strength: float, x: np.ndarray, y: np.ndarray) -> float:
        scaler = StandardScaler().fit(features["train"][index])
        model = LogisticRegression(C=strength / x.shape[1], tol=1e-7, max_iter=3000)
        with threadpool_limits(1):
            model.fit(scaler.transform(features["train"][index]), labels[index])
        return float((model.predict(scaler.transform(x)) == y).mean())

    by_strength = [right(train, c, features["train"][val], labels[val]) for c in OPTIONS.strengths]
    for strength, expected in zip(OPTIONS.strengths, by_strength, strict=True):
        assert values(result.metrics, name=f"accuracy[C={strength:g}]") == pytest.approx([expected], abs=0.04)
    chosen = float(result.notes["strength"])  # type: ignore[arg-type]
    everything = np.arange(len(labels))
    expected = right(everything, chosen, features["test"], task.test.reveal())
    assert values(result.metrics, name="accuracy", split="test") == pytest.approx([expected], abs=0.02)
    assert expected > 0.4


def test_labels_of_the_test_split_are_read_once(make_task: MakeTask) -> None:
    """However many candidates there are, the test split is scored once, after the choice."""
    task = make_task()
    Linear.evaluate(subject("a", "b", "c"), task, "all", OPTIONS)
    assert task.test.revealed == 1


def test_wrong_test_labels_move_no_choice(make_task: MakeTask) -> None:
    """Selection on test, which much of the literature does, is impossible here."""
    test = cloud_set(12, 2)
    scrambled = cloud_set(12, 2)
    object.__setattr__(scrambled, "labels", np.roll(test.labels, 7))
    honest, other = (Linear.evaluate(subject("a", "b"), make_task(test=t), "all", OPTIONS) for t in (test, scrambled))
    assert honest.notes == other.notes
    assert [m for m in honest.metrics if m.split == "val"] == [m for m in other.metrics if m.split == "val"]
    np.testing.assert_array_equal(honest.predictions["predicted"], other.predictions["predicted"])
    assert values(honest.metrics, split="test") != values(other.metrics, split="test")


def test_every_candidate_is_reported_and_validation_names_the_headline(make_task: MakeTask) -> None:
    """All initialisations of scratch are in the report; the headline is the one validation likes best."""
    result = Linear.evaluate(subject("a", "b", "c"), make_task(), "all", OPTIONS)
    val = {m.variant: m.value for m in result.metrics if m.split == "val" and m.name == "accuracy"}
    headline = {m.variant for m in result.metrics if m.headline}
    assert set(val) == {"a", "b", "c"}
    assert headline == {max(val, key=lambda name: val[name])} == {result.notes["candidate"]}
    assert {m.variant for m in result.metrics if m.split == "test"} == {"a", "b", "c"}
    others = {"a", "b", "c"} - headline
    assert {f"predicted.{name}" for name in others} <= set(result.predictions)


def test_rerun_gives_identical_numbers(make_task: MakeTask) -> None:
    """With or without the cache."""
    runs = [Linear.evaluate(subject(), make_task(cache=c), "all", OPTIONS) for c in ("c", "c", "fresh")]
    assert runs[0].metrics == runs[1].metrics == runs[2].metrics
    np.testing.assert_array_equal(runs[0].predictions["logits"], runs[2].predictions["logits"])
    assert runs[0].split_digest == runs[1].split_digest
    moved = Linear.evaluate(subject(), make_task(split_seed=1), "all", OPTIONS)
    assert moved.split_digest != runs[0].split_digest


def test_mean_class_accuracy_counts_classes_not_objects(make_task: MakeTask) -> None:
    """Where one class dominates the test split, the two accuracies differ by the book."""
    test = cloud_set(12, 2)
    kept = np.flatnonzero((test.labels == 0) | (np.arange(len(test)) % 4 == 0))
    result = Linear.evaluate(subject(), make_task(test=test.subset(kept)), "all", OPTIONS)
    labels, predicted = result.predictions["labels"], result.predictions["predicted"]
    recalls = [float((predicted[labels == c] == c).mean()) for c in range(6)]
    assert values(result.metrics, name="mean_class_accuracy") == pytest.approx([np.mean(recalls)])
    assert values(result.metrics, name="accuracy", split="test") == pytest.approx([float((predicted == labels).mean())])


def test_wrong_options_are_refused(make_task: MakeTask) -> None:
    """A strength of zero or an unknown setting does not run for an hour first."""
    with pytest.raises(ValidationError, match="positive, finite and different"):
        Linear.Options(strengths=(0.0, 1.0))
    with pytest.raises(UsageError, match="setting of linear"):
        Linear.evaluate(subject(), make_task(), "5w10s", OPTIONS)
