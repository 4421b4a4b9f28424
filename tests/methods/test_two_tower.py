"""The two-tower baseline: two encoders that share nothing, and the streams that are transferred."""

from __future__ import annotations

import pytest
import torch

from bench.methods.base import Given
from bench.methods.recon import ReCon
from bench.methods.two_tower import TwoTower, TwoTowerModel
from bench.models.classifier import Classifier
from bench.models.segmentation import PartSegmenter
from bench.models.two_tower import ContrastTower, TwoTowerEncoder
from bench.plan.presets import PRESETS
from tests.methods.test_methods import DIMS, SMALL, batch


def model(given: Given = DIMS, **options: object) -> TwoTowerModel:
    torch.manual_seed(0)
    return TwoTower.build(SMALL, TwoTower.Options.model_validate(options), given)


def encoder(**options: object) -> TwoTowerEncoder:
    built = TwoTower.build_encoder(SMALL, TwoTower.Options.model_validate(options))
    assert isinstance(built, TwoTowerEncoder)
    return built.eval()


def test_each_term_trains_its_own_tower_only() -> None:
    """Towers that share anything would not be the baseline."""
    net = model()
    losses = net(batch())
    parameters = {name: p for name, p in net.named_parameters() if p.requires_grad}
    own = {
        "mdm": ("trunk.masked.", "decoder."),
        "csc_image": ("trunk.contrast.", "image_head."),
        "csc_text": ("trunk.contrast.", "text_head."),
    }
    for term, prefixes in own.items():
        gradients = torch.autograd.grad(losses[term], list(parameters.values()), retain_graph=True, allow_unused=True)
        reached = {name for name, g in zip(parameters, gradients, strict=True) if g is not None and bool(g.any())}
        assert reached == {name for name in parameters if name.startswith(prefixes)}
    assert not any("masked.cls" in name for name in parameters), "the class token is new at transfer"


def test_the_contrast_tower_sees_the_whole_cloud() -> None:
    """Masking would take away from the teachers' terms what the two towers are there to keep."""
    net = model().eval()
    hidden = torch.zeros(6, 12, dtype=torch.bool)
    hidden[:, :7] = True
    first, second = (net.compute(net.prepare(batch(), mask=mask)) for mask in (hidden, hidden.flip(1)))
    torch.testing.assert_close(first["csc_image"], second["csc_image"])
    assert not torch.allclose(first["mdm"], second["mdm"])
    prepared = net.prepare(batch())
    assert prepared["whole_patches"].shape == (6, 12, 6, 3)


def test_initialisation_of_the_contrast_tower() -> None:
    """Both tokens would stay alike: they start at zero, positions at N(0, 1) (docs/reference.md#two-tower)."""
    torch.manual_seed(0)
    contrast = TwoTower.build(PRESETS["nano"].backbone, TwoTower.Options(), DIMS).trunk.towers()[1]
    places = torch.stack([contrast.get_parameter(f"{name}_pos") for name in ("image", "text")])
    assert not contrast.get_parameter("image_token").any()
    assert not contrast.get_parameter("text_token").any()
    assert 0.8 < places.std().item() < 1.2
    assert abs(contrast.tokenizer.mix.weight.std().item() - 0.02) < 2e-3
    defaults = ContrastTower(PRESETS["nano"].backbone, contrast.sampling)
    assert not defaults.get_parameter("image_token").any()


@pytest.mark.parametrize(
    ("streams", "towers", "globals_", "transfer", "svm"),
    [
        ("all", {"masked", "contrast"}, ["cls", "image", "text"], 4, 2),
        ("mdm", {"masked"}, ["cls"], 2, 1),
        ("cmc", {"contrast"}, ["image", "text"], 2, 1),
    ],
)
def test_streams_decide_what_is_transferred(
    streams: str, towers: set[str], globals_: list[str], transfer: int, svm: int
) -> None:
    """A stream would be judged by the other tower's features, or charged its parameters."""
    net = model(streams=streams).eval()
    handed, rebuilt = net.encoder(), encoder(streams=streams)
    rebuilt.load_state_dict(handed.state_dict())
    assert {name.split(".")[0] for name in rebuilt.state_dict()} == towers
    shared = {id(p) for p in net.parameters()}
    assert all(id(p) in shared for p in handed.parameters())
    output = rebuilt(batch().points)
    assert list(output.globals) == globals_
    features = rebuilt.features(output)
    assert {name: f.shape[1] for name, f in features.items()} == rebuilt.feature_dims
    assert (rebuilt.feature_dims["transfer"], rebuilt.feature_dims["svm"]) == (transfer * 24, svm * 24)
    assert rebuilt.feature_descriptions.keys() == rebuilt.feature_dims.keys()
    parts = [output.globals["cls"], output.tokens.amax(1)] if "masked" in towers else []
    parts += [output.globals["image"], output.globals["text"]] if "contrast" in towers else []
    torch.testing.assert_close(features["transfer"], torch.cat(parts, dim=-1))
    torch.testing.assert_close(features["transfer"], handed.feature(handed(batch().points)))


