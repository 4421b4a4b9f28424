"""The solver behind every linear head: wrong here, wrong in every table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bench.protocols.logistic import fit_logistic
from bench.protocols.options import STRENGTHS
from bench.protocols.threads import torch_threads

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def problem(seed: int, n: int, width: int, classes: int, queries: int = 400) -> tuple[Array, Labels, Array, Labels]:
    """Correlated features with a decaying spectrum, as networks give them."""
    rng = np.random.default_rng(seed)
    rank = min(width, 40)
    mix = rng.normal(size=(rank, width)) * np.exp(-np.linspace(0, 4, rank))[:, None]
    centres = 0.6 * rng.normal(size=(classes, rank))

    def draw(count: int) -> tuple[Array, Labels]:
        labels = np.arange(count) % classes
        latent = centres[labels] + rng.normal(size=(count, rank))
        return latent @ mix + 0.05 * rng.normal(size=(count, width)) + 0.3, labels.astype(np.int64)

    return (*draw(n), *draw(queries))


def reference(x: Array, y: Labels, q: Array, strength: float) -> Array:
    """scikit-learn's centred logits at the equivalent C."""
    scaler = StandardScaler().fit(x)
    with threadpool_limits(1):
        model = LogisticRegression(C=strength / x.shape[1], tol=1e-6, max_iter=2000).fit(scaler.transform(x), y)
    return centred(model.decision_function(scaler.transform(q)))


def centred(logits: Array) -> Array:
    """Logits up to a common constant are the same head."""
    moved: Array = logits - logits.mean(-1, keepdims=True)
    return moved


def stacked(drawn: list[tuple[Array, Labels, Array, Labels]]) -> tuple[Array, Labels, Array, Labels]:
    """Problems of equal shape as one batch."""
    x, y, q, truth = zip(*drawn, strict=True)
    return np.stack(x), np.stack(y), np.stack(q), np.stack(truth)


@pytest.mark.parametrize(("n", "width", "classes"), [(50, 96, 5), (100, 256, 10), (300, 24, 4)])
def test_agrees_with_scikit_learn(n: int, width: int, classes: int) -> None:
    """A reviewer who refits the head with scikit-learn finds the same accuracy."""
    x, y, q, truth = problem(n, n, width, classes)
    ours = fit_logistic(x[None], y[None], classes, STRENGTHS).logits(q[None])[0]
    for at, strength in enumerate(STRENGTHS):
        theirs = reference(x, y, q, strength)
        mine = centred(ours[at])
        assert abs((mine.argmax(-1) == truth).mean() - (theirs.argmax(-1) == truth).mean()) <= 0.0026
        assert (mine.argmax(-1) == theirs.argmax(-1)).mean() >= 0.995
        assert np.abs(mine - theirs).max() <= 0.02 * np.abs(theirs).max()


def test_accuracy_over_many_episodes_agrees_with_scikit_learn() -> None:
    """Fold means, which the tables show, agree within 0.2 points."""
    drawn = [problem(seed, 50, 64, 5, 100) for seed in range(10)]
    x, y, q, truth = stacked(drawn)
    ours = fit_logistic(x, y, 5, STRENGTHS).logits(q).argmax(-1)
    for at, strength in enumerate(STRENGTHS):
        theirs = np.stack([reference(x[b], y[b], q[b], strength).argmax(-1) for b in range(10)])
        assert abs((ours[:, at] == truth).mean() - (theirs == truth).mean()) <= 0.002


def test_a_tight_tolerance_reaches_the_optimum() -> None:
    """The stopping rule measures the distance to the optimum and not something else."""
    x, y, q, _ = problem(7, 60, 30, 3)
    ours = fit_logistic(x[None], y[None], 3, (10.0,), tolerance=1e-14).logits(q[None])[0, 0]
    theirs = reference(x, y, q, 10.0)
    assert np.abs(centred(ours) - theirs).max() < 2e-3


