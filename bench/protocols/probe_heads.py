"""Heads of probes on frozen features: logistic regression, SVM, neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch

from bench.protocols.frozen_probe import Array, Head, Labels, Parts
from bench.protocols.hinge import fit_hinge, hinge_held_out
from bench.protocols.logistic import Scaling, fit_logistic

if TYPE_CHECKING:
    from pydantic import JsonValue

Distance = Literal["cosine", "euclidean"]

_QUERIES = 512
"""Queries whose distances are held at a time."""


class _StrengthHead(Head):
    """A head whose setting is an inverse penalty C."""

    def __init__(self, strengths: Sequence[float]) -> None:
        self.order = tuple(strengths)

    def title(self, setting: int) -> str:
        """See `Head.title`."""
        return f"C={self.order[setting]:g}"

    def note(self, setting: int) -> dict[str, JsonValue]:
        """See `Head.note`."""
        return {"strength": self.order[setting]}


class LogisticHead(_StrengthHead):
    """Multinomial logistic regression on standardised features."""

    name = "linear head"

    def scores(self, train: Array, labels: Labels, classes: int, query: Array, settings: Sequence[int]) -> Array:
        """See `Head.scores`."""
        strengths = [self.order[at] for at in settings]
        fit = fit_logistic(train[None], labels[None], classes, strengths)
        self.stopped = fit.stopped
        logits: Array = fit.logits(query[None])[0]
        return logits


class HingeHead(_StrengthHead):
    """Support vector machines, one class against the rest.

    Features are not standardised if `standardise` is false.
    """

    name = "support vectors"

    def __init__(self, strengths: Sequence[float], *, standardise: bool = True) -> None:
        super().__init__(strengths)
        self.standardise = standardise

    def scores(self, train: Array, labels: Labels, classes: int, query: Array, settings: Sequence[int]) -> Array:
        """See `Head.scores`."""
        strengths = [self.order[at] for at in settings]
        fit = fit_hinge(train, labels, classes, strengths, standardise=self.standardise)
        self.stopped = fit.stopped
        return fit.scores(query)

    def held_out(self, features: Array, labels: Labels, classes: int, parts: Parts, settings: Sequence[int]) -> Labels:
        """See `Head.held_out`."""
        if not self.standardise:
            return super().held_out(features, labels, classes, parts, settings)
        return hinge_held_out(features, labels, classes, [self.order[at] for at in settings], parts)


class PairwiseHead(_StrengthHead):
    """libsvm's linear machines, one class against one (CrossPoint's evaluation).

    Features are not standardised.

    The class named is libsvm's own: of classes with equally many won duels the first, whatever their margins.
    The products of all objects with each other are made at once, which changes no number and saves libsvm from making
    them row by row.
    """

    name = "support vectors"

    def scores(self, train: Array, labels: Labels, classes: int, query: Array, settings: Sequence[int]) -> Array:
        """See `Head.scores`."""
        from sklearn.svm import SVC

        present = np.unique(labels)
        x, q = np.asarray(train, dtype=np.float64), np.asarray(query, dtype=np.float64)
        inner, across = x @ x.T, q @ x.T
        scores = np.zeros((len(settings), len(q), classes))
        for place, at in enumerate(settings):
            machine = SVC(C=self.order[at], kernel="precomputed", decision_function_shape="ovr").fit(inner, labels)
            decision = machine.decision_function(across)
            # Of two classes scikit-learn gives the distance to their one boundary.
            decision = np.stack([-decision, decision], 1) if decision.ndim == 1 else decision
            named = np.searchsorted(present, machine.predict(across))
            decision[np.arange(len(q)), named] = decision.max(1) + 1  # margins break ties in decision_function
            scores[place] = decision.min() - 1  # a class without training objects
            scores[place][:, present] = decision
        return scores


class NeighbourHead(Head):
    """Vote of the k nearest training objects on standardised features.

    Mean and deviation are those of the training part.
    """

    name = "neighbours"

    def __init__(self, distances: Sequence[Distance], ks: Sequence[int]) -> None:
        self.grid = tuple((distance, k) for distance in distances for k in ks)
        self.order = tuple(float(at) for at in range(len(self.grid)))

    def title(self, setting: int) -> str:
        """See `Head.title`."""
        distance, k = self.grid[setting]
        return f"{distance}, k={k}"

    def note(self, setting: int) -> dict[str, JsonValue]:
        """See `Head.note`."""
        distance, k = self.grid[setting]
        return {"distance": distance, "k": k}

    def scores(self, train: Array, labels: Labels, classes: int, query: Array, settings: Sequence[int]) -> Array:
        """See `Head.scores`; a score is the number of votes.

        Of classes with equally many votes the nearest neighbour decides.
        """
        x = torch.from_numpy(np.asarray(train, dtype=np.float64))
        scaling = Scaling.of(x)
        spread, asked = scaling(x), scaling(torch.from_numpy(np.asarray(query, dtype=np.float64)))
        wanted = [self.grid[at] for at in settings]
        nearest = {
            distance: _nearest(spread, asked, distance, min(max(k for d, k in wanted if d == distance), len(x)))
            for distance in {d for d, _ in wanted}
        }
        votes = [_votes(labels[nearest[distance][:, :k]], classes) for distance, k in wanted]
        return np.stack(votes)


def _nearest(train: torch.Tensor, query: torch.Tensor, distance: Distance, k: int) -> npt.NDArray[np.int64]:
    """Return the nearest training objects ``[m, k]``, nearest first."""
    if distance == "cosine":
        train, query = (torch.nn.functional.normalize(t, dim=1) for t in (train, query))
    bias = 0.0 if distance == "cosine" else 0.5 * train.square().sum(1)
    # For ranking: half the squared distance equals bias - product, up to a constant of the query.
    found = [(part @ train.T - bias).topk(k, dim=1).indices for part in torch.split(query, _QUERIES)]
    return torch.cat(found).numpy()


def _votes(neighbours: Labels, classes: int) -> npt.NDArray[np.float64]:
    """Return votes ``[m, K]`` for neighbours' labels ``[m, k]``.

    Less than one vote is added that grows with nearness, to break ties.
    """
    counts = np.zeros((len(neighbours), classes))
    rows = np.arange(len(neighbours))
    for rank in range(neighbours.shape[1]):
        counts[rows, neighbours[:, rank]] += 1 + 0.5 ** (rank + 2)
    return counts
