"""Encoder half of ACT's autoencoder.

Patches become codes, codes pass a pretrained transformer, and features come out. The result is an encoder, and the
teacher of ACT's second stage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.backbone import build_tokenizer
from bench.models.encoder import Encoder, EncoderOutput
from bench.models.graph_smoothing import GraphSmoothing, centre_graph
from bench.models.grouping import Sampling, cut_patches
from bench.models.init import STD
from bench.models.masked import check_backbone
from bench.models.noise import uniform
from bench.models.token_transformer import TokenTransformer
from bench.models.tokenizer import PositionMLP
from bench.spec import BackboneSpec, TransformerShape


@dataclass(frozen=True)
class DvaeDesign:
    """Sizes and options of the autoencoder (docs/reference.md#act-autoencoder).

    The backbone's sizes come on top.

    Attributes:
        transformer: Architecture of the pretrained transformer.
        codes: Entries of the codebook.
        code_width: Width of a code.
        feature_width: Width of the features that come out.
        graph_width: First width of the two graph networks.
        prompts: Learned tokens put in front of the transformer's input; 0 for none.
        deep_prompts: Give every later block its own prompts.
        prompt_dropout: Rate of `PromptedTransformer.draw_kept`.
        cut_gradient: Stop the gradient at the transformer, so that layers before it get none through it.
    """

    transformer: TransformerShape
    codes: int
    code_width: int
    feature_width: int
    graph_width: int
    prompts: int
    deep_prompts: bool = True
    prompt_dropout: float = 0.0
    cut_gradient: bool = False


def half_cosine(step: int, start: int, steps: int, first: float, last: float) -> float:
    """Return a half-cosine schedule's value at a step.

    It is `first` until `start`, then half a cosine over `steps` to `last`, and `last` after that. >>>
    [round(half_cosine(step, 10, 100, 0.0, 1.0), 3) for step in (0, 10, 60, 110, 500)] [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    done = min(max(step - start, 0) / steps, 1.0)
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2


def divergence_from_uniform(logits: Tensor) -> Tensor:
    """Return the KL divergence of code usage from uniform.

    That is KL(uniform, mean code distribution of a cloud), averaged over clouds.

    Args:
        logits: ``[B, G, codes]``; their softmax is averaged over the G patches.

    Returns:
        Scalar, at least 0 up to rounding.

    Source: docs/reference.md#act-autoencoder (loss).
    """
    with torch.autocast(logits.device.type, enabled=False):
        usage = logits.float().log_softmax(-1).logsumexp(1) - math.log(logits.shape[1])
        return (-math.log(logits.shape[-1]) - usage.mean(-1)).mean()


class PromptedTransformer(nn.Module):
    """Pretrained transformer with two adapters and learned prompts.

    Prompts stand in front of the patches. Positions are added again before every block; with deep prompts every block
    after the first gets its own prompts and prompt positions. Prompts start from N(0, 0.02), which is our choice.

    Source: docs/reference.md#act-autoencoder, steps 5 to 8.
    """

    def __init__(self, width: int, design: DvaeDesign) -> None:
        """Build the layers; the caller loads the transformer's weights.

        Args:
            width: Width of a code.
            design: Sizes.
        """
        super().__init__()
        inner, depth = design.transformer.width, design.transformer.depth
        self.design = design
        self.before = nn.Linear(width, inner)
        self.position = PositionMLP(inner)
        self.transformer = TokenTransformer(design.transformer)
        self.after = nn.Linear(inner, width)
        if design.prompts:
            self.prompt_token = _free(1, design.prompts, inner)
            self.prompt_pos = _free(1, design.prompts, inner)
        self.deep = design.deep_prompts and design.prompts > 0 and depth > 1
        if self.deep:
            self.deep_prompt_token = _free(depth - 1, design.prompts, inner)
            self.deep_prompt_pos = _free(depth - 1, design.prompts, inner)

    def draw_kept(self, batch: int, generator: torch.Generator | None, device: torch.device) -> Tensor | None:
        """Draw the entries of prompts that dropout keeps.

        bool ``[B, layers, prompts, C]``; None in evaluation, where all stay.
        """
        design = self.design
        if not self.training or not design.prompts or not design.prompt_dropout:
            return None
        layers = design.transformer.depth if self.deep else 1
        shape = (batch, layers, design.prompts, design.transformer.width)
        return uniform(shape, generator, device) >= design.prompt_dropout

    def forward(self, codes: Tensor, centres: Tensor, kept: Tensor | None = None) -> Tensor:
        """Transform code vectors.

        Args:
            codes: ``[B, G, width]``.
            centres: ``[B, G, 3]``.
            kept: From `draw_kept`, or None for no dropout.

        Returns:
            ``[B, G, width]``.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.design.cut_gradient):
            hidden = self._through(self.before(codes), self.position(centres), kept)
        out: Tensor = self.after(hidden)
        return out

    def _through(self, tokens: Tensor, position: Tensor, kept: Tensor | None) -> Tensor:
        count = self.design.prompts
        for i in range(self.design.transformer.depth):
            if count and (i == 0 or self.deep):
                prompts, places = self._prompts(i)
                prompts = prompts.expand(len(tokens), -1, -1)
                if kept is not None:
                    prompts = prompts * (kept[:, i] / (1 - self.design.prompt_dropout))
                before = count if i else 0  # prompts of the block before, to be replaced
                tokens = torch.cat([prompts.to(tokens.dtype), tokens[:, before:]], dim=1)
                position = torch.cat([places.expand(len(tokens), -1, -1), position[:, before:]], dim=1)
            tokens = self.transformer.forward_block(i, tokens + position)
        hidden: Tensor = self.transformer.norm(tokens)
        return hidden[:, count:]

    def _prompts(self, block: int) -> tuple[Tensor, Tensor]:
        """Return a block's prompts and positions, each ``[1, prompts, C]``."""
        if block == 0:
            return self.prompt_token, self.prompt_pos
        return self.deep_prompt_token[block - 1 : block], self.deep_prompt_pos[block - 1 : block]


class DvaeEncoder(Encoder):
    """Autoencoder without decoder, whose features ACT's student predicts.

    Evaluated by a protocol, it uses the likeliest code of every patch; gradients then flow as through the softmax at
    temperature 1 (straight-through).

    Source: ACT (arXiv 2212.08320); docs/reference.md#act-autoencoder, steps 1 to 9.
    """

    def __init__(self, backbone: BackboneSpec, sampling: Sampling, design: DvaeDesign) -> None:
        """Build with PyTorch's initialisation.

        Codes are drawn from the standard normal distribution.

        Args:
            backbone: Sizes of the patches and of the tokenizer.
            sampling: How patches are cut.
            design: All other sizes.

        Raises:
            UsageError: Sizes do not fit together.
        """
        super().__init__()
        check_backbone(backbone)
        self.backbone = backbone
        self.sampling = sampling
        self.design = design
        self.tokenizer = build_tokenizer(backbone)
        self.to_codes = GraphSmoothing(backbone.width, design.codes, design.graph_width)
        self.codebook = nn.Parameter(torch.randn(design.codes, design.code_width))
        self.prompted = PromptedTransformer(design.code_width, design)
        self.smooth = GraphSmoothing(design.code_width, design.feature_width, design.graph_width)
        width = design.feature_width
        self.feature_dims = {"transfer": 2 * width, "svm": width}
        self.feature_descriptions = {
            "transfer": "max over patches + mean over patches (2C)",
            "svm": "max over patches + mean over patches, added (C)",
        }

    def logits(self, patches: Tensor, graph: Tensor) -> Tensor:
        """Return the score of every code for every patch.

        Args:
            patches: Centred points ``[B, G, K, 3]``.
            graph: `centre_graph` of their centres.

        Returns:
            ``[B, G, codes]``, float32.
        """
        scores: Tensor = self.to_codes(self.tokenizer(patches), graph)
        return scores

    def code_vectors(
        self, logits: Tensor, temperature: Tensor | float = 1.0, noise: Tensor | None = None, *, hard: bool = False
    ) -> Tensor:
        """Return mixtures of code vectors by Gumbel-softmax.

        Args:
            logits: ``[B, G, codes]``.
            temperature: Divides logits and noise.
            noise: Gumbel noise of the same shape, or None.
            hard: Take the best code alone, with the gradient of the mixture.

        Returns:
            ``[B, G, code_width]``.
        """
        scores = logits if noise is None else logits + noise
        if hard and not torch.is_grad_enabled():
            return F.embedding(scores.argmax(-1), self.codebook)
        weights = (scores / temperature).softmax(-1)
        if hard:
            best = torch.zeros_like(weights).scatter_(-1, weights.argmax(-1, keepdim=True), 1.0)
            weights = best - weights.detach() + weights
        return weights @ self.codebook

    def codes(self, patches: Tensor, centres: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return each patch's best code, int64 ``[B, G]``."""
        logits = self.logits(patches, centre_graph(centres))
        return (logits if noise is None else logits + noise).argmax(-1)

    @torch.no_grad()
    def targets(
        self,
        patches: Tensor,
        centres: Tensor,
        noise: Tensor | None = None,
        kept: Tensor | None = None,
        *,
        smooth: bool = True,
    ) -> Tensor:
        """Return the student's targets: features of each patch's code.

        Without gradient.

        Args:
            patches: Centred points ``[B, G, K, 3]``, none hidden.
            centres: ``[B, G, 3]``.
            noise: Gumbel noise ``[B, G, codes]``, with which codes are sampled; None takes the likeliest.
            kept: Dropout of the prompts, or None for none (`PromptedTransformer.draw_kept`).
            smooth: After the second graph network (published) or before it.

        Returns:
            ``[B, G, feature_width]``, or ``[B, G, code_width]`` before the second graph network.
        """
        graph = centre_graph(centres)
        vectors = self.code_vectors(self.logits(patches, graph), noise=noise, hard=True)
        local: Tensor = self.prompted(vectors, centres, kept)
        if smooth:
            local = self.smooth(local, graph)
        return local

    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds ``[B, N, 3]``."""
        patches = cut_patches(points, self.backbone.groups, self.backbone.group_size, self.sampling)
        graph = centre_graph(patches.centres)
        vectors = self.code_vectors(self.logits(patches.points, graph), hard=True)
        tokens = self.smooth(self.prompted(vectors, patches.centres), graph)
        return EncoderOutput(tokens=tokens, centres=patches.centres, globals={})

    def features(self, output: EncoderOutput) -> Mapping[str, Tensor]:
        """Return ``transfer`` ``[B, 2C]`` and ``svm`` ``[B, C]``."""
        highest, mean = output.tokens.amax(1), output.tokens.mean(1)
        return {"transfer": torch.cat([highest, mean], dim=-1), "svm": highest + mean}


def _free(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=STD))
