"""Verify the recorded two-tower networks.

Pretraining, and classification by each choice of streams.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F

from bench.interop.comparison import ARRAY, BATCH_NORM, Comparison
from bench.interop.golden_parts import (
    MismatchError,
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
from bench.interop.names_two_tower import CLASSIFY, PRETRAIN
from bench.methods.base import Batch, Given
from bench.methods.two_tower import TwoTower, TwoTowerModel
from bench.models.classifier import Classifier
from bench.models.grouping import cut_patches
from bench.models.two_tower import TwoTowerEncoder

_LOSS_NAMES = {"csc_image": "csc_img"}
"""Our names of losses that the files name differently."""


def verify_pretrain(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare the recorded pretraining network.

    Losses, intermediates, buffers after one step, gradient norms.
    """
    model = build_pretrain(comparison, config)
    batch = Batch(
        recorded_input(comparison, "points"),
        image_features=optional_input(comparison, "img_feature"),
        text_features=optional_input(comparison, "text_feature"),
    )
    prepared = model.prepare(batch, mask=recorded_input(comparison, "mask"))
    patches = cut_patches(batch.points, model.backbone.groups, model.backbone.group_size, model.trunk.sampling)
    compare_patches(comparison, patches.points, patches.centres)
    with torch.no_grad(), Recorder(model) as seen, _Towers(model.trunk) as towers:
        losses = model.eval().compute(prepared)
    _compare_losses(comparison, "eval", losses)
    towers.compare(comparison, "encoder_block")
    for name, value in seen.intermediates("mid/", "unused").items():
        comparison.array(name, value)
    comparison.array("mid/rebuild", seen.one("decoder.points").transpose(1, 2).numpy())

    losses = model.train().compute(prepared)
    _compare_losses(comparison, "train", losses)
    compare_buffers(comparison, model, PRETRAIN)
    for name, loss in losses.items():
        compare_gradients(comparison, _LOSS_NAMES.get(name, name), loss, model, PRETRAIN)


def verify_classify(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare a recorded fine-tuned classifier.

    Logits, loss, intermediates, buffers after one step, gradient norms.
    """
    model, mlp = _classifier(comparison, config)
    encoder = cast(TwoTowerEncoder, model.encoder)
    points, label = recorded_input(comparison, "points"), recorded_input(comparison, "label")
    patches = cut_patches(points, encoder.backbone.groups, encoder.backbone.group_size, encoder.sampling)
    compare_patches(comparison, patches.points, patches.centres)
    with torch.no_grad(), _Towers(encoder) as towers:
        logits = model.eval()(points)
    comparison.array("out/eval.logits", logits.numpy())
    comparison.array("out/eval.loss", F.cross_entropy(logits, label).numpy())
    accuracy = 100 * (logits.argmax(1) == label).float().mean()
    comparison.array("out/eval.accuracy", accuracy.numpy())
    towers.compare(comparison, "block")

    logits = model.train()(points)
    loss = F.cross_entropy(logits, label)
    tolerance = BATCH_NORM if mlp else ARRAY
    comparison.array("out/train.logits", logits.detach().numpy(), tolerance)
    comparison.array("out/train.loss", loss.detach().numpy(), tolerance)
    compare_buffers(comparison, model, CLASSIFY)
    compare_gradients(comparison, "loss", loss, model, CLASSIFY)


def build_pretrain(comparison: Comparison, config: dict[str, Any]) -> TwoTowerModel:
    """Build and load the pretraining network that a file describes.

    Raises:
        MismatchError: Its weights do not fit.
    """
    transformer = config["transformer_config"]
    options = {**masked_options(transformer), "loss": config["loss"]}
    widths = {
        side: comparison.recorded[f"state/{key}.weight"].shape[0]
        if f"state/{key}.weight" in comparison.recorded
        else None
        for side, key in (("image", "img_proj"), ("text", "text_proj"))
    }
    backbone = recorded_backbone(comparison, config, transformer)
    model = TwoTower.build(backbone, TwoTower.parse(options), Given(**widths))
    # The release adds the class token at fine-tuning.
    return load_recorded(model, comparison, PRETRAIN, absent=("trunk.masked.cls_token", "trunk.masked.cls_pos"))


def _classifier(comparison: Comparison, config: dict[str, Any]) -> tuple[Classifier, bool]:
    """Build a classifier; return whether its head has three layers.

    The release stores the tower that its streams leave out, too; our encoder drops it. It is added here without being
    used, so that its recorded weights and buffers are compared as well.
    """
    mlp = "state/cls_head_finetune.8.weight" in comparison.recorded
    backbone = recorded_backbone(comparison, config, config)
    options = TwoTower.parse({"streams": str(config["stream"]).lower(), "reference": True})
    encoder = TwoTower.build_encoder(backbone, options)
    both = TwoTower.build_encoder(backbone, options.model_copy(update={"streams": "all"}))
    if not isinstance(encoder, TwoTowerEncoder) or not isinstance(both, TwoTowerEncoder):
        raise MismatchError("two-tower built another kind of encoder")
    head = Classifier(encoder, int(config["cls_dim"]), "mlp" if mlp else "linear", dropout=0.0)
    masked, contrast = both.towers()
    encoder.masked, encoder.contrast = encoder.masked or masked, encoder.contrast or contrast
    return load_recorded(head, comparison, CLASSIFY), mlp


class _Towers:
    """Record the outputs of both towers in a ``with`` block."""

    def __init__(self, encoder: TwoTowerEncoder) -> None:
        self._masked, self._contrast = (Recorder(tower) for tower in encoder.towers())

    def __enter__(self) -> _Towers:
        return self

    def __exit__(self, *error: object) -> None:
        self._masked.__exit__(*error)
        self._contrast.__exit__(*error)

    def compare(self, comparison: Comparison, block: str) -> None:
        """Compare both towers' activations.

        The files name the masked tower's blocks `block`.
        """
        for name, value in self._masked.intermediates("mid/", block).items():
            comparison.array(name, value)
        for name, value in self._contrast.intermediates("mid/dis_", "block").items():
            comparison.array(name.replace("dis_encoder_output", "dis_output"), value)


def _compare_losses(comparison: Comparison, mode: str, losses: dict[str, torch.Tensor]) -> None:
    for name, value in losses.items():
        comparison.array(f"out/{mode}.loss_{_LOSS_NAMES.get(name, name)}", value.detach().numpy())
