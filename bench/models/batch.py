"""Input of one pretraining step, the same for every method."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Batch:
    """Input of one pretraining step, on the device, after augmentation.

    Attributes:
        points: float32 ``[B, N, 3]``.
        image_features: ``[B, D_image]`` teacher features, or None.
        text_features: ``[B, D_text]`` teacher features, or None.
        labels: int64 ``[B]`` class of each object where the method is supervised by it, else None.
        other_points: Further views of the same clouds, each ``[B, N, 3]`` with its own random points and augmentation.
        images: uint8 ``[B, H, W, C]``, one image per object for a method with an image branch or a tuned image
            teacher, else None.
        tokens: int64 ``[B, L]`` token ids of each caption for a method with a tuned text teacher, else None.
        step: Optimiser steps taken before this one, for schedules by iteration.
        generator: Draws masks; CPU generator seeded for this step.
    """

    points: Tensor
    image_features: Tensor | None = None
    text_features: Tensor | None = None
    labels: Tensor | None = None
    other_points: tuple[Tensor, ...] = ()
    images: Tensor | None = None
    tokens: Tensor | None = None
    step: int = 0
    generator: torch.Generator | None = None
