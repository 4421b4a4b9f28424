"""Recompute the attention weights of an encoder.

The fused kernels keep no weights, so each layer's queries and keys are projected once more. What the recomputed
weights give is compared with what the layer returned, so that a layer which does something else is noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.errors import BenchError, UsageError
from bench.models.blocks import CrossAttention, SelfAttention
from bench.models.encoder import Encoder
from bench.models.token_transformer import TokenAttention
from bench.spec import BackboneSpec

LAYERS = (SelfAttention, CrossAttention, TokenAttention)
_TOLERANCE = 1e-3
"""Largest difference from the layer's own output, relative to its largest value: float32, other order of sums."""


@dataclass(frozen=True)
class Weights:
    """Attention weights of one layer on a batch.

    Attributes:
        layer: Name of the attention layer in the encoder, e.g. ``blocks.0.attention``.
        weights: float32 ``[B, H, Q, T]``; every row sums to 1.
        cross: Whether queries read another sequence than their own.
    """

    layer: str
    weights: Tensor
    cross: bool


@dataclass(frozen=True)
class LayerAttention:
    """Attention of one layer, with named rows and columns.

    Attributes:
        stream: Stack of blocks it belongs to: ``patches``, ``queries``, or a tower's name.
        number: Layer in that stack, counted from 0.
        weights: float32 ``[B, H, Q, T]``.
        rows: Name of each row that is no patch; these come first. A cross-attention has no other rows.
        columns: Number of columns in front of the patches.
        cross: Whether queries read another sequence than their own.
    """

    stream: str
    number: int
    weights: Tensor
    rows: tuple[str, ...]
    columns: int
    cross: bool

    def on_patches(self) -> tuple[Tensor, Tensor]:
        """Return the weights on patches, and their share.

        Returns:
            Weights on the patches, rescaled to sum to 1, ``[B, H, Q, G]``; the share they had ``[B, H, Q]``.
        """
        patches = self.weights[..., self.columns :]
        share = patches.sum(-1)
        return patches / share.clamp_min(torch.finfo(share.dtype).tiny)[..., None], share


@dataclass(frozen=True)
class Attention:
    """Attention of every layer on a batch.

    Attributes:
        layers: By stream and number.
        centres: Patch centres ``[B, G, 3]``.
    """

    layers: tuple[LayerAttention, ...]
    centres: Tensor

    def depth(self, stream: str) -> int:
        """Return the number of layers of a stream."""
        return sum(layer.stream == stream for layer in self.layers)


def recompute(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Recompute an attention layer's weights and output.

    Args:
        module: One of `LAYERS`.
        inputs: Arguments of its forward pass.
    """
    if isinstance(module, CrossAttention):
        queries, context = inputs
        q = _heads(module.q(queries), module.heads)
        k, v = (_heads(part, module.heads) for part in module.kv(context).chunk(2, -1))
    elif isinstance(module, SelfAttention | TokenAttention):
        q, k, v = (_heads(part, module.heads) for part in module.qkv(inputs[0]).chunk(3, dim=-1))
    else:
        raise TypeError(f"{type(module).__name__} is no attention layer of bench")
    weights = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1)
    out: Tensor = module.proj((weights @ v).transpose(1, 2).flatten(2))
    return weights, out


def _heads(projected: Tensor, heads: int) -> Tensor:
    """Split features into heads, ``[B, H, T, C / H]``."""
    batch, count, width = projected.shape
    return projected.reshape(batch, count, heads, width // heads).transpose(1, 2)


@contextmanager
def recording(encoder: nn.Module) -> Iterator[list[Weights]]:
    """Record attention of every layer run inside the block.

    In the order in which they run.

    Raises:
        BenchError: A layer's output is not what its recomputed attention gives.
    """
    found: list[Weights] = []
    handles = []
    for name, module in encoder.named_modules():
        if isinstance(module, LAYERS):

            def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                weights, again = recompute(layer, inputs)
                off = float((again - output).abs().max())
                if off > _TOLERANCE * max(1.0, float(output.abs().max())):
                    raise BenchError(
                        f"attention of {name} cannot be shown: recomputed it gives another output (off by {off:.2g}), "
                        "so that layer does more than softmax(q k / sqrt(d)) v"
                    )
                found.append(Weights(name, weights.float(), isinstance(layer, CrossAttention)))

            handles.append(module.register_forward_hook(hook))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def attention_of(encoder: Encoder, points: Tensor) -> Attention:
    """Encode clouds and return the attention of every layer.

    Args:
        encoder: In evaluation mode.
        points: ``[B, N, 3]``.

    Raises:
        UsageError: The encoder has no attention layers.
        BenchError: See `recording`.
    """
    if not any(isinstance(module, LAYERS) for module in encoder.modules()):
        backbone = getattr(encoder, "backbone", None)
        blocks = f" of {backbone.block} blocks" if isinstance(backbone, BackboneSpec) else ""
        raise UsageError(
            f"{type(encoder).__name__}{blocks} has no attention to show: choose an encoder with transformer blocks, "
            "such as those of recon or point-mae with backbone.block = attention"
        )
    with recording(encoder) as found:
        output = encoder(points)
    groups = output.centres.shape[1]
    numbers: dict[str, int] = {}
    layers = []
    for one in found:
        stream = _stream(one)
        number = numbers[stream] = numbers.get(stream, -1) + 1
        rows, columns = one.weights.shape[2:]
        free = rows if one.cross else rows - groups
        named = tuple(output.globals) if one.cross else _tokens_of(encoder, one.layer)
        names = named if len(named) == free else tuple(f"token {i}" for i in range(free))
        layers.append(LayerAttention(stream, number, one.weights, names, columns - groups, one.cross))
    # A two-stream block runs its queries before its patches, but patches are to be listed first.
    return Attention(tuple(sorted(layers, key=lambda layer: layer.cross)), output.centres)


def _stream(found: Weights) -> str:
    """Return the stack of blocks that a layer belongs to."""
    if found.cross:
        return "queries"
    before = found.layer.partition("blocks")[0].strip(".")
    return before.split(".")[-1] or "patches"


def _tokens_of(encoder: Encoder, layer: str) -> tuple[str, ...]:
    """Return names of the tokens in front of the patches.

    From the nearest module around a layer that states them.
    """
    parts = layer.split(".")
    for length in range(len(parts) - 1, -1, -1):
        names = getattr(encoder.get_submodule(".".join(parts[:length])), "token_names", None)
        if isinstance(names, tuple):
            return names
    return ()
