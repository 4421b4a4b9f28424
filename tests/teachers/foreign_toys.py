"""Tiny models of timm and open_clip with random weights, saved as their users would save them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import nn

if TYPE_CHECKING:
    import open_clip

TIMM = "test_vit"
"""timm's own model for tests: 64 wide, pictures of 160 pixels."""
CLIP_SIDE = 32


def pictures(n: int, side: int = 48, channels: int = 3) -> np.ndarray:
    """Smooth uint8 ``[n, side, side, channels]``: on noise, PIL's and torch's resizing round apart."""
    rng = np.random.default_rng(n)
    y, x = np.mgrid[:side, :side] / side
    phase = rng.uniform(0, 6, (n, 1, 1, channels))
    slope = rng.uniform(1, 6, (n, 1, 1, channels))
    waves = np.sin(slope * x[None, ..., None] + phase) * np.cos(slope * y[None, ..., None])
    return np.asarray(127.5 + 120 * waves, dtype=np.uint8)


def timm_model(seed: int = 0) -> nn.Module:
    """A timm model with a classifier, as a checkpoint has one."""
    torch.manual_seed(seed)
    model: nn.Module = timm.create_model(TIMM, num_classes=7)
    for parameter in model.parameters():  # timm starts biases at zero, where a swap of two would go unseen
        nn.init.normal_(parameter, std=0.1)
    return model.eval()


def timm_file(folder: Path, model: nn.Module | None = None, **more: torch.Tensor) -> Path:
    """A checkpoint as training scripts write it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {f"module.{name}": value for name, value in (model or timm_model()).state_dict().items()}
    state |= {f"module.{name}": value for name, value in more.items()}
    torch.save({"state_dict": state, "epoch": 3}, folder / "timm.pth")
    return folder / "timm.pth"


def timm_folder(folder: Path) -> tuple[Path, nn.Module]:
    """A folder in timm's layout for the hub, of a size that timm has no name for, and the model."""
    torch.manual_seed(1)
    arguments = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 1, "num_heads": 2}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **arguments).eval()
    folder.mkdir(parents=True)
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 0,
        "model_args": arguments,
        "pretrained_cfg": {"input_size": [3, 32, 32], "crop_pct": 1.0, "mean": [0.5] * 3, "std": [0.25] * 3},
    }
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    return folder, model


def clip_model() -> open_clip.CLIP:
    """A CLIP small enough to build in a moment."""
    import open_clip  # takes seconds, which only those who build one should pay

    torch.manual_seed(2)
    vision = open_clip.CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=CLIP_SIDE)
    text = open_clip.CLIPTextCfg(context_length=16, width=64, heads=1, layers=1)
    return open_clip.CLIP(24, vision_cfg=vision, text_cfg=text, quick_gelu=True).eval()


def clip_file(folder: Path, model: open_clip.CLIP) -> Path:
    """A state dict in OpenAI's names."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "clip.safetensors")
    return folder / "clip.safetensors"


def clip_folder(folder: Path, model: open_clip.CLIP) -> Path:
    """A folder in open_clip's layout for the hub, with a preprocessing of its own."""
    clip_file(folder, model).rename(folder / "open_clip_model.safetensors")
    config = {
        "model_cfg": {
            "embed_dim": 24,
            "quick_gelu": True,
            "vision_cfg": {"image_size": CLIP_SIDE, "layers": 1, "width": 64, "patch_size": 16},
            "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
        },
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder
