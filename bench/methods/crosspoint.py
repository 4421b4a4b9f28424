"""CrossPoint: contrast of cloud views and of clouds with images.

Source: Afham et al., CrossPoint, CVPR 2022 (docs/reference.md#crosspoint-losses).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, JsonValue
from torch import Tensor

from bench.errors import BenchError, UsageError
from bench.methods.base import Batch, Given, Method, MethodCard, MethodOptions, PretrainModel
from bench.models.contrast import nt_xent, projection_head
from bench.models.dgcnn import DGCNN
from bench.models.encoder import Encoder, EncoderOutput
from bench.models.grouping import Patches, Sampling, cut_patches
from bench.models.image_branch import ImageBranch, augment_images
from bench.models.pointnet import PointNet
from bench.models.standard import StandardEncoder
from bench.recipes.pretraining import pretraining_recipes
from bench.spec import WIDEST, BackboneSpec, Recipe

Channels = Annotated[int, Field(ge=1, le=4_096)]


class CrossPointModel(PretrainModel):
    """Contrast two views of each cloud, and clouds with images.

    Both views pass one point encoder, the image its own encoder.
    """

    def __init__(self, backbone: BackboneSpec, options: CrossPointOptions, given: Given) -> None:
        """Build point and image networks with random weights.

        Raises:
            UsageError: The data gives no images and a term needs them.
        """
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.trunk = _encoder(backbone, options)
        if isinstance(self.trunk, StandardEncoder):
            self.trunk.init_released()
        width = self.trunk.feature_dims["transfer"]
        self.point_head = projection_head(width, width // 2, options.projection)
        self.image_branch = None
        if options.terms != "imid":
            if given.pixels is None:
                raise UsageError(
                    f"crosspoint.terms={options.terms} contrasts clouds with images, and the pretraining data gives "
                    "none; use data with images (embedded sets: pretrain_data.views=1), or --set crosspoint.terms=imid"
                )
            self.image_branch = ImageBranch(options.image_network, options.image_channels, options.projection)

    @torch.no_grad()
    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Stack both views into 2B clouds and augment the images.

        The transformer's clouds are cut into patches.
        """
        if len(batch.other_points) != 1:
            raise BenchError(f"crosspoint contrasts 2 views of each cloud; the batch has {1 + len(batch.other_points)}")
        points = torch.cat([batch.points, *batch.other_points])
        prepared = {"points": points}
        if isinstance(self.trunk, StandardEncoder):
            patches = cut_patches(points, self.backbone.groups, self.backbone.group_size, self.trunk.sampling)
            prepared = {"patches": patches.points, "centres": patches.centres}
        if self.image_branch is not None:
            if batch.images is None:
                raise BenchError(
                    "crosspoint was built with an image branch, but the batch has no images; add Batch.images"
                )
            prepared["images"] = augment_images(batch.images, self.options.image_size, batch.generator)
        return prepared

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the active terms of ``imid`` and ``cmid``, and ``total``.

        ``total`` is their sum.
        """
        feature = self.trunk.feature(self._encode(prepared), "transfer")
        image = None if self.image_branch is None else self.image_branch(prepared["images"])
        return self.losses(self.point_head(feature), image)

    def losses(self, points: Tensor, image: Tensor | None) -> dict[str, Tensor]:
        """Return the contrastive losses of projections.

        `points` is ``[2B, D]``, all first views before all second ones; `image` is ``[B, D]``. Without an image the
        cross-modal term is left out. Returns scalar losses, and their sum as ``total``.
        """
        temperature = self.options.temperature
        first, second = points.float().chunk(2)
        losses: dict[str, Tensor] = {}
        if self.options.terms != "cmid":
            losses["imid"] = nt_xent(first, second, temperature)
        if image is not None:
            # The prototype of a cloud is the mean of its projections before they are normalised.
            losses["cmid"] = nt_xent((first + second) / 2, image, temperature)
        return losses | {"total": torch.stack(list(losses.values())).sum()}

    def encoder(self) -> Encoder:
        """Return the point network."""
        return self.trunk

    def _encode(self, prepared: dict[str, Tensor]) -> EncoderOutput:
        if isinstance(self.trunk, StandardEncoder):
            return self.trunk.encode(Patches(prepared["patches"], prepared["centres"]))
        output: EncoderOutput = self.trunk(prepared["points"])
        return output


class CrossPointOptions(MethodOptions):
    """Options of CrossPoint."""

    terms: Literal["both", "imid", "cmid"] = "both"
    """``imid`` contrasts the two views, ``cmid`` their mean with the image."""
    temperature: float = Field(0.1, gt=0)
    backbone: Literal["transformer", "dgcnn", "pointnet"] = "transformer"
    """``transformer`` is the backbone all methods share; ``dgcnn`` the published one."""
    neighbours: int = Field(15, ge=1, le=1_024)
    """Edges of each point (dgcnn)."""
    embedding: int = Field(1024, ge=1, le=WIDEST)
    """Width of a point's last feature (dgcnn, pointnet)."""
    input_transform: bool = False
    """Turn clouds by a predicted 3x3 matrix first (pointnet)."""
    projection: int = Field(256, ge=1, le=WIDEST)
    """Width of the projections that are contrasted."""
    image_network: str = "resnet50"
    """timm's name of a ResNet; its weights are random."""
    image_channels: tuple[Channels, Channels, Channels, Channels] | None = None
    """Widths of the image network's four stages; None: its own."""
    image_size: int = Field(224, ge=8, le=1_024)
    """Height and width of the image network's input, in pixels."""


