"""Released names of the two-tower baseline (docs/reference.md#checkpoint-names).

The masked tower is named as Point-MAE's encoder; the contrast tower sits behind ``Dis_encoder.`` in every file.
"""

from __future__ import annotations

from bench.interop.names_transformer import BLOCK, CLASSIFICATION_HEAD, DECODER, HEADS, TOKENIZER, TOKENS
from bench.interop.naming import Layout, Row, prefixed

TOWER = (
    *TOKENIZER,
    Row("pos_embed.#", "position.#"),
    *prefixed(BLOCK, "blocks.blocks.#.", "blocks.#."),
    Row("norm", "norm"),
    *TOKENS,
)
"""Names of either tower, without prefix; the masked one has the class token, the contrast one image and text token."""

_CONTRAST = prefixed(TOWER, "Dis_encoder.", "contrast.")

PRETRAIN = Layout(
    "two-tower pretraining",
    (*prefixed((*prefixed(TOWER, "MAE_encoder.", "masked."), *_CONTRAST), "", "trunk."), *DECODER, *HEADS),
)
CLASSIFY = Layout(
    "two-tower fine-tuning",
    (*prefixed((*prefixed(TOWER, "", "masked."), *_CONTRAST), "", "encoder."), *CLASSIFICATION_HEAD),
)
