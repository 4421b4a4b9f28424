"""Verify ACT's recorded networks: autoencoder, student, fine-tuned classifier."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.interop.comparison import ARRAY, BATCH_NORM, EXACT, Comparison
from bench.interop.golden_parts import (
    MismatchError,
    Recorder,
    compare_buffers,
    compare_gradients,
    compare_patches,
    load_recorded,
    masked_options,
    recorded_backbone,
    recorded_input,
)
from bench.interop.names_act import CLASSIFY, DVAE, PRETRAIN, UNUSED_HEADS
from bench.interop.naming import Layout
from bench.methods.act import ACT, ACTModel
from bench.methods.act_dvae import ActDvae, ActDvaeModel
from bench.methods.base import Batch, Given
from bench.models.classifier import Classifier
from bench.models.grouping import RELEASED_POINT_MAE, Patches, cut_patches
from bench.models.token_transformer import TokenTransformer
from bench.models.tokenizer import PatchTokenizer
from bench.spec import BackboneSpec, TransformerShape

_VISION_EPS = 1e-6
"""LayerNorm's epsilon in timm's vision transformers; all other norms have PyTorch's default."""
_STUDENT = Layout("ACT pretraining with unused heads", (*PRETRAIN.rows, *UNUSED_HEADS))
_KINDS = {"smoothl1": "smooth_l1", "ntxent": "nt_xent"}
"""Our names of loss kinds where the files' differ."""
_EMBEDDING = "mid/patch_tokens"


