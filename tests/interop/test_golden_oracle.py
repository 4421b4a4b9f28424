"""Released networks in sizes that the published ones do not have, held against a second reading of their description.

Each file below is recorded by `oracle`, which knows nothing of the package. Where encoder and decoder have different
heads, depths or widths, a network that takes one for the other loads every weight and still computes something else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.interop.golden import verify_file
from tests.interop import oracle

SIZES = {"npoints": 48, "num_group": 8, "group_size": 4, "golden_narrow": 10}
MASKED = {
    "trans_dim": 60, "encoder_dims": 60, "depth": 3, "num_heads": 5, "decoder_depth": 2, "decoder_num_heads": 4,
    "drop_path_rate": 0.1, "mask_ratio": 0.6, "mask_type": "rand",
}  # fmt: skip
ENCODER = {name: MASKED[name] for name in ("trans_dim", "depth", "num_heads", "drop_path_rate", "encoder_dims")}
STUDENT = MASKED | {
    "encoder_dims": 24, "embed_dim": 60, "cls_loss": False, "register_shallow_hook": 1, "mask_ratio": 0.75,
    "decoder_depth": 3, "depth": 2,
}  # fmt: skip
AUTOENCODER = SIZES | {
    "NAME": "ACTPromptedDiscreteVAEwithVIT", "encoder_dims": 12, "tokens_dims": 20, "decoder_dims": 16,
    "num_tokens": 24, "num_prompt_token": 3, "use_deep_prompt": True, "freeze_visual_embed": True,
    "visual_embed_dim": 28, "temperature": 0.7, "golden_graph": 4, "golden_folding": 11,
    "tiny_vit": {"depth": 3, "num_heads": 7, "mlp_ratio": 2.5, "qkv_bias": True},
}  # fmt: skip


def masked(name: str, **changed: Any) -> oracle.Arrays:
    config = {"NAME": name, "loss": "cdl2", "self_contrastive": False, **SIZES, "transformer_config": MASKED | changed}
    return oracle.masked_pretraining(config)


def student(**changed: Any) -> oracle.Arrays:
    sizes = {"num_group": 8, "group_size": 4, "encoder_dims": 40, "tokens_dims": 12}
    config = {"NAME": "ACT_PointDistillation", "npoints": 48, "golden_narrow": 10, "dvae_config": sizes}
    return oracle.student(config | {"transformer_config": STUDENT | changed})


def labels(**changed: Any) -> oracle.Arrays:
    queries, suffix = changed.pop("queries", False), changed.pop("suffix", "")
    config = {"NAME": "partseg", "num_part": 5, "fetch_blocks": [0, 2], **SIZES, **ENCODER, **changed}
    return oracle.part_labels(config, queries, suffix)


def classes(kind: str, **changed: Any) -> oracle.Arrays:
    own = {"encoder_dims": 24, "embed_dim": 60, "transfer_type": "full"} if kind == "act" else {}
    return oracle.classification({"NAME": "PointTransformer", "cls_dim": 3, **SIZES, **ENCODER, **own, **changed}, kind)


CASES: dict[str, Callable[[], oracle.Arrays]] = {
    "point-mae, more encoder heads": lambda: masked("Point_MAE"),
    "point-mae, more decoder heads": lambda: masked("Point_MAE", num_heads=3, decoder_num_heads=10, decoder_depth=4),
    "recon": lambda: masked("ReCon"),
    "recon, one block": lambda: masked("ReCon", depth=1, num_heads=2, decoder_num_heads=6, mask_ratio=0.3),
    "two-tower": lambda: masked("TwoTower"),
    "act student": student,
    "act student, class token's pass": lambda: student(cls_loss=True, num_heads=2, decoder_num_heads=12),
    "act student, deep": lambda: student(depth=4, decoder_depth=1, num_heads=6, decoder_num_heads=1, encoder_dims=60),
    "act autoencoder": lambda: oracle.autoencoder(AUTOENCODER),
    "act autoencoder, shallow prompts": lambda: oracle.autoencoder(
        AUTOENCODER | {"use_deep_prompt": False, "tokens_dims": 8, "decoder_dims": 24, "encoder_dims": 40}
    ),
    "act autoencoder, no prompts": lambda: oracle.autoencoder(
        AUTOENCODER | {"num_prompt_token": 0, "tiny_vit": {**AUTOENCODER["tiny_vit"], "qkv_bias": False}}
    ),
    "point-mae classifier": lambda: classes("plain"),
    "recon classifier": lambda: classes("recon", num_heads=3),
    "act classifier": lambda: classes("act", depth=1),
    "point-mae segmentation": labels,
    "act segmentation": lambda: labels(suffix="_cls", num_heads=3, fetch_blocks=[1, 2]),
    "recon segmentation": lambda: labels(queries=True, depth=2, fetch_blocks=[0, 1], num_heads=10),
}


@pytest.mark.parametrize("case", CASES)
def test_networks_are_the_released_ones_where_their_sizes_differ(case: str, tmp_path: Path) -> None:
    """A decoder with the encoder's heads has the right shapes and the wrong features, by half their size."""
    np.savez(tmp_path / "file.npz", **CASES[case]())  # type: ignore[arg-type]
    result = verify_file(tmp_path / "file.npz")
    assert result.status == "pass", result.detail
    assert result.compared == result.total
