"""Masked method: reconstruct hidden patches from visible ones."""

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor

from bench.methods.base import Batch, Given, Method, MethodCard, MethodOptions, PretrainModel, published
from bench.models.decoder import MaskedDecoder
from bench.models.grouping import Sampling
from bench.models.losses import masked_reconstruction
from bench.models.masked import embed_visible, prepare_masked
from bench.models.standard import StandardEncoder
from bench.spec import BackboneSpec, Recipe


class MaskedExampleModel(PretrainModel):
    """Encode visible patches, predict the points of hidden ones."""

    def __init__(self, backbone: BackboneSpec, mask_ratio: float, decoder_depth: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.mask_ratio = mask_ratio
        self.trunk = StandardEncoder(backbone, Sampling())
        self.trunk.init_released()
        self.trunk.cls_token.requires_grad_(False)  # joins when the encoder is judged; nothing trains it here
        self.trunk.cls_pos.requires_grad_(False)
        self.decoder = MaskedDecoder(backbone, decoder_depth)

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Cut patches; draw hidden ones from the batch's generator."""
        return prepare_masked(
            batch.points,
            self.backbone,
            self.trunk.sampling,
            ratio=self.mask_ratio,
            kind="rand",
            tokenize="visible",
            generator=batch.generator,
        )

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the Chamfer distance as ``chamfer`` and ``total``."""
        centres = prepared["visible_centres"]
        visible = self.trunk.encode_patches(embed_visible(self.trunk.tokenizer, prepared), centres)
        predicted = self.decoder(visible, centres, prepared["masked_centres"])
        loss = masked_reconstruction(predicted, prepared["masked_patches"].flatten(0, 1))
        return {"chamfer": loss, "total": loss}

    def encoder(self) -> StandardEncoder:
        """Return the transferred part, without the decoder."""
        return self.trunk


class MaskedExampleOptions(MethodOptions):
    """Options of the method; they enter every key."""

    mask_ratio: float = Field(0.6, gt=0, lt=1)
    """Share of hidden patches."""
    decoder_depth: int = Field(2, ge=1, le=64)
    """Transformer blocks of the decoder."""


class MaskedExample(Method[MaskedExampleOptions]):
    """Reconstruct hidden patches from visible ones."""

    name = "masked-example"
    card = MethodCard(
        paper="after Pang et al., Masked Autoencoders for Point Cloud Self-supervised Learning, ECCV 2022",
        modalities=("points",),
        sees_class_names="never: only point coordinates enter the loss",
        release_splits="none: not released",
    )
    recipes: ClassVar = {
        "smoke": Recipe(epochs=1, batch_size=16, lr=1e-3, warmup_epochs=0, augmentation=("scale_translate",)),
        "nano": Recipe(epochs=10, batch_size=64, lr=2e-3, warmup_epochs=2, augmentation=("scale_translate",)),
        **published(Recipe(epochs=300, augmentation=("scale_translate",))),
    }

    Options = MaskedExampleOptions

    @classmethod
    def build(cls, backbone: BackboneSpec, options: MaskedExampleOptions, given: Given) -> MaskedExampleModel:
        """Build the network that is pretrained."""
        return MaskedExampleModel(backbone, options.mask_ratio, options.decoder_depth)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: MaskedExampleOptions) -> StandardEncoder:
        """Build the encoder alone, to load stored weights into."""
        return StandardEncoder(backbone, Sampling())

    @classmethod
    def architecture(cls, options: MaskedExampleOptions) -> tuple[str, dict[str, Any]]:
        """Name a built-in method whose ``scratch`` this one shares."""
        return "point-mae", {"reference": False}
