"""Augmented crops for image teachers: a cache and a live teacher must see the same ones, and those of the paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.data.image_augment import AREA, ASPECT, GREY, POOL, Crop, augment, draw_crop


def pictures(n: int, side: int = 40) -> torch.Tensor:
    """Smooth uint8 ``[n, side, side, 3]``."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin((i + 2) * x[..., None] + np.arange(3)) * np.cos((i + 1) * y[..., None]) for i in range(n)]
    return torch.from_numpy(np.asarray(127.5 + 110 * np.stack(waves), dtype=np.uint8))


def test_draws_follow_the_name_alone() -> None:
    """Otherwise the cache would hold other crops than a live teacher sees, or than another seed's cache."""
    first = draw_crop("chair-1", 0, 3)
    assert first == draw_crop("chair-1", 0, 3)
    others = [draw_crop("chair-2", 0, 3), draw_crop("chair-1", 1, 3), draw_crop("chair-1", 0, 4)]
    assert all(first != other for other in others)


def test_boxes_are_those_of_the_paper() -> None:
    """Area 0.64 to 1 of the picture, aspect 3:4 to 4:3, inside the picture, mirrored half of the time."""
    crops = [draw_crop(f"object-{i}", 0, 0) for i in range(400)]
    top, left, height, width = np.array([crop.box for crop in crops]).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + height <= 1 + 1e-9).all()
    assert (left + width <= 1 + 1e-9).all()
    area, aspect = height * width, width / height
    assert area.min() >= AREA[0] - 1e-9
    assert area.min() < 0.68
    assert ASPECT[0] - 1e-9 <= aspect.min() < aspect.max() <= ASPECT[1] + 1e-9
    assert 0.4 < np.mean([crop.flip for crop in crops]) < 0.6
    assert len({round(value, 6) for value in top}) > 300


def test_a_crop_shows_its_box() -> None:
    """A box read as rows for columns, or a flip after the crop instead of before, would go unseen in training."""
    side = 112
    ramp = torch.arange(128, dtype=torch.float32)
    image = torch.stack([ramp[:, None].expand(128, 128), ramp[None].expand(128, 128), torch.zeros(128, 128)], -1)
    crop = Crop(box=(0.25, 0.1, 0.5, 0.8), flip=False)
    found = augment(image.to(torch.uint8)[None], [crop], side)[0].float()
    assert found.shape == (side, side, 3)
    inner = slice(2, side - 2)
    rows = 128 * (0.25 + 0.5 * (torch.arange(side) + 0.5) / side) - 0.5
    columns = 128 * (0.1 + 0.8 * (torch.arange(side) + 0.5) / side) - 0.5
    assert torch.allclose(found[inner, 50, 0], rows[inner], atol=1.01)
    assert torch.allclose(found[50, inner, 1], columns[inner], atol=1.01)
    mirrored = augment(image.to(torch.uint8)[None], [Crop(box=crop.box, flip=True)], side)[0].float()
    assert torch.allclose(mirrored[50, inner, 1], 127 - columns[inner], atol=1.01)
    assert torch.allclose(mirrored[inner, 50, 0], rows[inner], atol=1.01)


@pytest.mark.parametrize("style", ["plain", "recon"])
def test_a_crop_does_not_depend_on_its_batch(style: str) -> None:
    """The cache is filled in other batches than training steps draw."""
    images = pictures(6)
    crops = [draw_crop(f"object-{i}", 0, 0, style) for i in range(6)]  # type: ignore[arg-type]
    whole = augment(images, crops, 32)
    singly = torch.cat([augment(images[i : i + 1], [crops[i]], 32) for i in range(6)])
    assert whole.dtype == torch.uint8
    assert torch.equal(whole, singly)


def test_recons_style_always_puts_a_grey_square() -> None:
    """The release cuts out 16 of 224 pixels after its colour operations; at other sizes the same share."""
    black = torch.zeros(1, 224, 224, 3, dtype=torch.uint8)
    found = augment(black, [Crop((0.0, 0.0, 1.0, 1.0), False, square=(0.5, 0.25))], 224)[0]
    grey = (found == GREY).all(-1)
    assert int(grey.sum()) == 16 * 16
    assert bool(grey[104:120, 48:64].all())
    assert all(draw_crop(f"object-{i}", 0, 0, "recon").square is not None for i in range(20))
    single = augment(black[..., :1], [draw_crop("a", 0, 0, "recon")], 32)
    assert single.shape == (1, 32, 32, 1)


def test_operations_are_fixmatchs() -> None:
    """Fourteen of them, two drawn, each applied half of the time at a magnitude of 1 to 9 tenths."""
    assert len(POOL) == 14
    drawn = [draw_crop(f"object-{i}", 0, 0, "recon").operations for i in range(400)]
    counts = np.bincount([len(operations) for operations in drawn], minlength=3) / 400
    np.testing.assert_allclose(counts, [0.25, 0.5, 0.25], atol=0.08)
    flat = [operation for operations in drawn for operation in operations]
    assert {operation.index for operation in flat} == set(range(14))
    assert {operation.magnitude for operation in flat} == set(range(1, 10))
    assert {operation.sign for operation in flat} == {-1, 1}
    image = pictures(1)[0].permute(2, 0, 1).contiguous()
    changed = 0
    for operation in POOL:
        for sign in (-1, 1):
            result = operation(image, 0.9, sign)
            assert result.shape == image.shape
            assert result.dtype == torch.uint8
            changed += int(not torch.equal(result, image))
    assert changed >= 24, "all but one operation change a picture"
