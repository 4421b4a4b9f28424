"""DGCNN, PointNet and the parts around them: what would silently train a different network."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.contrast import nt_xent
from bench.models.dgcnn import DGCNN
from bench.models.dgcnn_segmentation import DGCNNSegmentation
from bench.models.edge_conv import EdgeConv, EdgeMLP, neighbour_max, neighbour_rows
from bench.models.pointnet import PointNet


def clouds(batch: int = 3, points: int = 24, width: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(batch, points, width, generator=torch.Generator().manual_seed(seed)) - 0.3


def edges_spelt_out(x: Tensor, rows: Tensor) -> Tensor:
    """Every edge [neighbour - centre, centre], as the definition has it: ``[B * N * k, 2C]``."""
    flat = x.reshape(-1, x.shape[-1])
    near, own = flat[rows], flat[:, None].expand(-1, rows.shape[1], -1)
    return torch.cat([near - own, own], dim=-1).flatten(0, 1)


def plain_edge_conv(layer: EdgeConv, x: Tensor, rows: Tensor) -> Tensor:
    out = F.leaky_relu(layer.norm(layer.linear(edges_spelt_out(x, rows))), 0.2)
    return out.view(*x.shape[:2], rows.shape[1], -1).amax(2)


def nudge(module: nn.Module, seed: int = 1) -> None:
    """Give BatchNorm weights of both signs, offsets and running statistics that are not 0 and 1."""
    g = torch.Generator().manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d):
            part.weight.data = torch.randn(part.weight.shape, generator=g)
            part.bias.data = torch.randn(part.bias.shape, generator=g)
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.copy_(torch.randn(part.bias.shape, generator=g))
            part.running_var.copy_(torch.rand(part.bias.shape, generator=g) + 0.5)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_edge_conv_is_the_layer_on_every_edge(mode: str, momentum: float | None, offset: float) -> None:
    """The shortcut over sums and extremes would be another network: outputs, gradients and BatchNorm's buffers."""
    torch.manual_seed(0)
    layer = EdgeConv(5, 7)
    nudge(layer)
    layer.norm.momentum = momentum
    layer.train(mode == "train")
    other = copy.deepcopy(layer)
    x = clouds(width=5) + offset
    rows = neighbour_rows(x, 6)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    ours, plain = layer(inputs[0], rows), plain_edge_conv(other, inputs[1], rows)
    tolerance = 1e-5 * (1 + offset**2)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=tolerance)
    pull = torch.randn(ours.shape, generator=torch.Generator().manual_seed(3))
    torch.autograd.backward([ours, plain], [pull, pull])
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-3, atol=10 * tolerance)
    for (name, mine), theirs in zip(layer.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=100 * tolerance, msg=name)
    for (name, buffer), expected in zip(layer.named_buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected, rtol=1e-4, atol=tolerance, msg=name)


def test_two_layers_on_edges_are_those_on_every_edge() -> None:
    """The segmentation network would be another one."""
    torch.manual_seed(0)
    layer = EdgeMLP(3, 6, 4)
    nudge(layer)
    other = copy.deepcopy(layer)
    x = clouds()
    rows = neighbour_rows(x, 5)
    hidden = F.leaky_relu(other.norm1(other.linear1(edges_spelt_out(x, rows))), 0.2)
    plain = F.leaky_relu(other.norm2(other.linear2(hidden)), 0.2).view(3, 24, 5, -1).amax(2)
    torch.testing.assert_close(layer(x, rows), plain, rtol=1e-4, atol=1e-5)


def test_neighbours_are_found_in_feature_space_and_include_the_point() -> None:
    """The graph would stay that of the coordinates, or reach into another cloud of the batch."""
    x = clouds(2, 30, width=9)
    rows = neighbour_rows(x, 4)
    distance = (x[:, :, None] - x[:, None]).square().sum(-1)
    expected = distance.topk(4, largest=False).indices + 30 * torch.arange(2)[:, None, None]
    assert torch.equal(rows.sort(1).values, expected.view(60, 4).sort(1).values)
    assert all(i in row for i, row in enumerate(rows.tolist()))
    with pytest.raises(UsageError, match="has 30 points, too few for 31 neighbours"):
        neighbour_rows(x, 31)


