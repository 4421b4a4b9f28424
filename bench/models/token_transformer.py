"""Transformer of a pretrained image or language model."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.attention import attend
from bench.spec import TransformerShape


class TokenAttention(nn.Module):
    """Multi-head self-attention with an optional query-key-value bias.

    The query-key-value layer is fused.
    """

    def __init__(self, width: int, heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among tokens ``[B, T, C]``."""
        batch, count, width = x.shape
        q, k, v = self.qkv(x).view(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        out: Tensor = self.proj(attend(q, k, v).transpose(1, 2).reshape(batch, count, width))
        return out


class TokenMLP(nn.Module):
    """Two linear layers with the pretrained model's activation."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.activation = shape.activation
        self.fc1 = nn.Linear(shape.width, shape.mlp_width)
        self.fc2 = nn.Linear(shape.mlp_width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``[..., C]``."""
        x = self.fc1(x)
        if self.activation == "quick_gelu":
            x = x * torch.sigmoid(1.702 * x)
        else:
            x = F.gelu(x, approximate="tanh" if self.activation == "gelu_tanh" else "none")
        out: Tensor = self.fc2(x)
        return out


class TokenBlock(nn.Module):
    """Transformer block with norms before or after each sub-layer.

    Vision models and CLIP have them before, BERT after the residual sum.
    """

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.post = shape.norm == "post"
        self.norm1 = nn.LayerNorm(shape.width, eps=shape.eps)
        self.attention = TokenAttention(shape.width, shape.heads, shape.qkv_bias)
        self.norm2 = nn.LayerNorm(shape.width, eps=shape.eps)
        self.mlp = TokenMLP(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens ``[B, T, C]``."""
        if self.post:
            x = self.norm1(x + self.attention(x))
            x = self.norm2(x + self.mlp(x))
            return x
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class TokenTransformer(nn.Module):
    """Blocks and final norm of a pretrained model.

    Without its embeddings, positions, masks and heads. A method may run it
    whole, or change tokens between blocks (`forward_block`). Teachers return it frozen (`bench.teachers.transformers`).

    Source: docs/reference.md#act-autoencoder.

    >>> import torch
    >>> stack = TokenTransformer(TransformerShape(width=8, depth=2, heads=2, mlp_width=32))
    >>> stack(torch.zeros(1, 5, 8)).shape
    torch.Size([1, 5, 8])
    """

    def __init__(self, shape: TransformerShape) -> None:
        """Build with PyTorch's initialisation.

        Args:
            shape: Architecture.
        """
        super().__init__()
        self.shape = shape
        self.initial_norm = nn.LayerNorm(shape.width, eps=shape.eps) if shape.initial_norm else nn.Identity()
        self.blocks = nn.ModuleList(TokenBlock(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.width, eps=shape.eps) if shape.final_norm else nn.Identity()

    def forward_block(self, i: int, tokens: Tensor) -> Tensor:
        """Run block `i` on ``[B, T, C]``.

        Block 0 includes the initial norm, if there is one.
        """
        if i == 0:
            tokens = self.initial_norm(tokens)
        out: Tensor = self.blocks[i](tokens)
        return out

    def forward(self, tokens: Tensor) -> Tensor:
        """Run all blocks and the final norm.

        On tokens ``[B, T, C]``.
        """
        for i in range(self.shape.depth):
            tokens = self.forward_block(i, tokens)
        out: Tensor = self.norm(tokens)
        return out
