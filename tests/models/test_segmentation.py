"""Segmentation networks: the published computation, on any encoder, at any size."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.adaptation import check_frozen, frozen_tensors, trained_parameters
from bench.models.encoder import BlockOutputs, BlockShape, Encoder, EncoderOutput
from bench.models.grouping import Sampling
from bench.models.ops import gather_points, interpolation_matrix
from bench.models.segmentation import HeadWidths, PartSegmenter, SegmentationHead, evenly_spaced_blocks
from bench.models.standard import StandardEncoder
from bench.models.two_stream import TwoStreamEncoder
from bench.spec import BackboneSpec

SMALL = BackboneSpec(points=60, groups=8, group_size=5, width=12, depth=4, heads=3, tokenizer_width=8, drop_path=0.0)
WIDTHS = HeadWidths(hidden=20, propagated=18, category=6, mixed=16, narrow=10)


def clouds(count: int = 3, points: int = 60) -> Tensor:
    return torch.rand(count, points, 3, generator=torch.Generator().manual_seed(0))


def segmenter(
    kind: type[StandardEncoder] | type[TwoStreamEncoder], categories: int = 4, **options: object
) -> PartSegmenter:
    torch.manual_seed(1)
    encoder = kind(SMALL, Sampling())
    return PartSegmenter(encoder, 5, categories, 0.0, widths=WIDTHS, **options)  # type: ignore[arg-type]


def plain_head(head: SegmentationHead, points: Tensor, outputs: BlockOutputs, one_hot: Tensor) -> Tensor:
    """The head as the papers describe it: everything joined at every point, one layer after the other."""
    batch, count, _ = points.shape
    features = torch.cat(outputs.levels, dim=-1)
    distance, index = torch.cdist(points, outputs.centres).square().topk(3, dim=-1, largest=False)
    weight = 1 / (distance + 1e-8)
    weight = weight / weight.sum(-1, keepdim=True)
    interpolated = (gather_points(features, index) * weight[..., None]).sum(2)
    x = torch.cat([points, interpolated], dim=-1).flatten(0, 1)
    x = F.relu(head.propagation.norm1(head.propagation.first(x)))
    x = F.relu(head.propagation.norm2(head.propagation.second(x)))
    assert head.category is not None
    label = F.leaky_relu(head.category.norm(head.category.embed(one_hot)), 0.2)
    queries = [] if outputs.queries is None else [outputs.queries]
    cloud = torch.cat([features.amax(1), features.mean(1), *queries, label], dim=-1)
    x = torch.cat([x.view(batch, count, -1), cloud[:, None].expand(-1, count, -1)], dim=-1).flatten(0, 1)
    x = F.relu(head.norm1(head.mix(x)))
    x = F.relu(head.norm2(head.narrow(x)))
    return F.log_softmax(head.out(x), dim=-1).view(batch, count, -1)


@pytest.mark.parametrize("kind", [StandardEncoder, TwoStreamEncoder])
def test_the_head_is_the_published_one(kind: type[StandardEncoder]) -> None:
    """Passing features through a layer once per patch or cloud would not be the published network any more."""
    model, points, category = segmenter(kind).train(), clouds(), torch.tensor([2, 0, 3])
    for mode in (True, False):
        mine = model.train(mode)(points, category)
        outputs = model.encoder.block_outputs(points, model.fetch_blocks)
        theirs = plain_head(model.head, points, outputs, F.one_hot(category, 4).float())
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-4)
        target = torch.randint(0, 5, (3 * 60,), generator=torch.Generator().manual_seed(3))
        parameters = [p for name, p in model.named_parameters() if not name.endswith(("cls_token", "cls_pos"))]
        first, second = (
            torch.autograd.grad(F.nll_loss(x.flatten(0, 1), target), parameters, allow_unused=True)
            for x in (mine, theirs)
        )
        for a, b in zip(first, second, strict=True):
            assert a is not None
            assert b is not None
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)


def test_widths_are_the_published_ones() -> None:
    """Released segmentation files would not fit."""
    base = BackboneSpec(points=2048, groups=128, group_size=32)
    with torch.device("meta"):
        mae = PartSegmenter(StandardEncoder(base, Sampling()), 50, 16)
        recon = PartSegmenter(TwoStreamEncoder(base, Sampling()), 50, 16)
        scene = PartSegmenter(StandardEncoder(base, Sampling()), 13, 0)
    assert mae.fetch_blocks == recon.fetch_blocks == (3, 7, 11)
    assert [model.head.mix.in_features for model in (mae, recon, scene)] == [3392, 3776, 3328]
    assert mae.head.propagation.first.weight.shape == (1536, 1155)
    assert mae.head.propagation.second.weight.shape == (1024, 1536)
    assert (mae.head.mix.out_features, mae.head.narrow.out_features, mae.head.out.out_features) == (512, 256, 50)
    assert mae.head.dropout.p == 0.5
    assert mae.head.category is not None
    assert mae.head.category.embed.weight.shape == (64, 16)
    assert scene.head.category is None


def test_interpolation_takes_the_three_nearest_centres() -> None:
    """Points would get features of the wrong patches."""
    centres = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [9, 9, 9]]])
    weights = interpolation_matrix(torch.tensor([[[0.0, 0, 0], [0.5, 0, 0]]]), centres)
    torch.testing.assert_close(weights[0, 0], torch.tensor([1.0, 1e-8, 0.25e-8, 0.0]))
    inverse = torch.tensor([4.0, 4.0, 1 / 4.25, 0.0])
    torch.testing.assert_close(weights[0, 1], inverse / inverse.sum())
    many = interpolation_matrix(clouds(2, 50), clouds(2, 9))
    torch.testing.assert_close(many.sum(-1), torch.ones(2, 50))
    assert int((many > 0).sum(-1).max()) == 3
    assert interpolation_matrix(clouds(1, 4), clouds(1, 2)).shape == (1, 4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(interpolation_matrix(clouds(2, 50), clouds(2, 9)), many)


def test_levels_are_spread_evenly_over_any_depth() -> None:
    """A shallow encoder could not be segmented with, or would use one depth only."""
    assert evenly_spaced_blocks(12) == (3, 7, 11)
    assert [evenly_spaced_blocks(depth) for depth in (1, 2, 3, 4, 7)] == [(0,), (0, 1), (0, 1, 2), (1, 2, 3), (2, 4, 6)]
    assert segmenter(StandardEncoder, fetch_blocks=[2, 0, 2]).fetch_blocks == (0, 2)
    for blocks in ([4], [-1], []):
        with pytest.raises(UsageError, match=r"do not fit an encoder of 4 blocks: name one or more of 0 to 3"):
            segmenter(StandardEncoder, fetch_blocks=blocks)


def test_the_class_token_takes_no_part_but_queries_do() -> None:
    """ReCon's cross-modal knowledge would be lost in segmentation, or Point-MAE's network be another one."""
    for kind, learns in ((StandardEncoder, False), (TwoStreamEncoder, True)):
        model = segmenter(kind)
        model(clouds(), torch.tensor([0, 1, 2])).square().mean().backward()
        assert (model.encoder.get_parameter("cls_token").grad is not None) == learns
    model = segmenter(TwoStreamEncoder)
    assert isinstance(model.encoder, TwoStreamEncoder)
    seen: list[Tensor] = []
    model.encoder.blocks[-1].register_forward_hook(lambda *call: seen.append(call[2][0]))
    outputs = model.encoder.block_outputs(clouds(), [3])
    assert outputs.queries is not None
    torch.testing.assert_close(outputs.queries, seen[0].amax(1))
    torch.testing.assert_close(outputs.levels[0], model.encoder(clouds()).tokens)
    # As in fine-tuning, what the queries learn reaches the patches they read.
    last = model.encoder.blocks[-1].get_parameter("norm1.weight")
    (gradient,) = torch.autograd.grad(outputs.queries.sum(), last)
    assert gradient.abs().sum() > 0


def test_an_encoder_is_used_at_other_sizes_than_it_was_pretrained_at() -> None:
    """2048 points in 128 patches are published, whatever the pretraining used."""
    for kind in (StandardEncoder, TwoStreamEncoder):
        small = segmenter(kind, groups=11, group_size=7).eval()
        torch.manual_seed(1)
        large = PartSegmenter(
            kind(SMALL.model_copy(update={"points": 90, "groups": 11, "group_size": 7}), Sampling()),
            5,
            4,
            widths=WIDTHS,
        ).eval()
        large.load_state_dict(small.state_dict())
        points, category = clouds(2, 90), torch.tensor([1, 3])
        assert torch.equal(small(points, category), large(points, category))
        assert small(points, category).shape == (2, 90, 5)


def test_categories_by_number_and_one_hot_are_the_same() -> None:
    """Data sets and recorded files give categories differently."""
    model, category = segmenter(StandardEncoder).eval(), torch.tensor([1, 3, 0])
    assert torch.equal(model(clouds(), category), model(clouds(), F.one_hot(category, 4)))
    assert not torch.equal(model(clouds(), category), model(clouds(), category.roll(1)))
    with pytest.raises(UsageError, match=r"needs each object's category \(of 4\)"):
        model(clouds())
    with pytest.raises(UsageError, match="built without categories but got some"):
        segmenter(StandardEncoder, categories=0)(clouds(), category)
    assert segmenter(StandardEncoder, categories=0)(clouds(1)).exp().sum(-1).sub(1).abs().max() < 1e-5


class Bare(Encoder):
    """An encoder of somebody else's, without blocks to hand out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 6)
        self.feature_dims = {"transfer": 6, "svm": 6}
        self.feature_descriptions = dict.fromkeys(self.feature_dims, "max")

    def forward(self, points: Tensor) -> EncoderOutput:
        return EncoderOutput(self.layer(points[:, :4]), points[:, :4], {})

    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        return dict.fromkeys(self.feature_dims, output.tokens.amax(1))


