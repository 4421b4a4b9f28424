"""Two-tower ReCon: reconstruction and guidance in separate encoders.

Source: Qi et al., Contrast with Reconstruct, ICML 2023 (docs/reference.md#two-tower).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
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
from bench.models.losses import masked_reconstruction
from bench.models.masked import embed_visible, prepare_masked
from bench.models.standard import StandardEncoder
from bench.models.two_tower import ContrastTower, Streams, TwoTowerEncoder
from bench.recipes.pretraining import pretraining_recipes
from bench.spec import BackboneSpec, Recipe


class TwoTowerModel(GuidedModel):
    """Train a reconstruction tower and a cross-modal tower.

    The first sees the visible patches, the second the whole cloud.
    """

    def __init__(self, backbone: BackboneSpec, options: TwoTowerOptions, given: Given) -> None:
        """Build both towers, whichever is transferred.

        Their linear layers have Point-MAE's initialisation.
        """
        super().__init__()
        width = backbone.width
        self.backbone = backbone
        self.options = options
        self.trunk = _encoder(backbone, options, "all")
        self.trunk.init_released()
        masked, contrast = self.trunk.towers()
        # The class token joins at transfer, fresh, as in Point-MAE; pretraining neither uses nor trains it.
        masked.cls_token.requires_grad_(False)
        masked.cls_pos.requires_grad_(False)
        self.decoder = MaskedDecoder(backbone, options.decoder_depth, options.decoder_heads)
        self.image_head, self.text_head, _ = projection_heads(
            width, given.image, given.text, options.modalities, reference=options.reference
        )
        self.teachers = tuned_teachers(options, given)
        self.guided = self.image_head is not None or self.text_head is not None
        if not self.guided:  # nothing would train it
            contrast.requires_grad_(False)

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
            whole=self.guided,
        )
        return prepared | targets(
            "two-tower", batch, self.teachers, image_features=self.image_head, text_features=self.text_head
        )

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the active terms and their sum ``total``.

        Terms: ``mdm``, ``csc_image``, ``csc_text``. With tuned teachers, ``spread_image`` and
        ``spread_text`` beside, which are no losses (`TunedTeachers.spread`).
        """
        o = self.options
        prepared = self.teachers(prepared)
        masked, contrast = self.trunk.towers()
        centres = prepared["visible_centres"]
        visible = masked.encode_patches(embed_visible(masked.tokenizer, prepared), centres)
        predicted = self.decoder(visible, centres, prepared["masked_centres"])
        losses = {"mdm": masked_reconstruction(predicted, prepared["masked_patches"].flatten(0, 1), o.loss)}
        if self.guided:
            whole = contrast.tokenizer(prepared["whole_patches"])
            tokens, _ = contrast.encode_with_tokens(whole, prepared["whole_centres"])
            image, text = tokens.unbind(1)
            losses |= cross_modal_terms(
                prepared, (self.image_head, image), (self.text_head, text), o.cross_modal_loss, o.temperature
            )
        total = torch.stack(list(losses.values())).sum()
        return losses | {"total": total} | self.teachers.spread(prepared)

    def aligned_heads(self) -> Mapping[str, tuple[str, nn.Linear]]:
        """Return the heads on the contrast tower's tokens.

        None if that tower is not transferred, or with tuned teachers.
        """
        return (
            {}
            if self.options.streams == "mdm" or self.options.tuned
            else aligned_heads(self.image_head, self.text_head)
        )

    def encoder(self) -> TwoTowerEncoder:
        """Return the towers that are transferred."""
        return self.trunk.of(self.options.streams)


class TwoTowerOptions(GuidedOptions):
    """Options of the two towers."""

    streams: Streams = "all"
    """Towers that are transferred: both, the masked one (``mdm``) or the contrast one (``cmc``). Pretraining always
    trains both."""
    skip_two_patches: bool = False
    """Leave the first two patches out of the transfer feature's maximum, as the release's index does."""
    reference: bool = False
    """Restore the release's quirks: sampler, neighbour formula, initialisation of projection heads, and
    ``skip_two_patches``."""


class TwoTower(Guided[TwoTowerOptions]):
    """Reconstruction and contrast in separate towers (ReCon's two-tower baseline)."""

    name = "two-tower"
    several_gpus = True
    card = MethodCard(
        paper="two-tower baseline of Qi et al., Contrast with Reconstruct: Contrastive 3D Representation Learning "
        "Guided by Generative Pretraining, ICML 2023, arXiv 2302.02318",
        modalities=("points", "images", "text"),
        sees_class_names="through captions: the release writes every object's class name into its sentence",
        release_splits="ShapeNet-55 train + test",
        deviations=(
            "the maximum runs over all patches; the release leaves the first two out (skip_two_patches=true restores "
            "it)",
            "projection heads start from N(0, 0.02); the release draws ReCon's with mean 0.02 and std 0.01, and its "
            "sampler skips points near the origin (reference=true restores all of it)",
            "only visible patches are embedded in the masked tower, so hidden ones do not enter its BatchNorm's "
            "statistics (tokenize=all restores it)",
            "text is the data set's caption, not the class name (--captions class-names restores it)",
            "teachers=tuned trains the teachers along, which is our reading of the article; ReCon's release has frozen "
            "ones only (teachers=frozen restores it)",
            "the released code calls a method its teachers lack and cannot run; teachers' plain features are meant",
        ),
    )

    recipes: ClassVar[Mapping[str, Recipe]] = pretraining_recipes("two-tower")

    Options: ClassVar[type[TwoTowerOptions]] = TwoTowerOptions

    @classmethod
    def aligned(cls, options: TwoTowerOptions) -> frozenset[str]:
        """Return the teachers' spaces if the contrast tower is transferred."""
        return frozenset() if options.streams == "mdm" else super().aligned(options)

    @classmethod
    def build(cls, backbone: BackboneSpec, options: TwoTowerOptions, given: Given) -> TwoTowerModel:
        """Build the pretraining network."""
        return TwoTowerModel(backbone, options, given)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: TwoTowerOptions) -> Encoder:
        """Build the towers that are transferred, with PyTorch's initialisation."""
        return _encoder(backbone, options, options.streams)


def _encoder(backbone: BackboneSpec, options: TwoTowerOptions, streams: Streams) -> TwoTowerEncoder:
    sampling = RELEASED_RECON if options.reference else Sampling()
    return TwoTowerEncoder(
        streams,
        masked=None if streams == "cmc" else StandardEncoder(backbone, sampling),
        contrast=None if streams == "mdm" else ContrastTower(backbone, sampling),
        skip_two_patches=options.skip_two_patches or options.reference,
    )
