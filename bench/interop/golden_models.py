"""Verify recorded networks: pretraining, classification, frozen features."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.interop.comparison import ARRAY, BATCH_NORM, EXACT, Comparison
from bench.interop.golden_parts import (
    Recorder,
    compare_buffers,
    compare_gradients,
    compare_patches,
    load_recorded,
    masked_options,
    optional_input,
    recorded_backbone,
    recorded_input,
)
from bench.interop.names_transformer import CLASSIFY, PRETRAIN
from bench.methods.base import Batch, Given
from bench.methods.point_mae import PointMAE, PointMAEModel
from bench.methods.recon import ReCon, ReConModel
from bench.models.classifier import Classifier
from bench.models.encoder import Encoder
from bench.models.grouping import cut_patches
from bench.models.losses import masked_reconstruction
from bench.models.standard import StandardEncoder
from bench.models.two_stream import TwoStreamEncoder

M = TypeVar("M", bound=nn.Module)

_LOSS_NAMES = {"csc_image": "csc_img"}
"""Our names of losses that the files name differently."""


def verify_pretrain(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare a recorded masked pretraining network.

    Losses, intermediates, buffers after one step, gradient norms.
    """
    model = build_pretrain(comparison, config)
    batch = Batch(
        recorded_input(comparison, "points"),
        image_features=optional_input(comparison, "img_feature"),
        text_features=optional_input(comparison, "text_feature"),
        labels=optional_input(comparison, "text_label"),
    )
    prepared = model.prepare(batch, mask=recorded_input(comparison, "mask"))
    patches = cut_patches(batch.points, model.backbone.groups, model.backbone.group_size, model.trunk.sampling)
    compare_patches(comparison, patches.points, patches.centres)
    with torch.no_grad(), Recorder(model) as seen:
        losses = model.eval().compute(prepared)
    _compare_losses(comparison, "eval", losses, batch_norm=())
    for name, value in seen.intermediates("mid/", "encoder_block").items():
        comparison.array(name, value)
    if comparison.has("mid/rebuild"):
        comparison.array("mid/rebuild", seen.one("decoder.points").transpose(1, 2).numpy())
    target = prepared["masked_patches"].flatten(0, 1)
    cdl1 = masked_reconstruction(seen.one("decoder.points").reshape(target.shape), target, "cdl1")
    only = "eval.loss_mdm_cdl1" if "mdm" in _recorded_losses(comparison) else "eval.loss_cdl1"
    comparison.array(f"out/{only}", cdl1.numpy())

    with Recorder(model) as seen:
        losses = model.train().compute(prepared)
    _compare_losses(comparison, "train", losses, batch_norm=("smc", "total") if "smc" in losses else ())
    for name, value in seen.intermediates("mid/train.", "encoder_block").items():
        comparison.array(name, value, BATCH_NORM if name.endswith("cls_proj") else ARRAY)
    compare_buffers(comparison, model, PRETRAIN)
    for name, loss in losses.items():
        compare_gradients(comparison, _LOSS_NAMES.get(name, name), loss, model, PRETRAIN)
    compare_gradients(comparison, "loss", losses["total"], model, PRETRAIN)


