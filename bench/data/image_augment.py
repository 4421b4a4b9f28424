"""Augmented crops of pictures for image teachers, as in ReCon.

A crop depends on the object's name, its view and the crop's number alone. So cached crops are the same as those of a
live teacher, and all runs share them.

Source: docs/reference.md#recon-images (resize, flip, random resized crop; for ReCon's own style RandAugment
with FixMatch's operations and a grey square).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from bench.seeds import numpy_stream
from bench.upload import upload

Style = Literal["plain", "recon"]

RESIZE_RATIO = 256 / 224
"""Side to which a picture is resized before it is cropped, relative to the crop's side."""
AREA = (0.64, 1.0)
ASPECT = (3 / 4, 4 / 3)
ATTEMPTS = 10
"""Tries to fit a drawn box into the picture before the largest one of an acceptable aspect is taken."""
OPERATIONS_DRAWN = 2
MAGNITUDES = 10
SQUARE = 16 / 224
"""Side of the grey square, relative to the crop's side."""
GREY = 127


@dataclass(frozen=True)
class Operation:
    """One colour or geometric change of an image.

    `index` is its place in the pool; the magnitude is ``1..9`` of 10.
    """

    index: int
    magnitude: int
    sign: int


@dataclass(frozen=True)
class Crop:
    """Augmentation of one picture, relative to its size.

    Attributes:
        box: Top, left, height and width as fractions of the square picture.
        flip: Whether the picture is mirrored.
        operations: Changes that are applied after cropping.
        square: Centre of the grey square as fractions (row, column), or None.
    """

    box: tuple[float, float, float, float]
    flip: bool
    operations: tuple[Operation, ...] = ()
    square: tuple[float, float] | None = None


def draw_crop(identifier: str, view: int, crop: int, style: Style = "plain") -> Crop:
    """Draw a crop of one view from its own stream."""
    rng = numpy_stream(0, "teacher", "crop", identifier, view, crop)
    flip, box = bool(rng.random() < 0.5), _draw_box(rng)
    if style == "plain":
        return Crop(box, flip)
    drawn = []
    for _ in range(OPERATIONS_DRAWN):
        operation = Operation(int(rng.integers(len(POOL))), int(rng.integers(1, MAGNITUDES)), int(rng.choice((-1, 1))))
        if rng.random() < 0.5:
            drawn.append(operation)
    return Crop(box, flip, tuple(drawn), (float(rng.random()), float(rng.random())))


def _draw_box(rng: np.random.Generator) -> tuple[float, float, float, float]:
    for _ in range(ATTEMPTS):
        area = rng.uniform(*AREA)
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        width, height = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if width <= 1 and height <= 1:
            return float(rng.uniform(0, 1 - height)), float(rng.uniform(0, 1 - width)), height, width
    return 0.0, 0.0, 1.0, 1.0


def augment(images: Tensor, crops: Sequence[Crop], side: int) -> Tensor:
    """Apply one crop to each picture.

    Args:
        images: uint8 ``[B, H, W, C]`` with C 1 or 3.
        crops: One per picture.
        side: Side of the result in pixels.

    Returns:
        uint8 ``[B, side, side, C]``, on the images' device.
    """
    pixels = images.permute(0, 3, 1, 2)
    whole = round(side * RESIZE_RATIO)
    pixels = tv.resize(pixels, [whole, whole], InterpolationMode.BICUBIC, antialias=True).float()
    boxes = upload(torch.tensor([crop.box for crop in crops], dtype=torch.float32), images.device)
    flips = upload(torch.tensor([-1.0 if crop.flip else 1.0 for crop in crops]), images.device)
    top, left, height, width = boxes.unbind(1)
    zero = torch.zeros_like(top)
    # The whole picture is mirrored before the box is cut out.
    columns = torch.stack([flips * width, zero, flips * (2 * left + width - 1)], 1)
    rows = torch.stack([zero, height, 2 * top + height - 1], 1)
    grid = F.affine_grid(torch.stack([columns, rows], 1), [len(images), pixels.shape[1], side, side], False)
    cut = F.grid_sample(pixels, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    result = cut.round().clamp(0, 255).to(torch.uint8)
    if any(crop.operations or crop.square for crop in crops):
        result = torch.stack([_finish(image, crop) for image, crop in zip(result, crops, strict=True)])
    return result.permute(0, 2, 3, 1).contiguous()


def _finish(image: Tensor, crop: Crop) -> Tensor:
    """Apply operations and grey square to uint8 ``[C, S, S]``."""
    colours = image if image.shape[0] == 3 else image.expand(3, -1, -1)
    for operation in crop.operations:
        colours = POOL[operation.index](colours, operation.magnitude / MAGNITUDES, operation.sign)
    if crop.square is not None:
        side = image.shape[-1]
        reach = round(SQUARE * side)
        first = [max(0, int(at * side - reach / 2)) for at in crop.square]
        colours = colours.clone()
        colours[:, first[0] : first[0] + reach, first[1] : first[1] + reach] = GREY
    return colours[: image.shape[0]]


def _affine(image: Tensor, *, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    moved: Tensor = tv.affine(image, 0.0, list(shift), 1.0, list(shear))
    return moved


def _degrees(slope: float) -> float:
    return math.degrees(math.atan(slope))


def _enhanced(adjust: Callable[[Tensor, float], Tensor]) -> Callable[[Tensor, float, int], Tensor]:
    """Return an operation that weakens a property.

    The factor is 0.05 to 0.95, as in FixMatch, which never strengthens.
    """
    return lambda image, amount, sign: adjust(image, 0.9 * amount + 0.05)


POOL: tuple[Callable[[Tensor, float, int], Tensor], ...] = (
    lambda image, amount, sign: tv.autocontrast(image),
    _enhanced(tv.adjust_brightness),
    _enhanced(tv.adjust_saturation),
    _enhanced(tv.adjust_contrast),
    lambda image, amount, sign: tv.equalize(image),
    lambda image, amount, sign: image,
    lambda image, amount, sign: tv.posterize(image, int(4 * amount) + 4),
    lambda image, amount, sign: tv.rotate(image, float(sign * int(30 * amount))),
    _enhanced(tv.adjust_sharpness),
    lambda image, amount, sign: _affine(image, shear=(_degrees(sign * 0.3 * amount), 0.0)),
    lambda image, amount, sign: _affine(image, shear=(0.0, _degrees(sign * 0.3 * amount))),
    lambda image, amount, sign: tv.solarize(image, float(256 - int(256 * amount))),
    lambda image, amount, sign: _affine(image, shift=(int(sign * 0.3 * amount * image.shape[-1]), 0)),
    lambda image, amount, sign: _affine(image, shift=(0, int(sign * 0.3 * amount * image.shape[-2]))),
)
"""FixMatch's operations: (uint8 ``[3, S, S]``, magnitude 0.1 to 0.9, sign) to the same."""
