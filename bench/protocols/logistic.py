"""Multinomial logistic regression for probes, along a path of strengths.

Solves many small problems at once, or one large one.

The objective is scikit-learn's: ``sum_i CE_i + |W|^2 / (2 C)`` with an unpenalised intercept. Three facts make it
fast. (1) The optimum lies in the span of the training features, so a problem with n objects and F features needs
only ``min(n, F)`` coordinates. (2) In the eigenbasis of those features the curvature at the start is diagonal, which
preconditions L-BFGS for free. (3) Logits are linear along a search direction, so an exact line search costs no
matrix product. Strengths are solved from strong to weak regularisation, each started at the previous optimum.

All of it runs on the CPU, whatever the encoder ran on: a head never adds device noise to a comparison of encoders.
Small problems (few-shot) are solved in float64, a few on each thread, which makes their numbers independent of the
machine's cores; large ones iterate in float32 on all threads after a float64 reduction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.protocols.selection import MAX_ITERATIONS
from bench.protocols.threads import spread, torch_threads

_HISTORY = 10
_LINE_SEARCH_STEPS = 12
_FLAT = 0.05
"""Share of the initial slope at which a line search is done."""
_RANK_TOLERANCE = 1e-10
_CONSTANT_TOLERANCE = 1e-6
_LARGE = 4_000_000
"""Entries of one problem's feature matrix from which it counts as large."""
_LARGE_TOLERANCE = 1e-7
SOLVED = 1e-8
"""Estimated excess of the objective, per object, at which a small problem is solved. Looser, even only to choose a
strength, other strengths are chosen where validation accuracies are close: at 3e-8 in one cell of thirty.
"""
_SHARE = 5
"""Small problems solved together by one thread."""


@dataclass(frozen=True)
class Scaling:
    """Affine map of features: standardised, then divided by sqrt(F).

    The last factor gives every object a squared norm near 1 whatever the width of the encoder, so one grid of
    strengths is the same budget for narrow and wide features. The equivalent C of scikit-learn on plainly
    standardised features is ``C / F``.

    Attributes:
        mean: float64 ``[..., 1, F]``.
        scale: float64 ``[..., 1, F]``; constant features get their mean removed and are otherwise left alone.
    """

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Scaling:
        """Measure the scaling on training features ``[..., n, F]``."""
        mean = features.mean(-2, keepdim=True)
        deviation = (features - mean).square().mean(-2, keepdim=True).sqrt()
        constant = deviation <= _CONSTANT_TOLERANCE * mean.abs().clamp_min(1e-12)
        deviation = torch.where(constant, torch.ones_like(deviation), deviation)
        return cls(mean, deviation * features.shape[-1] ** 0.5)

    def __call__(self, features: Tensor) -> Tensor:
        """Apply the scaling to ``[..., m, F]``."""
        return (features - self.mean) / self.scale


