"""Frozen networks. If these fail, a number of a "frozen" encoder comes from one that learnt or drew at random."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.models.frozen import FrozenWatch, NotFrozenError, network_digest, tensor_digests

CLOUDS = torch.randn(6, 8, 3, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """A sound network, whose forward pass tests replace."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.calls = 0

    def forward(self, points: Tensor) -> Tensor:
        found: Tensor = self.drop(self.norm(self.layer(points).amax(1)))
        return found


class StuckDropout(Network):
    def train(self, mode: bool = True) -> StuckDropout:
        super().train(mode)
        self.drop.train()
        return self


class NormWakes(Network):
    def forward(self, points: Tensor) -> Tensor:
        self.norm.train()
        return super().forward(points)


class Counts(Network):
    def forward(self, points: Tensor) -> Tensor:
        self.seen += 1
        return super().forward(points)


class Learns(Network):
    def forward(self, points: Tensor) -> Tensor:
        self.layer.weight.data.mul_(0.999)
        return super().forward(points)


class Drops(Network):
    def forward(self, points: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(points), 0.5, training=True)


class DropsAlike(Network):
    def forward(self, points: Tensor) -> Tensor:
        torch.manual_seed(0)  # two passes agree, and half of the feature is missing all the same
        return nn.functional.dropout(super().forward(points), 0.5, training=True)


class Depth(Network):
    def forward(self, points: Tensor) -> Tensor:
        kept = torch.rand(len(points), 1) > 0.5
        return super().forward(points) * kept


class Remembers(Network):
    def forward(self, points: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(points) * self.calls


class Unfreezes(Network):
    def forward(self, points: Tensor) -> Tensor:
        self.layer.weight.requires_grad_(True)
        return super().forward(points)


def watched(network: nn.Module) -> FrozenWatch:
    watch = FrozenWatch(network, "encoder mine")
    watch.twice(lambda clouds: {"transfer": network(clouds)}, CLOUDS)
    return watch


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (StuckDropout, "module 'drop' (Dropout) stays in training mode after eval()"),
        (NormWakes, "tensor 'norm.running_mean' (and 2 more) changed"),
        (Counts, "tensor 'seen' changed"),
        (Learns, "tensor 'layer.weight' changed"),
        (Drops, "dropout is on in evaluation mode (operator aten"),
        (DropsAlike, "dropout is on in evaluation mode (operator aten"),
        (Depth, "feature 'transfer' differs by up to"),
        (Remembers, "feature 'transfer' differs by up to"),
        (Unfreezes, "parameter 'layer.weight' was made to take a gradient"),
    ],
)
def test_a_network_that_is_not_frozen_is_refused_by_name(network: Callable[[], Network], words: str) -> None:
    """The line names the tensor, the module or the feature: what the author has to look at."""
    with pytest.raises(NotFrozenError) as error:
        watched(network())
    assert str(error.value).startswith("encoder mine is not frozen: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_frozen_network_is_proven_so() -> None:
    """Digests before and after are those of the same weights, in evaluation mode, without gradients."""
    network = Network().train()
    digest = network_digest(tensor_digests(network))
    proof = watched(network).check()
    assert proof.before == proof.after == digest
    assert (proof.tensors, proof.encoded_twice) == (8, 6)
    assert not any(part.training for part in network.modules())


def test_a_digest_tells_every_bit_of_every_tensor() -> None:
    """Type, shape, value and the buffers that no checkpoint holds count."""
    network = Network()
    found = {network_digest(tensor_digests(network))}
    for change in (
        lambda: network.seen.add_(1),
        lambda: network.layer.bias.data[0].nextafter_(torch.tensor(9.0)),
        lambda: setattr(network.layer, "bias", nn.Parameter(network.layer.bias.data.double())),
        lambda: setattr(network.layer, "bias", nn.Parameter(network.layer.bias.data[None])),
    ):
        change()
        found.add(network_digest(tensor_digests(network)))
    assert len(found) == 5
