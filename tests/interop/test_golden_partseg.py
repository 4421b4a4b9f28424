"""The recorded segmentation networks are reproduced in every array, and a wrong one is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bench.interop.golden import verify_file

GOLDEN = Path(__file__).parents[1] / "golden"
Arrays = dict[str, np.ndarray]


def changed(tmp_path: Path, name: str, change: Callable[[Arrays], None]) -> Path:
    with np.load(GOLDEN / name) as archive:
        arrays = {key: archive[key].copy() for key in archive.files}
    change(arrays)
    path = tmp_path / name
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", ["recon_partseg.npz", "pointmae_partseg.npz"])
def test_recorded_segmentation_is_reproduced(name: str) -> None:
    """Part segmentation figures would not be comparable with the published ones."""
    result = verify_file(GOLDEN / name)
    assert result.status == "pass", result.detail
    assert (result.compared, result.total) == (18, 18)
    assert result.detail == "mid 7/7"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("recon_partseg.npz", "state/text_token"),
        ("recon_partseg.npz", "state/blocks.blocks.11.attn_contrast.kv.weight"),
        ("recon_partseg.npz", "state/label_conv.0.weight"),
        ("pointmae_partseg.npz", "state/propagation_0.mlp_convs.0.weight"),
        ("pointmae_partseg.npz", "state/bns1.running_var"),
        ("pointmae_partseg.npz", "in/category_one_hot"),
        ("pointmae_partseg.npz", "in/points"),
        ("pointmae_partseg.npz", "in/target"),
    ],
)
def test_a_change_of_weights_or_inputs_is_noticed(name: str, key: str, tmp_path: Path) -> None:
    """A weight that is not loaded, or an input that is not used, would go unnoticed."""

    def turn(arrays: Arrays) -> None:
        arrays[key] = np.flip(arrays[key]) if key != "in/points" else arrays[key][:, ::-1] * np.float32(0.9)

    assert verify_file(changed(tmp_path, name, turn)).status == "fail"


def test_another_choice_of_blocks_is_noticed(tmp_path: Path) -> None:
    """Tokens of the wrong depth would be used."""

    def shift(arrays: Arrays) -> None:
        config = json.loads(str(arrays["config"]))
        arrays["config"] = np.array(json.dumps(config | {"fetch_blocks": [2, 7, 11]}))

    result = verify_file(changed(tmp_path, "pointmae_partseg.npz", shift))
    assert result.status == "fail"
    assert "out/eval.log_prob" in result.detail


def test_lost_head_weights_are_named(tmp_path: Path) -> None:
    """A half-loaded segmentation file would be compared as if it were whole."""
    path = changed(tmp_path, "recon_partseg.npz", lambda arrays: arrays.__delitem__("state/convs2.bias"))
    assert "missing: head.narrow.bias" in verify_file(path).detail
    # The class token may be absent from Point-MAE's file only.
    path = changed(tmp_path, "recon_partseg.npz", lambda arrays: arrays.__delitem__("state/cls_token"))
    assert "missing: encoder.cls_token" in verify_file(path).detail
