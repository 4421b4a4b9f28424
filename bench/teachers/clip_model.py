"""Network of `tiny-clip`, and its preprocessing of pictures.

It is open_clip's model class in a small size. It runs on the CPU in fp32 with a fixed number of threads, so that an
identity determines the weights. The image tower is CLIP's modified ResNet, because on a few thousand pictures it learns
from a fraction of the samples a vision transformer needs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.seeds import derive, seed_torch

HEAD_WIDTH = 32


@contextlib.contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Run torch with `threads` threads inside a ``with`` block.

    Rounding depends on the number of threads, so the number is one of the teacher's options.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class ClipSize:
    """Sizes of both towers of `tiny-clip`.

    The joint space has `embed` dimensions; `view_size` is a multiple of 32.
    """

    embed: int
    view_size: int
    image_width: int
    image_blocks: tuple[int, int, int, int]
    text_width: int
    text_layers: int
    context: int


def build(size: ClipSize, vocab_size: int, seed: int) -> nn.Module:
    """Build open_clip's CLIP with weights from the seed's stream.

    Args:
        size: Widths and depths.
        vocab_size: Number of token ids; the highest is the end token.
        seed: Root seed.
    """
    import open_clip  # takes seconds, which only those who build one should pay

    with torch.random.fork_rng(devices=[]):
        seed_torch(derive(seed, "teacher", "init"))
        model = open_clip.CLIP(
            size.embed,
            vision_cfg=open_clip.CLIPVisionCfg(
                layers=size.image_blocks,
                width=size.image_width,
                head_width=HEAD_WIDTH,
                image_size=size.view_size,
            ),
            text_cfg=open_clip.CLIPTextCfg(
                context_length=size.context,
                vocab_size=vocab_size,
                width=size.text_width,
                heads=size.text_width // HEAD_WIDTH,
                layers=size.text_layers,
            ),
            output_dict=True,
        )
    assert isinstance(model, nn.Module)
    # Convolutions on the CPU are about 1.6 times faster in this layout.
    return model.to(memory_format=torch.channels_last)


def on_white(images: Tensor) -> Tensor:
    """Invert images with a dark border.

    Renderings on white and depth pictures on black then look alike.

    Args:
        images: uint8 ``[B, H, W, C]``.

    Returns:
        uint8 ``[B, H, W, C]``.
    """
    rows = images[:, [0, -1]].float().mean(dim=(1, 2, 3))
    columns = images[:, :, [0, -1]].float().mean(dim=(1, 2, 3))
    dark = (rows + columns) / 2 < 127.5
    return torch.where(dark[:, None, None, None], 255 - images, images)


def to_pixels(images: Tensor, view_size: int) -> Tensor:
    """Return the network's input of uint8 images.

    Images are ``[B, H, W, C]`` (C 1 or 3); the result is float32 ``[B, 3, view_size, view_size]`` in -1..1.
    """
    pixels = images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1.0)
    if pixels.shape[2:] != (view_size, view_size):
        pixels = nn.functional.interpolate(
            pixels, size=(view_size, view_size), mode="bilinear", align_corners=False, antialias=True
        )
    return pixels.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