class CrossPoint(Method[CrossPointOptions]):
    """Contrast of views and of points with images (CrossPoint)."""

    name = "crosspoint"
    several_gpus = True
    point_views = 2
    card = MethodCard(
        paper="Afham et al., CrossPoint: Self-Supervised Cross-Modal Contrastive Learning for 3D Point Cloud "
        "Understanding, CVPR 2022, arXiv 2203.00680",
        modalities=("points", "images"),
        sees_class_names="never: only coordinates and pixels enter the loss",
        release_splits="ShapeNet, all objects with renderings (no split held out)",
        deviations=(
            "the encoder is the shared transformer, whose transfer feature (class token + max over patches) is "
            "projected; backbone=dgcnn is the published one; pointnet is in the paper but not in the release",
            "each view draws its own points; the release gives both all points of the file, and any of its pictures "
            "(shapenet-crosspoint: 2048 points, 4 pictures of 112 pixels; pretrain_data.points, .views, .view_size)",
            "the rate follows the cosine in the middle of each epoch (recipe.reference_schedule=early restores the "
            "release, whose first epoch is at step 1 and whose last has rate 0)",
            "weight decay spares biases and normalisation layers; the release decays everything by 1e-6",
            "one order of brightness, contrast and saturation per batch of images instead of one per image",
            "a dgcnn has as many neighbours in evaluation as in training; the release's few-shot script takes 5",
            "presets smoke and nano have a narrow image network (image_network, image_channels, image_size)",
        ),
    )

    Options: ClassVar[type[CrossPointOptions]] = CrossPointOptions

    recipes: ClassVar[Mapping[str, Recipe]] = pretraining_recipes("crosspoint")

    @classmethod
    def defaults(cls, preset: str) -> CrossPointOptions:
        """Return published options; narrower networks for nano and smoke."""
        narrow = {"image_network": "resnet18", "image_size": 32, "neighbours": 10}
        small: dict[str, dict[str, object]] = {
            "smoke": {**narrow, "image_channels": (8, 8, 16, 16), "embedding": 64},
            "nano": {**narrow, "image_channels": (16, 32, 64, 128), "embedding": 128},
        }
        return cls.parse(small.get(preset, {}))

    @classmethod
    def uses(cls, options: CrossPointOptions) -> frozenset[str]:
        """Return ``pixels`` if a term contrasts with images, else nothing."""
        return frozenset() if options.terms == "imid" else frozenset({"pixels"})

    @classmethod
    def parts_used(cls, backbone: BackboneSpec, options: CrossPointOptions) -> frozenset[str]:
        """Return all parts for the transformer, none for published backbones."""
        return super().parts_used(backbone, options) if options.backbone == "transformer" else frozenset()

    @classmethod
    def build(cls, backbone: BackboneSpec, options: CrossPointOptions, given: Given) -> CrossPointModel:
        """Build the pretraining network."""
        return CrossPointModel(backbone, options, given)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: CrossPointOptions) -> Encoder:
        """Build the transfer encoder with PyTorch's initialisation."""
        return _encoder(backbone, options)

    @classmethod
    def architecture(cls, options: CrossPointOptions) -> tuple[str, dict[str, JsonValue]]:
        """Return Point-MAE's network, unless a published backbone is chosen."""
        shared = options.backbone == "transformer"
        return ("point-mae", {"reference": False}) if shared else super().architecture(options)


def _encoder(backbone: BackboneSpec, options: CrossPointOptions) -> Encoder:
    if options.backbone == "dgcnn":
        return DGCNN(options.neighbours, options.embedding)
    if options.backbone == "pointnet":
        return PointNet(options.embedding, input_transform=options.input_transform)
    return StandardEncoder(backbone, Sampling())
