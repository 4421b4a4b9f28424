"""ReCon: reconstruction guided by cross-modal contrast.

Source: Qi et al., Contrast with Reconstruct, ICML 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from bench.methods.base import Batch, Given, MethodCard
from bench.methods.guided import Guided, GuidedModel, GuidedOptions, tuned_teachers
from bench.models.decoder import MaskedDecoder
from bench.models.encoder import Encoder
from bench.models.grouping import RELEASED_RECON, Sampling
from bench.models.guidance import (
    aligned_heads,
    cross_modal_terms,
    projection_heads,
    targets,
)
from bench.models.losses import masked_reconstruction, self_contrast
from bench.models.masked import embed_visible, prepare_masked
from bench.models.parts import Residual
from bench.models.standard import StandardEncoder
from bench.models.two_stream import TwoStreamEncoder
from bench.recipes.pretraining import pretraining_recipes
from bench.spec import BackboneSpec, Recipe


class ReConModel(GuidedModel):
    """Reconstruct hidden patches and regress teachers' features from global queries."""

    def __init__(self, backbone: BackboneSpec, options: ReConOptions, given: Given) -> None:
        """Build with the published initialisation.

        A term that is off, or whose teacher features are missing, has no head.
        """
        super().__init__()
        width = backbone.width
        self.backbone = backbone
        self.options = options
        self.trunk = _encoder(backbone, options)
        self.trunk.init_released()
        self.decoder = MaskedDecoder(backbone, options.decoder_depth, options.decoder_heads)
        self.image_head, self.text_head, self.contrast_head = projection_heads(
            width, given.image, given.text, options.modalities, reference=options.reference, contrast=options.smc
        )
        self.teachers = tuned_teachers(options, given)

    def prepare(self, batch: Batch, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Cut patches, draw masks, and collect the targets.

        `mask` (bool ``[B, G]``, True = hidden) replaces the drawn ones.
        """
        o = self.options
        prepared = prepare_masked(
            batch.points,
            self.backbone,
            self.trunk.sampling,
            ratio=o.mask_ratio,
            kind=o.mask,
            tokenize=o.tokenize,
            generator=batch.generator,
            mask=mask,
        )
        return prepared | targets(
            "recon",
            batch,
            self.teachers,
            image_features=self.image_head,
            text_features=self.text_head,
            labels=self.contrast_head,
        )

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the active terms and their sum ``total``.

        Terms: ``mdm``, ``csc_image``, ``csc_text``, ``smc``. With tuned teachers, ``spread_image`` and
        ``spread_text`` beside, which are no losses (`TunedTeachers.spread`).
        """
        o = self.options
        prepared = self.teachers(prepared)
        centres = prepared["visible_centres"]
        tokens = embed_visible(self.trunk.tokenizer, prepared)
        if isinstance(self.trunk, TwoStreamEncoder):
            queries, visible = self.trunk.encode_patches(tokens, centres, stop_gradient=o.stop_gradient)
            cls, image, text = queries.unbind(1)
        else:
            visible = self.trunk.encode_patches(tokens, centres)
            cls = image = text = visible.amax(1)
        predicted = self.decoder(visible, centres, prepared["masked_centres"])
        losses = {"mdm": masked_reconstruction(predicted, prepared["masked_patches"].flatten(0, 1), o.loss)}
        losses |= cross_modal_terms(
            prepared, (self.image_head, image), (self.text_head, text), o.cross_modal_loss, o.temperature
        )
        if self.contrast_head is not None:
            losses["smc"] = self_contrast(self.contrast_head(cls), prepared["labels"])
        total = torch.stack(list(losses.values())).sum()
        return losses | {"total": total} | self.teachers.spread(prepared)

    def aligned_heads(self) -> Mapping[str, tuple[str, nn.Linear]]:
        """Return the heads on the queries.

        Without queries, the heads on the pooled patches. None with tuned teachers.
        """
        if self.options.tuned:
            return {}
        features = {} if self.options.global_queries else {"image": "pooled", "text": "pooled"}
        return aligned_heads(self.image_head, self.text_head, features)

    def encoder(self) -> TwoStreamEncoder | StandardEncoder:
        """Return the encoder."""
        return self.trunk


class ReConOptions(GuidedOptions):
    """Options of ReCon."""

    smc: bool = False
    """Supervised self-contrast of the class query by category; off in every published configuration."""
    global_queries: bool = True
    """Whether there are global queries; without them the heads read the maximum over visible patch tokens, and the
    transfer feature is max + mean over patches (2C)."""
    stop_gradient: bool = Field(True, validate_default=True)
    """Stop the gradient of the cross-modal terms where the queries read the patches, so that it does not reach the
    local stream; always off without global queries."""
    residual: Residual = "normalised"
    """What sub-layers of both streams add to: their normalised input (published), or the input (``prenorm``)."""
    reference: bool = False
    """Restore the release's quirks: sampler, neighbour formula, initialisation of projection heads."""

    @field_validator("stop_gradient")
    @classmethod
    def _needs_queries(cls, value: bool, info: ValidationInfo) -> bool:
        return value and info.data.get("global_queries", True)


class ReCon(Guided[ReConOptions]):
    """Reconstruction guided by cross-modal contrast (ReCon, ICML 2023)."""

    name = "recon"
    several_gpus = True
    card = MethodCard(
        paper="Qi et al., Contrast with Reconstruct: Contrastive 3D Representation Learning Guided by Generative "
        "Pretraining, ICML 2023, arXiv 2302.02318",
        modalities=("points", "images", "text"),
        sees_class_names="through captions: the release writes every object's class name into its sentence; smc=true "
        "also groups objects by class",
        release_splits="ShapeNet-55 train + test",
        deviations=(
            "projection heads start from N(0, 0.02); the release draws them with mean 0.02 and std 0.01, and its "
            "sampler skips points near the origin (reference=true restores all of it)",
            "only visible patches are embedded in pretraining, so hidden ones do not enter BatchNorm's statistics "
            "(tokenize=all restores it)",
            "text is the data set's caption, not the class name (--captions class-names restores it)",
            "teachers=tuned trains the teachers along, which is our reading of the article; ReCon's release has frozen "
            "ones only (teachers=frozen restores it)",
            "preset nano lets the cross-modal gradient into the local stream (stop_gradient=true restores it)",
        ),
    )

    recipes: ClassVar[Mapping[str, Recipe]] = pretraining_recipes("recon")

    Options: ClassVar[type[ReConOptions]] = ReConOptions

    untrained: ClassVar[Mapping[str, str]] = {
        "trunk.cls_*": "no loss reads the class query, and queries do not see each other (smc=true trains it)"
    }

    @classmethod
    def defaults(cls, preset: str) -> ReConOptions:
        """Return published options, with two changes for nano.

        They are a shallow decoder and no stop-gradient (see docs/nano.md).
        """
        return cls.Options(decoder_depth=2, stop_gradient=False) if preset == "nano" else cls.Options()

    @classmethod
    def uses(cls, options: ReConOptions) -> frozenset[str]:
        """Return the chosen teacher features, and labels with ``smc``."""
        return super().uses(options) | frozenset(("labels",) if options.smc else ())

    @classmethod
    def build(cls, backbone: BackboneSpec, options: ReConOptions, given: Given) -> ReConModel:
        """Build the pretraining network."""
        return ReConModel(backbone, options, given)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: ReConOptions) -> Encoder:
        """Build the transfer encoder with PyTorch's initialisation."""
        return _encoder(backbone, options)


def _encoder(backbone: BackboneSpec, options: ReConOptions) -> TwoStreamEncoder | StandardEncoder:
    sampling = RELEASED_RECON if options.reference else Sampling()
    if options.global_queries:
        return TwoStreamEncoder(backbone, sampling, options.residual)
    return StandardEncoder(backbone, sampling, tokens=(), residual=options.residual)
