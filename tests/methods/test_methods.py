"""Pretraining methods: what they train, what they hand over, how large they are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import nn

from bench.errors import BenchError, UsageError
from bench.methods.base import Batch, Given, Method
from bench.methods.multitask import Multitask
from bench.methods.point_mae import PointMAE
from bench.methods.recon import ReCon
from bench.methods.scratch import Scratch, scratch_candidates
from bench.methods.two_tower import TwoTower
from bench.models.blocks import AttentionBlock, ReconBlock
from bench.models.calibration import calibrate_batch_norm
from bench.models.classifier import Classifier
from bench.models.losses import cross_modal
from bench.models.parts import BlockSite
from bench.models.standard import StandardEncoder
from bench.models.two_stream import TwoStreamEncoder
from bench.plan.presets import PRESETS
from bench.registry import METHODS
from bench.spec import BackboneSpec

SMALL = BackboneSpec(points=96, groups=12, group_size=6, width=24, depth=2, heads=3, tokenizer_width=16, drop_path=0.0)
DIMS = Given(image=10, text=7)
MASKED: list[type[Method]] = [PointMAE, ReCon, Multitask, TwoTower]
"""Methods that reconstruct hidden patches."""


def batch(size: int = 6, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    return Batch(
        torch.rand(size, 96, 3, generator=g) - 0.5,
        torch.randn(size, 10, generator=g),
        torch.randn(size, 7, generator=g),
        torch.arange(size) % 3,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize(
    ("preset", "encoder", "classifier", "pretraining"),
    [
        ("tiny", 11_085_696, 11_353_231, 13_154_272),
        ("small", 19_400_192, 19_733_263, 22_944_096),
        ("base", 43_107_072, 43_571_215, 50_781_280),
    ],
)
def test_recon_has_the_published_sizes(preset: str, encoder: int, classifier: int, pretraining: int) -> None:
    """The presets would not be the paper's models (docs/reference.md#recon-sizes)."""
    with torch.device("meta"):
        model = ReCon.build(PRESETS[preset].backbone, ReCon.defaults(preset), Given(image=768, text=512))
        assert model.encoder().parameter_count == encoder
        assert sum(p.numel() for p in Classifier(model.encoder(), 15).parameters()) == classifier
        assert sum(p.numel() for p in model.parameters()) == pretraining


def test_point_mae_has_the_published_size() -> None:
    """The same for Point-MAE, whose class token is new at fine-tuning (docs/reference.md#point-mae-pretraining)."""
    with torch.device("meta"):
        model = PointMAE.build(PRESETS["base"].backbone, PointMAE.defaults("base"), Given())
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 29_006_432
        assert model.encoder().parameter_count - 2 * 384 == 21_825_024
        assert sum(p.numel() for p in Classifier(model.encoder(), 15).parameters()) == 22_093_327


@pytest.mark.parametrize(("method", "tokenize"), [*((method, "visible") for method in MASKED), (ReCon, "all")])
def test_pretraining_learns_in_mixed_precision(method: type[Method], tokenize: str) -> None:
    """The loop would burn hours without the loss going down."""
    torch.manual_seed(0)
    model = method.build(SMALL, method.Options.model_validate({"tokenize": tokenize, "decoder_depth": 1}), DIMS)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 2e-3)
    losses = []
    for _ in range(25):
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


@pytest.mark.parametrize("method", MASKED)
def test_tokenizing_visible_equals_all_once_batch_norm_is_frozen(method: type[Method]) -> None:
    """Skipping hidden patches would change more than BatchNorm's batch statistics."""
    results = []
    for tokenize in ("visible", "all"):
        torch.manual_seed(0)
        model = method.build(SMALL, method.Options.model_validate({"tokenize": tokenize}), DIMS).eval()
        results.append(model(batch())["total"])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("method", MASKED)
