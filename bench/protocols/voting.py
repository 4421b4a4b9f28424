"""Voting: predictions averaged over random draws of points (docs/reference.md#voting)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from bench.data.transforms import compose, subsample
from bench.seeds import torch_stream
from bench.spec import Numerics
from bench.training.finetuning import predict


@dataclass(frozen=True)
class Voter:
    """Averages a classifier's logits over random draws of points.

    Attributes:
        clouds: float32 ``[m, M, 3]``, more points than the classifier sees.
        points: Points of a draw.
        votes: Draws averaged.
        augmentation: Transform of each draw.
        seed: Root of the draws.
        numerics: Device and precision.
    """

    clouds: Tensor
    points: int
    votes: int
    augmentation: tuple[str, ...]
    seed: int
    numerics: Numerics

    def draw(self, repeat: int, vote: int) -> Tensor:
        """Return clouds ``[m, points, 3]`` of one vote.

        All clouds are cut at the same positions, as in the releases.
        """
        generator = torch_stream(self.seed, "augmentation", "vote", repeat, vote)
        drawn = subsample(self.clouds, self.points, generator, common=True)
        return compose(self.augmentation)(drawn, generator)

    def logits(self, classifier: nn.Module, repeat: int = 0) -> Tensor:
        """Return mean logits ``[m, K]`` over votes of one repeat.

        On the CPU.
        """
        total = predict(classifier, self.draw(repeat, 0), self.numerics)
        for vote in range(1, self.votes):
            total = total + predict(classifier, self.draw(repeat, vote), self.numerics)
        return total / self.votes
