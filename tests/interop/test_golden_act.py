"""Verification of ACT's recorded networks: what agrees passes, at any size; what does not is noticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.interop.golden import verify_file
from bench.interop.names_act import CLASSIFY, DVAE, PRETRAIN, UNUSED_HEADS
from bench.interop.naming import Layout, release_state
from bench.methods.act import ACT, ACTModel
from bench.methods.act_dvae import ActDvae
from bench.methods.base import Batch, Given
from bench.models.classifier import Classifier
from bench.models.token_transformer import TokenTransformer
from bench.spec import BackboneSpec, TransformerShape

GOLDEN = Path(__file__).parents[1] / "golden"
Arrays = dict[str, Any]
SIZE = BackboneSpec(points=60, groups=10, group_size=4, width=20, depth=4, heads=5, tokenizer_width=12, drop_path=0)
SIZES = {"npoints": 60, "num_group": 10, "group_size": 4}


def recorded(name: str) -> Arrays:
    with np.load(GOLDEN / name) as archive:
        return {key: archive[key].copy() for key in archive.files}


def verify(path: Path, arrays: Arrays) -> Any:
    np.savez(path / "file.npz", **arrays)
    return verify_file(path / "file.npz")


def weights(model: nn.Module, layout: Layout) -> Arrays:
    """Draw all of a model's weights anew and return them under the released names."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape) * 0.6 + (0.7 if "norm" in name and "weight" in name else -0.3))
        if name.endswith("running_var"):
            value.abs_().add_(0.5)
    return {f"state/{k}": v.numpy().copy() for k, v in release_state(model.state_dict(), layout).items()}


def gradients(model: nn.Module, layout: Layout, **losses: Tensor) -> Arrays:
    out: Arrays = {}
    trained = {layout.to_released(n): p for n, p in model.named_parameters() if p.requires_grad}
    for loss, value in losses.items():
        found = torch.autograd.grad(value, list(trained.values()), retain_graph=True, allow_unused=True)
        norms = [np.nan if gradient is None else float(gradient.double().norm()) for gradient in found]
        out |= {f"grad/{loss}.names": np.array(json.dumps(list(trained))), f"grad/{loss}.norms": np.array(norms)}
    return out


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("act_dvae", "dgcnn_1.layer3.0.weight"),
        ("act_dvae", "dgcnn_2.layer5.1.bias"),
        ("act_dvae", "visual_embed.0.2.attn.qkv.bias"),
        ("act_dvae", "deep_prompt_pos"),
        ("act_dvae", "codebook"),
        ("act_dvae", "decoder.final_conv.0.weight"),
        ("act_student", "ACT_encoder.cls_token"),
        ("act_student", "ACT_encoder.cls_head.2.weight"),
        ("act_student_clsloss", "cls_pos"),
        ("act_student_clsloss", "proj_head.weight"),
    ],
)
def test_one_changed_weight_is_noticed(name: str, key: str, tmp_path: Path) -> None:
    """A weight that is loaded in another place, or not at all, would go unnoticed."""
    arrays = recorded(f"{name}.npz")
    value = arrays[f"state/{key}"].astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(value.shape).astype(np.float32)
    assert verify(tmp_path, arrays | {f"state/{key}": value + 0.02 * noise}).status == "fail"


@pytest.mark.parametrize(
    ("prompts", "deep", "frozen"),
    [(3, False, True), (2, True, False), (0, True, True), (0, True, False)],
    ids=["shallow prompts", "prompts and tuning", "frozen", "full tuning"],
)
def test_autoencoders_of_other_designs_are_read_from_the_file(
    prompts: int, deep: bool, frozen: bool, tmp_path: Path
) -> None:
    """Verification would only work for the design it was written with."""
    torch.manual_seed(0)
    shape = TransformerShape(width=18, depth=2, heads=3, mlp_width=54, qkv_bias=False)
    options = ActDvae.Options(
        transformer=shape, tuning="prompt" if prompts else "frozen" if frozen else "full", prompts=prompts or 1,
        deep_prompts=deep, prompt_dropout=0, codes=12, code_width=14, feature_width=16, graph_width=8, folding_width=6,
        reference=True,
    )  # fmt: skip
    model = ActDvae.build(SIZE, options, Given(transformer=TokenTransformer(shape)))
    model.trunk.prompted.transformer.requires_grad_(not frozen)
    config = SIZES | {
        "NAME": "ACTPromptedDiscreteVAEwithVIT", "encoder_dims": 20, "tokens_dims": 14, "decoder_dims": 16,
        "num_tokens": 12, "num_prompt_token": prompts, "use_deep_prompt": deep, "freeze_visual_embed": frozen,
        "visual_embed_dim": 18, "temperature": 0.4, "tiny_vit": {"depth": 2, "num_heads": 3},
    }  # fmt: skip
    arrays = weights(model, DVAE) | {"config": np.array(json.dumps(config))}
    points, noise = torch.rand(3, 60, 3) + 0.1, torch.randn(3, 10, 12)
    arrays |= {"in/points": points.numpy(), "in/gumbel_noise": noise.numpy()}
    prepared = model.eval().prepare(Batch(points)) | {"noise": noise, "temperature": torch.tensor(0.4)}
    with torch.no_grad():
        arrays["out/eval.fine"] = model.reconstruct(prepared)[2].numpy()
    losses = model.train().compute(prepared)
    arrays["out/train.loss_recon"] = losses["recon"].detach().numpy()
    arrays |= gradients(model, DVAE, recon=losses["recon"])
    result = verify(tmp_path, arrays)
    assert result.status == "pass", result.detail
    assert result.compared == 3
    assert verify(tmp_path, arrays | {"out/eval.fine": arrays["out/eval.fine"] * 1.01}).status == "fail"


