"""Released names of the transformers' segmentation networks (docs/reference.md#checkpoint-names)."""

from __future__ import annotations

from bench.interop.names_transformer import ENCODER
from bench.interop.naming import Layout, Row, prefixed


def _head(suffix: str) -> tuple[Row, ...]:
    return (
        Row(f"label_conv{suffix}.0", "head.category.embed", spare=1),
        Row(f"label_conv{suffix}.1", "head.category.norm"),
        Row(f"propagation_0{suffix}.mlp_convs.0", "head.propagation.first", spare=1),
        Row(f"propagation_0{suffix}.mlp_bns.0", "head.propagation.norm1"),
        Row(f"propagation_0{suffix}.mlp_convs.1", "head.propagation.second", spare=1),
        Row(f"propagation_0{suffix}.mlp_bns.1", "head.propagation.norm2"),
        Row(f"convs1{suffix}", "head.mix", spare=1),
        Row(f"bns1{suffix}", "head.norm1"),
        Row(f"convs2{suffix}", "head.narrow", spare=1),
        Row(f"bns2{suffix}", "head.norm2"),
        Row(f"convs3{suffix}", "head.out", spare=1),
    )


PARTSEG = Layout("Point-MAE or ReCon segmentation", (*prefixed(ENCODER, "", "encoder."), *_head("")))
ACT_PARTSEG = Layout("ACT segmentation", (*prefixed(ENCODER, "", "encoder."), *_head("_cls")))
