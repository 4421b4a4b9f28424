"""Image network trained together with a point network.

Includes the augmentation of its images.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.contrast import projection_head
from bench.upload import upload

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and deviation of ImageNet, for images in 0 to 1."""
STRENGTH = 0.4
"""Brightness, contrast and saturation are multiplied by U(1 - 0.4, 1 + 0.4)."""
_GREY = (0.299, 0.587, 0.114)
_HIDDEN = 512


class ImageBranch(nn.Module):
    """ResNet with random weights and a projection.

    It is trained together with the point network. Source: CrossPoint (arXiv 2203.00680);
    docs/reference.md#crosspoint-image-branch.
    """

    def __init__(self, network: str = "resnet50", channels: Sequence[int] | None = None, projection: int = 256) -> None:
        """Build the network.

        Args:
            network: timm's name of a ResNet.
            channels: Widths of the four stages before bottleneck expansion; None: the network's own.
            projection: Width of the embedding.

        Raises:
            UsageError: timm has no ResNet of that name.
        """
        super().__init__()
        self.network = _resnet(network, channels).to(memory_format=torch.channels_last)
        features = cast(int, self.network.num_features)
        self.head = projection_head(features, _HIDDEN, projection, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Embed images ``[B, 3, S, S]`` as ``[B, projection]``."""
        out: Tensor = self.head(self.network(images.contiguous(memory_format=torch.channels_last)))
        return out


def _resnet(name: str, channels: Sequence[int] | None) -> nn.Module:
    import timm

    widths: dict[str, Any] = {} if channels is None else {"channels": tuple(channels)}
    try:
        # Residual branches start as torchvision's do, not at zero.
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, zero_init_last=False, **widths)
    except (RuntimeError, TypeError) as error:
        known = [model for model in timm.list_models("*resnet*") if model != name]
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or ["resnet18", "resnet50"]
        raise UsageError(
            f"image network '{name}' is not one of timm's ResNets: did you mean {' or '.join(near)}?"
        ) from error
    return network


@torch.no_grad()
def augment_images(images: Tensor, size: int, generator: torch.Generator | None) -> Tensor:
    """Resize, jitter colours, flip and normalise a batch of images.

    Brightness, contrast and saturation factors and the flip are drawn per image; the order of the three is drawn once
    per batch, which leaves its distribution for each image as in the release.

    Args:
        images: uint8 ``[B, H, W, C]``, C 1 (grey) or 3.
        size: Height and width of the result in pixels.
        generator: Source of every draw.

    Returns:
        float32 ``[B, 3, size, size]``, normalised with ImageNet's mean and deviation.

    Raises:
        UsageError: The images have neither 1 nor 3 channels.

    Source: docs/reference.md#crosspoint-augmentation.
    """
    batch, height, width, channels = images.shape
    if channels not in (1, 3):
        raise UsageError(f"images have {channels} channels, expected 1 (grey) or 3 (red, green, blue)")
    x = images.permute(0, 3, 1, 2).to(torch.float32) / 255
    if (height, width) != (size, size):
        x = F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    x = x.expand(-1, 3, -1, -1)
    device = None if generator is None else generator.device
    factors = upload(1 + STRENGTH * (2 * torch.rand((3, batch), generator=generator, device=device) - 1), x.device)
    flipped = torch.rand(batch, generator=generator, device=device) < 0.5
    order = torch.randperm(3, generator=generator, device=device).tolist()
    for kind in order:
        x = _jitter(x, kind, factors[kind].view(-1, 1, 1, 1))
    x = torch.where(upload(flipped, x.device).view(-1, 1, 1, 1), x.flip(-1), x)
    mean, std = (upload(torch.tensor(values), x.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (x - mean) / std


def _jitter(x: Tensor, kind: int, factor: Tensor) -> Tensor:
    """Scale brightness (`kind` 0), contrast (1) or saturation (2).

    Images are blended with black, their mean grey, or their grey version.
    """
    if kind == 0:
        return (x * factor).clamp(0, 1)
    grey = (x * upload(torch.tensor(_GREY), x.device).view(1, 3, 1, 1)).sum(1, keepdim=True)
    other = grey.mean((1, 2, 3), keepdim=True) if kind == 1 else grey
    return (x * factor + other * (1 - factor)).clamp(0, 1)