def test_masks_come_from_the_batch_generator_only(method: type[Method]) -> None:
    """A resumed run would hide other patches than an uninterrupted one."""
    model = method.build(SMALL, method.Options(), DIMS)
    torch.manual_seed(1)
    first = model.prepare(batch(seed=3))
    torch.manual_seed(2)
    again, other = model.prepare(batch(seed=3)), model.prepare(batch(seed=4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["visible_centres"], other["visible_centres"])


@pytest.mark.parametrize("method", MASKED)
def test_compute_compiles_to_one_graph(method: type[Method]) -> None:
    """torch.compile would fall back to Python in the middle of a step and lose its gain."""
    options = method.Options.model_validate({"decoder_depth": 1})  # more of the same blocks takes longer to trace
    model = method.build(SMALL.model_copy(update={"depth": 1}), options, DIMS)
    prepared = model.prepare(batch())
    eager = model.compute(prepared)
    compiled = torch.compile(model.compute, fullgraph=True, backend="eager")(prepared)
    assert eager.keys() == compiled.keys()
    torch.testing.assert_close(compiled["total"], eager["total"])


@pytest.mark.parametrize(("name", "width"), [("point-mae", 2), ("recon", 4), ("multitask", 4), ("two-tower", 4)])
def test_encoders_take_the_pretrained_weights(name: str, width: int) -> None:
    """A checkpoint could not be loaded for evaluation, or encode differently."""
    method = METHODS.load(name)
    encoder = method.build_encoder(SMALL, method.Options()).eval()
    pretrained = method.build(SMALL, method.Options(), DIMS).encoder().eval()
    encoder.load_state_dict(pretrained.state_dict())
    points = batch().points
    torch.testing.assert_close(encoder.feature(encoder(points)), pretrained.feature(pretrained(points)))
    assert encoder.feature_dims["transfer"] == width * SMALL.width


@pytest.mark.parametrize("method", [ReCon, Multitask, TwoTower])
@pytest.mark.parametrize(
    ("options", "given", "expected"),
    [
        ({}, DIMS, {"csc_image", "csc_text"}),
        ({"modalities": "image"}, DIMS, {"csc_image"}),
        ({"modalities": "text"}, DIMS, {"csc_text"}),
        ({"modalities": "none"}, DIMS, set()),
        ({}, Given(image=10), {"csc_image"}),
        ({}, Given(), set()),
        ({"smc": True, "modalities": "none"}, DIMS, {"smc"}),
    ],
)
def test_terms_follow_options_and_data(
    method: type[Method], options: dict[str, object], given: Given, expected: set[str]
) -> None:
    """A term without teacher features would not be off, or a switched-off one still train."""
    if "smc" in options and method is not ReCon:
        with pytest.raises(ValidationError):
            method.Options.model_validate(options)
        return
    chosen = method.Options.model_validate(options)
    reads = (
        {"images", "text"} if "modalities" not in options else {f"{options['modalities']}".replace("image", "images")}
    )
    assert method.uses(chosen) == reads - {"none"} | ({"labels"} if "smc" in options else set())
    losses = method.build(SMALL, chosen, given)(batch())
    assert losses.keys() - {"mdm", "total"} == expected
    torch.testing.assert_close(losses["total"], sum(v for k, v in losses.items() if k != "total"))


def test_cross_modal_gradient_stops_at_the_queries() -> None:
    """Contrast would train the tokenizer, which stop_gradient promises to prevent."""
    for stop, reached in ((True, False), (False, True)):
        torch.manual_seed(0)
        model = ReCon.build(SMALL, ReCon.Options(stop_gradient=stop), DIMS)
        loss = model(batch())["csc_image"]
        gradient = torch.autograd.grad(loss, model.trunk.tokenizer.mix.weight, allow_unused=True)[0]
        assert (gradient is not None and bool(gradient.abs().sum() > 0)) == reached


@pytest.mark.parametrize("method", MASKED)
def test_mask_and_decoder_options_reach_the_network(method: type[Method]) -> None:
    """An ablation of mask ratio, mask kind or decoder depth would run the default."""
    for ratio, hidden in ((0.6, 7), (0.25, 3)):
        options = method.Options.model_validate({"mask_ratio": ratio, "mask": "block", "decoder_depth": 3})
        model = method.build(SMALL, options, DIMS)
        prepared = model.prepare(batch())
        assert len(list(model.get_submodule("decoder.blocks").children())) == 3
        assert prepared["masked_centres"].shape[1] == hidden
        # A block: around one hidden centre, every hidden centre is nearer than every visible one.
        distances = torch.cdist(prepared["masked_centres"], prepared["masked_centres"]).amax(2)
        visible = torch.cdist(prepared["masked_centres"], prepared["visible_centres"]).amin(2)
        assert bool((distances <= visible).any(1).all())


@pytest.mark.parametrize("method", [ReCon, Multitask, TwoTower])
def test_every_cross_modal_loss_is_computed_as_named(method: type[Method]) -> None:
    """An ablation of the loss would train another one; each is written out here in one line."""
    unit = F.normalize(torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    student, teacher = unit[0] * 3, unit[1] * 2
    cosine = unit[0] @ unit[1].T
    expected = {
        "smooth_l1": F.smooth_l1_loss(student, teacher),
        "cosine": (1 - cosine.diagonal()).mean(),
        "infonce": torch.stack([-(cosine[i] / 0.2).log_softmax(0)[i] for i in range(5)]).mean(),
    }
    losses = {}
    for kind, value in expected.items():
        torch.testing.assert_close(cross_modal(student, teacher, kind, temperature=0.2), value)  # type: ignore[arg-type]
        torch.manual_seed(0)
        options = method.Options.model_validate({"cross_modal_loss": kind, "temperature": 0.2})
        losses[kind] = method.build(SMALL, options, DIMS)(batch())["csc_text"].item()
    assert len(set(losses.values())) == 3
    torch.manual_seed(0)
    colder = method.Options.model_validate({"cross_modal_loss": "infonce", "temperature": 0.1})
    assert method.build(SMALL, colder, DIMS)(batch())["csc_text"].item() != losses["infonce"]


def test_residuals_of_both_streams_follow_the_option() -> None:
    """'prenorm' would still overwrite a stream by its normalised value, or 'normalised' no longer."""
    x, g = torch.randn(2, 4, 12) * 5, torch.randn(2, 3, 12) * 5
    for residual, of_x, of_g in (
        ("prenorm", x, g),
        ("normalised", *(F.layer_norm(F.layer_norm(v, (12,)), (12,)) for v in (x, g))),
    ):
        site = BlockSite(12, 3, residual=residual)  # type: ignore[arg-type]
        block, plain = ReconBlock(site), AttentionBlock(site)
        for layer in [*block.modules(), *plain.modules()]:
            if isinstance(layer, nn.Linear):  # sub-layers say nothing: what remains is the residual
                nn.init.zeros_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        queries, local = block(g, x, None, True)
        torch.testing.assert_close((queries, local, plain(x)), (of_g, of_x, of_x))
    model = ReCon.build_encoder(SMALL, ReCon.Options(residual="prenorm"))
    assert isinstance(model, TwoStreamEncoder)
    assert {block.residual for block in model.blocks if isinstance(block, ReconBlock)} == {"prenorm"}


def test_without_global_queries_the_patches_carry_everything() -> None:
    """The ablation would keep a stream nobody asked for, or lose its cross-modal terms."""
    torch.manual_seed(0)
    options = ReCon.Options(global_queries=False)
    assert not options.stop_gradient
    model = ReCon.build(SMALL, options, DIMS).eval()
    encoder = model.encoder()
    assert isinstance(encoder, StandardEncoder)
    assert {block.residual for block in encoder.blocks if isinstance(block, AttentionBlock)} == {"normalised"}
    names = [name for name, _ in encoder.named_parameters()]
    assert not any("global" in name or name.endswith(("_token", "_pos")) for name in names)
    prepared = model.prepare(batch())
    losses = model.compute(prepared)
    assert losses.keys() == {"mdm", "csc_image", "csc_text", "total"}
    visible = encoder.encode_patches(encoder.tokenizer(prepared["visible_patches"]), prepared["visible_centres"])
    pooled = F.smooth_l1_loss(model.get_submodule("image_head")(visible.amax(1)), prepared["image_features"])
    torch.testing.assert_close(losses["csc_image"], pooled)
    gradient = torch.autograd.grad(losses["csc_image"], encoder.tokenizer.mix.weight)[0]
    assert bool(gradient.abs().sum() > 0)
    output = encoder(batch().points)
    assert output.globals == {}
    expected = torch.cat([output.tokens.amax(1), output.tokens.mean(1)], dim=-1)
    torch.testing.assert_close(encoder.feature(output), expected)
    assert (encoder.feature_dims["transfer"], encoder.feature_dims["svm"]) == (2 * SMALL.width, SMALL.width)


def test_missing_targets_are_one_clear_line() -> None:
    """The user would see an attribute error instead of which target is missing."""
    model = ReCon.build(SMALL, ReCon.Options(smc=True), DIMS)
    incomplete = batch()
    incomplete.labels = None
    with pytest.raises(BenchError, match="loss on labels, but the batch has no labels"):
        model(incomplete)


@pytest.mark.parametrize("method", MASKED)
def test_recipes_are_the_published_ones(method: type[Method]) -> None:
    """'published recipe' would be printed over other numbers (docs/reference.md#recon-pretraining)."""
    for preset in ("tiny", "small", "base"):
        recipe = method.recipe(preset)
        assert recipe is not None
        assert (recipe.epochs, recipe.batch_size, recipe.warmup_epochs, recipe.weight_decay) == (300, 128, 10, 0.05)
        assert recipe.lr == (1e-3 if method is PointMAE else 5e-4)
        assert recipe.clip_norm is None
    assert method.recipe("smoke") != method.recipe("nano")
    with pytest.raises(UsageError, match="did you mean nano"):
        method.recipe("nanno")


def test_options_are_checked() -> None:
    """A misspelt or senseless option would silently run the default."""
    for wrong in ({"mask_ratio": 1.5}, {"maskratio": 0.5}, {"mask": "blok"}):
        with pytest.raises(ValidationError):
            ReCon.Options.model_validate(wrong)


def test_scratch_offers_two_different_initialisations() -> None:
    """The opponent would be one unlucky draw, or truncation would do nothing."""
    clouds = batch(16).points * 3
    state = torch.get_rng_state()
    built = scratch_candidates(lambda: PointMAE.build_encoder(SMALL, PointMAE.Options()), 7)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(built) == ["default", "trunc"]
    again = scratch_candidates(lambda: PointMAE.build_encoder(SMALL, PointMAE.Options()), 7)
    features = {name: encoder.feature(encoder(clouds)) for name, encoder in built.items()}
    for name, encoder in again.items():
        assert torch.equal(encoder.feature(encoder(clouds)), features[name])
        assert not encoder.training
    assert not torch.allclose(features["default"], features["trunc"])


def test_calibration_measures_the_average_of_batches() -> None:
    """Calibrated statistics would depend on the order of batches or keep the untouched start."""
    clouds = batch(8).points
    encoder = PointMAE.build_encoder(SMALL, PointMAE.Options())
    calibrate_batch_norm(encoder, clouds, batch_size=4)
    layer = encoder.get_submodule("tokenizer.norm1")
    reverse = PointMAE.build_encoder(SMALL, PointMAE.Options())
    reverse.load_state_dict(encoder.state_dict())
    calibrate_batch_norm(reverse, clouds.flip(0), batch_size=4)
    torch.testing.assert_close(reverse.get_submodule("tokenizer.norm1").running_mean, layer.running_mean)
    assert layer.momentum == 0.1
    assert encoder.get_buffer("tokenizer.norm1.num_batches_tracked") == 2


def test_scratch_refuses_what_makes_no_sense() -> None:
    """Pretraining nothing, or building a network of no architecture, would end in a traceback."""
    with pytest.raises(UsageError, match="no pretraining"):
        Scratch.build(SMALL, Scratch.Options(), DIMS)
    with pytest.raises(UsageError, match="no architecture"):
        Scratch.build_encoder(SMALL, Scratch.Options())
    assert Scratch.recipe("nano") is None
