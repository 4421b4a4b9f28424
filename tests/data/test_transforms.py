"""Augmentations: a wrong one changes every pretraining without an error anywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from bench.data.normalise import normalise_unit_sphere
from bench.data.transforms import TRANSFORMS, compose, rotate_so3, rotate_y, subsample, unit_sphere
from bench.errors import DataError, UsageError
from bench.seeds import torch_stream


@pytest.fixture
def clouds() -> torch.Tensor:
    return torch.randn(64, 40, 3, generator=torch.Generator().manual_seed(5)) * 0.4 + 0.1


def stream() -> torch.Generator:
    return torch_stream(0, "augmentation", 1)


def test_rotate_y_is_the_rotation_of_the_reference(clouds: torch.Tensor) -> None:
    """p' = p R with R = [[c,0,s],[0,1,0],[-s,0,c]], angle uniform over the circle, one per cloud."""
    angle = torch.rand(64, generator=stream()) * 2 * math.pi
    c, s, o = angle.cos(), angle.sin(), torch.zeros(64)
    rotation = torch.stack([c, o, s, o, o + 1, o, -s, o, c], dim=1).view(64, 3, 3)
    assert torch.allclose(rotate_y(clouds, stream()), clouds @ rotation, atol=1e-6)
    assert angle.max() > 5.5
    assert angle.min() < 0.8


def test_rotate_so3_is_rigid_and_covers_the_sphere(clouds: torch.Tensor) -> None:
    turned = rotate_so3(clouds, stream())
    gaps = [torch.cdist(c, c, compute_mode="donot_use_mm_for_euclid_dist") for c in (turned, clouds)]
    assert torch.allclose(gaps[0], gaps[1], atol=1e-5)
    matrix = torch.linalg.lstsq(clouds, turned).solution
    assert torch.all(torch.linalg.det(matrix) > 0.99), "a reflection is not a rotation"
    up = rotate_so3(torch.tensor([0.0, 1.0, 0.0]).expand(4000, 1, 3).contiguous(), stream())[:, 0]
    assert up.mean(0).abs().max() < 0.05
    assert torch.allclose(up.var(0), torch.full((3,), 1 / 3), atol=0.03)


def test_scale_translate_draws_per_axis_in_the_published_range(clouds: torch.Tensor) -> None:
    out = TRANSFORMS["scale_translate"](clouds, stream())
    scale = (out[:, 1] - out[:, 0]) / (clouds[:, 1] - clouds[:, 0])
    shift = out[:, 0] - scale * clouds[:, 0]
    assert scale.min() >= 2 / 3 - 1e-3
    assert scale.max() <= 1.5 + 1e-3
    assert scale.max() - scale.min() > 0.7
    assert shift.abs().max() <= 0.2 + 1e-2
    assert scale.std(dim=1).min() > 1e-3, "the axes share one scale"


def test_isotropic_scale_and_jitter_stay_in_range(clouds: torch.Tensor) -> None:
    ratio = TRANSFORMS["isotropic_scale"](clouds, stream()) / clouds
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio), rtol=1e-4)
    assert ratio.min() >= 0.8 - 1e-4
    assert ratio.max() <= 1.25 + 1e-4
    moved = TRANSFORMS["jitter"](clouds, stream()) - clouds
    assert moved.abs().max() <= 0.05 + 1e-6
    assert 0.008 < moved.std() < 0.012


def test_unit_sphere_agrees_with_numpy_and_survives_a_single_spot(clouds: torch.Tensor) -> None:
    out = unit_sphere(clouds)
    assert np.allclose(out.numpy(), normalise_unit_sphere(clouds.numpy()), atol=1e-6)
    assert torch.allclose(out.norm(dim=-1).amax(1), torch.ones(64), atol=1e-5)
    assert torch.allclose(out.mean(1), torch.zeros(64, 3), atol=1e-5)
    assert torch.equal(unit_sphere(torch.full((1, 4, 3), 2.0)), torch.zeros(1, 4, 3))
    assert np.array_equal(normalise_unit_sphere(np.full((4, 3), 2, np.float32)), np.zeros((4, 3), np.float32))


@pytest.mark.parametrize("name", sorted(TRANSFORMS))
def test_transforms_leave_their_input_alone_and_repeat(name: str, clouds: torch.Tensor) -> None:
    """Clouds are kept on the device for the whole run: changing them in place would compound over epochs."""
    before = clouds.clone()
    out = compose([name])(clouds, stream())
    assert torch.equal(clouds, before)
    assert out.shape == clouds.shape
    assert out.dtype == clouds.dtype
    assert torch.equal(out, compose([name])(clouds, stream()))


def test_compose_applies_in_order(clouds: torch.Tensor) -> None:
    out = compose(["scale_translate", "unit_sphere"])(clouds, stream())
    assert torch.allclose(out.mean(1), torch.zeros(64, 3), atol=1e-5)
    assert compose([])(clouds, stream()) is clouds


