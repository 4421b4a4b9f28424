"""Apply a library's evaluation transform to whole batches.

Libraries apply it to one PIL image at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from bench.errors import UsageError

_TO_TENSOR = ("ToTensor", "MaybeToTensor", "PILToTensor", "MaybePILToTensor", "ToNumpy")
_LEFT_OUT = ("_convert_to_rgb",)
"""Pictures have three channels when they come here."""


class BatchTransform:
    """Resize, crop and normalise batches as timm or open_clip do.

    Args:
        transform: A torchvision ``Compose``: parts on images, a conversion to tensor, parts on tensors.
        side: Side of the network's input in pixels.
        swap_channels: Whether the network is shown blue, green, red instead of red, green, blue.

    Raises:
        UsageError: A part of the transform works on single images only.
    """

    def __init__(self, transform: Any, side: int, swap_channels: bool = False) -> None:
        self.side = side
        self.swap_channels = swap_channels
        self._geometry: list[Callable[[Tensor], Tensor]] = []
        self._values: list[Callable[[Tensor], Tensor]] = []
        target = self._geometry
        for part in transform.transforms:
            name = getattr(part, "__name__", type(part).__name__)
            if name in _TO_TENSOR:
                target = self._values
            elif name not in _LEFT_OUT:
                if not isinstance(part, torch.nn.Module):
                    part = _checked(part, name)
                target.append(part)

    def __call__(self, images: Tensor, *, cropped: bool = False) -> Tensor:
        """Return the network's input of uint8 images.

        Args:
            images: uint8 ``[B, H, W, C]`` with C 1 or 3.
            cropped: Whether the pictures are crops already; then they are only resized to the network's input.

        Returns:
            float32 ``[B, 3, side, side]``.
        """
        pixels = images.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        if self.swap_channels:
            pixels = pixels.flip(1)
        if not cropped:
            for part in self._geometry:
                pixels = part(pixels)
        elif pixels.shape[2:] != (self.side, self.side):
            pixels = tv.resize(pixels, [self.side, self.side], InterpolationMode.BICUBIC, antialias=True)
        pixels = pixels.to(torch.float32).div(255)
        for part in self._values:
            pixels = part(pixels)
        return pixels


def _checked(part: Any, name: str) -> Callable[[Tensor], Tensor]:
    """Return a callable if it works on batches.

    Raises:
        UsageError: It works on single images only.
    """
    try:
        shape = part(torch.zeros(2, 3, 8, 8, dtype=torch.uint8)).shape
    except Exception as error:
        raise UsageError(
            f"this model's image transform has a part '{name}' that works on single images only"
        ) from error
    if len(shape) != 4 or shape[0] != 2:
        raise UsageError(f"this model's image transform has a part '{name}' that works on single images only")
    checked: Callable[[Tensor], Tensor] = part
    return checked