class Layered(Bare):
    """The same with two depths."""

    def block_shape(self) -> BlockShape:
        return BlockShape(depth=2, width=6, queries=3)

    def block_outputs(
        self, points: Tensor, blocks: Sequence[int], groups: int | None = None, group_size: int | None = None
    ) -> BlockOutputs:
        tokens = self.layer(points[:, : groups or 4])
        return BlockOutputs([tokens * (1 + block) for block in blocks], points[:, : groups or 4], points.amax(1))


def test_encoders_of_plugins_are_segmented_with_or_refused_in_one_line() -> None:
    """A new method's encoder could not be judged by segmentation, or would end in an attribute error."""
    for function in (lambda: PartSegmenter(Bare(), 5, 4), lambda: Bare().block_outputs(clouds(), [0])):
        with pytest.raises(
            UsageError, match=r"^Bare does not return patch tokens .* block_shape\(\) and block_outputs\(\)"
        ):
            function()
    model = PartSegmenter(Layered(), 5, 0, groups=9, widths=WIDTHS)
    assert model.fetch_blocks == (0, 1)
    assert model(clouds()).shape == (3, 60, 5)
    assert Layered().block_shape().queries == 3


def test_half_precision_learns_the_same_task() -> None:
    """Mixed precision would change labels beyond rounding, or fail on a type."""
    model, points, category = segmenter(TwoStreamEncoder), clouds(), torch.tensor([2, 0, 3])
    full = model.train()(points, category)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(points, category)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.25, rtol=0.1)
    half.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.head.parameters())


