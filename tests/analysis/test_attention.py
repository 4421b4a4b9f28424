"""Attention as it is shown: without these a picture could show other weights than the encoder uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.analysis.attention import attention_of, recompute, recording
from bench.analysis.attention_distance import draw, measure, pair_distances, reach_of_patches, reach_of_token
from bench.analysis.attention_maps import Wanted, maps, on_points
from bench.errors import BenchError, UsageError
from bench.methods.act_dvae import ActDvae
from bench.methods.crosspoint import CrossPoint
from bench.methods.multitask import Multitask
from bench.methods.point_mae import PointMAE
from bench.methods.recon import ReCon
from bench.methods.two_tower import TwoTower
from bench.models.blocks import CrossAttention, SelfAttention
from bench.models.encoder import Encoder
from bench.models.token_transformer import TokenAttention
from bench.plan.presets import preset
from bench.spec import TransformerShape

SMOKE = preset("smoke").backbone
SHAPE = TransformerShape(width=16, depth=2, heads=2, mlp_width=32)


def sharpened(encoder: Encoder) -> Encoder:
    """Larger weights, so that attention is far from uniform."""
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, SelfAttention | CrossAttention | TokenAttention):
                for parameter in module.parameters():
                    parameter.mul_(6.0)
    return encoder.eval()


def encoders() -> dict[str, Encoder]:
    torch.manual_seed(0)
    dvae = ActDvae.defaults("smoke").model_copy(update={"transformer": SHAPE})
    built = {
        "recon": ReCon.build_encoder(SMOKE, ReCon.Options()),
        "point-mae": PointMAE.build_encoder(SMOKE, PointMAE.Options()),
        "multitask": Multitask.build_encoder(SMOKE, Multitask.Options()),
        "two-tower": TwoTower.build_encoder(SMOKE, TwoTower.Options()),
        "no tokens": ReCon.build_encoder(SMOKE, ReCon.Options(global_queries=False)),
        "act-dvae": ActDvae.build_encoder(SMOKE, dvae),
    }
    return {name: sharpened(encoder) for name, encoder in built.items()}


@pytest.fixture(scope="module")
def points() -> Tensor:
    cloud = torch.randn(3, 160, 3, generator=torch.Generator().manual_seed(4))
    return cloud / torch.linalg.vector_norm(cloud, dim=-1).amax(1)[:, None, None]


@pytest.mark.parametrize("layer", [SelfAttention(24, 3), CrossAttention(24, 3), TokenAttention(24, 3, True)])
def test_recomputed_attention_gives_the_layers_output(layer: nn.Module) -> None:
    """The picture would be of something else than the network computes."""
    torch.manual_seed(1)
    inputs = (torch.randn(2, 5, 24), torch.randn(2, 7, 24))[: 2 if isinstance(layer, CrossAttention) else 1]
    weights, again = recompute(layer, inputs)
    assert torch.allclose(again, layer(*inputs), atol=1e-5)
    assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-6)


@pytest.mark.parametrize("name", list(encoders()))
def test_rows_are_named_and_sum_to_one_in_every_encoder(name: str, points: Tensor) -> None:
    """A token's map would be drawn under another token's name, or weights be no shares."""
    encoder = encoders()[name]
    attention = attention_of(encoder, points)
    expected = {
        "recon": {"patches": (), "queries": ("cls", "image", "text")},
        "point-mae": {"patches": ("cls",)},
        "multitask": {"patches": ("cls", "image", "text")},
        "two-tower": {"masked": ("cls",), "contrast": ("image", "text")},
        "no tokens": {"patches": ()},
        "act-dvae": {"transformer": ("token 0", "token 1")},
    }[name]
    assert {layer.stream: layer.rows for layer in attention.layers} == expected
    for layer in attention.layers:
        assert torch.allclose(layer.weights.sum(-1), torch.ones(()), atol=1e-5)
        scaled, share = layer.on_patches()
        assert scaled.shape[-1] == SMOKE.groups
        assert torch.allclose(scaled.sum(-1), torch.ones(()), atol=1e-5)
        assert bool((share <= 1 + 1e-5).all())
    assert all(attention.depth(stream) == 2 for stream in expected)


def test_recording_leaves_the_encoder_as_it_was(points: Tensor) -> None:
    """Later runs of the same network would slow down, or differ."""
    encoder = encoders()["recon"]
    before = encoder(points).tokens
    with recording(encoder) as found:
        during = encoder(points).tokens
    assert len(found) == 4
    assert torch.equal(before, during)
    encoder(points)
    assert len(found) == 4


def test_a_layer_that_does_something_else_is_noticed(points: Tensor) -> None:
    """A third-party layer with a bias or a mask would be drawn wrongly."""

    class Biased(SelfAttention):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1

    encoder = PointMAE.build_encoder(SMOKE, PointMAE.Options()).eval()
    encoder.blocks[1].attention = Biased(SMOKE.width, SMOKE.heads)  # type: ignore[index, union-attr]
    with pytest.raises(BenchError, match=r"attention of blocks\.1\.attention cannot be shown"):
        attention_of(encoder, points)


def test_uniform_attention_reaches_the_mean_pair_distance(points: Tensor) -> None:
    """The dashed line of the picture would not be what it says."""
    distances = pair_distances(points[:, :16])
    mean = distances.mean((1, 2))
    rows = torch.full((3, 2, 16, 16), 1 / 16)
    assert torch.allclose(reach_of_patches(rows, distances), mean[:, None].expand(3, 2))
    assert torch.allclose(reach_of_token(rows[:, :, 0], distances), mean[:, None].expand(3, 2))
    blind = encoders()["recon"]
    with torch.no_grad():
        for module in blind.modules():
            if isinstance(module, SelfAttention):
                module.qkv.weight.zero_()
            elif isinstance(module, CrossAttention):
                module.q.weight.zero_()
    found = measure(blind, points, batch=2)
    assert {(r.stream, r.row) for r in found} == {("queries", t) for t in ("cls", "image", "text")} | {
        ("patches", "patches")
    }
    assert np.allclose([r.distance for r in found], found[0].uniform, atol=1e-6)
    assert np.allclose([r.on_patches for r in found], 1)


def test_attention_to_oneself_reaches_nowhere(points: Tensor) -> None:
    """Local and global heads could not be told apart."""
    distances = pair_distances(points[:, :16])
    own = torch.eye(16).expand(3, 1, 16, 16)
    assert float(reach_of_patches(own, distances).abs().max()) == 0
    assert float(reach_of_token(own[:, :, 5], distances).abs().max()) == 0


def test_every_head_of_every_layer_is_measured(points: Tensor) -> None:
    """A panel would miss heads, or average over clouds twice."""
    encoder = encoders()["multitask"]
    whole, parts = measure(encoder, points, batch=8), measure(encoder, points, batch=1)
    assert [(r.layer, r.head, r.row) for r in whole[:4]] == [(1, h, t) for t in ("cls", "image") for h in (1, 2)]
    assert len(whole) == 2 * 2 * 4
    assert np.allclose([r.distance for r in whole], [r.distance for r in parts], atol=1e-5)
    assert all(0 <= r.on_patches <= 1 for r in whole)
    assert any(0.01 < r.on_patches < 0.99 for r in whole)  # cls and its neighbours get their share
    figure = draw({"multitask, seed 0": whole})
    assert [axes.get_title() for axes in figure.axes] == ["multitask, seed 0\nself-attention"]


def test_maps_are_the_attention_of_what_was_asked_for(points: Tensor) -> None:
    """The wrong layer, head or token would be shown."""
    encoder = encoders()["recon"]
    attention = attention_of(encoder, points)
    second = next(layer for layer in attention.layers if layer.stream == "queries" and layer.number == 1)
    found, centres = maps(encoder, points, Wanted(tokens=("text",), heads=(2,)))
    assert [(m.token, m.layer, m.head) for m in found] == [("text", 2, 2)]
    assert torch.allclose(found[0].weights, second.weights[:, 1, 2])
    everything, _ = maps(encoder, points, Wanted(tokens=("cls", "patch:3"), layers=(0,), heads=(0,)))
    assert len(everything) == 2 * 2 * 2
    default, _ = maps(encoder, points, Wanted())
    assert [(m.token, m.layer, m.head) for m in default] == [(t, 2, 0) for t in ("cls", "image", "text")]
    coloured = on_points(centres, centres, found[0].weights)
    assert torch.equal(coloured, found[0].weights)


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        (Wanted(tokens=("imag",)), "unknown token 'imag': did you mean image"),
        (Wanted(tokens=("patch:16",)), "patches of this encoder are patch:0 to patch:15"),
        (Wanted(layers=(3,)), "--layer 3: this encoder has layers 1 to 2"),
        (Wanted(heads=(5,)), "--head 5: this encoder has heads 1 to 2"),
        (Wanted(tokens=("cls", "image", "text", "patch:0"), layers=(0,), heads=(0,)), "16 maps of each object"),
    ],
)
def test_what_is_not_there_is_one_line(points: Tensor, wanted: Wanted, line: str) -> None:
    """The user would get a traceback, or an empty picture."""
    with pytest.raises(UsageError, match=line):
        maps(encoders()["recon"], points, wanted)


def test_encoders_without_attention_or_tokens_say_so(points: Tensor) -> None:
    """The user would get a traceback."""
    plain = CrossPoint.build_encoder(SMOKE, CrossPoint.Options(backbone="pointnet", embedding=16)).eval()
    with pytest.raises(UsageError, match="PointNet has no attention to show"):
        maps(plain, points, Wanted())
    with pytest.raises(UsageError, match=r"no tokens besides its patches: name a patch, e.g. --token patch:0"):
        maps(encoders()["no tokens"], points, Wanted())