def test_unknown_augmentation_suggests_the_right_one() -> None:
    with pytest.raises(UsageError, match=r"unknown augmentation 'rotate-y': did you mean rotate_y"):
        compose(["rotate-y"])


@pytest.mark.parametrize("common", [False, True])
def test_subsample_draws_distinct_points_of_the_same_cloud(common: bool) -> None:
    position = torch.arange(16 * 30).view(16, 30, 1).expand(16, 30, 3).float()
    drawn = subsample(position, 10, stream(), common=common)[..., 0].long()
    assert drawn.shape == (16, 10)
    assert torch.equal(drawn // 30, torch.arange(16)[:, None].expand(16, 10))
    assert all(len(set(row.tolist())) == 10 for row in drawn)
    shared = all(torch.equal(row % 30, drawn[0] % 30) for row in drawn)
    assert shared is common


def test_subsample_is_uniform_over_positions() -> None:
    """A favoured position would make the network see the same part of each cloud again and again."""
    position = torch.arange(20).view(1, 20, 1).expand(4000, 20, 3).float()
    counts = torch.bincount(subsample(position, 5, stream())[..., 0].long().flatten(), minlength=20)
    assert (counts.float() / 1000 - 1).abs().max() < 0.12
    first = torch.bincount(subsample(position, 5, stream())[:, 0, 0].long(), minlength=20)
    assert (first.float() / 200 - 1).abs().max() < 0.35, "FPS starts at the first point: it must not be favoured"


def test_subsample_of_all_points_only_reorders_and_of_more_is_refused() -> None:
    points = torch.randn(2, 6, 3)
    out = subsample(points, 6, stream())
    assert torch.equal(out[0].sort(0).values, points[0].sort(0).values)
    with pytest.raises(DataError, match="clouds have 6 points, 7 are wanted"):
        subsample(points, 7, stream())


def test_crosspoint_scale_is_isotropic_and_spans_half_to_double(clouds: torch.Tensor) -> None:
    """Published augmentation (docs/reference.md#crosspoint-augmentation); another range would be another method."""
    many = clouds.repeat(30, 1, 1)
    ratio = TRANSFORMS["scale_half_to_double"](many, stream()) / many
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio), rtol=1e-4)
    drawn = ratio[:, 0, 0]
    assert drawn.min() >= 0.5 - 1e-4
    assert drawn.max() <= 2 + 1e-4
    assert abs(float(drawn.mean()) - 1.25) < 0.03
    assert abs(float(drawn.std()) - 1.5 / math.sqrt(12)) < 0.03


def test_crosspoint_translation_is_relative_to_each_axis(clouds: torch.Tensor) -> None:
    """A fixed shift would move flat and large objects alike."""
    stretched = clouds.repeat(30, 1, 1) * torch.tensor([1.0, 10.0, 0.1])
    shift = TRANSFORMS["translate_by_extent"](stretched, stream()) - stretched
    assert torch.allclose(shift, shift[:, :1].expand_as(shift), atol=1e-4)
    share = shift[:, 0] / (stretched.amax(1) - stretched.amin(1))
    assert share.abs().max() <= 0.5 + 1e-4
    assert share.mean(0).abs().max() < 0.03
    assert (share.std(0) - 1 / math.sqrt(12)).abs().max() < 0.02
    assert torch.corrcoef(share.T).fill_diagonal_(0).abs().max() < 0.1, "the axes share one draw"


def test_crosspoint_dropout_repeats_the_first_point(clouds: torch.Tensor) -> None:
    """Dropped points would vanish to the origin, or the share would not vary from cloud to cloud."""
    many = clouds.repeat(30, 1, 1)
    out = TRANSFORMS["drop_to_first"](many, stream())
    kept = (out == many).all(-1)
    assert torch.equal(out[~kept], many[:, :1].expand_as(many)[~kept])
    dropped = 1 - kept[:, 1:].float().mean(1)
    assert abs(float(dropped.mean()) - 0.875 / 2) < 0.03
    assert float(dropped.std()) > 0.2, "one share for all clouds"
    assert float(dropped.max()) < 1


def test_sampling_stands_what_crosspoint_dropout_leaves() -> None:
    """Patches of a cloud with fewer distinct points than centres would contain NaN or points of nowhere."""
    from bench.models.grouping import Sampling, cut_patches

    points = torch.randn(3, 64, 3, generator=torch.Generator().manual_seed(1))
    points[:, 6:] = points[:, :1]
    patches = cut_patches(points, 16, 8, Sampling())
    assert bool(torch.isfinite(patches.points).all())
    found = (patches.points + patches.centres[:, :, None]).flatten(1, 2)
    assert float((found[:, :, None] - points[:, None]).square().sum(-1).amin(2).max()) < 1e-9
    assert all(len(cloud.unique(dim=0)) == 6 for cloud in patches.centres)
