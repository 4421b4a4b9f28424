"""Names of CLIP towers in ReCon's, OpenAI's and open_clip's files."""

from __future__ import annotations

from bench.interop.naming import Layout, Row, prefixed

_BLOCK = (
    Row("ln_1", "ln_1"),
    Row("ln_2", "ln_2"),
    Row("attn.in_proj_weight", "attn.in_proj_weight", tensor=True),
    Row("attn.in_proj_bias", "attn.in_proj_bias", tensor=True),
    Row("attn.out_proj", "attn.out_proj"),
    Row("mlp.c_fc", "mlp.c_fc"),
    Row("mlp.c_proj", "mlp.c_proj"),
)
IMAGE_TOWER = (
    Row("conv1", "conv1"),
    Row("cls_token", "class_embedding", tensor=True),
    Row("pos_embed", "positional_embedding", tensor=True),
    Row("ln_pre", "ln_pre"),
    *prefixed(_BLOCK, "blocks.#.", "transformer.resblocks.#."),
    Row("ln_post", "ln_post"),
    Row("proj", "proj", tensor=True),
)
TEXT_TOWER = (
    Row("token_embedding", "token_embedding"),
    Row("positional_embedding", "positional_embedding", tensor=True),
    *prefixed(_BLOCK, "transformer.resblocks.#.", "transformer.resblocks.#."),
    Row("ln_final", "ln_final"),
    Row("text_projection", "text_projection", tensor=True),
)

TEACHERS = Layout(
    "ReCon's CLIP teachers",
    (*prefixed(IMAGE_TOWER, "img_encoder.", "visual."), *prefixed(TEXT_TOWER, "text_encoder.", "")),
)