@pytest.mark.parametrize("patch_width", [20, 28])
def test_students_of_other_widths_are_read_from_the_file(patch_width: int, tmp_path: Path) -> None:
    """Files whose patch embedding is wider than the transformer would be called wrong."""
    torch.manual_seed(1)
    options = ACT.Options(
        mask_ratio=0.5, decoder_depth=1, loss="smooth_l1", cls_loss=True, shallow_block=2, patch_width=patch_width,
        tokenize="all", reference=True,
    )  # fmt: skip
    model = ACTModel(SIZE, options, None, 9)
    model.lm_head = nn.Linear(20, 6)
    model.cls_head = nn.Sequential(nn.Linear(20, 7), nn.GELU(), nn.Linear(7, 7))
    layout = Layout("student", (*PRETRAIN.rows, *UNUSED_HEADS))
    transformer = {
        "encoder_dims": patch_width, "embed_dim": 20, "depth": 4, "num_heads": 5, "decoder_depth": 1,
        "drop_path_rate": 0.0, "mask_ratio": 0.5, "mask_type": "rand", "cls_loss": True, "register_shallow_hook": 2,
    }  # fmt: skip
    config = {"NAME": "ACT_PointDistillation", "npoints": 60, "transformer_config": transformer}
    config |= {"dvae_config": {"num_group": 10, "group_size": 4}}
    arrays = weights(model, layout) | {"config": np.array(json.dumps(config))}
    assert ("state/ACT_encoder.reduce_dim.weight" in arrays) == (patch_width != 20)
    points, mask = torch.rand(3, 60, 3) + 0.1, torch.rand(3, 10).argsort(1) < 5
    targets = torch.randn(3, 10, 9)
    arrays |= {"in/points": points.numpy(), "in/mask": mask.numpy(), "in/teacher_feature": targets.numpy()}
    prepared = model.prepare(Batch(points), mask=mask, targets=targets)
    for mode in ("eval", "train"):
        losses = model.train(mode == "train").compute(prepared)
        arrays[f"out/{mode}.loss_smoothl1"] = losses["distil"].detach().numpy()
    arrays |= gradients(model, layout, smoothl1=losses["distil"])
    result = verify(tmp_path, arrays)
    assert result.status == "pass", result.detail
    assert result.compared == 3


@pytest.mark.parametrize("transfer", ["mlp-3", "bit-fit"])
def test_classifiers_of_other_transfers_are_read_from_the_file(transfer: str, tmp_path: Path) -> None:
    """Gradients of parameters that the release freezes would be expected."""
    torch.manual_seed(2)
    model = Classifier(ACT.build_encoder(SIZE, ACT.Options(reference=True, patch_width=24)), 5, "mlp", dropout=0.0)
    trained = {"mlp-3": ("cls",), "bit-fit": ("cls", "bias")}[transfer]
    config = SIZES | {
        "NAME": "PointTransformer", "cls_dim": 5, "encoder_dims": 24, "embed_dim": 20, "depth": 4, "num_heads": 5,
        "drop_path_rate": 0.0, "transfer_type": transfer,
    }  # fmt: skip
    arrays = weights(model, CLASSIFY) | {"config": np.array(json.dumps(config))}
    points, label = torch.rand(4, 60, 3) + 0.1, torch.tensor([4, 0, 2, 1])
    arrays |= {"in/points": points.numpy(), "in/label": label.numpy()}
    for mode in ("eval", "train"):
        logits = model.train(mode == "train")(points)
        arrays[f"out/{mode}.logits"] = logits.detach().numpy()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in str(CLASSIFY.to_released(name)) for part in trained))
    arrays |= gradients(model, CLASSIFY, loss=F.cross_entropy(model(points), label))
    result = verify(tmp_path, arrays)
    assert result.status == "pass", result.detail
    unknown = json.dumps(config | {"transfer_type": "side"})
    assert "transfer_type side" in verify(tmp_path, arrays | {"config": np.array(unknown)}).detail
