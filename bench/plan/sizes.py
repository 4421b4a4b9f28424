"""Whether there is memory for a network, weighed before any job runs."""

from __future__ import annotations

from bench.data.files import in_words
from bench.errors import UsageError
from bench.spec import BackboneSpec, Recipe

_NUMBER = 4
"""Bytes of a float32."""
_TRAINED = 4
"""Numbers of each weight in training: itself, its gradient and two moments."""


def refuse_too_large(backbone: BackboneSpec, device: str, recipe: Recipe | None = None, objects: int = 0) -> None:
    """Refuse a backbone whose weights alone, or patches of one step alone, exceed the memory of this machine.

    Args:
        backbone: Its size.
        device: ``cpu`` or ``cuda``.
        recipe: How it is pretrained; None for one that stays as it is.
        objects: Objects it is pretrained on, so the most of a batch.

    Raises:
        UsageError: There is too little memory; the line names the fields.
    """
    memory = _memory(device)
    first = backbone.tokenizer_width
    blocks = 12 * backbone.depth * backbone.width**2 if backbone.block == "attention" else 0  # others: not known
    tokenizer = 18 * first**2 + 4 * first * backbone.width if backbone.tokenizer == "pointnet" else 0
    weights = blocks + tokenizer
    needed = weights * _NUMBER * (1 if recipe is None else _TRAINED)
    if needed > memory:
        raise UsageError(
            f"backbone.width = {backbone.width}, backbone.depth = {backbone.depth}, backbone.tokenizer_width = "
            f"{first}: {weights:,} weights take at least {in_words(needed)}, this machine has {in_words(memory)}; "
            "choose smaller"
        )
    if recipe is None:
        return
    batch = min(recipe.batch_size, max(objects, 1))
    patches = batch * backbone.groups * backbone.group_size * 3 * _NUMBER
    if patches > memory:
        raise UsageError(
            f"recipe.batch_size = {recipe.batch_size}, backbone.groups = {backbone.groups}, backbone.group_size = "
            f"{backbone.group_size}: the patches of a step take at least {in_words(patches)}, this machine has "
            f"{in_words(memory)}; choose smaller"
        )


def _memory(device: str) -> int:
    """Bytes of memory of a device."""
    if device == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)
    import psutil

    return int(psutil.virtual_memory().total)