def test_large_problems_meet_the_optimality_condition() -> None:
    """The float32 path for full training sets is a solution too: its gradient vanishes."""
    x, y, _, _ = problem(3, 5100, 800, 4, 4)
    fit = fit_logistic(x[None].astype(np.float32), y[None], 4, (10.0,))
    z = (x - x.mean(0)) / (x.std(0) * np.sqrt(x.shape[1]))
    share = softmax(fit.logits(x[None])[0, 0], axis=-1) - np.eye(4)[y]
    gradient = z.T @ share + fit.weights[0, 0].numpy() / 10.0
    start = z.T @ (np.full((len(y), 4), 0.25) - np.eye(4)[y])
    assert np.linalg.norm(gradient) < 5e-3 * np.linalg.norm(start)
    assert np.abs(share.sum(0)).max() < 0.05 * len(y) ** 0.5


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), shift=st.floats(-50, 50), classes=st.integers(2, 5), wide=st.booleans())
def test_adding_a_constant_to_features_changes_nothing(seed: int, shift: float, classes: int, wide: bool) -> None:
    """An encoder gains nothing from the offset of its features."""
    x, y, q, _ = problem(seed, 6 * classes, 48 if wide else 5, classes, 50)
    plain = fit_logistic(x[None], y[None], classes, (1.0, 100.0)).logits(q[None])
    moved = fit_logistic(x[None] + shift, y[None], classes, (1.0, 100.0)).logits(q[None] + shift)
    np.testing.assert_allclose(moved, plain, rtol=1e-3, atol=1e-3)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 6), data=st.data())
def test_names_of_classes_do_not_matter(seed: int, classes: int, data: st.DataObject) -> None:
    """Renaming classes permutes the logits and leaves the accuracy as it is."""
    x, y, q, truth = problem(seed, 8 * classes, 20, classes, 60)
    names = np.array(data.draw(st.permutations(range(classes))))
    plain = fit_logistic(x[None], y[None], classes, (10.0,)).logits(q[None])[0, 0]
    renamed = fit_logistic(x[None], names[y][None], classes, (10.0,)).logits(q[None])[0, 0]
    np.testing.assert_allclose(renamed[:, names], plain, rtol=1e-3, atol=1e-3)
    assert (renamed.argmax(-1) == names[truth]).mean() == pytest.approx((plain.argmax(-1) == truth).mean(), abs=0.02)


def test_order_of_strengths_and_company_do_not_matter() -> None:
    """A problem's answer is its own: not its batch's, and strengths come back in the order they were asked for."""
    drawn = [problem(seed, 40, 30, 4, 20) for seed in range(3)]
    x, y, q, _ = stacked(drawn)
    together = fit_logistic(x, y, 4, (100.0, 1.0, 10.0))
    alone = fit_logistic(x[1:2], y[1:2], 4, (1.0, 10.0, 100.0)).logits(q[1:2])[0]
    np.testing.assert_allclose(together.logits(q)[1], alone[[2, 0, 1]], rtol=1e-2, atol=1e-2)
    np.testing.assert_array_equal(together.problem(1).logits(q[1:2])[0], together.logits(q)[1])


def test_dead_and_duplicate_features_are_harmless() -> None:
    """A network with dead or copied units still gets finite, correct heads."""
    x, y, q, truth = problem(5, 60, 10, 3)
    dead = np.full((len(x), 3), 7.0)
    wide = np.concatenate([x, x, dead], 1)
    query = np.concatenate([q, q, np.full((len(q), 3), 7.0)], 1)
    logits = fit_logistic(wide[None].astype(np.float32), y[None], 3, STRENGTHS).logits(query[None].astype(np.float32))
    assert np.isfinite(logits).all()
    assert (logits[0, 2].argmax(-1) == truth).mean() > 0.5


def test_features_without_information_give_chance_not_an_error() -> None:
    """A collapsed encoder (all features equal) is reported as chance."""
    logits = fit_logistic(np.ones((1, 12, 8)), np.arange(12)[None] % 3, 3, STRENGTHS).logits(np.ones((1, 5, 8)))
    np.testing.assert_allclose(softmax(logits, -1), 1 / 3, atol=1e-6)


def test_features_that_are_not_finite_are_refused() -> None:
    """NaN must not become an accuracy."""
    x = np.ones((1, 4, 2))
    x[0, 1, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        fit_logistic(x, np.array([[0, 1, 0, 1]]), 2, (1.0,))


def test_thread_setting_is_left_alone() -> None:
    """Later stages keep their cores."""
    with torch_threads(2):
        fit_logistic(np.eye(4)[None], np.array([[0, 1, 0, 1]]), 2, (1.0,))
        assert torch.get_num_threads() == 2