def test_both_towers_offer_each_stream_as_a_feature() -> None:
    """Comparing streams would take three pretrainings that differ in nothing."""
    net = model().eval()
    points = batch().points
    output = net.encoder()(points)
    features = net.encoder().features(output)
    for streams in ("mdm", "cmc"):
        alone = net.trunk.of(streams)
        torch.testing.assert_close(features[streams], alone.feature(alone(points)))


def test_parameter_counts_are_honest() -> None:
    """A stream of one tower would be reported with the parameters of two."""
    with torch.device("meta"):
        base = PRESETS["base"].backbone
        counts = {
            streams: TwoTower.build_encoder(base, TwoTower.Options(streams=streams)).parameter_count
            for streams in ("all", "mdm", "cmc")
        }
        pretraining = TwoTower.build(base, TwoTower.Options(), Given(image=512, text=512))
    tower = 21_825_024  # Point-MAE's encoder (docs/reference.md#point-mae-pretraining)
    assert counts == {"mdm": tower + 2 * 384, "cmc": tower + 4 * 384, "all": 2 * tower + 6 * 384}
    heads = 2 * (384 * 512 + 512)
    trainable = sum(p.numel() for p in pretraining.parameters() if p.requires_grad)
    assert trainable == 29_006_432 + tower + 4 * 384 + heads


def test_the_releases_index_is_behind_an_option() -> None:
    """The published number could not be reproduced, or the defect would be everybody's default."""
    points = batch().points
    plain = encoder()
    for options in ({"skip_two_patches": True}, {"reference": True}):
        quirk = encoder(**options)
        quirk.load_state_dict(plain.state_dict())
        output = quirk(points)
        expected = torch.cat([output.globals["cls"], output.tokens[:, 2:].amax(1)], dim=-1)
        torch.testing.assert_close(quirk.features(output)["transfer"][:, : 2 * 24], expected)
        assert "but the first two" in quirk.feature_descriptions["transfer"]
    assert not torch.allclose(plain.features(output)["transfer"][:, 24:48], expected[:, 24:])


@pytest.mark.parametrize("given", [Given(), DIMS])
def test_without_teachers_the_contrast_tower_rests(given: Given) -> None:
    """Points alone would cost a second encoder that nothing trains."""
    net = model(given, modalities="none" if given is DIMS else "both")
    assert not any(p.requires_grad for p in net.trunk.towers()[1].parameters())
    assert "whole_patches" not in net.prepare(batch())
    assert net(batch()).keys() == {"mdm", "total"}
    transferred = Classifier(net.encoder(), 3)
    assert all(p.requires_grad for p in transferred.parameters())


def test_recipes_are_recons() -> None:
    """The baseline would lose by its schedule."""
    for preset in ("smoke", "nano", "base"):
        assert TwoTower.recipe(preset) == ReCon.recipe(preset)


@pytest.mark.parametrize("streams", ["all", "mdm", "cmc"])
def test_segmentation_reads_the_chosen_towers(streams: str) -> None:
    """Part segmentation would refuse the method or read a tower that is not transferred."""
    built = encoder(streams=streams)
    points = batch().points
    outputs = built.block_outputs(points, (0, 1))
    assert (outputs.queries is None) == (streams == "mdm")
    assert PartSegmenter(built, parts=5, categories=2).eval()(points, torch.zeros(6, dtype=torch.int64)).shape[-1] == 5
    if streams == "cmc":
        torch.testing.assert_close(outputs.levels[-1], built(points).tokens)
