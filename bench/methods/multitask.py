"""Vanilla multi-task: reconstruction and guidance in one shared encoder.

Our reading of a baseline that Qi et al. (ReCon, ICML 2023, appendix C) describe and never released.
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
from bench.models.standard import JointEncoder
from bench.recipes.pretraining import pretraining_recipes
from bench.spec import BackboneSpec, Recipe

TOKENS = ("cls", "image", "text")


class MultitaskModel(GuidedModel):
    """Train one encoder on reconstruction and cross-modal terms.

    Class, image and text token attend among the visible patches.
    """

    def __init__(self, backbone: BackboneSpec, options: MultitaskOptions, given: Given) -> None:
        """Build with ReCon's initialisation.

        A term that is off, or whose teacher features are missing, has no head.
        """
        super().__init__()
        width = backbone.width
        self.backbone = backbone
        self.options = options
        self.trunk = _encoder(backbone, options)
        self.trunk.init_released()
        self.decoder = MaskedDecoder(backbone, options.decoder_depth, options.decoder_heads)
        self.image_head, self.text_head, _ = projection_heads(
            width, given.image, given.text, options.modalities, reference=options.reference
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
            "multitask", batch, self.teachers, image_features=self.image_head, text_features=self.text_head
        )

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the active terms and their sum ``total``.

        Terms: ``mdm``, ``csc_image``, ``csc_text``. With tuned teachers, ``spread_image`` and
        ``spread_text`` beside, which are no losses (`TunedTeachers.spread`).
        """
        o = self.options
        prepared = self.teachers(prepared)
        centres = prepared["visible_centres"]
        tokens, visible = self.trunk.encode_with_tokens(embed_visible(self.trunk.tokenizer, prepared), centres)
        predicted = self.decoder(visible, centres, prepared["masked_centres"])
        losses = {"mdm": masked_reconstruction(predicted, prepared["masked_patches"].flatten(0, 1), o.loss)}
        _, image, text = tokens.unbind(1)
        losses |= cross_modal_terms(
            prepared, (self.image_head, image), (self.text_head, text), o.cross_modal_loss, o.temperature
        )
        total = torch.stack(list(losses.values())).sum()
        return losses | {"total": total} | self.teachers.spread(prepared)

    def aligned_heads(self) -> Mapping[str, tuple[str, nn.Linear]]:
        """Return the heads on the image and the text token.

        None with tuned teachers.
        """
        return {} if self.options.tuned else aligned_heads(self.image_head, self.text_head)

    def encoder(self) -> JointEncoder:
        """Return the trunk."""
        return self.trunk


class MultitaskOptions(GuidedOptions):
    """Options of the multi-task baseline."""

    reference: bool = False
    """Take over quirks of ReCon's release: sampler, neighbour formula, initialisation of projection heads."""


class Multitask(Guided[MultitaskOptions]):
    """Reconstruction and contrast in one encoder (ReCon's vanilla baseline)."""

    name = "multitask"
    several_gpus = True
    card = MethodCard(
        paper="our reading of the vanilla multi-task baseline in appendix C of Qi et al., Contrast with Reconstruct, "
        "ICML 2023, arXiv 2302.02318; the authors released no code or configuration of it",
        modalities=("points", "images", "text"),
        sees_class_names="only through captions that contain them: ReCon's text targets, which it shares, are written "
        "from every object's class name",
        release_splits="none: there is no release",
        deviations=(
            "our reading, there is no release: Point-MAE's encoder with three tokens among the patches, ReCon's loss, "
            "no second stream, no stop-gradient",
            "what ReCon's release does is the default's counterpart: its sampler and projection heads (reference=true "
            "restores it)",
            "only visible patches are embedded in pretraining, so hidden ones do not enter BatchNorm's statistics "
            "(tokenize=all restores it)",
            "text is the data set's caption, not the class name (--captions class-names restores it)",
            "teachers=tuned trains the teachers along, which is our reading of the article; ReCon's release has frozen "
            "ones only (teachers=frozen restores it)",
        ),
    )

    recipes: ClassVar[Mapping[str, Recipe]] = pretraining_recipes("multitask")

    Options: ClassVar[type[MultitaskOptions]] = MultitaskOptions

    @classmethod
    def build(cls, backbone: BackboneSpec, options: MultitaskOptions, given: Given) -> MultitaskModel:
        """Build the pretraining network."""
        return MultitaskModel(backbone, options, given)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: MultitaskOptions) -> Encoder:
        """Build the transfer encoder with PyTorch's initialisation."""
        return _encoder(backbone, options)


def _encoder(backbone: BackboneSpec, options: MultitaskOptions) -> JointEncoder:
    return JointEncoder(backbone, RELEASED_RECON if options.reference else Sampling(), TOKENS)
