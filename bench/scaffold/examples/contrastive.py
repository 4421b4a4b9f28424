"""Contrastive method: pull two views together, push other clouds away."""

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.methods.base import Batch, Given, Method, MethodCard, MethodOptions, PretrainModel, published
from bench.models.contrast import nt_xent, projection_head
from bench.models.grouping import Patches, Sampling, cut_patches
from bench.models.standard import StandardEncoder
from bench.spec import BackboneSpec, Recipe


class ContrastiveExampleModel(PretrainModel):
    """Project both views, and contrast them with each other."""

    def __init__(self, backbone: BackboneSpec, temperature: float, projection: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.temperature = temperature
        self.trunk = StandardEncoder(backbone, Sampling())
        self.trunk.init_released()
        width = self.trunk.feature_dims["transfer"]
        self.head = projection_head(width, width // 2, projection)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Join both views into 2B clouds and cut patches."""
        (second,) = batch.other_points
        points = torch.cat([batch.points, second])
        patches = cut_patches(points, self.backbone.groups, self.backbone.group_size, self.trunk.sampling)
        return {"patches": patches.points, "centres": patches.centres}

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return NT-Xent as ``contrast`` and ``total`` (chance: ln(2B - 1))."""
        output = self.trunk.encode(Patches(prepared["patches"], prepared["centres"]))
        first, second = self.head(self.trunk.feature(output, "transfer")).chunk(2)
        loss = nt_xent(first, second, self.temperature)
        return {"contrast": loss, "total": loss}

    def encoder(self) -> StandardEncoder:
        """Return the transferred part, without the projection."""
        return self.trunk


class ContrastiveExampleOptions(MethodOptions):
    """Options of the method; they enter every key."""

    temperature: float = Field(0.1, gt=0, le=10)
    """Divides the similarities: smaller ones look at the hardest negatives only."""
    projection: int = Field(64, ge=2, le=4096)
    """Width in which views are contrasted."""


class ContrastiveExample(Method[ContrastiveExampleOptions]):
    """Contrast two views of each cloud with all others."""

    name = "contrastive-example"
    point_views = 2
    card = MethodCard(
        paper="after Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, ICML 2020",
        modalities=("points",),
        sees_class_names="never: only point coordinates enter the loss",
        release_splits="none: not released",
    )
    _VIEWS = ("rotate_y", "scale_translate", "jitter")
    recipes: ClassVar = {
        "smoke": Recipe(epochs=1, batch_size=16, lr=1e-3, warmup_epochs=0, augmentation=_VIEWS),
        "nano": Recipe(epochs=10, batch_size=64, lr=1e-3, warmup_epochs=2, augmentation=_VIEWS),
        **published(Recipe(epochs=300, augmentation=_VIEWS)),
    }

    Options = ContrastiveExampleOptions

    @classmethod
    def build(cls, backbone: BackboneSpec, options: ContrastiveExampleOptions, given: Given) -> ContrastiveExampleModel:
        """Build the network that is pretrained."""
        return ContrastiveExampleModel(backbone, options.temperature, options.projection)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: ContrastiveExampleOptions) -> StandardEncoder:
        """Build the encoder alone, to load stored weights into."""
        return StandardEncoder(backbone, Sampling())

    @classmethod
    def architecture(cls, options: ContrastiveExampleOptions) -> tuple[str, dict[str, Any]]:
        """Name a built-in method whose ``scratch`` this one shares."""
        return "point-mae", {"reference": False}
