"""Roles of parameters in the optimiser, by name (docs/reference.md#optimiser-groups).

The release decides by substrings of its own names ("token", "cls"); these functions say the same for ours, where
``tokenizer`` must not be taken for a token.
"""

from __future__ import annotations

from torch import Tensor

_CLASS_TOKEN = ("cls_token", "cls_pos")


def decays(name: str, parameter: Tensor) -> bool:
    """Return whether weight decay applies: not to vectors, biases and free tokens; to positions it does."""
    leaf = name.rpartition(".")[2]
    return parameter.ndim > 1 and leaf != "bias" and not leaf.endswith("_token")


def in_head_group(name: str) -> bool:
    """Return whether a fine-tuned parameter belongs to the head's group: the head, the class token, its position."""
    return name.startswith("head.") or name.rpartition(".")[2] in _CLASS_TOKEN
