"""Verify recorded segmentation networks of the transformers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from bench.interop.comparison import BATCH_NORM, Comparison
from bench.interop.golden_parts import (
    Recorder,
    compare_buffers,
    compare_gradients,
    compare_patches,
    load_recorded,
    optional_input,
    recorded_backbone,
    recorded_input,
)
from bench.interop.names_partseg import ACT_PARTSEG, PARTSEG
from bench.interop.naming import Layout
from bench.methods.point_mae import PointMAE
from bench.methods.recon import ReCon
from bench.models.encoder import Encoder
from bench.models.grouping import cut_patches
from bench.models.segmentation import HeadWidths, PartSegmenter
from bench.models.standard import StandardEncoder
from bench.models.two_stream import TwoStreamEncoder
from bench.spec import BackboneSpec

EVALUATION = 2e-5
"""Tolerance in evaluation mode; the recorded numbers are noisier than those of other networks."""
_ONE_IN = 8
"""Step of the recorded channels of propagated features; the files store channels before points."""


def verify(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare a recorded segmentation network.

    Log-probabilities, loss, intermediates, buffers after one step, gradients.
    """
    layout = ACT_PARTSEG if comparison.has("state/convs1_cls.weight") else PARTSEG
    model = _build(comparison, config, layout)
    points, target = recorded_input(comparison, "points"), recorded_input(comparison, "target")
    category = optional_input(comparison, "category_one_hot")
    encoder = model.encoder
    assert isinstance(encoder, StandardEncoder | TwoStreamEncoder)
    patches = cut_patches(points, encoder.backbone.groups, encoder.backbone.group_size, encoder.sampling)
    compare_patches(comparison, patches.points, patches.centres)
    with torch.no_grad(), Recorder(model) as seen:
        labels = model.eval()(points, category)
    comparison.array("out/eval.log_prob", labels.numpy(), EVALUATION)
    comparison.array("out/eval.loss", F.nll_loss(labels.flatten(0, 1), target.flatten()).numpy(), EVALUATION)
    _compare_intermediates(comparison, seen, "mid/")

    with Recorder(model) as seen:
        labels = model.train()(points, category)
    loss = F.nll_loss(labels.flatten(0, 1), target.flatten())
    comparison.array("out/train.log_prob", labels.detach().numpy(), BATCH_NORM)
    comparison.array("out/train.loss", loss.detach().numpy(), BATCH_NORM)
    _compare_intermediates(comparison, seen, "mid/train.")
    compare_buffers(comparison, model, layout)
    compare_gradients(comparison, "loss", loss, model, layout)


def _build(comparison: Comparison, config: dict[str, Any], layout: Layout) -> PartSegmenter:
    """Build and load the network that a file describes.

    The weights give the widths of the head.
    """
    backbone = recorded_backbone(comparison, config, config)
    suffix = "_cls" if layout is ACT_PARTSEG else ""
    widths = HeadWidths(
        hidden=_rows(comparison, f"propagation_0{suffix}.mlp_convs.0"),
        propagated=_rows(comparison, f"propagation_0{suffix}.mlp_convs.1"),
        category=_rows(comparison, f"label_conv{suffix}.0") or HeadWidths.category,
        mixed=_rows(comparison, f"convs1{suffix}"),
        narrow=_rows(comparison, f"convs2{suffix}"),
    )
    label = comparison.recorded.get(f"state/label_conv{suffix}.0.weight")
    model = PartSegmenter(
        _encoder(comparison, backbone),
        parts=int(config["num_part"]),
        categories=0 if label is None else label.shape[1],
        dropout=0.0,
        fetch_blocks=[int(block) for block in config["fetch_blocks"]],
        widths=widths,
    )
    absent: list[str] = []
    if isinstance(model.encoder, StandardEncoder):
        # The class token takes no part in segmentation, and the released network has none.
        free = ("encoder.cls_token", "encoder.cls_pos")
        absent = [name for name in free if not comparison.has(f"state/{layout.to_released(name)}")]
    for name in absent:
        model.get_parameter(name).requires_grad_(False)
    return load_recorded(model, comparison, layout, absent=absent)


def _encoder(comparison: Comparison, backbone: BackboneSpec) -> Encoder:
    if comparison.has("state/img_token"):
        return ReCon.build_encoder(backbone, ReCon.Options(reference=True))
    return PointMAE.build_encoder(backbone, PointMAE.Options(reference=True))


def _rows(comparison: Comparison, layer: str) -> int:
    weight = comparison.recorded.get(f"state/{layer}.weight")
    return 0 if weight is None else weight.shape[0]


def _compare_intermediates(comparison: Comparison, seen: Recorder, prefix: str) -> None:
    found = seen.intermediates(prefix, "block")
    # The same norm runs at every depth, so its output is several arrays.
    found.pop(f"{prefix}encoder_output", None)
    for name, value in found.items():
        comparison.array(name, value, EVALUATION)
    channels_first = seen.one("head.propagation").transpose(1, 2)
    comparison.array(f"{prefix}propagation_every8th_channel", channels_first[:, ::_ONE_IN].numpy(), EVALUATION)
