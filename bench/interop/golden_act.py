"""Verification of ACT's recorded networks: autoencoder, student, fine-tuned classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bench.interop.comparison import ARRAY, BATCH_NORM, EXACT, Comparison
from bench.interop.golden_parts import (
    Recorder,
    compare_buffers,
    compare_gradients,
    compare_patches,
    load_recorded,
    recorded_input,
)
from bench.interop.names_act import DVAE
from bench.methods.act_dvae import ActDvae, ActDvaeModel
from bench.methods.base import Batch, Given
from bench.models.token_transformer import TokenTransformer
from bench.spec import BackboneSpec, TransformerShape

_VISION_EPS = 1e-6
"""LayerNorm's epsilon in timm's vision transformers; every other norm of the files has PyTorch's."""


def verify_dvae(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare the autoencoder: points, logits, losses, teacher features, buffers after one step, gradient norms."""
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


def _compare_reconstruction(
    comparison: Comparison, mode: str, model: ActDvaeModel, prepared: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Compare what comes out in one mode; return the losses by the files' names."""
    hard = mode.endswith("_hard")
    # Everything the autoencoder returns has passed the tokenizer's BatchNorm.
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
    """Build and load the autoencoder a file describes.

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
    # The release may tune the transformer's weights and prompts at once.
    model.trunk.prompted.transformer.requires_grad_(not frozen)
    return load_recorded(model, comparison, DVAE)
