"""Build CLIP models from weights in OpenAI's layout.

Sizes are read from the shapes of the weights; the classes are open_clip's. ReCon's teachers are of this kind: a vision
transformer (or CLIP's ResNet) and a causal text transformer with quick GELU, both in float32
(docs/reference.md#recon-teachers).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from bench.errors import DataError

HEAD_WIDTH = 64
"""Width of an attention head in every CLIP that OpenAI released."""


@dataclass(frozen=True)
class ClipSizes:
    """Sizes of both CLIP towers.

    Attributes:
        embed: Width of the joint space.
        image_size: Pixels along an edge of the image.
        image_width: Width of the image tower.
        image_layers: Number of its blocks; four numbers for a ResNet.
        patch_size: Pixels along an edge of a patch; None for a ResNet.
        context: Number of tokens of a sentence.
        vocabulary: Number of token ids.
        text_width: Width of the text tower.
        text_heads: Number of its attention heads.
        text_layers: Number of its blocks.
    """

    embed: int
    image_size: int
    image_width: int
    image_layers: int | tuple[int, int, int, int]
    patch_size: int | None
    context: int
    vocabulary: int
    text_width: int
    text_heads: int
    text_layers: int


def clip_sizes(state: Mapping[str, Tensor], text_heads: int | None = None) -> ClipSizes:
    """Return the sizes of both towers from their weights.

    Args:
        state: In OpenAI's layout (``visual.conv1.weight``, ``transformer.resblocks.0...``).
        text_heads: Attention heads of the text tower, which shapes do not show; None: one per 64 channels.

    Raises:
        DataError: A weight is missing or has an impossible shape.
    """
    try:
        context, width = state["positional_embedding"].shape
        vocabulary, _ = state["token_embedding.weight"].shape
        _, embed = state["text_projection"].shape
        text_layers = _count(state, "transformer.resblocks.")
        image_size, image_width, image_layers, patch_size = _image_sizes(state)
    except KeyError as error:
        raise DataError(
            f"this is not CLIP in OpenAI's layout: it has no {error.args[0]}; give a state dict with visual.*, "
            "transformer.*, token_embedding, positional_embedding, ln_final and text_projection"
        ) from error
    except ValueError as error:
        raise DataError(f"this is not CLIP in OpenAI's layout: a weight has an unexpected shape ({error})") from error
    heads = width // HEAD_WIDTH if text_heads is None else text_heads
    for tower, channels, count in (("image", image_width, image_width // HEAD_WIDTH), ("text", width, heads)):
        if count < 1 or channels % count:
            raise DataError(f"the {tower} tower is {channels} wide, which {count} attention heads cannot share evenly")
    return ClipSizes(
        embed, image_size, image_width, image_layers, patch_size, context, vocabulary, width, heads, text_layers
    )


def empty_clip(sizes: ClipSizes) -> nn.Module:
    """Build CLIP of these sizes with random weights.

    It is an `open_clip.CLIP` with quick GELU. Its weights have OpenAI's names. ``encode_image`` and ``encode_text``
    return projected features, not normalised, as ReCon's teachers do.
    """
    import open_clip  # takes seconds, which only those who build one should pay

    model = open_clip.CLIP(
        sizes.embed,
        vision_cfg=open_clip.CLIPVisionCfg(
            layers=sizes.image_layers,
            width=sizes.image_width,
            head_width=HEAD_WIDTH,
            patch_size=sizes.patch_size or 16,
            image_size=sizes.image_size,
        ),
        text_cfg=open_clip.CLIPTextCfg(
            context_length=sizes.context,
            vocab_size=sizes.vocabulary,
            width=sizes.text_width,
            heads=sizes.text_heads,
            layers=sizes.text_layers,
        ),
        quick_gelu=True,
    )
    assert isinstance(model, nn.Module)
    return model


def _image_sizes(state: Mapping[str, Tensor]) -> tuple[int, int, int | tuple[int, int, int, int], int | None]:
    """Return the image tower's image size, width, layers, patch size."""
    if "visual.proj" in state:
        width, _, patch, _ = state["visual.conv1.weight"].shape
        grid = _root(state["visual.positional_embedding"].shape[0] - 1)
        return patch * grid, width, _count(state, "visual.transformer.resblocks."), patch
    grid = _root(state["visual.attnpool.positional_embedding"].shape[0] - 1)
    first, second, third, fourth = (_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4))
    return 32 * grid, state["visual.layer1.0.conv1.weight"].shape[0], (first, second, third, fourth), None


def _count(state: Iterable[str], prefix: str) -> int:
    return len({name.removeprefix(prefix).partition(".")[0] for name in state if name.startswith(prefix)})


def _root(cells: int) -> int:
    side = round(cells**0.5) if cells > 0 else 0
    if side < 1 or side * side != cells:
        raise ValueError(f"{cells} image positions form no square")
    return side
