"""Frozen encoders with one mistake each, beside a sound one; a plugin file of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench.encoders.base import EncoderOptions, Feature, FrozenEncoder, MethodCard


class Network(nn.Module):
    """A layer, BatchNorm, dropout, maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm, self.drop = nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Dropout(0.5)

    def forward(self, points: Tensor) -> Tensor:
        """Return a feature ``[B, 12]``."""
        found: Tensor = self.drop(torch.relu(self.norm(self.layer(points).transpose(1, 2)))).amax(-1)
        return found


class StuckNetwork(Network):
    """Keeps its dropout on."""

    def train(self, mode: bool = True) -> StuckNetwork:
        """Leave the dropout in training mode."""
        super().train(mode)
        self.drop.train()
        return self


class Sound(FrozenEncoder[EncoderOptions]):
    """A sound encoder on points and normals."""

    name = "sound"
    inputs = ("points", "normals")
    class_names_seen: ClassVar = ()
    card = MethodCard(
        paper="none", modalities=("points",), sees_class_names="never: drawn", release_splits="none", stages=()
    )
    made: ClassVar[type[Network]] = Network

    @classmethod
    def features(cls, options: EncoderOptions, file: Path | None) -> Mapping[str, Feature]:
        """Name the one feature."""
        return {"top": Feature(12, "maximum")}

    @classmethod
    def fresh(cls, options: EncoderOptions) -> nn.Module:
        """Build the untrained network."""
        return cls.made()

    @classmethod
    def network(cls, options: EncoderOptions, file: Path | None) -> nn.Module:
        """Build the network with the weights of the file, or of one seed."""
        torch.manual_seed(7)
        found = cls.made()
        if file is not None:
            found.load_state_dict(torch.load(file, weights_only=True))
        return found

    @classmethod
    def encode(cls, network: nn.Module, given: Mapping[str, Tensor], options: EncoderOptions) -> Mapping[str, Tensor]:
        """Return the feature."""
        return {"top": network(torch.cat([given["points"], given["normals"]], -1))}


class MovesBuffer(Sound):
    """Wakes its BatchNorm."""

    name = "moves-buffer"

    @classmethod
    def encode(cls, network: nn.Module, given: Mapping[str, Tensor], options: EncoderOptions) -> Mapping[str, Tensor]:
        """Let BatchNorm learn."""
        network.norm.train()
        return super().encode(network, given, options)


class StuckDropout(Sound):
    """Keeps a dropout layer on."""

    name = "stuck-dropout"
    made = StuckNetwork


class FunctionalDropout(Sound):
    """Calls dropout with training=True."""

    name = "functional-dropout"

    @classmethod
    def encode(cls, network: nn.Module, given: Mapping[str, Tensor], options: EncoderOptions) -> Mapping[str, Tensor]:
        """Drop half of the feature."""
        found = super().encode(network, given, options)
        return {name: nn.functional.dropout(value, 0.5, training=True) for name, value in found.items()}


class Learns(Sound):
    """Changes a weight."""

    name = "learns"

    @classmethod
    def encode(cls, network: nn.Module, given: Mapping[str, Tensor], options: EncoderOptions) -> Mapping[str, Tensor]:
        """Move the layer."""
        network.layer.weight.data *= 0.999
        return super().encode(network, given, options)


class DrawsWeights(Sound):
    """Draws its weights in every build."""

    name = "draws-weights"

    @classmethod
    def network(cls, options: EncoderOptions, file: Path | None) -> nn.Module:
        """Forget to load weights."""
        return cls.made()


class WrongWidth(Sound):
    """Declares another width."""

    name = "wrong-width"

    @classmethod
    def features(cls, options: EncoderOptions, file: Path | None) -> Mapping[str, Feature]:
        """Name the wrong width."""
        return {"top": Feature(13, "maximum")}


class OtherScratch(Sound):
    """Compares itself with another network."""

    name = "other-scratch"

    @classmethod
    def fresh(cls, options: EncoderOptions) -> nn.Module:
        """Build a larger network."""
        found = Network()
        found.layer = nn.Linear(6, 13)
        return found


MUTANTS: dict[type[Sound], tuple[str, str]] = {
    MovesBuffer: ("frozen", "tensor 'network.norm.running_mean' (and 2 more) changed while features were computed"),
    StuckDropout: ("frozen", "module 'network.drop' (Dropout) stays in training mode after eval()"),
    FunctionalDropout: ("frozen", "dropout is on in evaluation mode (operator aten."),
    Learns: ("frozen", "tensor 'network.layer.weight' changed while features were computed"),
    DrawsWeights: ("weights", "network() gives another tensor network.layer.weight"),
    WrongWidth: ("frozen", "returns 'top' as torch.float32 [8, 12], expected floats [8, 13]"),
    OtherScratch: ("scratch", "fresh() builds another network than network(): network.layer.weight"),
}
"""By encoder: the check of the kit that fails, and words of its line."""