@pytest.mark.parametrize("kind", [StandardEncoder, TwoStreamEncoder])
@pytest.mark.parametrize("frozen", ["linear", "decoder"])
def test_a_frozen_encoder_is_not_trained(kind: type[StandardEncoder] | type[TwoStreamEncoder], frozen: str) -> None:
    """A dense probe would otherwise measure fine-tuning, or BatchNorm statistics of the labelled set."""
    network = segmenter(kind, frozen=frozen)
    kept = frozen_tensors(network)
    assert {name for name in network.state_dict() if name.startswith("encoder.")} <= set(kept)
    if frozen == "linear":
        assert trained_parameters(network) == 3 * SMALL.width * 5 + 5
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.5)
    before = network.head.out.weight.clone()
    for _ in range(2):
        network.train()
        loss = network(clouds(), torch.tensor([0, 1, 3])).exp().square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    check_frozen(network, kept, frozen)
    assert not torch.equal(before, network.head.out.weight)


def test_the_linear_layer_reads_interpolated_tokens() -> None:
    """The layer first, the interpolation afterwards: both are linear, so the order changes nothing."""
    network = segmenter(StandardEncoder, frozen="linear").eval()
    points = clouds()
    with torch.no_grad():
        outputs = network.encoder.block_outputs(points, network.fetch_blocks)
        tokens = torch.bmm(interpolation_matrix(points, outputs.centres), torch.cat(outputs.levels, -1))
        expected = F.log_softmax(network.head.out(tokens), dim=-1)
        torch.testing.assert_close(network(points, torch.tensor([0, 1, 3])), expected)
