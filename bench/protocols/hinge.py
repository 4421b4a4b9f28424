"""Linear support vector machines, solved for all classes together.

One class against the rest, along a path of penalty strengths.

The objective of each class is scikit-learn's `LinearSVC` with its defaults (squared hinge, quadratic penalty, the
intercept penalised like a weight): ``|w|^2 / 2 + C sum_i max(0, 1 - t_i f_i)^2``. liblinear solves one class after
the other on one core; here the classes share every matrix product, in the eigenbasis of the features, where the
curvature of the first step is diagonal (see `bench.protocols.logistic`, whose scaling and reduction are used). Along
a direction the objective is piecewise quadratic, so its minimiser is found without another product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.protocols.logistic import Memory, Scaling, reduce_features
from bench.protocols.selection import MAX_ITERATIONS
from bench.protocols.threads import torch_threads

_LINE_SEARCH_STEPS = 12
_FLAT = 0.05
"""Share of the initial slope at which a line search is done."""
_LARGE = 4_000_000
"""Entries of the feature matrix from which all threads and float32 are used."""
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-7}
"""Estimated excess of a class's objective, per object and unit of C, at which it is solved."""
_CHOOSING = 1e-5
"""The same where only the class named counts, to choose a strength: half the work, the same choice."""


@dataclass(frozen=True)
class HingeFit:
    """Fitted machines for K classes at S strengths.

    Attributes:
        scaling: Scaling measured on the training features.
        weights: float64 ``[S, F, K]``, on scaled features.
        intercepts: float64 ``[S, K]``.
        iterations: L-BFGS iterations used per strength.
    """

    scaling: Scaling
    weights: Tensor
    intercepts: Tensor
    iterations: tuple[int, ...]

    @property
    def stopped(self) -> bool:
        """Whether a problem reached the iteration limit before it converged."""
        return max(self.iterations) >= MAX_ITERATIONS

    def scores(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return decision values ``[S, m, K]`` of objects ``[m, F]``.

        The largest names the class.
        """
        with torch_threads(None if features.size >= _LARGE else 1):
            scaled = self.scaling(_double(features))
            return (scaled @ self.weights + self.intercepts[:, None]).numpy()


def fit_hinge(
    features: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    classes: int,
    strengths: Sequence[float],
    *,
    standardise: bool = True,
    max_iterations: int = MAX_ITERATIONS,
) -> HingeFit:
    """Fit one machine per class and strength, one against rest.

    Args:
        features: ``[n, F]``.
        labels: ``[n]`` in ``0..classes-1``.
        classes: Number of classes K; one without an object is never predicted where others are.
        strengths: C on scaled features, in any order. On plainly standardised features scikit-learn finds the same
            with ``LinearSVC(C=C / F, intercept_scaling=F ** 0.5)``.
        standardise: False takes features and C as they are, as ``LinearSVC(C=C)`` does.
        max_iterations: Bound per strength.

    Returns:
        The machines, strengths in the given order.

    Raises:
        ValueError: Features are not finite.
    """
    if not np.isfinite(features).all():
        raise ValueError("features are not finite")
    large = features.size >= _LARGE
    with torch_threads(None if large else 1), torch.inference_mode():
        x = _double(features)
        scaling = Scaling.of(x) if standardise else Scaling(x.new_zeros(1, 1), x.new_ones(1, 1))
        (coordinates,), span = reduce_features(scaling(x)[None])
        problem = _Problem(coordinates.to(torch.float32 if large else torch.float64), labels, classes)
        solution = problem.start()
        found: dict[float, Tensor] = {}
        used: dict[float, int] = {}
        for strength in sorted(set(strengths)):
            solution, used[strength] = problem.minimise(strength, solution, max_iterations)
            found[strength] = solution[:, 0].double()
        stacked = torch.stack([found[s] for s in strengths])
        (heads,) = span.weights(stacked[None, ..., :-1])
        return HingeFit(scaling, heads, stacked[..., -1], tuple(used[s] for s in strengths))


def hinge_held_out(
    features: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    classes: int,
    strengths: Sequence[float],
    parts: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    *,
    max_iterations: int = MAX_ITERATIONS,
) -> npt.NDArray[np.int64]:
    """Fit each part's training objects and predict its held-out ones.

    At every strength; a part is a pair of positions, training objects first.

    Features are scaled and brought into their eigenbasis once, by all objects: neither looks at labels, and of a fit it
    changes nothing but the scaling, which the final fit takes from all objects too.

    Args:
        features: ``[n, F]``.
        labels: ``[n]``.
        classes: Number of classes.
        strengths: C on scaled features, in any order.
        parts: Positions fitted and held out.
        max_iterations: Bound per strength.

    Returns:
        Classes ``[S, objects held out]``, part after part.

    Raises:
        ValueError: Features are not finite.
    """
    if not np.isfinite(features).all():
        raise ValueError("features are not finite")
    large = features.size >= _LARGE
    with torch_threads(None if large else 1), torch.inference_mode():
        x = _double(features)
        (coordinates,), _ = reduce_features(Scaling.of(x)(x)[None])
        coordinates = coordinates.to(torch.float32 if large else torch.float64)
        named: list[npt.NDArray[np.int64]] = []
        for fitted, held in parts:
            problem = _Problem(coordinates[fitted], labels[fitted], classes)
            asked, solution, found = coordinates[held].mT, problem.start(), {}
            for strength in sorted(set(strengths)):
                solution, _ = problem.minimise(strength, solution, max_iterations, _CHOOSING)
                found[strength] = (solution[:, 0] @ asked).argmax(0).numpy()
            named.append(np.stack([found[strength] for strength in strengths]))
        return np.concatenate(named, axis=1)


def _double(features: npt.NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))


class _Problem:
    """K binary problems on the same objects, in reduced coordinates.

    Coordinates are ``[n, r+1]``, the intercept last.

    Weights are ``[K, 1, r+1]``: a batch of K problems for `Memory`.
    """

    def __init__(self, coordinates: Tensor, labels: npt.NDArray[np.integer], classes: int) -> None:
        self.z = coordinates
        self.across = coordinates.mT.contiguous()
        self.curvature = coordinates.square().sum(0)
        member = torch.from_numpy(np.asarray(labels)[None] == np.arange(classes)[:, None])
        self.sign = torch.where(member, 1.0, -1.0).to(coordinates.dtype)

    def start(self) -> Tensor:
        """Return zero weights."""
        return self.z.new_zeros(len(self.sign), 1, self.z.shape[1])

    def minimise(
        self, strength: float, start: Tensor, limit: int, tolerance: float | None = None
    ) -> tuple[Tensor, int]:
        """Minimise from `start`; return the optimum and the iterations used."""
        w = start.clone()
        margin = self._along(w)
        gradient = self._gradient(w, margin, strength)
        memory = Memory()
        goal = (tolerance or _TOLERANCE[self.z.dtype]) * len(self.z) * strength
        for iteration in range(limit):
            # Objects beyond their margin add no curvature.
            bent = (margin < 1).to(self.z.dtype).mean(1, keepdim=True)
            metric = (1 + 2 * strength * bent * self.curvature)[:, None]
            active = 0.5 * (gradient.square() / metric).sum((1, 2)) > goal
            if not bool(active.any()):
                return w, iteration
            direction = memory.direction(gradient, metric) * active[:, None, None]
            along = self._along(direction)
            step = self._line_search(w, margin, gradient, direction, along, strength)
            w = w + step[:, None, None] * direction
            margin = margin + step[:, None] * along
            updated = self._gradient(w, margin, strength)
            memory.add(step[:, None, None] * direction, updated - gradient)
            gradient = updated
        return w, limit

    def _along(self, w: Tensor) -> Tensor:
        """Return each object's score times its sign, ``[K, n]``."""
        return (w[:, 0] @ self.across) * self.sign

    def _gradient(self, w: Tensor, margin: Tensor, strength: float) -> Tensor:
        short = (1 - margin).clamp_min(0) * self.sign
        return w - (2 * strength) * (short @ self.z)[:, None]

    def _line_search(
        self, w: Tensor, margin: Tensor, gradient: Tensor, direction: Tensor, along: Tensor, strength: float
    ) -> Tensor:
        """Return the minimiser ``[K]`` along the search direction.

        Safeguarded Newton steps on a convex, piecewise quadratic function.
        """
        linear = (w * direction).sum((1, 2))
        quadratic = direction.square().sum((1, 2))
        step = torch.ones(len(w), dtype=w.dtype)
        low, high = torch.zeros_like(step), torch.full_like(step, float("inf"))
        flat = _FLAT * (gradient * direction).sum((1, 2)).abs()
        for _ in range(_LINE_SEARCH_STEPS):
            short = (1 - margin - step[:, None] * along).clamp_min(0)
            slope = linear + step * quadratic - 2 * strength * (short * along).sum(1)
            if bool((slope.abs() <= flat).all()):
                break
            bend = quadratic + 2 * strength * ((short > 0) * along.square()).sum(1)
            low = torch.where(slope < 0, step, low)
            high = torch.where(slope < 0, high, step)
            newton = step - slope / bend.clamp_min(1e-30)
            middle = torch.where(high.isinf(), 2 * step, 0.5 * (low + high))
            step = torch.where((newton > low) & (newton < high), newton, middle)
        return step
