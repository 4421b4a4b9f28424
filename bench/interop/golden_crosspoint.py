"""Verify CrossPoint's recorded network, losses and segmentation network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.interop.comparison import ARRAY, BATCH_NORM, Comparison
from bench.interop.golden_parts import (
    Recorder,
    compare_buffers,
    compare_gradients,
    load_recorded,
    optional_input,
    recorded_input,
)
from bench.interop.names_crosspoint import BACKBONE, IMAGE, SEGMENTATION
from bench.methods.base import Batch, Given
from bench.methods.crosspoint import CrossPoint, CrossPointModel
from bench.models.contrast import nt_xent, projection_head
from bench.models.dgcnn import WIDTHS
from bench.models.dgcnn_segmentation import DGCNNSegmentation
from bench.spec import BackboneSpec


def verify_backbone(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare the recorded network on two views.

    Features, projections, losses, intermediates, buffers, gradient norms.
    """
    model = load_recorded(_model(comparison, config), comparison, BACKBONE)
    views = recorded_input(comparison, "points_t1"), recorded_input(comparison, "points_t2")
    image = optional_input(comparison, "img_feature")
    prepared = model.prepare(Batch(views[0], other_points=(views[1],)))
    for mode, tolerance in (("eval", ARRAY), ("train", BATCH_NORM)):
        model.train(mode == "train")
        with Recorder(model) as seen:
            output = model.trunk(prepared["points"])
            feature = model.trunk.feature(output)
            projection = model.point_head(feature)
        comparison.array(f"out/{mode}.feature", _plain(feature), tolerance)
        comparison.array(f"out/{mode}.projection", _plain(projection), tolerance)
        losses = model.losses(projection, image)
        for name, loss in losses.items():
            comparison.array(f"out/{mode}.loss_{name}", _plain(loss), tolerance)
        prefix = "mid/" if mode == "eval" else "mid/train."
        for stage in range(len(WIDTHS)):
            comparison.array(f"{prefix}edgeconv{stage + 1}", _plain(seen.one(f"trunk.stages.{stage}").transpose(1, 2)))
        comparison.array(f"{prefix}conv5", _plain(output.tokens.transpose(1, 2)))
    compare_buffers(comparison, model, BACKBONE)
    for name, loss in losses.items():
        compare_gradients(comparison, name, loss, model, BACKBONE)


def verify_ntxent(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare both losses and their gradients on recorded features.

    The projection of image features is compared, too.
    """
    temperature = float(config["temperature"])
    names = ("point_t1", "point_t2", "image")
    inputs = {name: recorded_input(comparison, name).requires_grad_() for name in names}
    first, second, image = inputs.values()
    losses = {"imid": nt_xent(first, second, temperature), "cmid": nt_xent((first + second) / 2, image, temperature)}
    losses["total"] = losses["imid"] + losses["cmid"]
    for name, loss in losses.items():
        comparison.array(f"out/loss_{name}", _plain(loss))
        gradients = torch.autograd.grad(loss, list(inputs.values()), retain_graph=True, allow_unused=True)
        for side, gradient in zip(inputs, gradients, strict=True):
            if gradient is not None:
                comparison.array(f"out/grad_{name}.{side}", _plain(gradient))
    comparison.array("out/loss_imid_swapped", _plain(nt_xent(second, first, temperature)))

    pooled = recorded_input(comparison, "resnet_pooled")
    hidden, width = comparison.recorded["state/inv_head.0.weight"].shape
    branch = nn.Module()
    branch.head = projection_head(width, hidden, comparison.recorded["state/inv_head.3.weight"].shape[0], bias=False)
    load_recorded(branch, comparison, IMAGE)
    for mode, tolerance in (("eval", ARRAY), ("train", BATCH_NORM)):
        branch.train(mode == "train")
        comparison.array(f"out/{mode}.image_projection", _plain(branch.head(pooled)), tolerance)
    compare_buffers(comparison, branch, IMAGE)


def verify_partseg(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare the segmentation network.

    Compares the labels of points and the projection of pretraining.
    """
    points, category = recorded_input(comparison, "points"), recorded_input(comparison, "category_one_hot")
    model = DGCNNSegmentation(
        int(config["seg_num_all"]),
        category.shape[-1],
        neighbours=int(config["k"]),
        embedding=int(config["emb_dims"]),
        projection=comparison.recorded["state/inv_head.3.weight"].shape[0],
        dropout=float(config["dropout"]),
    )
    load_recorded(model, comparison, SEGMENTATION).eval()
    with torch.no_grad(), Recorder(model) as seen:
        logits = model(points, category)
        feature = model.trunk(points)[1]
        projection = model.project(points)
    comparison.array("out/eval.logits", logits.transpose(1, 2).numpy(), 2 * ARRAY)
    comparison.array("mid/transform", seen.one("transform")[:, :3].numpy(), 2 * ARRAY)
    comparison.array("mid/global_feature", feature.numpy(), 2 * ARRAY)
    comparison.array("out/eval.pretrain_feature", feature.numpy(), 2 * ARRAY)
    comparison.array("out/eval.pretrain_projection", projection.numpy(), 2 * ARRAY)


def _model(comparison: Comparison, config: dict[str, Any]) -> CrossPointModel:
    """Build the network that a file describes.

    Its image features are recorded, so it needs no image branch.
    """
    options = CrossPoint.Options(
        backbone="dgcnn",
        neighbours=int(config["k"]),
        embedding=int(config["emb_dims"]),
        temperature=float(config["temperature"]),
        projection=comparison.recorded["state/inv_head.3.weight"].shape[0],
        terms="imid",
    )
    return CrossPoint.build(BackboneSpec(points=int(config["npoints"])), options, Given())


def _plain(value: Tensor) -> Any:
    return value.detach().numpy()