@pytest.mark.parametrize("points", [40, 3000])
def test_neighbour_maximum_passes_its_gradient_to_one_neighbour(points: int) -> None:
    """Gradients would go to the wrong point, most likely past the block in which points are gathered."""
    g = torch.Generator().manual_seed(2)
    values = torch.randn(points, 3, generator=g, requires_grad=True)
    rows = torch.randint(points, (points, 5), generator=g)
    expected, place = values.detach()[rows].max(1)
    out = neighbour_max(values, rows)
    assert torch.equal(out, expected)
    pull = torch.randn(out.shape, generator=g)
    torch.autograd.backward(out, pull)
    gradient = torch.zeros(points, 3).scatter_add_(0, rows.gather(1, place), pull)
    torch.testing.assert_close(values.grad, gradient)
    assert torch.equal(neighbour_max(values.detach(), rows), expected)


def test_dgcnn_hands_over_what_protocols_expect() -> None:
    """A protocol would read features of another width, or tokens that belong to other points."""
    points = clouds(4, 32)
    encoder = DGCNN(neighbours=5, embedding=24).eval()
    output = encoder(points)
    assert output.tokens.shape == (4, 32, 24)
    assert torch.equal(output.centres, points)
    features = encoder.features(output)
    assert (
        {name: value.shape[1] for name, value in features.items()}
        == encoder.feature_dims
        == {
            "transfer": 48,
            "svm": 48,
        }
    )
    torch.testing.assert_close(features["svm"], torch.cat([output.tokens.amax(1), output.tokens.mean(1)], dim=1))
    order = torch.randperm(32, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(encoder.feature(encoder(points[:, order])), features["transfer"], rtol=1e-4, atol=1e-5)


def test_dgcnn_has_the_published_size() -> None:
    """'dgcnn' would name another network than the paper's (each shared BatchNorm counted once)."""
    with torch.device("meta"):
        assert DGCNN().parameter_count == 64 * 6 + 64 * 128 + 128 * 128 + 256 * 256 + 1024 * 512 + 2 * (512 + 1024)


@pytest.mark.parametrize("encoder", [DGCNN(neighbours=6, embedding=16), PointNet(16, input_transform=True)])
def test_point_encoders_stand_duplicated_points_and_mixed_precision(encoder: DGCNN | PointNet) -> None:
    """CrossPoint's dropout leaves many copies of one point; nothing may become NaN, also in half precision."""
    points = clouds(4, 32)
    points[:, 5:] = points[:, :1]
    for mode in (True, False):
        encoder.train(mode)
        with torch.autocast("cpu", torch.bfloat16):
            feature = encoder.feature(encoder(points))
        assert feature.dtype == torch.float32
        assert bool(torch.isfinite(feature).all())
        torch.autograd.backward(feature.sum())
        assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in encoder.parameters())


def test_pointnet_sees_every_point_alike_and_its_transform_starts_as_identity() -> None:
    """The order of points would count, or an untrained transform would scramble clouds."""
    torch.manual_seed(0)
    encoder = PointNet(20, input_transform=True).eval()
    points = clouds(2, 16)
    assert encoder.transform is not None
    torch.testing.assert_close(encoder.transform(points), points)
    feature = encoder.feature(encoder(points))
    torch.testing.assert_close(encoder.feature(encoder(points.flip(1))), feature)
    assert feature.shape == (2, encoder.feature_dims["transfer"])
    assert PointNet(20).transform is None


def test_segmentation_tells_the_category_to_every_point() -> None:
    """Labels would ignore the category, or depend on the order of points."""
    torch.manual_seed(0)
    model = DGCNNSegmentation(7, 4, neighbours=5, embedding=32).eval()
    points = clouds(2, 20)
    one, other = F.one_hot(torch.tensor([0, 1]), 4).float(), F.one_hot(torch.tensor([2, 1]), 4).float()
    logits = model(points, one)
    assert logits.shape == (2, 20, 7)
    changed = model(points, other)
    assert bool((changed[0] != logits[0]).any(1).all())
    torch.testing.assert_close(changed[1], logits[1])
    order = torch.randperm(20, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(model(points[:, order], one), logits[:, order], rtol=1e-3, atol=1e-5)
    assert model.project(points).shape == (2, 256)


def test_nt_xent_is_the_definition() -> None:
    """The loss would count a sample among its own negatives, weigh pairs wrongly or depend on the features' length."""
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 6, generator=g), torch.randn(4, 6, generator=g)
    rows = [F.normalize(v, dim=0) for v in [*a, *b]]
    terms = []
    for i, row in enumerate(rows):
        others = torch.stack([(row @ other) / 0.2 for j, other in enumerate(rows) if j != i])
        terms.append(torch.logsumexp(others, 0) - row @ rows[(i + 4) % 8] / 0.2)
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(nt_xent(a, b, 0.2), expected)
    torch.testing.assert_close(nt_xent(b, 5 * a, 0.2), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(nt_xent(a, b, 0.2), expected)
