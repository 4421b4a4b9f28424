"""Build the shared backbone's parts from their names.

`BackboneSpec` names a block, a norm layer and a tokenizer; the registries know their classes.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from bench.models.blocks import depth_rates, two_stream
from bench.models.parts import BlockSite, Norm, Residual, Tokenizer
from bench.registry import BLOCKS, NORMS, TOKENIZERS
from bench.spec import BackboneSpec


def build_tokenizer(backbone: BackboneSpec) -> Tokenizer:
    """Build the backbone's tokenizer.

    Raises:
        UsageError: No tokenizer has that name.
    """
    kind = TOKENIZERS.load(backbone.tokenizer)
    options = kind.Options.model_validate(backbone.tokenizer_options)
    return kind(backbone.width, backbone.tokenizer_width, options)


def build_norm(backbone: BackboneSpec, width: int | None = None) -> Norm:
    """Build the backbone's norm layer.

    `width` replaces the backbone's width.

    Raises:
        UsageError: No norm layer has that name.
    """
    kind = NORMS.load(backbone.norm)
    return kind(width or backbone.width, kind.Options.model_validate(backbone.norm_options))


def build_blocks(
    backbone: BackboneSpec,
    *,
    depth: int | None = None,
    heads: int | None = None,
    residual: Residual = "prenorm",
    queries: bool = False,
) -> nn.ModuleList:
    """Build a stack of the backbone's blocks.

    Args:
        backbone: Sizes and names.
        depth: Number of blocks; None for the encoder's. Rates of stochastic depth rise over it.
        heads: Attention heads; None for the encoder's.
        residual: Value to which a sub-layer's output is added (`bench.models.parts.Residual`).
        queries: Put ReCon's global queries beside each (`bench.models.blocks.GlobalStream`).

    Raises:
        UsageError: No block has that name.
    """
    kind = BLOCKS.load(backbone.block)
    options = kind.Options.model_validate(backbone.block_options)
    norm = partial(build_norm, backbone)
    sites = [
        BlockSite(backbone.width, heads or backbone.heads, number, rate, norm, residual)
        for number, rate in enumerate(depth_rates(backbone.drop_path, depth or backbone.depth))
    ]
    return nn.ModuleList(two_stream(kind, site, options) if queries else kind(site, options) for site in sites)
