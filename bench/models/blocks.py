"""Transformer blocks: the standard one and ReCon's two streams."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.attention import attend

Residual = Literal["normalised", "prenorm"]
"""What a sub-layer's output is added to: the normalised input (ReCon's encoder) or the input itself (ordinary)."""


class StochasticDepth(nn.Module):
    """Drop a residual branch per sample and divide the others by the keep probability.

    Identity in evaluation and at rate 0.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Drop samples of ``[B, ...]``."""
        if self.rate == 0.0 or not self.training:
            return branch
        keep = 1.0 - self.rate
        shape = (branch.shape[0],) + (1,) * (branch.ndim - 1)
        kept = torch.rand(shape, device=branch.device, dtype=torch.float32) < keep
        return branch * (kept.to(branch.dtype) / keep)

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"rate={self.rate}"


def depth_rates(rate: float, depth: int) -> list[float]:
    """Return drop rates per layer: evenly spaced from 0 to `rate` (one layer: 0)."""
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
    """Multi-head attention of queries to a sequence; queries do not see each other."""

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


class Block(nn.Module):
    """Pre-norm transformer block.

    Source: docs/reference.md#transformer-block.
    """

    def __init__(self, width: int, heads: int, drop: float = 0.0, residual: Residual = "prenorm") -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.drop = StochasticDepth(drop)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens ``[B, T, C]``; the caller has added positions."""
        normal = self.norm1(x)
        x = (x if self.residual == "prenorm" else normal) + self.drop(self.attention(normal))
        normal = self.norm2(x)
        x = (x if self.residual == "prenorm" else normal) + self.drop(self.mlp(normal))
        return x


class ReconBlock(nn.Module):
    """ReCon's block: a local stream, and global queries that read it without being read.

    As published, the residual starts from the *normalised* value at both sub-layers of both streams; ``prenorm``
    adds to the input instead, as `Block` does. Global queries attend to the normalised local tokens as they are
    before their self-attention.

    Source: ReCon (arXiv 2302.02318), equations 8 and 9; docs/reference.md#recon-block.
    """

    def __init__(self, width: int, heads: int, drop: float = 0.0, residual: Residual = "normalised") -> None:
        super().__init__()
        self.residual = residual
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width)
        self.global_norm1 = nn.LayerNorm(width)
        self.global_attention = CrossAttention(width, heads)
        self.global_norm2 = nn.LayerNorm(width)
        self.global_mlp = MLP(width)
        self.drop = StochasticDepth(drop)

    def forward(self, queries: Tensor, local: Tensor, stop_gradient: bool) -> tuple[Tensor, Tensor]:
        """Transform both streams.

        Args:
            queries: Global tokens ``[B, Q, C]``, positions added.
            local: Patch tokens ``[B, T, C]``, positions added.
            stop_gradient: Keep the gradient of the global stream out of the local one.

        Returns:
            The new queries and local tokens.
        """
        normalised = self.residual == "normalised"
        query_normal, normal = self.global_norm1(queries), self.norm1(local)
        context = normal.detach() if stop_gradient else normal
        queries = (query_normal if normalised else queries) + self.drop(self.global_attention(query_normal, context))
        local = (normal if normalised else local) + self.drop(self.attention(normal))
        query_normal, normal = self.global_norm2(queries), self.norm2(local)
        queries = (query_normal if normalised else queries) + self.drop(self.global_mlp(query_normal))
        local = (normal if normalised else local) + self.drop(self.mlp(normal))
        return queries, local
