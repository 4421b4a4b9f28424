"""The SVM probe against scikit-learn: a solver of our own that finds something else would be a number of our own."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.svm import SVC, LinearSVC
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bench.data.splits import cross_validation
from bench.errors import UsageError
from bench.protocols import hinge
from bench.protocols.base import Candidate, Subject
from bench.protocols.features import frozen_features
from bench.protocols.frozen_probe import Head
from bench.protocols.hinge import fit_hinge
from bench.protocols.probe_heads import HingeHead, PairwiseHead
from bench.protocols.selection import UNSOLVED
from bench.protocols.svm import Svm

from .conftest import MakeTask, MomentEncoder, cloud_set, subject, values


def problem(seed: int, n: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training and query features that overlap, correlated and of unequal scale."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width)) * np.exp(-np.arange(width) / 10)[:, None]
    centres = rng.normal(size=(classes, width)) * 0.7
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    asked = rng.integers(0, classes, 300)
    draw = [(centres[y] + rng.normal(size=(len(y), width))) @ mixing for y in (labels, asked)]
    return draw[0], labels, draw[1], asked


@pytest.mark.parametrize(("n", "width"), [(150, 24), (40, 90)])
def test_finds_what_scikit_learn_finds(n: int, width: int) -> None:
    """More objects than features and fewer; weak and strong penalties; the same scores, not only the same accuracy."""
    x, y, q, _ = problem(1, n, width, 5)
    strengths = (1.0, 100.0)
    found = fit_hinge(x, y, 5, strengths).scores(q)
    mean, deviation = x.mean(0), x.std(0)
    for scores, c in zip(found, strengths, strict=True):
        with threadpool_limits(1):
            machine = LinearSVC(C=c / width, intercept_scaling=width**0.5, dual=True, tol=1e-8, max_iter=200_000)
            expected = machine.fit((x - mean) / deviation, y).decision_function((q - mean) / deviation)
        np.testing.assert_allclose(scores, expected, atol=0.01 * np.abs(expected).max())
        assert (scores.argmax(1) == expected.argmax(1)).mean() > 0.99


def test_published_objective_is_linear_svc_on_features_as_they_are() -> None:
    x, y, q, truth = problem(2, 200, 12, 4)
    scores = fit_hinge(x, y, 4, (0.075,), standardise=False).scores(q)[0]
    with threadpool_limits(1):
        expected = LinearSVC(C=0.075, tol=1e-8, max_iter=100_000).fit(x, y).decision_function(q)
    np.testing.assert_allclose(scores, expected, atol=0.01 * np.abs(expected).max())
    assert (scores.argmax(1) == truth).mean() > 0.5


@pytest.mark.parametrize("classes", [2, 12])
def test_crosspoints_machine_is_libsvm(classes: int) -> None:
    """Products made beforehand change no number; a class without training objects is never predicted.

    Ties between duels are broken as libsvm does: by margins, accuracies were up to a point above the release's.
    """
    x, y, q, _ = problem(3, 120, 10, classes)
    scores = PairwiseHead((0.1,)).scores(x, y, classes + 1, q, (0,))[0]
    machine = SVC(kernel="linear", C=0.1).fit(x, y)
    np.testing.assert_array_equal(scores.argmax(1), machine.predict(q))
    if classes > 2:
        assert (machine.decision_function(q).argmax(1) != machine.predict(q)).any(), "no tie, nothing tested"


def test_order_of_strengths_does_not_matter_and_collapse_is_chance() -> None:
    x, y, q, _ = problem(4, 60, 8, 3)
    there, back = fit_hinge(x, y, 3, (1.0, 10.0)).scores(q), fit_hinge(x, y, 3, (10.0, 1.0)).scores(q)
    np.testing.assert_array_equal(there, back[::-1])
    flat = fit_hinge(np.ones((12, 4)), np.arange(12) % 3, 3, (1.0,)).scores(np.ones((5, 4)))
    np.testing.assert_allclose(flat, np.broadcast_to(flat[:, :, :1], flat.shape), atol=1e-6)
    with pytest.raises(ValueError, match="not finite"):
        fit_hinge(np.full((4, 2), np.nan), np.arange(4) % 2, 2, (1.0,))


def test_large_problems_are_solved_in_single_precision_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of full-size features: same accuracy within 0.2 points."""
    x, y, q, truth = problem(5, 130_000, 32, 4)
    assert x.size >= hinge._LARGE
    single = fit_hinge(x, y, 4, (10.0,)).scores(q)[0]
    monkeypatch.setattr(hinge, "_LARGE", 10**9)
    double = fit_hinge(x, y, 4, (10.0,)).scores(q)[0]
    assert not np.array_equal(single, double)
    assert (single.argmax(1) == truth).mean() == pytest.approx((double.argmax(1) == truth).mean(), abs=0.002)


