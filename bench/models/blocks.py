"""Standard transformer block, and ReCon's global stream around any block."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.attention import attend
from bench.models.parts import Block, BlockSite
from bench.models.ranks import drawn
from bench.spec import Frozen


class StochasticDepth(nn.Module):
    """Drop residual branches at random, per sample.

    The others are divided by the keep probability. Identity in evaluation and at rate 0.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Drop samples of ``[B, ...]``."""
        if self.rate == 0.0 or not self.training:
            return branch
        keep = 1.0 - self.rate
        ones = (1,) * (branch.ndim - 1)
        draws = drawn(len(branch), lambda rows: torch.rand((rows, *ones), device=branch.device, dtype=torch.float32))
        kept = draws < keep
        return branch * (kept.to(branch.dtype) / keep)

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"rate={self.rate}"


def depth_rates(rate: float, depth: int) -> list[float]:
    """Return a drop rate per layer, rising from 0.

    Evenly spaced up to `rate`; a single layer has rate 0.
    """
    return [rate * i / (depth - 1) if depth > 1 else 0.0 for i in range(depth)]


class SelfAttention(nn.Module):
    """Multi-head self-attention with a fused, bias-free query-key-value layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among tokens ``[B, T, C]``."""
        batch, count, width = x.shape
        q, k, v = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return out


class CrossAttention(nn.Module):
    """Multi-head attention of queries to a sequence.

    Queries do not attend to each other.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Attend from ``[B, Q, C]`` to ``[B, T, C]``."""
        batch, count, width = queries.shape
        head = width // self.heads
        q = self.q(queries).view(batch, count, self.heads, head).transpose(1, 2)
        k, v = self.kv(context).view(batch, -1, 2, self.heads, head).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return out


class MLP(nn.Module):
    """Linear(C, 4C), GELU, Linear(4C, C)."""

    def __init__(self, width: int, ratio: int = 4) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, ratio * width)
        self.fc2 = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``[..., C]``."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class AttentionBlock(Block):
    """Pre-norm transformer block: self-attention, then a two-layer perceptron.

    Source: docs/reference.md#transformer-block.
    """

    name = "attention"
    has_heads = True

    def __init__(self, site: BlockSite, options: Frozen | None = None) -> None:
        super().__init__(site, options or self.Options())
        self.norm1 = site.norm(site.width)
        self.attention = SelfAttention(site.width, site.heads)
        self.norm2 = site.norm(site.width)
        self.mlp = MLP(site.width)
        self.drop = StochasticDepth(site.drop)
        self.residual = site.residual

    def forward(self, x: Tensor, centres: Tensor | None = None) -> Tensor:
        """Transform tokens ``[B, T, C]``; ignores `centres`.

        The tokens already contain their positions.
        """
        normal = self.norm1(x)
        x = (x if self.residual == "prenorm" else normal) + self.drop(self.attention(normal))
        normal = self.norm2(x)
        x = (x if self.residual == "prenorm" else normal) + self.drop(self.mlp(normal))
        return x


class GlobalStream(nn.Module, ABC):
    """Global queries that read a local stream of patches.

    The local stream does not read the queries. A subclass provides the local stream. As published, the residual starts
    from the *normalised* value at both sub-layers; ``prenorm`` adds to the input instead. Queries attend to the
    normalised local tokens as they are before the local sub-layers.

    Source: ReCon (arXiv 2302.02318), equations 8 and 9; docs/reference.md#recon-block.
    """

    def build_queries(self, site: BlockSite) -> None:
        """Build the queries' layers, after those of the local stream."""
        self.residual = site.residual
        self.global_norm1 = site.norm(site.width)
        self.global_attention = CrossAttention(site.width, site.heads)
        self.global_norm2 = site.norm(site.width)
        self.global_mlp = MLP(site.width)
        self.drop = StochasticDepth(site.drop)

    def read(self, queries: Tensor, normal: Tensor, stop_gradient: bool) -> Tensor:
        """Let queries ``[B, Q, C]`` attend to local tokens.

        The tokens are normalised, ``[B, T, C]``.
        """
        own = self.global_norm1(queries)
        context = normal.detach() if stop_gradient else normal
        queries = (own if self.residual == "normalised" else queries) + self.drop(self.global_attention(own, context))
        return queries

    def transform(self, queries: Tensor) -> Tensor:
        """Transform queries ``[B, Q, C]`` after `read`."""
        own = self.global_norm2(queries)
        queries = (own if self.residual == "normalised" else queries) + self.drop(self.global_mlp(own))
        return queries

    @abstractmethod
    def forward(self, queries: Tensor, local: Tensor, centres: Tensor, stop_gradient: bool) -> tuple[Tensor, Tensor]:
        """Transform both streams.

        Args:
            queries: Global tokens ``[B, Q, C]``, positions added.
            local: Patch tokens ``[B, T, C]``, positions added.
            centres: Patch centres ``[B, T, 3]``.
            stop_gradient: Keep the gradient of the global stream out of the local one.

        Returns:
            The new queries and local tokens.
        """


class ReconBlock(GlobalStream):
    """ReCon's published block: both streams share one norm.

    It is the norm in front of the local self-attention.
    """

    def __init__(self, site: BlockSite) -> None:
        super().__init__()
        self.norm1 = site.norm(site.width)
        self.attention = SelfAttention(site.width, site.heads)
        self.norm2 = site.norm(site.width)
        self.mlp = MLP(site.width)
        self.build_queries(site)

    def forward(
        self, queries: Tensor, local: Tensor, centres: Tensor | None, stop_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """See `GlobalStream.forward`; ignores `centres`."""
        normalised = self.residual == "normalised"
        normal = self.norm1(local)
        queries = self.read(queries, normal, stop_gradient)
        local = (normal if normalised else local) + self.drop(self.attention(normal))
        normal = self.norm2(local)
        queries = self.transform(queries)
        local = (normal if normalised else local) + self.drop(self.mlp(normal))
        return queries, local


class TwoStreamBlock(GlobalStream):
    """Any block, with global queries that read its input.

    They read it through their own norm layer.
    """

    def __init__(self, site: BlockSite, local: Block) -> None:
        super().__init__()
        self.local = local
        self.context_norm = site.norm(site.width)
        self.build_queries(site)

    def forward(self, queries: Tensor, local: Tensor, centres: Tensor, stop_gradient: bool) -> tuple[Tensor, Tensor]:
        """See `GlobalStream.forward`."""
        context = self.context_norm(local.detach() if stop_gradient else local)  # the norm learns
        queries = self.transform(self.read(queries, context, stop_gradient=False))
        return queries, self.local(local, centres)


def two_stream(block: type[Block], site: BlockSite, options: Frozen) -> GlobalStream:
    """Put global queries beside a block.

    Attention blocks become ReCon's published block; others are wrapped.
    """
    return ReconBlock(site) if block is AttentionBlock else TwoStreamBlock(site, block(site, options))