@dataclass(frozen=True)
class LogisticFit:
    """Fitted heads for B problems at S strengths.

    Attributes:
        scaling: Scaling measured on the training features of each problem.
        weights: float64 ``[B, S, F, K]``, on scaled features.
        intercepts: float64 ``[B, S, K]``.
        iterations: L-BFGS iterations used, one per strength (of the slowest problem).
    """

    scaling: Scaling
    weights: Tensor
    intercepts: Tensor
    iterations: tuple[int, ...]

    @property
    def stopped(self) -> bool:
        """Whether a problem reached the iteration limit before it converged."""
        return max(self.iterations) >= MAX_ITERATIONS

    def problem(self, index: int) -> LogisticFit:
        """Return the heads of one problem alone (B = 1)."""
        at = slice(index, index + 1)
        scaling = Scaling(self.scaling.mean[at], self.scaling.scale[at])
        return LogisticFit(scaling, self.weights[at], self.intercepts[at], self.iterations)

    def logits(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return logits ``[B, S, m, K]`` of ``[B, m, F]``."""
        with torch_threads(None if features[0].size >= _LARGE else 1):
            logits = _side_by_side(self.scaling(_double(features)), self.weights)
            return (logits + self.intercepts[:, :, None]).numpy()


def fit_logistic(
    features: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    classes: int,
    strengths: Sequence[float],
    *,
    tolerance: float = SOLVED,
    max_iterations: int = MAX_ITERATIONS,
) -> LogisticFit:
    """Fit B independent problems at every strength.

    Args:
        features: ``[B, n, F]``.
        labels: ``[B, n]`` in ``0..classes-1``.
        classes: Number of classes K.
        strengths: Inverse penalties C on scaled features, in any order.
        tolerance: Stop when the estimated excess of the objective per object is below it (large problems: below
            1e-7 at best, where float32 ends).
        max_iterations: Bound per strength.

    Returns:
        The fitted heads, strengths in the given order.

    Raises:
        ValueError: Features are not finite.
    """
    if not np.isfinite(features).all():
        raise ValueError("features are not finite")
    x = _double(features)
    y = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64))
    if x[0].numel() >= _LARGE:
        return _path(x, y, classes, strengths, max(tolerance, _LARGE_TOLERANCE), max_iterations, torch.float32)
    # Shares of fixed size, whatever the number of threads, so that the numbers are the same on any machine.
    shares = [slice(at, at + _SHARE) for at in range(0, len(x), _SHARE)]
    parts = list(
        spread(
            lambda at: _path(x[at], y[at], classes, strengths, tolerance, max_iterations, torch.float64),
            shares,
        )
    )
    return LogisticFit(
        Scaling(torch.cat([p.scaling.mean for p in parts]), torch.cat([p.scaling.scale for p in parts])),
        torch.cat([p.weights for p in parts]),
        torch.cat([p.intercepts for p in parts]),
        tuple(max(used) for used in zip(*(p.iterations for p in parts), strict=True)),
    )


def _path(
    x: Tensor, y: Tensor, classes: int, strengths: Sequence[float], tolerance: float, limit: int, dtype: torch.dtype
) -> LogisticFit:
    """Fit a batch at every strength, strongest regularisation first."""
    scaling = Scaling.of(x)
    coordinates, span = reduce_features(scaling(x))
    problem = _Problem(coordinates.to(dtype), y, classes)
    weights: dict[float, Tensor] = {}
    used: dict[float, int] = {}
    solution = problem.start()
    for strength in sorted(set(strengths)):
        solution, used[strength] = problem.minimise(strength, solution, tolerance, limit)
        weights[strength] = solution
    stacked = torch.stack([weights[s] for s in strengths], 1).double()
    return LogisticFit(scaling, span.weights(stacked[..., :-1]), stacked[..., -1], tuple(used[s] for s in strengths))


def _side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Multiply ``[B, m, r]`` by ``[B, S, r, K]`` uncopied.

    Returns ``[B, S, m, K]``; all strengths are one matrix product, since broadcasting would copy `left`.
    """
    wide = left @ right.transpose(1, 2).flatten(2)
    return wide.reshape(*wide.shape[:-1], right.shape[1], right.shape[3]).transpose(1, 2)


def _double(features: npt.NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))


@dataclass(frozen=True)
class Span:
    """Basis of the scaled features' span, kept as two factors.

    Attributes:
        outer: ``[B, F, m]``.
        inner: ``[B, m, r]``; None where `outer` is the basis itself.
    """

    outer: Tensor
    inner: Tensor | None = None

    def weights(self, reduced: Tensor) -> Tensor:
        """Map weights on coordinates to features, ``[B, S, F, K]``.

        `reduced` is ``[B, S, K, r]``.
        """
        inner = reduced.mT if self.inner is None else self.inner[:, None] @ reduced.mT
        return _side_by_side(self.outer, inner)


def reduce_features(x: Tensor) -> tuple[Tensor, Span]:
    """Express scaled features ``[B, n, F]`` in their eigenbasis.

    Returns:
        Coordinates ``[B, n, r+1]``, the last column ones for the intercept, and the span.
    """
    n, width = x.shape[-2:]
    values, vectors = torch.linalg.eigh(x.mT @ x if n >= width else x @ x.mT)
    kept = values > _RANK_TOLERANCE * values.amax(-1, keepdim=True).clamp_min(1e-30)
    if n >= width:
        basis = vectors * kept[:, None]
        coordinates, span = x @ basis, Span(basis)
    else:
        root = values.clamp_min(0).sqrt()
        coordinates = vectors * (root * kept)[:, None]
        # Keep two factors: computing the basis itself (F times n) would cost more than the few products needed.
        span = Span(x.mT, vectors * torch.where(kept, 1 / root.clamp_min(1e-30), 0.0)[:, None])
    ones = torch.ones(*x.shape[:-1], 1, dtype=x.dtype)
    return torch.cat([coordinates, ones], -1), span