def test_choosing_by_folds_names_what_fits_of_their_own_name() -> None:
    """Sharing scaling and basis between folds would choose another C than cross-validation does."""
    x, y, _, _ = problem(6, 240, 20, 4)
    parts = cross_validation(y, 5, 0)
    strengths = (1.0, 100.0)
    shared = HingeHead(strengths).held_out(x, y, 4, parts, (0, 1))
    apart = Head.held_out(HingeHead(strengths), x, y, 4, parts, (0, 1))
    assert shared.shape == apart.shape == (2, 240)
    truth = y[np.concatenate([held for _, held in parts])]
    assert (shared == apart).mean() > 0.97
    np.testing.assert_allclose((shared == truth).mean(1), (apart == truth).mean(1), atol=0.02)


def test_c_is_chosen_by_cross_validation(make_task: MakeTask) -> None:
    """A single validation part of a small set chooses C by luck; every training object must have its say."""
    task = make_task()
    result = Svm.evaluate(subject(), task, "all", Svm.Options())
    assert result.notes["validation_objects"] == len(task.train)
    rows = {m.name: m.value for m in result.metrics if m.split == "val"}
    best = max(value for name, value in rows.items() if name.startswith("accuracy[C="))
    assert rows["accuracy"] == best == rows[f"accuracy[C={result.notes['strength']:g}]"]


def test_published_form_fixes_c_and_the_papers_scaling(make_task: MakeTask) -> None:
    """ReCon's machine for a method without one; nothing is chosen, so test selection adds nothing."""
    task, one = make_task(), subject()
    task.form = "published"
    result = Svm.evaluate(one, task, "all", Svm.defaults("base", "published"))
    assert result.notes["strength"] == 0.075
    features = frozen_features(one.candidates[""], task, "svm", normalise=False)
    with threadpool_limits(1):
        machine = LinearSVC(C=0.075, tol=1e-8, max_iter=100_000).fit(features["train"], task.train.labels)
    expected = float((machine.predict(features["test"]) == task.test.reveal()).mean())
    assert values(result.metrics, name="accuracy", split="test") == pytest.approx([expected, expected], abs=0.03)


def test_wrong_settings_are_one_line(make_task: MakeTask) -> None:
    with pytest.raises(UsageError, match="unknown setting of svm"):
        Svm.evaluate(subject(), make_task(), "5w10s", Svm.Options())
    with pytest.raises(ValidationError, match="published_c belongs to the published form"):
        Svm.Options(published_c=0.1)
    with pytest.raises(ValidationError, match="strengths belongs to the fair form"):
        Svm.Options(form="published", strengths=(3.0,))


@pytest.mark.parametrize(("strength", "warned"), [(1e5, True), (100.0, False)])
def test_a_head_that_was_not_solved_is_warned_of(make_task: MakeTask, strength: float, warned: bool) -> None:
    """A solver that stops at its bound of iterations reports the accuracy of a head that nobody asked for."""
    candidate = Candidate("", lambda: MomentEncoder(width=24), "key")
    options = Svm.defaults("smoke").model_copy(update={"strengths": (strength,)})
    found = Svm.evaluate(
        Subject("toy", "toy", {"": candidate}), make_task(cloud_set(10, 1), cloud_set(5, 2)), "all", options
    )
    assert found.notes.get("warnings") == ([UNSOLVED] if warned else None)
