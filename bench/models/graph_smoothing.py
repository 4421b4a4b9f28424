"""Convolution over a fixed graph of patch centres.

ACT's autoencoder uses it before and after its transformer.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.ops import gather_points, knn

NEIGHBOURS = 4
GROUPS = 4
_SLOPE = 0.2
_EPS = 1e-5


def centre_graph(centres: Tensor) -> Tensor:
    """Return each centre's four nearest centres, itself included.

    Args:
        centres: ``[B, G, 3]``.

    Returns:
        int64 ``[B, G, 4]``.

    Raises:
        UsageError: There are fewer than four centres.
    """
    if centres.shape[1] < NEIGHBOURS:
        raise UsageError(
            f"backbone.groups {centres.shape[1]} is too small for act-dvae, whose graph joins every patch with "
            f"{NEIGHBOURS}; set backbone.groups to {NEIGHBOURS} or more"
        )
    with torch.autocast(centres.device.type, enabled=False):
        return knn(centres.float(), centres.float(), NEIGHBOURS)


class GroupedNorm(nn.Module):
    """GroupNorm with four groups, channels last, over all rows.

    Same as `torch.nn.GroupNorm` on ``[B, C, R]`` without moving the channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % GROUPS:
            raise UsageError(f"act-dvae: width {width} is not a multiple of {GROUPS}, which its GroupNorm needs")
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def centred(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return centred values, and the factor that normalises them.

        Centred values are float32 ``[B, R, C]``, the input minus its group's mean; the factor is ``[B, 1, C]``.
        """
        # Two plain passes; torch.var_mean over a split axis takes three times as long on a CPU.
        x = x - self._over_group(x.mean(1))
        variance = self._over_group(x.square().mean(1))
        return x, self.weight * (variance + _EPS).rsqrt()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[B, R, C]`` in float32."""
        with torch.autocast(x.device.type, enabled=False):
            x, scale = self.centred(x.float())
            return torch.addcmul(self.bias, x, scale)

    @staticmethod
    def _over_group(x: Tensor) -> Tensor:
        """Return the group mean of every channel, ``[B, 1, C]``.

        The input is ``[B, C]``.
        """
        batch, width = x.shape
        mean = x.view(batch, GROUPS, -1).mean(-1, keepdim=True)
        return mean.expand(-1, -1, width // GROUPS).reshape(batch, 1, width)


class EdgeLayer(nn.Module):
    """Edge convolution over a fixed graph, with GroupNorm.

    Linear layer on [neighbour - centre, centre], GroupNorm, LeakyReLU 0.2, maximum over the neighbours. The linear
    layer is split into two products per patch instead of one per edge, with the same sum.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * inputs, outputs, bias=False)
        self.norm = GroupedNorm(outputs)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """Transform ``[B, G, inputs]`` into ``[B, G, outputs]``.

        `graph` is ``[B, G, k]``.
        """
        of_difference, of_centre = self.mix.weight.chunk(2, dim=1)
        neighbour = F.linear(x, of_difference).float()
        centre = F.linear(x, of_centre).float() - neighbour
        with torch.autocast(x.device.type, enabled=False):
            edges = gather_points(neighbour, graph) + centre[:, :, None]
            edges, scale = self.norm.centred(edges.flatten(1, 2))
            # What follows rises with its input where the norm's weight is positive and falls where it is negative,
            # so the maximum can be taken before it, which leaves a quarter of the rows.
            sign = torch.where(self.norm.weight < 0, -1.0, 1.0)
            highest = (edges * sign).view(*graph.shape, -1).amax(2) * sign
            return F.leaky_relu(torch.addcmul(self.norm.bias, highest, scale), _SLOPE)


class GraphSmoothing(nn.Module):
    """Four edge layers, concatenated and mixed into one patch feature.

    Source: docs/reference.md#act-graph-networks (``dgcnn_1`` and ``dgcnn_2``).

    >>> import torch
    >>> GraphSmoothing(6, 8, graph_width=4)(torch.zeros(2, 5, 6), torch.zeros(2, 5, 4, dtype=torch.int64)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, inputs: int, outputs: int, graph_width: int = 128) -> None:
        """Build with PyTorch's initialisation.

        Args:
            inputs: Width of a patch token.
            outputs: Width of the result.
            graph_width: Width of the first layer; the edge layers are 2, 4, 4 and 8 times as wide (128: published).

        Raises:
            UsageError: A width is not a multiple of four.
        """
        super().__init__()
        widths = [factor * graph_width for factor in (1, 2, 4, 4, 8)]
        self.embed = nn.Linear(inputs, graph_width)
        self.edges = nn.ModuleList(EdgeLayer(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(sum(widths[1:]), outputs, bias=False)
        self.norm = GroupedNorm(outputs)

    def forward(self, tokens: Tensor, graph: Tensor) -> Tensor:
        """Smooth tokens.

        Args:
            tokens: ``[B, G, inputs]``.
            graph: `centre_graph`, int64 ``[B, G, 4]``.

        Returns:
            ``[B, G, outputs]``, float32.
        """
        x = self.embed(tokens)
        levels = []
        for layer in self.edges:
            x = layer(x, graph)
            levels.append(x)
        return F.leaky_relu(self.norm(self.out(torch.cat(levels, dim=-1))), _SLOPE)
