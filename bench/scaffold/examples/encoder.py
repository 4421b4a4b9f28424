"""Encoder: a frozen network whose features protocols judge."""

from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.encoders.base import EncoderOptions, Feature, FrozenEncoder, MethodCard


class EncoderExampleOptions(EncoderOptions):
    """Options of the encoder; they enter every key."""

    width: int = Field(64, ge=8, le=4096)
    """Width of its layers."""


class EncoderExampleNetwork(nn.Module):
    """Two layers on every point; any torch network can stand here."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.Dropout(0.1))

    def forward(self, points: Tensor) -> Tensor:
        """Return a feature of every point, ``[B, N, C]``."""
        found: Tensor = self.layers(points)
        return found


class EncoderExample(FrozenEncoder[EncoderExampleOptions]):
    """Maximum and mean over two layers on every point."""

    name = "encoder-example"
    inputs = ("points",)
    class_names_seen = ()
    card = MethodCard(
        paper="after Qi et al., PointNet, CVPR 2017; weights drawn once",
        modalities=("points",),
        sees_class_names="never: its weights are drawn",
        release_splits="none: not trained",
        stages=(),
    )

    Options = EncoderExampleOptions

    @classmethod
    def features(cls, options: EncoderExampleOptions, file: Path | None) -> Mapping[str, Feature]:
        """Name the features that `encode` gives; protocols judge ``transfer``."""
        return {
            "transfer": Feature(2 * options.width, "maximum and mean over all points"),
            "max": Feature(options.width, "maximum over all points"),
        }

    @classmethod
    def fresh(cls, options: EncoderExampleOptions) -> nn.Module:
        """Build the network with untrained weights, for `scratch`; leave it out if that cannot be done."""
        return EncoderExampleNetwork(options.width)

    @classmethod
    def network(cls, options: EncoderExampleOptions, file: Path | None) -> nn.Module:
        """Build the network with its trained weights: those of ``--encoder encoder-example:FILE``."""
        torch.manual_seed(1)  # without a file: a stand-in that is the same in every build
        network = cls.fresh(options)
        if file is not None:
            network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        return network

    @classmethod
    def encode(
        cls, network: nn.Module, given: Mapping[str, Tensor], options: EncoderExampleOptions
    ) -> Mapping[str, Tensor]:
        """Return every feature of a batch, ``[B, width]`` each."""
        tokens = network(given["points"])
        largest = tokens.amax(1)
        return {"transfer": torch.cat([largest, tokens.mean(1)], -1), "max": largest}
