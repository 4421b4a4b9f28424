"""Verify recorded CLIP towers against a teacher's loaded model."""

from __future__ import annotations

from typing import Any

import torch

from bench.interop.comparison import Comparison
from bench.interop.golden_parts import MismatchError, Recorder, load_recorded, recorded_input
from bench.interop.names_clip import TEACHERS
from bench.teachers.open_clip_towers import ClipSizes, clip_sizes, empty_clip

TOWERS = 2e-5
"""Largest difference over largest magnitude of features and intermediates of the towers."""


def verify(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare features and intermediates of both towers."""
    sizes = _sizes(comparison, config["clip"])
    # CLIP's temperature belongs to neither tower.
    model: Any = load_recorded(empty_clip(sizes), comparison, TEACHERS, absent=("logit_scale",)).eval()
    with torch.no_grad(), Recorder(model) as seen:
        image = model.encode_image(recorded_input(comparison, "image"))
        text = model.encode_text(recorded_input(comparison, "tokens"))
    comparison.array("out/image_feature", image.numpy(), TOWERS)
    comparison.array("out/text_feature", text.numpy(), TOWERS)
    comparison.array("mid/image_ln_pre", seen.one("visual.ln_pre").numpy(), TOWERS)
    comparison.array("mid/text_ln_final", seen.one("ln_final").numpy(), TOWERS)


def _sizes(comparison: Comparison, clip: dict[str, Any]) -> ClipSizes:
    """Return the towers' sizes, checked against the configuration.

    They are read from the shapes of the weights.
    """
    weights = {
        TEACHERS.to_ours(name.removeprefix("state/")) or name: torch.from_numpy(value)
        for name, value in comparison.recorded.items()
        if name.startswith("state/")
    }
    sizes = clip_sizes(weights, text_heads=int(clip["transformer_heads"]))
    stated = ClipSizes(
        embed=clip["embed_dim"],
        image_size=clip["image_resolution"],
        image_width=clip["vision_width"],
        image_layers=clip["vision_layers"],
        patch_size=clip["vision_patch_size"],
        context=clip["context_length"],
        vocabulary=clip["vocab_size"],
        text_width=clip["transformer_width"],
        text_heads=clip["transformer_heads"],
        text_layers=clip["transformer_layers"],
    )
    if sizes != stated:
        raise MismatchError(f"the weights are those of {sizes}, the configuration says {stated}")
    return sizes
