"""No pretraining: the compared method's architecture, from the best of the sensible initialisations."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from pydantic import BaseModel, Field, JsonValue
from torch import Tensor, nn

from bench.errors import UsageError
from bench.methods.base import Given, Method, MethodCard, PretrainModel
from bench.models.encoder import Encoder
from bench.models.init import truncated_normal_trunk
from bench.spec import BackboneSpec


class Scratch(Method):
    """The untrained network of another method."""

    name = "scratch"
    card = MethodCard(
        paper="no pretraining; what a method's gain is measured against",
        modalities=("points",),
        sees_class_names="never: nothing is trained before the evaluation",
        release_splits="none",
        stages=(),
        deviations=(
            "the releases keep PyTorch's initialisation (candidate 'default'); here frozen heads take the best of four "
            "candidates on validation, all four are reported",
        ),
    )

    class Options(Method.Options):
        """Options of scratch."""

        architecture: str = "recon"
        """Method whose architecture and feature are taken."""
        architecture_options: dict[str, JsonValue] = Field(default_factory=dict)
        """Options of that method."""

    @classmethod
    def build(cls, backbone: BackboneSpec, options: BaseModel, given: Given) -> PretrainModel:
        """Refuse: there is no pretraining network.

        Raises:
            UsageError: Always.
        """
        raise UsageError("method 'scratch' has no pretraining; evaluate it directly, e.g. bench run --method scratch")

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: BaseModel) -> Encoder:
        """Refuse: the architecture is another method's, whose own ``build_encoder`` feeds `scratch_candidates`.

        Raises:
            UsageError: Always.
        """
        raise UsageError("method 'scratch' has no architecture of its own; scratch.architecture names one, e.g. recon")


def scratch_candidates(build: Callable[[], Encoder], seed: int, calibration: Tensor) -> dict[str, Encoder]:
    """Make the untrained encoders among which validation chooses.

    Args:
        build: Makes the architecture with PyTorch's initialisation.
        seed: Seed of the draws; torch's global generator is left as it was.
        calibration: Clouds ``[n, N, 3]`` for BatchNorm statistics, on the device to use.

    Returns:
        In evaluation mode: ``default`` (PyTorch's initialisation), ``trunc`` (truncated normal 0.02), and both with
        BatchNorm statistics measured on the clouds, ``default+bn`` and ``trunc+bn``.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        default = build()
        trunc = copy.deepcopy(default)
        truncated_normal_trunk(trunc)
    candidates = {"default": default, "trunc": trunc}
    for name, encoder in list(candidates.items()):
        candidates[f"{name}+bn"] = calibrate_batch_norm(copy.deepcopy(encoder), calibration)
    return {name: encoder.eval() for name, encoder in candidates.items()}


@torch.no_grad()
def calibrate_batch_norm(encoder: Encoder, clouds: Tensor, batch_size: int = 128) -> Encoder:
    """Set BatchNorm's running statistics to the average over given clouds, everything else in evaluation mode.

    Args:
        encoder: Changed in place, left in evaluation mode.
        clouds: ``[n, N, 3]``.
        batch_size: Clouds at a time.

    Returns:
        The encoder.
    """
    encoder.eval()
    layers = [part for part in encoder.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average over batches
        layer.train()
    encoder.to(clouds.device)
    for start in range(0, len(clouds), batch_size):
        encoder(clouds[start : start + batch_size])
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return encoder.eval()
