"""Optimiser groups of parameters, by name (docs/reference.md#optimiser-groups).

The releases decide by substrings of their names ("token", "cls"); these functions decide the same for our names, where
``tokenizer`` must not count as a token.
"""

from __future__ import annotations

from torch import Tensor

_CLASS_TOKEN = ("cls_token", "cls_pos")


def decays(name: str, parameter: Tensor) -> bool:
    """Return whether weight decay applies to a parameter.

    It does not apply to vectors, biases and free tokens; it does to positions.
    """
    leaf = name.rpartition(".")[2]
    return parameter.ndim > 1 and leaf != "bias" and not leaf.endswith("_token")


def in_head_group(name: str) -> bool:
    """Return whether a fine-tuned parameter is in the head group.

    The group holds the head, the class token and its position.
    """
    return name.startswith("head.") or name.rpartition(".")[2] in _CLASS_TOKEN
