"""The multi-task baseline: one sequence, one encoder, every term at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.methods.base import Given
from bench.methods.multitask import Multitask, MultitaskModel
from bench.methods.point_mae import PointMAE
from bench.methods.recon import ReCon
from bench.models.segmentation import PartSegmenter
from bench.plan.presets import PRESETS
from tests.methods.test_methods import DIMS, SMALL, batch


def model(**options: object) -> MultitaskModel:
    torch.manual_seed(0)
    return Multitask.build(SMALL, Multitask.Options.model_validate(options), DIMS)


def test_it_is_point_mae_with_three_tokens() -> None:
    """The comparison with ReCon would be one of sizes, not of streams."""
    with torch.device("meta"):
        backbone = PRESETS["base"].backbone
        ours = Multitask.build_encoder(backbone, Multitask.Options())
        plain = PointMAE.build_encoder(backbone, PointMAE.Options())
    tokens = {f"{name}_{part}" for name in ("cls", "image", "text") for part in ("token", "pos")}
    assert ours.state_dict().keys() == plain.state_dict().keys() | tokens
    assert ours.parameter_count == 21_825_024 + 6 * 384
    for preset in ("smoke", "nano", "base"):
        assert Multitask.recipe(preset) == ReCon.recipe(preset)
        if preset != "nano":  # ReCon's nano only switches off the stop-gradient, which multi-task has not
            assert Multitask.defaults(preset).model_dump().items() <= ReCon.defaults(preset).model_dump().items()
    assert any("our reading" in deviation.what for deviation in Multitask.card.deviations)


def test_every_term_trains_the_whole_encoder() -> None:
    """A stop-gradient or a stream of its own would make it ReCon instead of the baseline."""
    net = model()
    losses = net(batch())
    encoder = dict(net.trunk.named_parameters())
    for name in ("mdm", "csc_image", "csc_text"):
        gradients = torch.autograd.grad(losses[name], list(encoder.values()), retain_graph=True, allow_unused=True)
        for parameter, gradient in zip(encoder, gradients, strict=True):
            assert gradient is not None, f"{name} does not reach {parameter}"
            assert bool(gradient.any()), f"{name} does not reach {parameter}"


def test_the_decoder_sees_visible_patches_only() -> None:
    """Reconstruction could copy from tokens that the teachers' terms shape directly."""
    net = model(decoder_depth=1)
    seen: list[tuple[Tensor, ...]] = []
    net.decoder.register_forward_pre_hook(lambda part, inputs: seen.append(inputs))
    prepared = net.prepare(batch())
    net.compute(prepared)
    visible, centres, _ = seen[0]
    assert visible.shape == (6, 5, SMALL.width)
    torch.testing.assert_close(centres, prepared["visible_centres"])
    tokens, patches = net.trunk.encode_with_tokens(
        net.trunk.tokenizer(prepared["visible_patches"]), prepared["visible_centres"]
    )
    torch.testing.assert_close(visible, patches)
    assert tokens.shape == (6, 3, SMALL.width)


def test_patches_and_tokens_see_each_other() -> None:
    """The three tokens would be a global stream after all."""
    net = model().eval()
    points = batch().points
    before = net.trunk(points)
    with torch.no_grad():
        net.trunk.get_parameter("text_token").add_(1.0)
    after = net.trunk(points)
    assert not torch.allclose(before.tokens, after.tokens)
    assert not torch.allclose(before.globals["image"], after.globals["image"])


def test_features_match_recons() -> None:
    """Probes of ReCon and its baseline would read different things."""
    net = model().eval()
    recon = ReCon.build(SMALL, ReCon.Options(), DIMS).encoder()
    assert net.encoder().feature_dims == recon.feature_dims
    output = net.trunk(batch().points)
    queries = [output.globals[name] for name in ("cls", "image", "text")]
    highest, mean = output.tokens.amax(1), output.tokens.mean(1)
    features = net.trunk.features(output)
    torch.testing.assert_close(features["transfer"], torch.cat([*queries, highest], dim=-1))
    torch.testing.assert_close(features["svm"], torch.cat([torch.stack(queries).amax(0), highest + mean], dim=-1))
    assert net.trunk.feature_descriptions["transfer"] == "class, image and text tokens + max over patches (4C)"


def test_segmentation_keeps_the_tokens_in_the_sequence() -> None:
    """Patch tokens would be computed without the tokens they were trained beside."""
    net = model().eval()
    points = batch().points
    outputs = net.trunk.block_outputs(points, (0, 1))
    torch.testing.assert_close(outputs.levels[-1], net.trunk(points).tokens)
    segmenter = PartSegmenter(net.trunk, parts=5, categories=0).eval()
    assert segmenter(points).shape == (6, 96, 5)
    assert outputs.queries is not None
    normalised: nn.Module = net.trunk.norm
    assert not torch.allclose(outputs.queries, normalised(outputs.queries))


def test_data_without_images_or_captions() -> None:
    """Clouds alone could not be pretrained on."""
    plain = Multitask.build(SMALL, Multitask.Options(), Given())
    assert plain(batch()).keys() == {"mdm", "total"}