class _Problem:
    """B problems of one shape, in reduced coordinates.

    Coordinates are ``[B, n, r+1]``, the intercept last.

    Weights are ``[B, K, r+1]`` and logits ``[B, K, n]``: with the few classes in the middle, softmax and sums run
    along the objects.
    """

    def __init__(self, coordinates: Tensor, labels: Tensor, classes: int) -> None:
        self.z = coordinates
        self.curvature = coordinates.square().sum(-2)
        self.target = torch.nn.functional.one_hot(labels, classes).to(coordinates.dtype).mT.contiguous()

    def start(self) -> Tensor:
        """Return zero weights."""
        return self.z.new_zeros(len(self.z), self.target.shape[1], self.z.shape[-1])

    def minimise(self, strength: float, start: Tensor, tolerance: float, limit: int) -> tuple[Tensor, int]:
        """Minimise from `start`; return the optimum and the iterations used."""
        penalty = torch.full_like(self.curvature[0], 1 / strength)
        penalty[-1] = 0
        w = start.clone()
        logits = w @ self.z.mT
        share = logits.softmax(1)
        gradient = self._gradient(w, share, penalty)
        memory = Memory()
        goal = tolerance * self.z.shape[1]
        for iteration in range(limit):
            metric = self._metric(share, penalty)
            active = 0.5 * (gradient.square() / metric).sum((1, 2)) > goal
            if not bool(active.any()):
                return w, iteration
            direction = memory.direction(gradient, metric) * active[:, None, None]
            along = direction @ self.z.mT
            step, logits, share = self._line_search(w, logits, gradient, direction, along, penalty)
            w = w + step * direction
            updated = self._gradient(w, share, penalty)
            memory.add(step * direction, updated - gradient)
            gradient = updated
        return w, limit

    def _metric(self, share: Tensor, penalty: Tensor) -> Tensor:
        """Return a diagonal estimate of the Hessian, ``[B, 1, r+1]``.

        The curvature of a softmax with shares p is (1 - |p|^2) / (K - 1), averaged over the directions that change
        its logits relative to one another.
        """
        bend = (1 - share.square().sum(1)).mean(-1) / (share.shape[1] - 1)
        return (self.curvature * bend[:, None] + penalty).clamp_min(1e-12)[:, None]

    def _gradient(self, w: Tensor, share: Tensor, penalty: Tensor) -> Tensor:
        return (share - self.target) @ self.z + penalty * w

    def _line_search(
        self, w: Tensor, logits: Tensor, gradient: Tensor, direction: Tensor, along: Tensor, penalty: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Minimise along the direction by safeguarded Newton steps.

        The objective is convex in the step.

        Returns:
            The step ``[B, 1, 1]``, and logits and shares after it ``[B, K, n]``.
        """
        ridge = penalty * direction
        linear = (ridge * w).sum((1, 2)) - (along * self.target).sum((1, 2))
        quadratic = (ridge * direction).sum((1, 2))
        step = torch.ones(len(w), dtype=w.dtype)
        low, high = torch.zeros_like(step), torch.full_like(step, float("inf"))
        flat = _FLAT * (gradient * direction).sum((1, 2)).abs()
        for _ in range(_LINE_SEARCH_STEPS):
            moved = logits + step[:, None, None] * along
            share = moved.softmax(1)
            weighted = share * along
            mean = weighted.sum(1)
            slope = linear + step * quadratic + mean.sum(-1)
            if bool((slope.abs() <= flat).all()):
                return step[:, None, None], moved, share
            bend = quadratic + (weighted * along).sum((1, 2)) - mean.square().sum(-1)
            low = torch.where(slope < 0, step, low)
            high = torch.where(slope < 0, high, step)
            newton = step - slope / bend.clamp_min(1e-30)
            middle = torch.where(high.isinf(), 2 * step, 0.5 * (low + high))
            step = torch.where((newton > low) & (newton < high), newton, middle)
        moved = logits + step[:, None, None] * along
        return step[:, None, None], moved, moved.softmax(1)


class Memory:
    """L-BFGS history of a batch of problems."""

    def __init__(self) -> None:
        self.moves: list[Tensor] = []
        self.changes: list[Tensor] = []
        self.weights: list[Tensor] = []

    def add(self, move: Tensor, change: Tensor) -> None:
        """Store steps and gradient changes; skip problems without a step."""
        product = (move * change).sum((1, 2), keepdim=True)
        useful = product > 1e-20
        self.weights.append(torch.where(useful, 1 / product.clamp_min(1e-20), 0.0))
        self.moves.append(move)
        self.changes.append(change)
        if len(self.moves) > _HISTORY:
            for items in (self.moves, self.changes, self.weights):
                items.pop(0)

    def direction(self, gradient: Tensor, metric: Tensor) -> Tensor:
        """Return the L-BFGS direction ``[B, K, r+1]`` (two-loop recursion).

        `metric` is the diagonal Hessian before any history.
        """
        vector = gradient.clone()
        factors: list[Tensor] = []
        for move, change, weight in reversed(list(zip(self.moves, self.changes, self.weights, strict=True))):
            factor = weight * (move * vector).sum((1, 2), keepdim=True)
            vector -= factor * change
            factors.append(factor)
        vector = vector / metric
        for move, change, weight in zip(self.moves, self.changes, self.weights, strict=True):
            factor = factors.pop() - weight * (change * vector).sum((1, 2), keepdim=True)
            vector += factor * move
        return -vector
