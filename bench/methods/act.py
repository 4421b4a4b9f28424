"""ACT: masked distillation from a transformer-based autoencoder.

Source: Dong et al., Autoencoders as Cross-Modal Teachers, ICLR 2023 (docs/reference.md#act-student).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field, JsonValue
from torch import Tensor

from bench.errors import BenchError
from bench.methods.base import Batch, Given, Method, MethodCard, MethodOptions, PretrainModel
from bench.models.act_student import FeatureDecoder, StudentEncoder, shallow_block
from bench.models.distillation import DistillationLoss, distillation
from bench.models.dvae import DvaeEncoder
from bench.models.encoder import Encoder
from bench.models.grouping import RELEASED_POINT_MAE, Sampling
from bench.models.masked import DecoderHeads, Tokenize, embed_visible, prepare_masked
from bench.models.masking import MaskKind
from bench.models.noise import gumbel
from bench.models.ops import gather_points
from bench.recipes.pretraining import pretraining_recipes
from bench.spec import DEEPEST, WIDEST, BackboneSpec, Recipe


class ACTModel(PretrainModel):
    """Predict the frozen autoencoder's features of hidden patches.

    The autoencoder, act-dvae, sees the whole cloud.
    """

    def __init__(
        self, backbone: BackboneSpec, options: ACTOptions, teacher: DvaeEncoder | None, target_width: int
    ) -> None:
        """Build with the published initialisation.

        Args:
            backbone: Sizes.
            options: The method's options.
            teacher: First stage; None where every call of `prepare` brings its own targets.
            target_width: Width of the targets.
        """
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.trunk = _encoder(backbone, options)
        self.trunk.init_released()
        self.decoder = FeatureDecoder(
            backbone,
            options.decoder_depth,
            options.decoder_heads,
            target_width,
            cls_pass=options.cls_loss,
        )
        self.teacher = None if teacher is None else teacher.requires_grad_(False)
        self.tap = shallow_block(options.shallow_block, backbone.depth) if options.cls_loss else None

    def train(self, mode: bool = True) -> ACTModel:
        """Switch training mode; keep the teacher in evaluation mode.

        With teacher_mode=reference the teacher follows, as in the release.
        """
        super().train(mode)
        if self.teacher is not None and self.options.teacher_mode == "deterministic":
            self.teacher.eval()
        return self

    def prepare(self, batch: Batch, mask: Tensor | None = None, targets: Tensor | None = None) -> dict[str, Tensor]:
        """Cut patches, draw masks and the teacher's random numbers.

        Args:
            batch: The step's input.
            mask: Hidden patches, bool ``[B, G]``, to use instead of drawn ones.
            targets: Teacher's features of all patches ``[B, G, D]`` to use instead of running it.
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
            whole=True,
        )
        if targets is not None:
            return prepared | {"targets": targets}
        if self.teacher is None:
            raise BenchError("act was built without its first stage: give targets to prepare()")
        if o.teacher_mode == "reference":
            count, device = len(batch.points), batch.points.device
            shape = (count, self.backbone.groups, self.teacher.design.codes)
            prepared["noise"] = gumbel(shape, batch.generator, device)
            kept = self.teacher.prompted.draw_kept(count, batch.generator, device)
            prepared |= {} if kept is None else {"kept": kept}
        return prepared

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``distil``, with ``cls_loss`` also ``distil_cls``, and ``total``.

        ``total`` is their sum.
        """
        visible_centres, masked_centres = prepared["visible_centres"], prepared["masked_centres"]
        target = gather_points(self._targets(prepared), prepared["masked"])
        tokens = embed_visible(self.trunk.tokenizer, prepared)
        cls, visible, shallow = self.trunk.encode_visible(tokens, visible_centres, self.tap)
        kind = self.options.loss
        losses = {"distil": distillation(self.decoder(visible, visible_centres, masked_centres), target, kind)}
        if self.options.cls_loss:
            predicted = self.decoder(shallow, visible_centres, masked_centres, cls)
            losses["distil_cls"] = distillation(predicted, target, kind)
        return losses | {"total": torch.stack(list(losses.values())).sum()}

    def encoder(self) -> StudentEncoder:
        """Return the student's encoder, without teacher and decoder."""
        return self.trunk

    def _targets(self, prepared: dict[str, Tensor]) -> Tensor:
        if "targets" in prepared or self.teacher is None:
            return prepared["targets"]
        patches, centres = prepared["whole_patches"], prepared["whole_centres"]
        smooth = self.options.target == "smoothed"
        return self.teacher.targets(patches, centres, prepared.get("noise"), prepared.get("kept"), smooth=smooth)


