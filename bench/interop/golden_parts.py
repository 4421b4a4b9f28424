"""Common steps of verification: load, record, compare buffers and gradients."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import BenchError
from bench.interop.comparison import ARRAY, EXACT, Comparison
from bench.interop.golden_ops import sorted_patches
from bench.interop.naming import Layout, convert_state
from bench.spec import BackboneSpec

M = TypeVar("M", bound=nn.Module)


class MismatchError(BenchError):
    """Recorded weights do not fit the network of their configuration."""


class Recorder(AbstractContextManager["Recorder"]):
    """Record outputs of a model's parts in a ``with`` block."""

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
        """Return a part's output, concatenated over calls and streams.

        Several outputs are joined along the tokens.
        """
        return torch.cat(self._seen[name], dim=1)

    def intermediates(self, prefix: str, block: str) -> dict[str, np.ndarray[Any, Any]]:
        """Return recorded activations under the files' names.

        Args:
            prefix: Put in front of every name.
            block: The files' name of an encoder block's output, without its number.
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


def recorded_backbone(comparison: Comparison, config: dict[str, Any], transformer: dict[str, Any]) -> BackboneSpec:
    """Return the backbone sizes that a file describes.

    Args:
        comparison: The file; its weights give the tokenizer's width.
        config: Its configuration.
        transformer: The part of it that describes the transformer.
    """
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


def masked_options(transformer: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a masked method from a configuration.

    Patches are embedded as in the release.

    Args:
        transformer: The part of the configuration that describes the transformer.
    """
    return {
        "mask_ratio": transformer["mask_ratio"],
        "mask": transformer["mask_type"],
        "decoder_depth": transformer["decoder_depth"],
        "decoder_heads": transformer.get("decoder_num_heads"),
        "tokenize": "all",
        "reference": True,
    }


def load_recorded(model: M, comparison: Comparison, layout: Layout, absent: Iterable[str] = ()) -> M:
    """Load a file's weights into one of our networks.

    Args:
        model: Network to load.
        comparison: The file.
        layout: Translation of the file's names.
        absent: Our names that the file may lack.

    Raises:
        MismatchError: A weight is missing, left over or of another shape.
    """
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


def compare_patches(comparison: Comparison, patches: Tensor, centres: Tensor) -> None:
    """Compare centres, and patches as sets of points."""
    comparison.array("mid/center", centres.numpy())
    if comparison.has("mid/neighborhood"):
        comparison.recorded["mid/neighborhood"] = sorted_patches(comparison.recorded["mid/neighborhood"])
        comparison.array("mid/neighborhood", sorted_patches(patches.numpy()))


def compare_buffers(comparison: Comparison, model: nn.Module, layout: Layout) -> None:
    """Compare BatchNorm's buffers after one training step."""
    buffers = dict(model.named_buffers())
    for key in [key for key in comparison.recorded if key.startswith("after/")]:
        ours = layout.to_ours(key.removeprefix("after/"))
        if ours in buffers:
            buffer = buffers[ours].numpy()
            comparison.array(key, buffer, ARRAY if np.issubdtype(buffer.dtype, np.floating) else EXACT)


def compare_gradients(comparison: Comparison, name: str, loss: Tensor, model: nn.Module, layout: Layout) -> None:
    """Compare the gradient norms of one loss, if recorded.

    The graph is kept for the next loss.
    """
    if not comparison.has(f"grad/{name}.names") or not comparison.has(f"grad/{name}.norms"):
        return
    parameters = {key: value for key, value in model.named_parameters() if value.requires_grad}
    gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
    ours: dict[str, float] = {}
    for key, gradient in zip(parameters, gradients, strict=True):
        released = layout.to_released(key)
        ours[key if released is None else released] = 0.0 if gradient is None else float(gradient.double().norm())
    names = json.loads(str(comparison.recorded[f"grad/{name}.names"]))
    comparison.gradients(name, names, comparison.recorded[f"grad/{name}.norms"].astype(np.float64), ours)


def recorded_input(comparison: Comparison, name: str) -> Tensor:
    """Return an input of the file.

    Raises:
        KeyError: The file has none of that name.
    """
    return torch.from_numpy(comparison.recorded[f"in/{name}"].copy())


def optional_input(comparison: Comparison, name: str) -> Tensor | None:
    """Return an input of the file, or None."""
    return recorded_input(comparison, name) if comparison.has(f"in/{name}") else None
