"""Names of the released state dicts and ours, both ways (section 8 of the method specification).

The encoder sits behind a prefix on both sides: ``MAE_encoder.`` and ``trunk.`` in pretraining, nothing and
``encoder.`` in a fine-tuned classifier. Everything below the prefix, and every head, has one name each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Layout = Literal["pretrain", "classify"]

_PREFIXES: dict[Layout, tuple[str, str]] = {"pretrain": ("MAE_encoder.", "trunk."), "classify": ("", "encoder.")}

_BLOCK = (
    ("norm1", "norm1"),
    ("norm2", "norm2"),
    ("attn.qkv", "attention.qkv"),
    ("attn.proj", "attention.proj"),
    ("mlp.fc1", "mlp.fc1"),
    ("mlp.fc2", "mlp.fc2"),
)
_GLOBAL_STREAM = (
    ("norm1_contrast", "global_norm1"),
    ("norm2_contrast", "global_norm2"),
    ("attn_contrast.q", "global_attention.q"),
    ("attn_contrast.kv", "global_attention.kv"),
    ("attn_contrast.proj", "global_attention.proj"),
    ("mlp_contrast.fc1", "global_mlp.fc1"),
    ("mlp_contrast.fc2", "global_mlp.fc2"),
)
_ENCODER = (
    ("encoder.first_conv.0", "tokenizer.local1"),
    ("encoder.first_conv.1", "tokenizer.norm1"),
    ("encoder.first_conv.3", "tokenizer.local2"),
    ("encoder.second_conv.0", "tokenizer.mix"),
    ("encoder.second_conv.1", "tokenizer.norm2"),
    ("encoder.second_conv.3", "tokenizer.out"),
    ("pos_embed.0", "position.0"),
    ("pos_embed.2", "position.2"),
    *((f"blocks.blocks.#.{theirs}", f"blocks.#.{ours}") for theirs, ours in _BLOCK + _GLOBAL_STREAM),
    ("norm", "norm"),
)
_TOKENS = (
    ("cls_token", "cls_token"),
    ("cls_pos", "cls_pos"),
    ("img_token", "image_token"),
    ("img_pos", "image_pos"),
    ("text_token", "text_token"),
    ("text_pos", "text_pos"),
)
_TOP = (
    ("decoder_pos_embed.0", "decoder.position.0"),
    ("decoder_pos_embed.2", "decoder.position.2"),
    *((f"MAE_decoder.blocks.#.{theirs}", f"decoder.blocks.#.{ours}") for theirs, ours in _BLOCK),
    ("MAE_decoder.norm", "decoder.norm"),
    ("increase_dim.0", "decoder.points"),
    ("img_proj", "image_head"),
    ("text_proj", "text_head"),
    ("cls_proj.#", "contrast_head.#"),
    ("cls_head_finetune.#", "head.#"),
)
_TOP_TOKENS = (("mask_token", "decoder.mask_token"),)
_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_CONVOLUTIONS = re.compile(r"(^|\.)(first_conv\.[03]|second_conv\.[03]|increase_dim\.0)\.weight$")


@dataclass(frozen=True)
class Converted:
    """A released state dict in our names.

    Attributes:
        state: Tensors by our name, float32 (integers unchanged), convolutions as linear layers.
        missing: Names of ours that the released dict does not provide.
        unexpected: Released names that have no counterpart in our model.
        mismatched: One line per tensor whose shape differs.
    """

    state: dict[str, Tensor]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]


def to_ours(name: str, layout: Layout) -> str | None:
    """Translate a released name (a leading ``module.`` is ignored); None when it has no counterpart."""
    return _translate(name.removeprefix("module."), _table(layout))


def to_released(name: str, layout: Layout) -> str | None:
    """Translate one of our names; None when the release has no counterpart."""
    return _translate(name, tuple((ours, theirs) for theirs, ours in _table(layout)))


def is_convolution(released: str) -> bool:
    """Return whether a released weight is a 1x1 convolution ``[out, in, 1]`` where ours is linear ``[out, in]``."""
    return _CONVOLUTIONS.search(released) is not None


def convert_state(released: Mapping[str, Tensor], ours: Mapping[str, Tensor], layout: Layout) -> Converted:
    """Translate a released state dict for a model of ours.

    Args:
        released: Tensors by released name.
        ours: State dict of the model they are meant for (names and shapes).
        layout: Pretraining or fine-tuned.

    Returns:
        The translation, with everything that does not fit; the caller decides what may be left over.
    """
    state: dict[str, Tensor] = {}
    unexpected: list[str] = []
    mismatched: dict[str, str] = {}
    for theirs, value in released.items():
        name = to_ours(theirs, layout)
        if name is None or name not in ours:
            unexpected.append(theirs)
            continue
        tensor = value.squeeze(-1) if is_convolution(theirs) and value.ndim == 3 else value
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        if tensor.shape != ours[name].shape:
            mismatched[name] = f"{theirs} is {tuple(value.shape)}, {name} is {tuple(ours[name].shape)}"
            continue
        state[name] = tensor
    absent = ours.keys() - state.keys() - mismatched.keys()
    return Converted(state, tuple(sorted(absent)), tuple(unexpected), tuple(mismatched.values()))


def release_state(ours: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Translate a state dict of ours into released names and shapes; names without counterpart are left out."""
    released: dict[str, Tensor] = {}
    for name, value in ours.items():
        theirs = to_released(name, layout)
        if theirs is not None:
            released[theirs] = value.unsqueeze(-1) if is_convolution(theirs) else value
    return released


def _table(layout: Layout) -> tuple[tuple[str, str], ...]:
    theirs_prefix, ours_prefix = _PREFIXES[layout]
    inside = [*_with_leaves(_ENCODER), *_TOKENS]
    return (
        *((theirs_prefix + theirs, ours_prefix + ours) for theirs, ours in inside),
        *_with_leaves(_TOP),
        *_TOP_TOKENS,
    )


def _with_leaves(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(f"{a}.{leaf}", f"{b}.{leaf}") for a, b in pairs for leaf in _LEAVES]


def _translate(name: str, table: Iterable[tuple[str, str]]) -> str | None:
    # A layer number is the only variable part of a name, so names are compared with numbers set aside.
    number = re.search(r"(?<=blocks\.)\d+(?=\.)|(?<=^cls_proj\.)\d+|(?<=^contrast_head\.)\d+", name) or re.search(
        r"(?<=^cls_head_finetune\.)\d+|(?<=^head\.)\d+", name
    )
    pattern = name if number is None else name[: number.start()] + "#" + name[number.end() :]
    for source, target in table:
        if source == pattern:
            return target if number is None else target.replace("#", number.group())
    return None
