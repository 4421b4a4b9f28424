"""No pretraining: an untrained network of the compared method's architecture.

Validation chooses the better of the sensible initialisations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field, JsonValue

from bench.errors import UsageError
from bench.methods.base import Given, Method, MethodCard, MethodOptions, PretrainModel
from bench.models.encoder import Encoder
from bench.models.init import truncated_normal_trunk
from bench.seeds import seed_torch
from bench.spec import BackboneSpec


class ScratchOptions(MethodOptions):
    """Options of scratch."""

    architecture: str = "recon"
    """Method that provides architecture and feature."""
    architecture_options: dict[str, JsonValue] = Field(default_factory=dict)
    """Options of that method."""


class Scratch(Method[ScratchOptions]):
    """No pretraining: the compared method's architecture, better of two initialisations."""

    name = "scratch"
    card = MethodCard(
        paper="no pretraining; what a method's gain is measured against",
        modalities=("points",),
        sees_class_names="never: nothing is trained before the evaluation",
        release_splits="none",
        stages=(),
        deviations=(
            "the releases keep PyTorch's initialisation (candidate 'default'); here validation chooses between it and "
            "a truncated normal one, for frozen heads also with calibrated BatchNorm, which every method is offered",
        ),
    )

    Options: ClassVar[type[ScratchOptions]] = ScratchOptions

    @classmethod
    def build(cls, backbone: BackboneSpec, options: ScratchOptions, given: Given) -> PretrainModel:
        """Refuse: there is no pretraining network.

        Raises:
            UsageError: Always.
        """
        raise UsageError("method 'scratch' has no pretraining; evaluate it directly, e.g. bench run --method scratch")

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: ScratchOptions) -> Encoder:
        """Refuse, since the architecture belongs to another method.

        That method's ``build_encoder`` is passed to `scratch_candidates`.

        Raises:
            UsageError: Always.
        """
        raise UsageError("method 'scratch' has no architecture; set scratch.architecture to a method, e.g. recon")


def scratch_candidates(build: Callable[[], Encoder], seed: int) -> dict[str, Encoder]:
    """Return the untrained encoders among which validation chooses.

    Args:
        build: Makes the architecture with PyTorch's initialisation.
        seed: Seed of the draws; torch's global generator is left as it was.

    Returns:
        In evaluation mode: ``default`` (PyTorch's initialisation) and ``trunc`` (truncated normal 0.02).
    """
    with torch.random.fork_rng():
        seed_torch(seed)
        default = build()
        trunc = copy.deepcopy(default)
        truncated_normal_trunk(trunc)
    return {"default": default.eval(), "trunc": trunc.eval()}
