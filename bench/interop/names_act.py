"""Released names of ACT's networks (docs/reference.md#checkpoint-names)."""

from __future__ import annotations

from bench.interop.names_transformer import BLOCK, CLASSIFICATION_HEAD, ENCODER, TOKENIZER
from bench.interop.naming import Layout, Row, prefixed

_GRAPH = (
    Row("input_trans", "embed", spare=1),
    *(Row(f"layer{i + 1}.0", f"edges.{i}.mix", spare=2) for i in range(4)),
    *(Row(f"layer{i + 1}.1", f"edges.{i}.norm") for i in range(4)),
    Row("layer5.0", "out", spare=1),
    Row("layer5.1", "norm"),
)
_PROMPTED = (
    Row("proj_pre", "before"),
    Row("proj_post", "after"),
    Row("visual_pos_embed.#", "position.#"),
    *prefixed(BLOCK, "visual_embed.0.#.", "transformer.blocks.#."),
    Row("visual_embed.1", "transformer.norm"),
    Row("visual_prompt_token", "prompt_token", tensor=True),
    Row("visual_prompt_pos", "prompt_pos", tensor=True),
    Row("deep_prompt_tokens", "deep_prompt_token", tensor=True),
    Row("deep_prompt_pos", "deep_prompt_pos", tensor=True),
)
_FOLDING = (
    Row("mlp.#", "coarse.#"),
    Row("final_conv.0", "mix", spare=1),
    Row("final_conv.1", "norm1"),
    Row("final_conv.3", "hidden", spare=1),
    Row("final_conv.4", "norm2"),
    Row("final_conv.6", "out", spare=1),
)
_REDUCE = (Row("reduce_dim", "tokenizer.reduce"),)

DVAE_ENCODER = (
    *TOKENIZER,
    *prefixed(_GRAPH, "dgcnn_1.", "to_codes."),
    Row("codebook", "codebook", tensor=True),
    *prefixed(_PROMPTED, "", "prompted."),
    *prefixed(_GRAPH, "dgcnn_2.", "smooth."),
)
"""Names of the autoencoder without its decoder, without their prefix."""
STUDENT_ENCODER = (*ENCODER, *_REDUCE)
"""Names of the transferred part of the student, without their prefix."""
STUDENT_DECODER = (
    Row("decoder_pos_embed.#", "decoder.position.#"),
    *prefixed(BLOCK, "ACT_decoder.blocks.#.", "decoder.blocks.#."),
    Row("ACT_decoder.norm", "decoder.norm"),
    Row("proj_head", "decoder.head"),
    Row("mask_token", "decoder.mask_token", tensor=True),
    Row("cls_pos", "decoder.cls_pos", tensor=True),
)
UNUSED_HEADS = (Row("ACT_encoder.lm_head", "lm_head"), Row("ACT_encoder.cls_head.#", "cls_head.#"))
"""Heads of the released student without a loss; our student has none."""

DVAE = Layout("ACT autoencoder", (*prefixed(DVAE_ENCODER, "", "trunk."), *prefixed(_FOLDING, "decoder.", "decoder.")))
PRETRAIN = Layout("ACT pretraining", (*prefixed(STUDENT_ENCODER, "ACT_encoder.", "trunk."), *STUDENT_DECODER))
CLASSIFY = Layout("ACT fine-tuning", (*prefixed(STUDENT_ENCODER, "", "encoder."), *CLASSIFICATION_HEAD))
