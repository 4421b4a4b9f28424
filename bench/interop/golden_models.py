"""Verification of recorded networks: pretraining, classification, frozen features."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BenchError
from bench.interop.comparison import ARRAY, BATCH_NORM, EXACT, Comparison
from bench.interop.golden_ops import sorted_patches
from bench.interop.naming import Layout, convert_state, to_ours, to_released
from bench.methods.base import Batch, Given
from bench.methods.point_mae import PointMAE, PointMAEModel
from bench.methods.recon import ReCon, ReConModel
from bench.models.classifier import Classifier
from bench.models.encoder import Encoder
from bench.models.grouping import cut_patches
from bench.models.losses import masked_reconstruction
from bench.models.standard import StandardEncoder
from bench.models.two_stream import TwoStreamEncoder
from bench.spec import BackboneSpec

M = TypeVar("M", bound=nn.Module)

_LOSS_NAMES = {"csc_image": "csc_img"}
"""Our loss names where the files' differ."""


class MismatchError(BenchError):
    """The recorded weights do not fit the network their configuration describes."""


def verify_pretrain(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare a masked pretraining network: losses, intermediates, buffers after one step, gradient norms."""
    model = build_pretrain(comparison, config)
    batch = Batch(
        _input(comparison, "points"),
        image_features=_optional_input(comparison, "img_feature"),
        text_features=_optional_input(comparison, "text_feature"),
        labels=_optional_input(comparison, "text_label"),
    )
    prepared = model.prepare(batch, mask=_input(comparison, "mask"))
    patches = cut_patches(batch.points, model.backbone.groups, model.backbone.group_size, model.trunk.sampling)
    _compare_patches(comparison, patches.points, patches.centres)
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
    _compare_buffers(comparison, model, "pretrain")
    for name, loss in losses.items():
        _compare_gradients(comparison, _LOSS_NAMES.get(name, name), loss, model, "pretrain")
    _compare_gradients(comparison, "loss", losses["total"], model, "pretrain")


def verify_classify(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare a fine-tuned classifier: logits, loss, intermediates, buffers after one step, gradient norms."""
    mlp = "state/cls_head_finetune.8.weight" in comparison.recorded
    head = Classifier(_encoder(comparison, config), int(config["cls_dim"]), "mlp" if mlp else "linear", dropout=0.0)
    model = _load(head, comparison, "classify")
    points, label = _input(comparison, "points"), _input(comparison, "label")
    encoder = cast("StandardEncoder | TwoStreamEncoder", model.encoder)
    patches = cut_patches(points, encoder.backbone.groups, encoder.backbone.group_size, encoder.sampling)
    _compare_patches(comparison, patches.points, patches.centres)
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
    _compare_buffers(comparison, model, "classify")
    _compare_gradients(comparison, "loss", loss, model, "classify")


def verify_features(comparison: Comparison, config: dict[str, Any]) -> None:
    """Compare ReCon's frozen features: for the linear SVM, and for zero-shot classification by cosine."""
    model = nn.Module()
    model.encoder = _encoder(comparison, config)
    zero_shot = "state/img_proj.weight" in comparison.recorded
    if zero_shot:
        for name, head in (("img_proj", "image_head"), ("text_proj", "text_head")):
            out, width = comparison.recorded[f"state/{name}.weight"].shape
            model.add_module(head, nn.Linear(width, out))
    model = _load(model, comparison, "classify").eval()
    encoder = cast(TwoStreamEncoder, model.encoder)
    points = _input(comparison, "points")
    patches = cut_patches(points, encoder.backbone.groups, encoder.backbone.group_size, encoder.sampling)
    _compare_patches(comparison, patches.points, patches.centres)
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
    classes = _input(comparison, "class_text_feature")
    for kind, feature in (("full", ratio * text + image), ("text", text), ("image", image)):
        similarity = F.normalize(feature, dim=-1) @ F.normalize(classes, dim=-1).T
        comparison.array(f"out/feature_{kind}", feature.numpy())
        comparison.array(f"out/similarity_{kind}", similarity.numpy())
        comparison.array(f"out/prediction_{kind}", similarity.argmax(1).numpy(), EXACT)


class Recorder(AbstractContextManager["Recorder"]):
    """Keeps what the parts of a model return while a ``with`` block runs."""

    def __init__(self, model: nn.Module) -> None:
        self._seen: dict[str, list[Tensor]] = {}
        self._stack = ExitStack()
        for name, part in model.named_modules():
            handle = part.register_forward_hook(self._hook(name))
            self._stack.callback(handle.remove)

    def __exit__(self, *error: object) -> None:
        """Remove the hooks."""
        self._stack.close()

    def one(self, name: str) -> Tensor:
        """Return what a part returned; several calls and streams are joined along the tokens."""
        return torch.cat(self._seen[name], dim=1)

    def intermediates(self, prefix: str, block: str) -> dict[str, np.ndarray[Any, Any]]:
        """Return recorded activations under the files' names.

        Args:
            prefix: Put in front of every name.
            block: What the files call an encoder block's output, without its number.
        """
        names = {
            "tokenizer": "patch_tokens",
            "position": "pos_embed",
            "norm": "encoder_output",
            "decoder.norm": "decoder_output",
            "image_head": "img_proj",
            "text_head": "text_proj",
            "contrast_head": "cls_proj",
        }
        found: dict[str, np.ndarray[Any, Any]] = {}
        for name in self._seen:
            bare = name.removeprefix("trunk.").removeprefix("encoder.")
            stem, _, number = bare.rpartition(".")
            if stem == "blocks":
                found[f"{prefix}{block}{number}"] = self.one(name).numpy()
            elif stem == "decoder.blocks":
                found[f"{prefix}decoder_block{number}"] = self.one(name).numpy()
            elif bare in names:
                found[f"{prefix}{names[bare]}"] = self.one(name).numpy()
        return found

    def _hook(self, name: str) -> Any:
        def keep(part: nn.Module, inputs: object, output: object) -> None:
            values = output if isinstance(output, tuple) else (output,)
            self._seen.setdefault(name, []).extend(v.detach() for v in values if isinstance(v, Tensor))

        return keep


def build_pretrain(comparison: Comparison, config: dict[str, Any]) -> PointMAEModel | ReConModel:
    """Build and load the pretraining network a file describes.

    Raises:
        MismatchError: Its weights do not fit.
    """
    transformer = config["transformer_config"]
    options = {
        "mask_ratio": transformer["mask_ratio"],
        "mask": transformer["mask_type"],
        "decoder_depth": transformer["decoder_depth"],
        "loss": config["loss"],
        "tokenize": "all",
        "reference": True,
    }
    backbone = _backbone(comparison, config, transformer)
    if config["NAME"] == "Point_MAE":
        plain = PointMAE.build(backbone, PointMAE.Options.model_validate(options), Given())
        # The release adds the class token at fine-tuning.
        return _load(plain, comparison, "pretrain", absent=("trunk.cls_token", "trunk.cls_pos"))
    widths = {
        side: comparison.recorded[f"state/{key}.weight"].shape[0]
        if f"state/{key}.weight" in comparison.recorded
        else None
        for side, key in (("image", "img_proj"), ("text", "text_proj"))
    }
    options["smc"] = bool(config["self_contrastive"])
    recon = ReCon.build(backbone, ReCon.Options.model_validate(options), Given(**widths))
    return _load(recon, comparison, "pretrain")


def _encoder(comparison: Comparison, config: dict[str, Any]) -> Encoder:
    backbone = _backbone(comparison, config, config)
    if "state/img_token" in comparison.recorded:
        return ReCon.build_encoder(backbone, ReCon.Options(reference=True))
    return PointMAE.build_encoder(backbone, PointMAE.Options(reference=True))


def _backbone(comparison: Comparison, config: dict[str, Any], transformer: dict[str, Any]) -> BackboneSpec:
    first = next(name for name in comparison.recorded if name.endswith("encoder.first_conv.0.weight"))
    return BackboneSpec(
        points=int(config["npoints"]),
        groups=int(config["num_group"]),
        group_size=int(config["group_size"]),
        width=int(transformer["trans_dim"]),
        depth=int(transformer["depth"]),
        heads=int(transformer["num_heads"]),
        tokenizer_width=comparison.recorded[first].shape[0],
        drop_path=float(transformer["drop_path_rate"]),
    )


def _load(model: M, comparison: Comparison, layout: Layout, absent: Iterable[str] = ()) -> M:
    released = {
        name.removeprefix("state/"): torch.from_numpy(value.copy())
        for name, value in comparison.recorded.items()
        if name.startswith("state/")
    }
    converted = convert_state(released, model.state_dict(), layout)
    missing = sorted(set(converted.missing) - set(absent))
    if missing or converted.unexpected or converted.mismatched:
        parts = [("missing", missing), ("unexpected", converted.unexpected), ("of another shape", converted.mismatched)]
        raise MismatchError(
            "weights do not fit: " + "; ".join(f"{what}: {', '.join(list(n)[:3])}" for what, n in parts if n)
        )
    model.load_state_dict(converted.state, strict=False)
    return model


def _compare_patches(comparison: Comparison, patches: Tensor, centres: Tensor) -> None:
    comparison.array("mid/center", centres.numpy())
    if comparison.has("mid/neighborhood"):
        comparison.recorded["mid/neighborhood"] = sorted_patches(comparison.recorded["mid/neighborhood"])
        comparison.array("mid/neighborhood", sorted_patches(patches.numpy()))


def _recorded_losses(comparison: Comparison) -> set[str]:
    return {name.removeprefix("out/eval.loss_") for name in comparison.recorded if name.startswith("out/eval.loss_")}


def _compare_losses(comparison: Comparison, mode: str, losses: dict[str, Tensor], batch_norm: tuple[str, ...]) -> None:
    for name, value in losses.items():
        tolerance = BATCH_NORM if name in batch_norm else ARRAY
        comparison.array(f"out/{mode}.loss_{_LOSS_NAMES.get(name, name)}", value.detach().numpy(), tolerance)
    # A file of a method with one loss calls it just that.
    comparison.array(f"out/{mode}.loss", losses["total"].detach().numpy())


def _compare_buffers(comparison: Comparison, model: nn.Module, layout: Layout) -> None:
    buffers = dict(model.named_buffers())
    for key in [key for key in comparison.recorded if key.startswith("after/")]:
        ours = to_ours(key.removeprefix("after/"), layout)
        if ours in buffers:
            buffer = buffers[ours].numpy()
            comparison.array(key, buffer, ARRAY if np.issubdtype(buffer.dtype, np.floating) else EXACT)


def _compare_gradients(comparison: Comparison, name: str, loss: Tensor, model: nn.Module, layout: Layout) -> None:
    if not comparison.has(f"grad/{name}.names") or not comparison.has(f"grad/{name}.norms"):
        return
    parameters = {key: value for key, value in model.named_parameters() if value.requires_grad}
    gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
    ours: dict[str, float] = {}
    for key, gradient in zip(parameters, gradients, strict=True):
        released = to_released(key, layout)
        ours[key if released is None else released] = 0.0 if gradient is None else float(gradient.double().norm())
    names = json.loads(str(comparison.recorded[f"grad/{name}.names"]))
    comparison.gradients(name, names, comparison.recorded[f"grad/{name}.norms"].astype(np.float64), ours)


def _input(comparison: Comparison, name: str) -> Tensor:
    return torch.from_numpy(comparison.recorded[f"in/{name}"].copy())


def _optional_input(comparison: Comparison, name: str) -> Tensor | None:
    return _input(comparison, name) if comparison.has(f"in/{name}") else None
