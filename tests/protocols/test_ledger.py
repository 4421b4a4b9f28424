"""The selection ledger: if it is wrong, the harness would accuse or flatter the literature with made-up numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.protocols.base import Protocol
from bench.protocols.finetune import Finetune
from bench.protocols.knn import Knn
from bench.protocols.ledger import Answers, Voting, best_of_name, ledger_rows
from bench.protocols.linear import Linear
from bench.protocols.mlp import Mlp
from bench.protocols.svm import Svm
from bench.protocols.voting import Voter
from bench.stats.selection import _MAXIMUM
from bench.training.finetuning import predict

from .conftest import NUMERICS, MakeTask, MomentEncoder, cloud_set, subject, values

PROTOCOLS: tuple[type[Protocol], ...] = (Finetune, Mlp, Linear, Svm, Knn)


def logits_of(predicted: np.ndarray, classes: int) -> np.ndarray:
    one_hot: np.ndarray = np.eye(classes)[predicted]
    return one_hot


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_legacy_adds_a_column_and_moves_nothing_else(protocol: type[Protocol], make_task: MakeTask) -> None:
    """A user who asks for the test-selected number must get the same headline as one who does not."""
    options = protocol.defaults("smoke")
    plain = protocol.evaluate(subject("a", "b"), make_task(), "all", options)
    task = make_task(cache="d")
    task.legacy, task.workdir = True, task.workdir / "legacy"
    legacy = protocol.evaluate(subject("a", "b"), task, "all", options)
    assert task.test.revealed == 1
    assert [m for m in legacy.metrics if m.selection != "test"] == plain.metrics
    assert legacy.notes == plain.notes
    for name, array in plain.predictions.items():
        np.testing.assert_array_equal(legacy.predictions[name], array)
    (val,) = values(legacy.metrics, name="accuracy", split="test", selection="val", headline=True)
    (test,) = values(legacy.metrics, name="accuracy", split="test", selection="test", headline=True)
    assert test >= val
    assert not any(m.split == "val" and m.selection == "test" for m in legacy.metrics)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 5))
def test_the_best_on_test_is_never_below_the_others(seed: int, epochs: int, classes: int) -> None:
    """By construction; a violation would show negative inflation."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 20)
    predicted = {epoch: rng.integers(0, classes, 20) for epoch in range(1, epochs + 1)}
    best = int(rng.integers(1, epochs + 1))
    logits = {epoch: logits_of(predicted[epoch], classes) for epoch in {best, epochs}}
    rows = ledger_rows(Answers(best, epochs, logits, predicted), labels, "", True)
    by_rule = {m.selection: m for m in rows if m.name == "accuracy"}
    assert by_rule["test"].value >= max(by_rule["val"].value, by_rule["last"].value)
    assert by_rule["test"].value == max(float((p == labels).mean()) for p in predicted.values())
    assert (by_rule["val"].epoch, by_rule["last"].epoch) == (best, epochs)


def test_the_maximum_over_repeats_is_never_the_headline_and_never_selected_on_val() -> None:
    """The releases' number must not be mistaken for an honest one by a later reader."""
    labels = np.array([0, 1, 1, 0])
    truth, wrong = logits_of(labels, 2), logits_of(1 - labels, 2)
    answers = Answers(1, 2, {1: wrong, 2: wrong}, {1: 1 - labels, 2: 1 - labels}, lambda e, r: (wrong, truth)[r % 2])
    rows = ledger_rows(answers, labels, "", True, Voting(votes=10, repeats=4))
    (maximum,) = [m for m in rows if m.name == best_of_name(4)]
    assert (maximum.value, maximum.selection, maximum.headline, maximum.votes) == (1.0, "test", False, 10)
    assert [m.value for m in rows if m.name == "accuracy" and m.votes == 10] == [0.0, 0.0, 0.0]
    assert not any(m.headline for m in rows if m.votes > 1)
    found = _MAXIMUM.fullmatch(maximum.name)
    assert found is not None, "the report would not recognise it"
    assert (found["metric"], found["repeats"]) == ("accuracy", "4")


def voter(votes: int) -> Voter:
    clouds = torch.from_numpy(cloud_set(4, 5).points)
    return Voter(clouds, 20, votes, ("scale_axes",), 3, NUMERICS)


class Sums(torch.nn.Module):
    """Logits are sums of coordinates."""

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return points.sum(1)


def test_one_vote_is_a_prediction_on_the_same_draw() -> None:
    """Voting itself must not change a number: only the averaging over draws does."""
    one, three = voter(1), voter(3)
    torch.testing.assert_close(one.logits(Sums()), predict(Sums(), one.draw(0, 0), NUMERICS), rtol=0, atol=0)
    expected = sum(predict(Sums(), three.draw(0, vote), NUMERICS) for vote in range(3)) / 3
    torch.testing.assert_close(three.logits(Sums()), expected)


def test_votes_are_drawn_afresh_and_repeatably() -> None:
    """The same vote repeated is no second opinion; a vote that changes from run to run is no number."""
    first = voter(2)
    assert first.draw(0, 0).shape == (24, 20, 3)
    assert not torch.equal(first.draw(0, 0), first.draw(0, 1))
    assert not torch.equal(first.draw(0, 0), first.draw(1, 0))
    torch.testing.assert_close(first.draw(1, 1), voter(2).draw(1, 1), rtol=0, atol=0)


def test_legacy_of_a_frozen_probe_is_the_best_strength_by_test_accuracy(make_task: MakeTask) -> None:
    """Redone by hand from the fits at every strength."""
    from bench.protocols.features import frozen_features
    from bench.protocols.logistic import fit_logistic

    task = make_task()
    task.legacy = True
    options = Linear.Options(strengths=(0.1, 1.0, 10.0, 1000.0))
    one = subject()
    found = values(Linear.evaluate(one, task, "all", options).metrics, name="accuracy", split="test", selection="test")
    features = frozen_features(one.candidates[""], task, "transfer", normalise=True)
    labels = task.test.reveal()
    by_strength = [
        float(
            (
                fit_logistic(features["train"][None], task.train.labels[None], 6, (c,))
                .logits(features["test"][None])[0, 0]
                .argmax(-1)
                == labels
            ).mean()
        )
        for c in options.strengths
    ]
    assert found == pytest.approx([max(by_strength)], abs=0.02)


def test_encoder_of_this_file_is_the_one_of_the_others() -> None:
    """Guards the fixture: candidates must differ, or the choice between them proves nothing."""
    assert not torch.equal(MomentEncoder(0).lift.weight, MomentEncoder(1).lift.weight)
