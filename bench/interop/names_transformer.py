"""Released names of Point-MAE and ReCon (docs/reference.md#checkpoint-names).

The encoder sits behind a prefix on both sides: ``MAE_encoder.`` and ``trunk.`` in pretraining, nothing and
``encoder.`` in a fine-tuned classifier. Everything below the prefix, and every head, has one name each.
"""

from __future__ import annotations

from bench.interop.naming import Layout, Row, prefixed

BLOCK = (
    Row("norm1", "norm1"),
    Row("norm2", "norm2"),
    Row("attn.qkv", "attention.qkv"),
    Row("attn.proj", "attention.proj"),
    Row("mlp.fc1", "mlp.fc1"),
    Row("mlp.fc2", "mlp.fc2"),
)
GLOBAL_STREAM = (
    Row("norm1_contrast", "global_norm1"),
    Row("norm2_contrast", "global_norm2"),
    Row("attn_contrast.q", "global_attention.q"),
    Row("attn_contrast.kv", "global_attention.kv"),
    Row("attn_contrast.proj", "global_attention.proj"),
    Row("mlp_contrast.fc1", "global_mlp.fc1"),
    Row("mlp_contrast.fc2", "global_mlp.fc2"),
)
TOKENIZER = (
    Row("encoder.first_conv.0", "tokenizer.local1", spare=1),
    Row("encoder.first_conv.1", "tokenizer.norm1"),
    Row("encoder.first_conv.3", "tokenizer.local2", spare=1),
    Row("encoder.second_conv.0", "tokenizer.mix", spare=1),
    Row("encoder.second_conv.1", "tokenizer.norm2"),
    Row("encoder.second_conv.3", "tokenizer.out", spare=1),
)
TOKENS = (
    Row("cls_token", "cls_token", tensor=True),
    Row("cls_pos", "cls_pos", tensor=True),
    Row("img_token", "image_token", tensor=True),
    Row("img_pos", "image_pos", tensor=True),
    Row("text_token", "text_token", tensor=True),
    Row("text_pos", "text_pos", tensor=True),
)
ENCODER = (
    *TOKENIZER,
    Row("pos_embed.#", "position.#"),
    *prefixed(BLOCK + GLOBAL_STREAM, "blocks.blocks.#.", "blocks.#."),
    Row("norm", "norm"),
    *TOKENS,
)
"""Names of an encoder, without their prefix."""
DECODER = (
    Row("decoder_pos_embed.#", "decoder.position.#"),
    *prefixed(BLOCK, "MAE_decoder.blocks.#.", "decoder.blocks.#."),
    Row("MAE_decoder.norm", "decoder.norm"),
    Row("increase_dim.0", "decoder.points", spare=1),
    Row("mask_token", "decoder.mask_token", tensor=True),
)
HEADS = (
    Row("img_proj", "image_head"),
    Row("text_proj", "text_head"),
    Row("cls_proj.#", "contrast_head.#"),
)
CLASSIFICATION_HEAD = (Row("cls_head_finetune.#", "head.#"),)

PRETRAIN = Layout("Point-MAE or ReCon pretraining", (*prefixed(ENCODER, "MAE_encoder.", "trunk."), *DECODER, *HEADS))
CLASSIFY = Layout("Point-MAE or ReCon fine-tuning", (*prefixed(ENCODER, "", "encoder."), *CLASSIFICATION_HEAD, *HEADS))
