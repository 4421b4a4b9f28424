"""Verification of two-tower files: it must notice what differs, in the unread tower too, and take any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bench.interop.golden import verify_file
from bench.interop.names_two_tower import CLASSIFY, PRETRAIN
from bench.interop.naming import release_state
from bench.methods.base import Batch, Given
from bench.methods.two_tower import TwoTower
from bench.models.blocks import AttentionBlock
from bench.models.classifier import Classifier
from bench.spec import BackboneSpec
from tests.interop.test_golden import GOLDEN, changed, nudge

OTHER = BackboneSpec(points=90, groups=10, group_size=5, width=40, depth=3, heads=5, tokenizer_width=24, drop_path=0)
SIZES = {"npoints": 90, "num_group": 10, "group_size": 5}
FILES = ("pretrain", "classify_all", "classify_mdm", "classify_cmc")


@pytest.mark.parametrize("name", FILES)
def test_two_tower_is_reproduced_to_the_last_intermediate(name: str) -> None:
    """Our two-tower model would not be the published one."""
    result = verify_file(GOLDEN / f"twotower_{name}.npz")
    assert result.status == "pass", result.detail
    assert result.compared == result.total
    done, held = result.detail.removeprefix("mid ").split("/")
    assert done == held


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("pretrain", "state/Dis_encoder.img_pos"),
        ("pretrain", "state/Dis_encoder.encoder.second_conv.3.weight"),
        ("pretrain", "state/MAE_encoder.blocks.blocks.1.attn.qkv.weight"),
        ("classify_all", "state/Dis_encoder.blocks.blocks.0.mlp.fc1.weight"),
        ("classify_mdm", "state/cls_pos"),
        ("classify_cmc", "state/Dis_encoder.text_token"),
    ],
)
def test_one_changed_weight_is_noticed(name: str, key: str, tmp_path: Path) -> None:
    """A weight that is not loaded, or into the other tower, would go unnoticed."""
    assert verify_file(changed(tmp_path, f"twotower_{name}.npz", nudge(key, 0.05))).status == "fail"


def test_the_unread_tower_is_compared_too(tmp_path: Path) -> None:
    """A file would count as reproduced although a third of it was never looked at."""
    for key in ("after/Dis_encoder.encoder.first_conv.1.running_var", "state/Dis_encoder.norm.weight"):
        path = changed(tmp_path, "twotower_classify_mdm.npz", lambda a, key=key: a.__delitem__(key))  # type: ignore[misc]
        expected = "missing: encoder.contrast.norm.weight" if key.startswith("state/") else "mid 6/6"
        assert expected in verify_file(path).detail
    moved = changed(
        tmp_path, "twotower_classify_mdm.npz", nudge("after/Dis_encoder.encoder.first_conv.1.running_var", 0.01)
    )
    assert verify_file(moved).status == "fail"


def test_streams_are_read_from_the_file(tmp_path: Path) -> None:
    """The wrong tower would be judged wherever both features have the same width."""

    def exchange(arrays: dict[str, np.ndarray[Any, Any]]) -> None:
        arrays["config"] = np.array(json.dumps(json.loads(str(arrays["config"])) | {"stream": "MDM"}))

    assert verify_file(changed(tmp_path, "twotower_classify_cmc.npz", exchange)).status == "fail"


def test_other_pretraining_sizes(tmp_path: Path) -> None:
    """Verification would only work for the sizes it was written with, or with as many heads in the decoder."""
    torch.manual_seed(5)
    options = TwoTower.Options(mask_ratio=0.5, decoder_depth=1, tokenize="all", loss="cdl1", reference=True)
    model = TwoTower.build(OTHER, options, Given(image=6)).eval()
    for block in model.decoder.blocks:
        assert isinstance(block, AttentionBlock)
        block.attention.heads = 2
    points, image, mask = torch.rand(3, 90, 3) + 0.1, torch.randn(3, 6), torch.rand(3, 10).argsort(1) < 5
    with torch.no_grad():
        losses = model.compute(model.prepare(Batch(points, image), mask=mask))
    shape = {"trans_dim": 40, "depth": 3, "num_heads": 5, "decoder_depth": 1, "decoder_num_heads": 2}
    rest = {"drop_path_rate": 0.0, "mask_ratio": 0.5, "mask_type": "rand"}
    config = {"NAME": "TwoTower", "loss": "cdl1", **SIZES, "transformer_config": shape | rest}
    arrays = {
        f"state/{name}": value.numpy()
        for name, value in release_state(model.state_dict(), PRETRAIN).items()
        if "MAE_encoder.cls" not in name
    }
    arrays |= {"in/points": points.numpy(), "in/mask": mask.numpy(), "in/img_feature": image.numpy()}
    arrays |= {"out/eval.loss_csc_img": losses["csc_image"].numpy(), "out/eval.loss_total": losses["total"].numpy()}
    np.savez(tmp_path / "other.npz", config=np.array(json.dumps(config)), **arrays)  # type: ignore[arg-type]
    result = verify_file(tmp_path / "other.npz")
    assert result.status == "pass", result.detail


def test_other_classifier_sizes_and_a_linear_head(tmp_path: Path) -> None:
    """The same for classification."""
    torch.manual_seed(6)
    encoder = TwoTower.build_encoder(OTHER, TwoTower.Options(reference=True))
    model = Classifier(encoder, 7, "linear", dropout=0.0).eval()
    points, label = torch.rand(4, 90, 3) + 0.1, torch.tensor([0, 6, 3, 3])
    with torch.no_grad():
        logits = model(points)
    config = {
        "NAME": "PointTransformerTwoTower", "stream": "ALL", "cls_dim": 7, "trans_dim": 40, "depth": 3, "num_heads": 5,
        "drop_path_rate": 0.0, **SIZES,
    }  # fmt: skip
    arrays = {f"state/{name}": value.numpy() for name, value in release_state(model.state_dict(), CLASSIFY).items()}
    arrays |= {"in/points": points.numpy(), "in/label": label.numpy(), "out/eval.logits": logits.numpy()}
    arrays["out/eval.loss"] = F.cross_entropy(logits, label).numpy()
    np.savez(tmp_path / "other.npz", config=np.array(json.dumps(config)), **arrays)  # type: ignore[arg-type]
    result = verify_file(tmp_path / "other.npz")
    assert result.status == "pass", result.detail
