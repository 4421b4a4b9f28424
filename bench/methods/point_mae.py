"""Point-MAE: masked autoencoding of point patches.

Source: Pang et al., Masked Autoencoders for Point Cloud Self-supervised Learning, ECCV 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, JsonValue
from torch import Tensor

from bench.methods.base import Batch, Given, Method, MethodCard, MethodOptions, PretrainModel
from bench.models.decoder import MaskedDecoder
from bench.models.encoder import Encoder
from bench.models.grouping import RELEASED_POINT_MAE, Sampling
from bench.models.losses import ReconstructionLoss, masked_reconstruction
from bench.models.masked import DecoderHeads, Tokenize, embed_visible, prepare_masked
from bench.models.masking import MaskKind
from bench.models.standard import StandardEncoder
from bench.recipes.pretraining import pretraining_recipes
from bench.spec import BackboneSpec, Recipe


class PointMAEModel(PretrainModel):
    """Encode visible patches, reconstruct hidden ones."""

    def __init__(self, backbone: BackboneSpec, options: PointMAEOptions) -> None:
        """Build with the published initialisation."""
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.trunk = _encoder(backbone, options)
        self.trunk.init_released()
        # The class token joins at transfer, fresh, as in the release; pretraining neither uses nor trains it.
        self.trunk.cls_token.requires_grad_(False)
        self.trunk.cls_pos.requires_grad_(False)
        self.decoder = MaskedDecoder(backbone, options.decoder_depth, options.decoder_heads)

    def prepare(self, batch: Batch, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Cut patches and draw masks.

        `mask` (bool ``[B, G]``, True = hidden) replaces the drawn ones.
        """
        o = self.options
        return prepare_masked(
            batch.points,
            self.backbone,
            self.trunk.sampling,
            ratio=o.mask_ratio,
            kind=o.mask,
            tokenize=o.tokenize,
            generator=batch.generator,
            mask=mask,
        )

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the reconstruction loss as ``mdm`` and ``total``."""
        centres = prepared["visible_centres"]
        visible = self.trunk.encode_patches(embed_visible(self.trunk.tokenizer, prepared), centres)
        predicted = self.decoder(visible, centres, prepared["masked_centres"])
        mdm = masked_reconstruction(predicted, prepared["masked_patches"].flatten(0, 1), self.options.loss)
        return {"mdm": mdm, "total": mdm}

    def encoder(self) -> StandardEncoder:
        """Return the encoder, whose class token is untrained."""
        return self.trunk


class PointMAEOptions(MethodOptions):
    """Options of Point-MAE."""

    mask_ratio: float = Field(0.6, gt=0, lt=1)
    """Share of hidden patches."""
    mask: MaskKind = "rand"
    decoder_depth: int = Field(4, ge=1, le=64)
    decoder_heads: DecoderHeads = None
    """Attention heads of the decoder; None: the backbone's (published)."""
    loss: ReconstructionLoss = "cdl2"
    tokenize: Tokenize = "visible"
    """``visible`` embeds visible patches only; ``all`` hidden ones too, as in the release."""
    reference: bool = False
    """Cut patches as the released sampler does (origin skip, tie rule)."""


class PointMAE(Method[PointMAEOptions]):
    """Masked autoencoding of point patches."""

    name = "point-mae"
    several_gpus = True
    card = MethodCard(
        paper="Pang et al., Masked Autoencoders for Point Cloud Self-supervised Learning, ECCV 2022, arXiv 2203.06604",
        modalities=("points",),
        sees_class_names="never: only point coordinates enter the loss",
        release_splits="ShapeNet-55 train",
        deviations=(
            "only visible patches are embedded in pretraining, so hidden ones do not enter BatchNorm's statistics "
            "(tokenize=all restores it)",
            "centres near the origin may be picked and ties go to the first point (reference=true restores the "
            "released sampler)",
        ),
    )

    Options: ClassVar[type[PointMAEOptions]] = PointMAEOptions

    recipes: ClassVar[Mapping[str, Recipe]] = pretraining_recipes("point-mae")

    @classmethod
    def defaults(cls, preset: str) -> PointMAEOptions:
        """Return published options; for nano with a shallow decoder.

        See docs/nano.md.
        """
        return cls.Options(decoder_depth=2) if preset == "nano" else cls.Options()

    @classmethod
    def build(cls, backbone: BackboneSpec, options: PointMAEOptions, given: Given) -> PointMAEModel:
        """Build the pretraining network; teacher features are not used."""
        return PointMAEModel(backbone, options)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: PointMAEOptions) -> Encoder:
        """Build the transfer encoder with PyTorch's initialisation."""
        return _encoder(backbone, options)

    @classmethod
    def architecture(cls, options: PointMAEOptions) -> tuple[str, dict[str, JsonValue]]:
        """Of all options only `reference` changes the encoder."""
        return cls.name, {"reference": options.reference}


def _encoder(backbone: BackboneSpec, options: PointMAEOptions) -> StandardEncoder:
    return StandardEncoder(backbone, RELEASED_POINT_MAE if options.reference else Sampling())
