"""Projection heads into teachers' feature spaces, stored with an encoder.

With them, a protocol compares the encoder's features with a teacher's features of texts and pictures.

The heads have a file of their own, so that protocols which need none do not read them.
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
    """Linear layer from an encoder feature into a teacher's space.

    Attributes:
        feature: Name of the encoder's feature it reads.
        weight: float32 ``[D, F]``.
        bias: float32 ``[D]``.
    """

    feature: str
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]


def save_heads(heads: Mapping[str, tuple[str, nn.Linear]], folder: Path) -> None:
    """Write the heads of an encoder into its folder.

    `heads` maps a space (``image``, ``text``) to the name of the encoder's feature and the layer that reads it. No
    heads, no file.
    """
    if not heads:
        return
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for space, (_, layer) in heads.items():
        for name, value in layer.named_parameters():
            tensors[f"{space}.{name}"] = value.detach().cpu().float().contiguous().numpy()
    features = {space: feature for space, (feature, _) in heads.items()}
    save_file(tensors, folder / FILE, metadata={_FEATURES: json.dumps(features, sort_keys=True)})


def load_heads(folder: Path) -> dict[str, StoredHead]:
    """Return the stored heads of an encoder, by space.

    Empty if the folder has no file of heads.
    """
    if not (folder / FILE).is_file():
        return {}
    tensors = load_file(folder / FILE)
    return {
        space: StoredHead(feature, tensors[f"{space}.weight"], tensors[f"{space}.bias"])
        for space, feature in _features(folder).items()
    }


def stored_widths(folder: Path) -> dict[str, int]:
    """Return the output width of every stored head, by space.

    Reads the header of the file, not the weights.
    """
    if not (folder / FILE).is_file():
        return {}
    with safe_open(folder / FILE, framework="numpy") as file:
        return {space: int(file.get_slice(f"{space}.bias").get_shape()[0]) for space in _features(folder)}


def _features(folder: Path) -> dict[str, str]:
    with safe_open(folder / FILE, framework="numpy") as file:
        features: dict[str, str] = json.loads(file.metadata()[_FEATURES])
    return features