def verify_dvae(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare the recorded autoencoder.

    Points, logits, losses, teacher features, buffers after one step, gradient norms.
    """
    model = _dvae(comparison, config)
    prepared = model.eval().prepare(Batch(recorded_input(comparison, "points")))
    prepared["noise"] = recorded_input(comparison, "gumbel_noise")
    compare_patches(comparison, prepared["patches"], prepared["centres"])
    soft = prepared | {"temperature": torch.tensor(float(config["temperature"]))}
    hard = prepared | {"temperature": torch.tensor(1.0)}
    with torch.no_grad():
        with Recorder(model) as seen:
            _compare_reconstruction(comparison, "eval", model, soft)
        _compare_dvae_intermediates(comparison, seen, int(config["tiny_vit"]["depth"]))
        _compare_reconstruction(comparison, "eval_hard", model, hard)
    inputs = (prepared["patches"], prepared["centres"], prepared["noise"])
    comparison.array("out/teacher_feature_global", model.trunk.targets(*inputs).numpy())
    comparison.array("out/teacher_feature_local", model.trunk.targets(*inputs, smooth=False).numpy())
    comparison.array("out/token_label", model.trunk.codes(inputs[0], inputs[1]).numpy(), EXACT)
    losses = _compare_reconstruction(comparison, "train", model.train(), soft)
    compare_buffers(comparison, model, DVAE)
    for name, loss in losses.items():
        compare_gradients(comparison, name, loss, model, DVAE)


def verify_student(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare the recorded student for every kind of loss.

    Losses, features, buffers, gradient norms.
    """
    recorded = [
        name.removeprefix("out/eval.loss_") for name in comparison.recorded if name.startswith("out/eval.loss_")
    ]
    for number, name in enumerate(recorded):
        model = _student(comparison, config, _KINDS.get(name, name))
        points, targets = recorded_input(comparison, "points"), recorded_input(comparison, "teacher_feature")
        prepared = model.prepare(Batch(points), mask=recorded_input(comparison, "mask"), targets=targets)
        with torch.no_grad(), Recorder(model) as seen:
            losses = model.eval().compute(prepared)
        comparison.array(f"out/eval.loss_{name}", _released_loss(losses, name).numpy())
        if number == 0:
            compare_patches(comparison, prepared["whole_patches"], prepared["whole_centres"])
            _compare_student_intermediates(comparison, model, prepared, seen)
        loss = _released_loss(model.train().compute(prepared), name)
        comparison.array(f"out/train.loss_{name}", loss.detach().numpy())
        if number == 0:
            compare_buffers(comparison, model, _STUDENT)
        compare_gradients(comparison, name, loss, model, _STUDENT)


def verify_classify(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare a recorded fine-tuned classifier.

    Logits, loss, intermediates, buffers after one step, gradient norms.
    """
    mlp = "state/cls_head_finetune.8.weight" in comparison.recorded
    options = ACT.Options(patch_width=int(config["encoder_dims"]), reference=True)
    encoder = ACT.build_encoder(_backbone(comparison, config, config), options)
    head = Classifier(encoder, int(config["cls_dim"]), "mlp" if mlp else "linear", dropout=0.0)
    model = load_recorded(head, comparison, CLASSIFY)
    _choose_trained(model, str(config["transfer_type"]))
    points, label = recorded_input(comparison, "points"), recorded_input(comparison, "label")
    patches = cut_patches(points, int(config["num_group"]), int(config["group_size"]), RELEASED_POINT_MAE)
    compare_patches(comparison, patches.points, patches.centres)
    with torch.no_grad(), Recorder(model) as seen:
        logits = model.eval()(points)
        _compare_embedding(comparison, encoder, patches.points)
    comparison.array("out/eval.logits", logits.numpy())
    comparison.array("out/eval.loss", F.cross_entropy(logits, label).numpy())
    for name, value in seen.intermediates("mid/", "block").items():
        if name != _EMBEDDING:
            comparison.array(name, value)

    logits = model.train()(points)
    loss = F.cross_entropy(logits, label)
    tolerance = BATCH_NORM if mlp else ARRAY
    comparison.array("out/train.logits", logits.detach().numpy(), tolerance)
    comparison.array("out/train.loss", loss.detach().numpy(), tolerance)
    compare_buffers(comparison, model, CLASSIFY)
    compare_gradients(comparison, "loss", loss, model, CLASSIFY)


def _choose_trained(model: Classifier, transfer: str) -> None:
    """Freeze the parameters that a kind of transfer freezes.

    The release decides by its parameter names.

    Raises:
        MismatchError: The kind of transfer is unknown.
    """
    if transfer in ("linear", "mlp-3"):
        model.freeze(reference=True)
    elif transfer == "bit-fit":
        for name, parameter in model.named_parameters():
            released = CLASSIFY.to_released(name) or name
            parameter.requires_grad_("bias" in released or "cls" in released)
    elif transfer != "full":
        raise MismatchError(
            f"transfer_type {transfer} has no counterpart here: expected full, linear, mlp-3 or bit-fit"
        )


def _student(comparison: Comparison, config: dict[str, Any], kind: str) -> ACTModel:
    """Build and load the student that a file describes.

    Includes the unused heads of the release.

    Raises:
        MismatchError: The weights do not fit.
    """
    transformer = config["transformer_config"]
    sizes = {name: config["dvae_config"][name] for name in ("num_group", "group_size")} | config
    own = {
        "patch_width": int(transformer["encoder_dims"]),
        "loss": kind,
        "cls_loss": bool(transformer["cls_loss"]),
        "shallow_block": int(transformer["register_shallow_hook"]),
    }
    options = ACT.parse(masked_options(transformer) | own)
    width = int(transformer["embed_dim"])
    target = comparison.recorded["state/proj_head.weight"].shape[0]
    model = ACTModel(_backbone(comparison, sizes, transformer), options, None, target)
    recorded = comparison.recorded
    model.lm_head = nn.Linear(width, recorded["state/ACT_encoder.lm_head.weight"].shape[0])
    hidden, out = (recorded[f"state/ACT_encoder.cls_head.{i}.weight"].shape[0] for i in (0, 2))
    model.cls_head = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, out))
    return load_recorded(model, comparison, _STUDENT)


def _released_loss(losses: dict[str, Tensor], name: str) -> Tensor:
    """Return the loss that the release reports.

    It adds the class token's term with cosine alone.
    """
    return losses["total" if name == "cosine" else "distil"]


def _compare_student_intermediates(
    comparison: Comparison, model: ACTModel, prepared: dict[str, Tensor], seen: Recorder
) -> None:
    with torch.no_grad():
        _compare_embedding(comparison, model.trunk, prepared["whole_patches"])
        whole = model.trunk.encode(Patches(prepared["whole_patches"], prepared["whole_centres"]))
        cls_head = cast(nn.Module, model.cls_head)
        comparison.array("out/eval.cls_feature_noaug", cls_head(whole.globals["cls"]).numpy())
    for name, value in seen.intermediates("mid/", "encoder_block").items():
        if name != _EMBEDDING and "decoder_" not in name:
            comparison.array(name, value)
    for part, name in (("decoder.norm", "decoder_output"), ("decoder.head", "student_feature")):
        passes = torch.split(seen.one(part), prepared["masked"].shape[1], dim=1)
        for suffix, features in zip(("", "_shallow"), passes, strict=False):
            comparison.array(f"mid/{name}{suffix}", features.numpy())


def _compare_embedding(comparison: Comparison, encoder: nn.Module, patches: Tensor) -> None:
    """Compare the patch embedding, before ``reduce_dim``."""
    tokenizer = cast(PatchTokenizer, encoder.tokenizer)
    comparison.array(_EMBEDDING, PatchTokenizer.forward(tokenizer, patches).numpy())


def _backbone(comparison: Comparison, config: dict[str, Any], transformer: dict[str, Any]) -> BackboneSpec:
    return recorded_backbone(comparison, config, transformer | {"trans_dim": transformer["embed_dim"]})


def _compare_reconstruction(
    comparison: Comparison, mode: str, model: ActDvaeModel, prepared: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Compare the outputs of one mode; return its losses.

    The losses have the names of the file.
    """
    hard = mode.endswith("_hard")
    # All outputs depend on the tokenizer's BatchNorm.
    tolerance = BATCH_NORM if mode == "train" else ARRAY
    logits, coarse, fine = model.reconstruct(prepared, hard=hard)
    losses = model.losses(logits, coarse, fine, prepared)
    arrays = {"logits": logits, "coarse": coarse, "fine": fine}
    arrays |= {f"loss_{name}": losses[name] for name in ("recon", "kl")}
    for name, points in (("coarse", coarse), ("fine", fine)):
        arrays[f"whole_{name}"] = (points + prepared["centres"][:, :, None]).flatten(1, 2)
    for name, value in arrays.items():
        comparison.array(f"out/{mode}.{name}", value.detach().numpy(), tolerance)
    return losses


def _compare_dvae_intermediates(comparison: Comparison, seen: Recorder, blocks: int) -> None:
    names = {
        "tokenizer": "patch_tokens",
        "to_codes": "dgcnn1_logits",
        "prompted.before": "proj_pre",
        "prompted.transformer.norm": "visual_output",
        "prompted.after": "proj_post",
        "smooth": "dgcnn2_feature",
    }
    names |= {f"prompted.transformer.blocks.{i}": f"visual_block{i}" for i in range(blocks)}
    for ours, theirs in names.items():
        comparison.array(f"mid/{theirs}", seen.one(f"trunk.{ours}").numpy())


def _dvae(comparison: Comparison, config: dict[str, Any]) -> ActDvaeModel:
    """Build and load the autoencoder that a file describes.

    Raises:
        MismatchError: Its weights do not fit.
    """
    weights = {name: value.shape for name, value in comparison.recorded.items() if name.startswith("state/")}
    prompts, frozen = int(config["num_prompt_token"]), bool(config["freeze_visual_embed"])
    shape = TransformerShape(
        width=int(config["visual_embed_dim"]),
        depth=int(config["tiny_vit"]["depth"]),
        heads=int(config["tiny_vit"]["num_heads"]),
        mlp_width=weights["state/visual_embed.0.0.mlp.fc1.weight"][0],
        eps=_VISION_EPS,
        qkv_bias="state/visual_embed.0.0.attn.qkv.bias" in weights,
    )
    options = ActDvae.Options(
        transformer=shape,
        tuning="prompt" if prompts else "frozen" if frozen else "full",
        prompts=prompts or 1,
        deep_prompts=bool(config["use_deep_prompt"]),
        prompt_dropout=0.0,
        codes=int(config["num_tokens"]),
        code_width=int(config["tokens_dims"]),
        feature_width=int(config["decoder_dims"]),
        graph_width=weights["state/dgcnn_1.input_trans.weight"][0],
        folding_width=weights["state/decoder.final_conv.0.weight"][0],
        reference=True,
    )
    backbone = BackboneSpec(
        points=int(config["npoints"]),
        groups=int(config["num_group"]),
        group_size=int(config["group_size"]),
        width=int(config["encoder_dims"]),
        heads=1,
        tokenizer_width=weights["state/encoder.first_conv.0.weight"][0],
    )
    model = ActDvae.build(backbone, options, Given(transformer=TokenTransformer(shape)))
    # The release may train the transformer's weights and prompts at once.
    model.trunk.prompted.transformer.requires_grad_(not frozen)
    return load_recorded(model, comparison, DVAE)
