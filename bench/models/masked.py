"""Steps shared by masked methods: cut, hide and embed patches."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.grouping import Sampling, cut_patches
from bench.models.masking import MaskKind, draw_mask, mask_index, masked_count
from bench.models.ops import gather_points
from bench.spec import WIDEST, BackboneSpec

Tokenize = Literal["visible", "all"]


DecoderHeads = Annotated[int | None, Field(ge=1, le=WIDEST, exclude_if=lambda heads: heads is None)]
"""Attention heads of a masked decoder; None, which stored keys leave out: as many as the backbone."""


def heads_of_decoder(backbone: BackboneSpec, asked: int | None) -> int:
    """Return the number of attention heads of the decoder.

    Args:
        backbone: Sizes.
        asked: The method's option ``decoder_heads``; None for the backbone's number.

    Raises:
        UsageError: The backbone's width is not a multiple of that number.
    """
    heads = backbone.heads if asked is None else asked
    if backbone.width % heads:
        raise UsageError(
            f"backbone.width {backbone.width} is not a multiple of decoder_heads {heads}; change one of them"
        )
    return heads


def check_backbone(backbone: BackboneSpec) -> None:
    """Check that the backbone's sizes fit together.

    Raises:
        UsageError: The width is not a multiple of the heads, or there are fewer points than a patch or centres need.
    """
    if backbone.width % backbone.heads:
        raise UsageError(
            f"backbone.width {backbone.width} is not a multiple of backbone.heads {backbone.heads}; change one of them"
        )
    needed = max(backbone.groups, backbone.group_size)
    if backbone.points < needed:
        raise UsageError(
            f"backbone.points {backbone.points} is less than the {needed} that backbone.groups {backbone.groups} and "
            f"backbone.group_size {backbone.group_size} need; raise backbone.points or lower those"
        )


@torch.no_grad()
def prepare_masked(
    points: Tensor,
    backbone: BackboneSpec,
    sampling: Sampling,
    *,
    ratio: float,
    kind: MaskKind,
    tokenize: Tokenize,
    generator: torch.Generator | None,
    mask: Tensor | None = None,
    whole: bool = False,
) -> dict[str, Tensor]:
    """Cut clouds into patches and hide some.

    Runs eagerly and without gradient, before the compiled part.

    Args:
        points: ``[B, N, 3]``.
        backbone: Sizes.
        sampling: How patches are cut.
        ratio: Share of hidden patches.
        kind: How hidden patches are drawn.
        tokenize: ``all`` returns all patches, so that hidden ones are embedded, too.
        generator: Draws masks.
        mask: bool ``[B, G]`` to use instead of a drawn one, True = hidden.
        whole: Add the unmasked cloud, for a part of the method that sees all of it.

    Returns:
        ``visible_patches`` ``[B, V, K, 3]``, ``visible_centres``, ``masked_patches`` ``[B, M, K, 3]``,
        ``masked_centres``; for ``all`` instead of the visible patches ``patches`` ``[B, G, K, 3]`` and ``visible``
        int64 ``[B, V]``; with `whole` also ``whole_patches`` ``[B, G, K, 3]``, ``whole_centres`` ``[B, G, 3]`` and
        ``masked`` int64 ``[B, M]``.
    """
    patches = cut_patches(points, backbone.groups, backbone.group_size, sampling)
    count = masked_count(backbone.groups, ratio) if mask is None else None
    if mask is None:
        mask = draw_mask(patches.centres, ratio, kind, generator)
    index = mask_index(mask, count)
    prepared = {
        "visible_centres": gather_points(patches.centres, index.visible),
        "masked_centres": gather_points(patches.centres, index.masked),
        "masked_patches": gather_points(patches.points, index.masked),
    }
    if whole:
        prepared |= {"whole_patches": patches.points, "whole_centres": patches.centres, "masked": index.masked}
    if tokenize == "all":
        return prepared | {"patches": patches.points, "visible": index.visible}
    return prepared | {"visible_patches": gather_points(patches.points, index.visible)}


def embed_visible(tokenizer: nn.Module, prepared: dict[str, Tensor]) -> Tensor:
    """Embed the visible patches into tokens ``[B, V, C]``.

    Prepared with ``all``, hidden patches are embedded too, so that they enter BatchNorm's statistics as in the
    release; otherwise they cost nothing.
    """
    if "patches" not in prepared:
        tokens: Tensor = tokenizer(prepared["visible_patches"])
        return tokens
    return gather_points(tokenizer(prepared["patches"]), prepared["visible"])
