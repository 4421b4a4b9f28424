"""Few-shot training as released (docs/reference.md#few-shot)."""

from __future__ import annotations

from typing import Literal

from bench.protocols.published_recipes import COMMON, ROTATE, SCALE_TRANSLATE, Published, shortened

OUTPUTS = 40
"""The released few-shot head keeps ModelNet40's outputs; a fold's labels are the first of them."""
EPOCHS = {"smoke": 2, "nano": 40}
"""Presets that shorten the published 150 epochs."""

_COMMON = COMMON.model_copy(update={"epochs": 150})


def fewshot_recipe(method: str, head: Literal["full", "linear", "mlp"], epochs: int | None) -> Published:
    """Recipe of a release's few-shot training.

    Methods whose paper has none take Point-MAE's for full fine-tuning and, as Point-MAE has no probes, ACT's for these.

    Args:
        method: Name of the method.
        head: ``full``, or a probe that trains head, class token and its position.
        epochs: Shorten to so many epochs; None for the published number.
    """
    own = ("recon", "two-tower", "act")
    owner = method if method in own else "point-mae" if head == "full" else "act"
    recon = owner in ("recon", "two-tower")
    changes: dict[str, object] = {"augmentation": SCALE_TRANSLATE if owner == "point-mae" else ROTATE}
    changes |= {"head_lr_scale": 10.0} if recon else {}
    changes |= {} if head == "full" else {"lr": 1e-3}
    return Published(
        source=f"{owner}, few-shot",
        recipe=shortened(_COMMON.model_copy(update=changes), epochs),
        drop_path=0.1,
        normalise=True,
        vote_augmentation=(),
    )
