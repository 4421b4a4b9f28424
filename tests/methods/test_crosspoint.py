"""CrossPoint: what it contrasts, which parts learn, and that it runs on every backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bench.data.transforms import compose
from bench.errors import BenchError, UsageError
from bench.methods.base import Batch, Given
from bench.methods.crosspoint import CrossPoint, CrossPointModel
from bench.methods.scratch import scratch_candidates
from bench.models.calibration import calibrate_batch_norm
from bench.models.contrast import nt_xent
from bench.models.image_branch import MEAN, STD, ImageBranch, augment_images
from bench.spec import BackboneSpec, TransformerShape

SMALL = BackboneSpec(points=96, groups=12, group_size=6, width=24, depth=2, heads=3, tokenizer_width=16, drop_path=0.0)
NARROW: dict[str, Any] = {
    "image_network": "resnet18",
    "image_channels": (8, 8, 8, 8),
    "image_size": 32,
    "neighbours": 5,
    "embedding": 16,
}
BACKBONES = ("transformer", "dgcnn", "pointnet")


def options(**changed: object) -> CrossPoint.Options:
    return CrossPoint.Options.model_validate({**NARROW, **changed})


def build(given: Given | None = None, **changed: object) -> CrossPointModel:
    torch.manual_seed(0)
    return CrossPoint.build(SMALL, options(**changed), given or Given(pixels=1))


def batch(size: int = 6, seed: int = 0, channels: int = 1) -> Batch:
    g = torch.Generator().manual_seed(seed)
    points = torch.rand(size, 96, 3, generator=g) - 0.5
    augment = compose(CrossPoint.recipes["base"].augmentation)
    return Batch(
        augment(points, g),
        other_points=(augment(points, g),),
        images=torch.randint(256, (size, 40, 40, channels), generator=g, dtype=torch.uint8),
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("backbone", BACKBONES)
def test_pretraining_learns_in_mixed_precision(backbone: str) -> None:
    """The loop would burn hours without the loss going down."""
    model = build(backbone=backbone)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(batch())["total"]
        assert loss.dtype == torch.float32
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        if losses[-1] < 0.75 * losses[0]:
            break
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_parameter_learns(backbone: str) -> None:
    """A part of the encoder that is handed over would be left at its random start, the class token first of all."""
    model = build(backbone=backbone, input_transform=True)
    model(batch())["total"].backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    # In front of BatchNorm a bias has no effect, and the input transform's last layer starts at zero weight.
    assert [n for n in still if not n.endswith(".bias") and "transform." not in n] == []


@pytest.mark.parametrize(("terms", "expected"), [("both", {"imid", "cmid"}), ("imid", {"imid"}), ("cmid", {"cmid"})])
def test_terms_are_those_asked_for(terms: str, expected: set[str]) -> None:
    """An ablation would train with the term it leaves out, or pay for an image network it does not need."""
    model = build(terms=terms)
    losses = model(batch())
    assert losses.keys() - {"total"} == expected
    torch.testing.assert_close(losses["total"], sum(losses[name] for name in expected))
    assert (model.image_branch is None) == (terms == "imid")
    assert CrossPoint.uses(options(terms=terms)) == (frozenset() if terms == "imid" else {"pixels"})


def test_the_prototype_is_the_mean_before_normalisation() -> None:
    """The longer of two projections would not weigh more, as it does in the release."""
    model = build()
    first, second, image = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(1))
    losses = model.losses(torch.cat([5 * first, second]), image)
    torch.testing.assert_close(losses["imid"], nt_xent(first, second, 0.1))
    torch.testing.assert_close(losses["cmid"], nt_xent((5 * first + second) / 2, image, 0.1))


def test_both_views_share_batch_norm_statistics() -> None:
    """The views would be encoded apart, which changes what the published loss sees."""
    model = build(backbone="pointnet").train()
    prepared = model.prepare(batch())
    model.compute(prepared)
    norm = model.trunk.get_submodule("layers.norms.0")
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.num_batches_tracked is not None
    assert int(norm.num_batches_tracked) == 1
    assert len(prepared["points"]) == 12


def test_missing_inputs_are_one_clear_line() -> None:
    """The user would see an attribute error instead of what the data lacks and which option helps."""
    with pytest.raises(UsageError, match=r"terms=both contrasts clouds with images.*crosspoint\.terms=imid"):
        build(Given())
    assert build(Given(), terms="imid").image_branch is None
    model = build()
    for change, message in (({"other_points": ()}, "2 views"), ({"images": None}, "no images")):
        incomplete = batch()
        for name, value in change.items():
            setattr(incomplete, name, value)
        with pytest.raises(BenchError, match=message):
            model(incomplete)
    with pytest.raises(UsageError, match=r"'resnet51' is not one of timm's ResNets: did you mean resnet"):
        ImageBranch("resnet51")
    with pytest.raises(UsageError, match="not one of timm's ResNets"):
        ImageBranch("vit_tiny_patch16_224")


def test_draws_come_from_the_batch_generator_only() -> None:
    """A resumed run would see other pictures than an uninterrupted one."""
    model = build()
    torch.manual_seed(1)
    first = model.prepare(batch(seed=3))
    torch.manual_seed(2)
    again, other = model.prepare(batch(seed=3)), model.prepare(batch(seed=4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["images"], other["images"])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_compute_compiles_to_one_graph(backbone: str) -> None:
    """torch.compile would fall back to Python in the middle of a step and lose its gain."""
    # The image network is timm's own and takes longest to trace; one backbone with it is enough.
    torch.manual_seed(0)
    terms = "both" if backbone == "pointnet" else "imid"
    model = CrossPoint.build(
        SMALL.model_copy(update={"depth": 1}), options(backbone=backbone, terms=terms), Given(pixels=1)
    )
    prepared = model.prepare(batch())
    eager = model.compute(prepared)
    compiled = torch.compile(model.compute, fullgraph=True, backend="eager")(prepared)
    torch.testing.assert_close(compiled["total"], eager["total"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_encoders_take_the_pretrained_weights_and_serve_as_scratch(backbone: str) -> None:
    """A checkpoint could not be loaded for evaluation, or the untrained opponent not be calibrated."""
    encoder = CrossPoint.build_encoder(SMALL, options(backbone=backbone)).eval()
    pretrained = build(backbone=backbone).encoder().eval()
    encoder.load_state_dict(pretrained.state_dict())
    points = batch().points
    torch.testing.assert_close(encoder.feature(encoder(points)), pretrained.feature(pretrained(points)))
    built = scratch_candidates(lambda: CrossPoint.build_encoder(SMALL, options(backbone=backbone)), 7)
    features = [candidate.feature(candidate(points)) for candidate in built.values()]
    assert all(bool(torch.isfinite(feature).all()) for feature in features)
    calibrated = calibrate_batch_norm(built["default"], points)
    assert not torch.allclose(features[0], calibrated.feature(calibrated(points))), "calibration did nothing"


def test_images_are_jittered_flipped_and_normalised() -> None:
    """The image network would see unaugmented or wrongly scaled pictures."""
    half = torch.zeros(200, 8, 8, 3, dtype=torch.uint8)
    half[:, :, :4] = torch.tensor([200, 100, 50], dtype=torch.uint8)
    out = augment_images(half, 8, torch.Generator().manual_seed(0))
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    pictures = out * std + mean
    assert -1e-6 <= float(pictures.min()) <= float(pictures.max()) <= 1 + 1e-6
    brightness = pictures.sum(1)
    right = brightness[:, :, 4:].mean((1, 2)) > brightness[:, :, :4].mean((1, 2))
    assert 0.4 < float(right.float().mean()) < 0.6, "half of the pictures are flipped"
    lit = torch.where(right[:, None], pictures[:, :, 0, 7], pictures[:, :, 0, 0])
    assert float(lit[:, 0].std()) > 0.05, "every picture has its own factors"
    ratio = lit[:, 0] / lit[:, 1]
    assert float(ratio.std()) > 0.1, "saturation changes the hue's ratio"
    plain = torch.full((2, 6, 6, 1), 255, dtype=torch.uint8)
    grey = augment_images(plain, 10, torch.Generator().manual_seed(0))
    assert grey.shape == (2, 3, 10, 10)
    value = grey * std + mean
    torch.testing.assert_close(value[:, :1].expand_as(value), value, rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="images have 4 channels"):
        augment_images(torch.zeros(1, 4, 4, 4, dtype=torch.uint8), 4, None)


def test_the_published_recipe() -> None:
    """'published recipe' would be printed over other numbers (docs/reference.md#crosspoint-training)."""
    assert CrossPoint.point_views == 2
    for preset in ("tiny", "small", "base"):
        recipe = CrossPoint.recipe(preset)
        assert recipe is not None
        assert (recipe.epochs, recipe.batch_size, recipe.lr, recipe.weight_decay) == (100, 20, 1e-3, 1e-6)
        assert (recipe.optimiser, recipe.warmup_epochs, recipe.min_lr) == ("adam", 0, 0.0)
        assert recipe.augmentation == (
            "unit_sphere",
            "scale_half_to_double",
            "rotate_y",
            "translate_by_extent",
            "jitter",
            "drop_to_first",
        )
        published = CrossPoint.Options.model_validate(CrossPoint.defaults(preset).model_dump())
        assert (published.neighbours, published.embedding, published.temperature) == (15, 1024, 0.1)
        assert (published.image_network, published.image_size, published.image_channels) == ("resnet50", 224, None)
    shape = TransformerShape(width=8, depth=1, heads=1, mlp_width=8)
    assert CrossPoint.complete(options(), shape) == options()


def test_the_published_networks_have_their_released_sizes() -> None:
    """The image branch or the projection would not be the release's (2048-1024-256 and 2048-512-256)."""
    with torch.device("meta"):
        model = CrossPoint.build(BackboneSpec(), CrossPoint.Options(backbone="dgcnn"), Given(pixels=3))
    assert model.image_branch is not None
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if "head." in name and p.ndim == 2}
    assert shapes == {
        "point_head.0.weight": (1024, 2048),
        "point_head.3.weight": (256, 1024),
        "image_branch.head.0.weight": (512, 2048),
        "image_branch.head.3.weight": (256, 512),
    }
    resnet50_without_classifier = 23_508_032
    assert sum(p.numel() for p in model.image_branch.network.parameters()) == resnet50_without_classifier