def verify_classify(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare a recorded fine-tuned classifier.

    Logits, loss, intermediates, buffers after one step, gradient norms.
    """
    mlp = "state/cls_head_finetune.8.weight" in comparison.recorded
    head = Classifier(_encoder(comparison, config), int(config["cls_dim"]), "mlp" if mlp else "linear", dropout=0.0)
    model = load_recorded(head, comparison, CLASSIFY)
    points, label = recorded_input(comparison, "points"), recorded_input(comparison, "label")
    encoder = cast("StandardEncoder | TwoStreamEncoder", model.encoder)
    patches = cut_patches(points, encoder.backbone.groups, encoder.backbone.group_size, encoder.sampling)
    compare_patches(comparison, patches.points, patches.centres)
    with torch.no_grad(), Recorder(model) as seen:
        logits = model.eval()(points)
    comparison.array("out/eval.logits", logits.numpy())
    comparison.array("out/eval.loss", F.cross_entropy(logits, label).numpy())
    accuracy = 100 * (logits.argmax(1) == label).float().mean()
    comparison.array("out/eval.accuracy", accuracy.numpy())
    for name, value in seen.intermediates("mid/", "block").items():
        comparison.array(name, value)

    logits = model.train()(points)
    loss = F.cross_entropy(logits, label)
    tolerance = BATCH_NORM if mlp else ARRAY
    comparison.array("out/train.logits", logits.detach().numpy(), tolerance)
    comparison.array("out/train.loss", loss.detach().numpy(), tolerance)
    compare_buffers(comparison, model, CLASSIFY)
    compare_gradients(comparison, "loss", loss, model, CLASSIFY)


def verify_features(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare ReCon's frozen features.

    Those for the linear SVM, and those for zero-shot classification by cosine.
    """
    model = nn.Module()
    model.encoder = _encoder(comparison, config)
    zero_shot = "state/img_proj.weight" in comparison.recorded
    if zero_shot:
        for name, head in (("img_proj", "image_head"), ("text_proj", "text_head")):
            out, width = comparison.recorded[f"state/{name}.weight"].shape
            model.add_module(head, nn.Linear(width, out))
    model = load_recorded(model, comparison, CLASSIFY).eval()
    encoder = cast(TwoStreamEncoder, model.encoder)
    points = recorded_input(comparison, "points")
    patches = cut_patches(points, encoder.backbone.groups, encoder.backbone.group_size, encoder.sampling)
    compare_patches(comparison, patches.points, patches.centres)
    with torch.no_grad(), Recorder(model) as seen:
        output = encoder(points)
        comparison.array("out/feature", encoder.feature(output, "svm").numpy())
        if zero_shot:
            image = cast(nn.Linear, model.image_head)(output.globals["image"])
            text = cast(nn.Linear, model.text_head)(output.globals["text"])
            _compare_zero_shot(comparison, image, text, float(config["ratio"]))
    for name, value in seen.intermediates("mid/", "block").items():
        comparison.array(name, value)


def _compare_zero_shot(comparison: Comparison, image: Tensor, text: Tensor, ratio: float) -> None:
    classes = recorded_input(comparison, "class_text_feature")
    for kind, feature in (("full", ratio * text + image), ("text", text), ("image", image)):
        similarity = F.normalize(feature, dim=-1) @ F.normalize(classes, dim=-1).T
        comparison.array(f"out/feature_{kind}", feature.numpy())
        comparison.array(f"out/similarity_{kind}", similarity.numpy())
        comparison.array(f"out/prediction_{kind}", similarity.argmax(1).numpy(), EXACT)


def build_pretrain(comparison: Comparison, config: dict[str, Any]) -> PointMAEModel | ReConModel:
    """Build and load the pretraining network that a file describes.

    Raises:
        MismatchError: Its weights do not fit.
    """
    transformer = config["transformer_config"]
    options = {**masked_options(transformer), "loss": config["loss"]}
    backbone = recorded_backbone(comparison, config, transformer)
    if config["NAME"] == "Point_MAE":
        plain = PointMAE.build(backbone, PointMAE.parse(options), Given())
        # The release adds the class token at fine-tuning.
        return load_recorded(plain, comparison, PRETRAIN, absent=("trunk.cls_token", "trunk.cls_pos"))
    widths = {
        side: comparison.recorded[f"state/{key}.weight"].shape[0]
        if f"state/{key}.weight" in comparison.recorded
        else None
        for side, key in (("image", "img_proj"), ("text", "text_proj"))
    }
    options["smc"] = bool(config["self_contrastive"])
    recon = ReCon.build(backbone, ReCon.parse(options), Given(**widths))
    return load_recorded(recon, comparison, PRETRAIN)


def _encoder(comparison: Comparison, config: dict[str, Any]) -> Encoder:
    backbone = recorded_backbone(comparison, config, config)
    if "state/img_token" in comparison.recorded:
        return ReCon.build_encoder(backbone, ReCon.Options(reference=True))
    return PointMAE.build_encoder(backbone, PointMAE.Options(reference=True))


def _recorded_losses(comparison: Comparison) -> set[str]:
    return {name.removeprefix("out/eval.loss_") for name in comparison.recorded if name.startswith("out/eval.loss_")}


def _compare_losses(comparison: Comparison, mode: str, losses: dict[str, Tensor], batch_norm: tuple[str, ...]) -> None:
    for name, value in losses.items():
        tolerance = BATCH_NORM if name in batch_norm else ARRAY
        comparison.array(f"out/{mode}.loss_{_LOSS_NAMES.get(name, name)}", value.detach().numpy(), tolerance)
    # Files of methods with a single loss name it "loss".
    comparison.array(f"out/{mode}.loss", losses["total"].detach().numpy())
