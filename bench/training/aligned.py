"""Heads into teachers' spaces, kept beside an encoder so that it can be compared with texts and pictures.

They lie in a file of their own: the encoder's stays what it is, and a protocol that needs no heads reads none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

if TYPE_CHECKING:
    from torch import nn

FILE = "aligned.safetensors"
_FEATURES = "features"


@dataclass(frozen=True)
class StoredHead:
    """A linear layer from one of an encoder's features into a teacher's space.

    Attributes:
        feature: Name of the encoder's feature it reads.
        weight: float32 ``[D, F]``.
        bias: float32 ``[D]``.
    """

    feature: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def save_heads(heads: Mapping[str, tuple[str, nn.Linear]], folder: Path) -> None:
    """Write heads, by space (``image``, ``text``) the encoder's feature and the layer; no file where there are none."""
    if not heads:
        return
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for space, (_, layer) in heads.items():
        for name, value in layer.named_parameters():
            tensors[f"{space}.{name}"] = value.detach().cpu().float().contiguous().numpy()
    features = {space: feature for space, (feature, _) in heads.items()}
    save_file(tensors, folder / FILE, metadata={_FEATURES: json.dumps(features, sort_keys=True)})


def load_heads(folder: Path) -> dict[str, StoredHead]:
    """Read the heads of an encoder's folder, by space; none where there is no file."""
    if not (folder / FILE).is_file():
        return {}
    tensors = load_file(folder / FILE)
    return {
        space: StoredHead(feature, tensors[f"{space}.weight"], tensors[f"{space}.bias"])
        for space, feature in _features(folder).items()
    }


def stored_widths(folder: Path) -> dict[str, int]:
    """Return the width D of every head of an encoder's folder, by space, without reading weights."""
    if not (folder / FILE).is_file():
        return {}
    with safe_open(folder / FILE, framework="numpy") as file:
        return {space: int(file.get_slice(f"{space}.bias").get_shape()[0]) for space in _features(folder)}


def _features(folder: Path) -> dict[str, str]:
    with safe_open(folder / FILE, framework="numpy") as file:
        features: dict[str, str] = json.loads(file.metadata()[_FEATURES])
    return features
