"""Copies of an open_clip model's image and text network."""

from __future__ import annotations

import copy
from typing import Any, cast

from torch import Tensor, nn


def image_network(model: Any) -> nn.Module:
    """Return a copy of the image network of a CLIP model."""
    return cast(nn.Module, copy.deepcopy(model.visual))


def text_network(model: Any) -> nn.Module:
    """Return a copy of the text network of a CLIP model.

    Args:
        model: An `open_clip.CLIP`, which holds the network's parts itself, or an `open_clip.CustomTextCLIP`.
    """
    if hasattr(model, "text"):
        return cast(nn.Module, copy.deepcopy(model.text))
    return _TextParts(model)


class _TextParts(nn.Module):
    """A CLIP model without image network and temperature."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = copy.deepcopy(model, {id(model.visual): nn.Identity()})
        self.model.logit_scale = self.model.logit_bias = None

    def forward(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.model.encode_text(tokens, normalize=False)
        return features
