"""First stage of ACT: autoencoder around a pretrained transformer.

Source: Dong et al., Autoencoders as Cross-Modal Teachers, ICLR 2023 (docs/reference.md#act-autoencoder).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.errors import BenchError
from bench.methods.base import Batch, Given, Method, MethodCard, MethodOptions, PretrainModel
from bench.models.dvae import DvaeDesign, DvaeEncoder, divergence_from_uniform, half_cosine
from bench.models.encoder import Encoder
from bench.models.folding import FoldingDecoder
from bench.models.graph_smoothing import GROUPS, centre_graph
from bench.models.grouping import RELEASED_POINT_MAE, Sampling, cut_patches
from bench.models.losses import ReconstructionLoss, masked_reconstruction
from bench.models.noise import gumbel
from bench.models.token_transformer import TokenTransformer
from bench.recipes.pretraining import pretraining_recipes
from bench.spec import WIDEST, BackboneSpec, Recipe, TransformerShape
from bench.upload import upload


class ActDvaeModel(PretrainModel):
    """Reconstruct patches from discrete codes and a pretrained transformer.

    Every patch becomes a code; the codes pass the transformer before the decoder.
    """

    def __init__(self, backbone: BackboneSpec, options: ActDvaeOptions, transformer: TokenTransformer) -> None:
        """Build around a pretrained transformer, with PyTorch's initialisation elsewhere."""
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.trunk = _encoder(backbone, options)
        self.decoder = FoldingDecoder(self.trunk.design.feature_width, backbone.group_size, options.folding_width)
        lent = self.trunk.prompted.transformer
        lent.load_state_dict(transformer.state_dict())
        lent.requires_grad_(options.tuning == "full")

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Cut patches and draw Gumbel noise and prompt dropout.

        Looks up this step's temperature and weight of the KL term, too.
        """
        o, backbone = self.options, self.backbone
        patches = cut_patches(batch.points, backbone.groups, backbone.group_size, self.trunk.sampling)
        temperature = half_cosine(batch.step, 0, o.temperature_steps, 1.0, o.temperature_floor)
        weight = half_cosine(batch.step, o.kl_start, o.kl_steps, 0.0, o.kl_weight)
        device = batch.points.device
        kept = self.trunk.prompted.draw_kept(len(batch.points), batch.generator, device)
        drawn = {} if kept is None else {"kept": kept}
        return drawn | {
            "patches": patches.points,
            "centres": patches.centres,
            "noise": gumbel((len(batch.points), backbone.groups, o.codes), batch.generator, device),
            "temperature": upload(torch.tensor(temperature), device),
            "kl_weight": upload(torch.tensor(weight), device),
        }

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return ``recon`` (coarse plus fine), ``kl`` unweighted, and ``total``."""
        logits, coarse, fine = self.reconstruct(prepared)
        return self.losses(logits, coarse, fine, prepared)

    def losses(self, logits: Tensor, coarse: Tensor, fine: Tensor, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of the outputs of `reconstruct`."""
        truth = prepared["patches"].flatten(0, 1)
        kind = self.options.loss
        recon = masked_reconstruction(coarse.flatten(0, 1), truth, kind)
        recon = recon + masked_reconstruction(fine.flatten(0, 1), truth, kind)
        kl = divergence_from_uniform(logits)
        return {"recon": recon, "kl": kl, "total": recon + prepared["kl_weight"] * kl}

    def reconstruct(self, prepared: dict[str, Tensor], *, hard: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Return code logits and coarse and fine points.

        Shapes ``[B, G, codes]``, ``[B, G, K/4, 3]`` and ``[B, G, K, 3]``.
        """
        graph = centre_graph(prepared["centres"])
        logits = self.trunk.logits(prepared["patches"], graph)
        vectors = self.trunk.code_vectors(logits, prepared["temperature"], prepared["noise"], hard=hard)
        features = self.trunk.smooth(self.trunk.prompted(vectors, prepared["centres"], prepared.get("kept")), graph)
        coarse, fine = self.decoder(features)
        return logits, coarse, fine

    def encoder(self) -> DvaeEncoder:
        """Return the network without its decoder."""
        return self.trunk


class ActDvaeOptions(MethodOptions):
    """Options of the autoencoder."""

    transformer: TransformerShape | None = None
    """Architecture of the pretrained transformer; filled in from the teacher."""
    tuning: Literal["prompt", "full", "frozen"] = "prompt"
    """``prompt`` learns prompts around frozen weights, ``full`` tunes the weights, ``frozen`` neither."""
    prompts: int = Field(64, ge=1, le=1_024)
    """Prompts in front of the patches, with tuning=prompt."""
    deep_prompts: bool = True
    """Give every later block its own prompts."""
    prompt_dropout: float = Field(0.1, ge=0, lt=1)
    codes: int = Field(8192, ge=4, le=WIDEST, multiple_of=4)
    """Entries of the codebook."""
    code_width: int | None = Field(None, ge=1, le=WIDEST)
    """Width of a code; None: the backbone's width."""
    feature_width: int | None = Field(None, ge=4, le=WIDEST, multiple_of=4)
    """Width of the features that come out; None: the backbone's width."""
    graph_width: int = Field(128, ge=4, le=WIDEST, multiple_of=4)
    """First width of the graph networks; their edge layers are 2, 4, 4 and 8 times as wide."""
    folding_width: int = Field(512, ge=1, le=WIDEST)
    """Width of the decoder's fine layers; its coarse layers are twice as wide."""
    loss: ReconstructionLoss = "cdl1"
    temperature_floor: float = Field(0.0625, gt=0, le=1)
    temperature_steps: int = Field(100_000, ge=1, le=1_000_000_000)
    """Steps over which the temperature falls from 1 to its floor."""
    kl_weight: float = Field(0.1, ge=0)
    kl_start: int = Field(10_000, ge=0, le=1_000_000_000)
    """Steps before the KL term sets in."""
    kl_steps: int = Field(100_000, ge=1, le=1_000_000_000)
    """Steps over which the weight of the KL term rises from 0."""
    reference: bool = False
    """Restore the release's quirks: sampler, and no gradient through a frozen transformer without prompts."""


class ActDvae(Method[ActDvaeOptions]):
    """First stage of act: autoencoder around a frozen transformer."""

    name = "act-dvae"
    several_gpus = True
    card = MethodCard(
        paper="Dong et al., Autoencoders as Cross-Modal Teachers: Can Pretrained 2D Image Transformers Help 3D "
        "Representation Learning?, ICLR 2023, arXiv 2212.08320 (first stage)",
        modalities=("points",),
        sees_class_names="through the weights it is built around: tiny-clip was fitted on captions, and the release's "
        "ViT was trained with ImageNet's labels; no text or label of the pretraining data is read",
        release_splits="ShapeNet-55 train; its test list chooses the checkpoint",
        stages=("autoencoder",),
        deviations=(
            "the transformer is tiny-clip's text tower; the release takes ViT-B/16 at 384 pixels (--teacher timm "
            "--set teacher.model=vit_base_patch16_384 restores it)",
            "the last state is kept; the release keeps the one with the lowest CDL1 on the test list",
            "tuning=frozen lets gradients through the frozen weights; the release cuts them there, so that what comes "
            "before learns from the KL term alone (reference=true restores it)",
            "centres near the origin may be picked and ties go to the first point (reference=true restores the "
            "released sampler)",
            "presets smoke and nano shrink codebook, graph and folding networks and prompts, and shorten the schedules "
            "of temperature and KL weight in proportion to their recipes (the options of preset base restore them)",
        ),
    )

    Options: ClassVar[type[ActDvaeOptions]] = ActDvaeOptions

    recipes: ClassVar[Mapping[str, Recipe]] = pretraining_recipes("act-dvae")

    @classmethod
    def defaults(cls, preset: str) -> ActDvaeOptions:
        """Return published options; smaller and shorter for smoke and nano.

        Widths are smaller; schedules keep their share of the run.
        """
        if preset == "smoke":
            sizes = {"prompts": 2, "codes": 32, "graph_width": 8, "folding_width": 16}
            return cls.parse(sizes | {"temperature_steps": 3, "kl_start": 1, "kl_steps": 3})
        if preset == "nano":
            sizes = {"prompts": 8, "codes": 512, "graph_width": 32, "folding_width": 128}
            return cls.parse(sizes | {"temperature_steps": 220, "kl_start": 22, "kl_steps": 220})
        return cls.Options()

    @classmethod
    def uses(cls, options: ActDvaeOptions) -> frozenset[str]:
        """Return the teacher's token transformer."""
        return frozenset({"transformer"})

    @classmethod
    def parts_used(cls, backbone: BackboneSpec, options: ActDvaeOptions) -> frozenset[str]:
        """Return the tokenizer: the blocks are the teacher's."""
        return frozenset({"tokenizer"})

    @classmethod
    def complete(cls, options: ActDvaeOptions, teacher: TransformerShape | None) -> ActDvaeOptions:
        """Store the architecture of the teacher's token transformer."""
        return cls.parse(options.model_dump() | {"transformer": teacher})

    @classmethod
    def width_step(cls, backbone: BackboneSpec, options: ActDvaeOptions) -> int:
        """Return the number that must divide the backbone's widths.

        Includes the groups of the GroupNorm over features of the backbone's width.
        """
        return math.lcm(super().width_step(backbone, options), GROUPS if options.feature_width is None else 1)

    @classmethod
    def build(cls, backbone: BackboneSpec, options: ActDvaeOptions, given: Given) -> ActDvaeModel:
        """Build the autoencoder around the teacher's token transformer."""
        if not isinstance(given.transformer, TokenTransformer):
            raise BenchError("act-dvae is built around a teacher's token transformer, and none was given")
        completed = cls.complete(options, given.transformer.shape)
        return ActDvaeModel(backbone, completed, given.transformer)

    @classmethod
    def build_encoder(cls, backbone: BackboneSpec, options: ActDvaeOptions) -> Encoder:
        """Build the encoder with PyTorch's initialisation."""
        return _encoder(backbone, options)


def _encoder(backbone: BackboneSpec, options: ActDvaeOptions) -> DvaeEncoder:
    if options.transformer is None:
        raise BenchError("act-dvae: the option transformer is empty; it is filled in from the teacher of the run")
    prompted = options.tuning == "prompt"
    design = DvaeDesign(
        transformer=options.transformer,
        codes=options.codes,
        code_width=options.code_width or backbone.width,
        feature_width=options.feature_width or backbone.width,
        graph_width=options.graph_width,
        prompts=options.prompts if prompted else 0,
        deep_prompts=options.deep_prompts,
        prompt_dropout=options.prompt_dropout,
        cut_gradient=options.tuning == "frozen" and options.reference,
    )
    return DvaeEncoder(backbone, RELEASED_POINT_MAE if options.reference else Sampling(), design)