class ACTOptions(MethodOptions):
    """Options of the student; those of the autoencoder are act-dvae's."""

    mask_ratio: float = Field(0.8, gt=0, lt=1)
    """Share of hidden patches."""
    mask: MaskKind = "rand"
    decoder_depth: int = Field(2, ge=1, le=64)
    decoder_heads: DecoderHeads = None
    """Attention heads of the decoder; None: the backbone's (published)."""
    loss: DistillationLoss = "cosine"
    target: Literal["smoothed", "transformer"] = "smoothed"
    """Distil features after the autoencoder's second graph network (published) or right after its transformer."""
    cls_loss: bool = False
    """Predict the same targets once more from the class token and shallow patch tokens; off as published."""
    shallow_block: int | None = Field(None, ge=0, le=DEEPEST)
    """Block of those patch tokens, counted from 0; None: three quarters up (9 of 12: published)."""
    patch_width: int | None = Field(None, ge=1, le=WIDEST)
    """Width of the patch embedding; None: the backbone's width (published), otherwise a linear layer follows."""
    teacher_mode: Literal["deterministic", "reference"] = "deterministic"
    """``reference`` samples codes, drops prompts and lets BatchNorm follow the batch, as the release does."""
    tokenize: Tokenize = "visible"
    """``visible`` embeds visible patches only; ``all`` hidden ones too, as in the release."""
    reference: bool = False
    """Cut patches as the released sampler does (origin skip, tie rule)."""


class ACT(Method[ACTOptions]):
    """Masked distillation of a cross-modal autoencoder (ACT, ICLR 2023)."""

    name = "act"
    several_gpus = True
    first_stage = "act-dvae"
    card = MethodCard(
        paper="Dong et al., Autoencoders as Cross-Modal Teachers: Can Pretrained 2D Image Transformers Help 3D "
        "Representation Learning?, ICLR 2023, arXiv 2212.08320",
        modalities=("points",),
        sees_class_names="through the weights its first stage is built around: tiny-clip was fitted on captions, and "
        "the release's ViT was trained with ImageNet's labels; no text or label of the pretraining data is read",
        release_splits="ShapeNet-55 train for the autoencoder, train + test for the student",
        stages=("autoencoder", "distillation"),
        deviations=(
            "the teacher gives the features of the likeliest codes; in the release it stays in training mode, so that "
            "codes are sampled, prompts dropped and BatchNorm follows the batch (teacher_mode=reference restores it)",
            "both stages read the same clouds; the release's autoencoder leaves ShapeNet's test list out",
            "only visible patches are embedded by the student, so hidden ones do not enter BatchNorm's statistics "
            "(tokenize=all restores it)",
            "cls_loss adds its term to every kind of loss; in the release it does so to cosine alone",
            "centres near the origin may be picked and ties go to the first point (reference=true restores the "
            "released sampler)",
        ),
    )

    Options: ClassVar[type[ACTOptions]] = ACTOptions

    recipes: ClassVar[Mapping[str, Recipe]] = pretraining_recipes("act")

    @classmethod
    def parts_used(cls, backbone: BackboneSpec, options: ACTOptions) -> frozenset[str]:
        """Return all parts, or with `patch_width` all but the tokenizer.

        That option always uses the published tokenizer.
        """
        plain = options.patch_width in (None, backbone.width)
        return super().parts_used(backbone, options) - (frozenset() if plain else {"tokenizer"})

    @classmethod
    def build(cls, backbone: BackboneSpec, options: ACTOptions, given: Given) -> ACTModel:
        """Build the student around the trained first stage."""
        teacher = given.first_stage
        if not isinstance(teacher, DvaeEncoder):
            raise BenchError("act distils the encoder of its first stage, act-dvae, and none was given")
        design = teacher.design
        width = design.feature_width if options.target == "smoothed" else design.code_width
        return ACTModel(backbone, options, teacher, width)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: ACTOptions) -> Encoder:
        """Build the transfer encoder with PyTorch's initialisation."""
        return _encoder(backbone, options)

    @classmethod
    def architecture(cls, options: ACTOptions) -> tuple[str, dict[str, JsonValue]]:
        """Return Point-MAE's network, unless `patch_width` is set."""
        if options.patch_width is None:
            return "point-mae", {"reference": options.reference}
        return super().architecture(options)


def _encoder(backbone: BackboneSpec, options: ACTOptions) -> StudentEncoder:
    return StudentEncoder(backbone, RELEASED_POINT_MAE if options.reference else Sampling(), options.patch_width)
