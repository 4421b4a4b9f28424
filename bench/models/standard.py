"""Standard encoder: tokenizer and blocks, with free tokens in front.

Free tokens are learned tokens, such as the class token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.models.backbone import build_blocks, build_norm, build_tokenizer
from bench.models.encoder import BlockOutputs, BlockShape, Encoder, EncoderOutput
from bench.models.grouping import Patches, Sampling, cut_patches
from bench.models.init import free_token, truncated_normal_trunk
from bench.models.masked import check_backbone
from bench.models.parts import Residual
from bench.models.tokenizer import PositionMLP
from bench.spec import BackboneSpec

GUIDED = ("image", "text")
"""Free tokens that a frozen teacher guides; projection heads into its space read them."""


class StandardEncoder(Encoder):
    """Point-MAE's encoder.

    Linear layers have PyTorch's initialisation until `init_released`. Free tokens attend and are attended to like
    patches. Point-MAE has one, the class token, and only at transfer; other methods name more of them, or none.

    Source: Point-MAE (arXiv 2203.06604); docs/reference.md#point-mae-classifier.
    """

    cls_token: nn.Parameter
    """Present if ``cls`` is among the tokens, as is `cls_pos`; likewise for other names."""
    cls_pos: nn.Parameter

    def __init__(
        self,
        backbone: BackboneSpec,
        sampling: Sampling,
        tokens: Sequence[str] = ("cls",),
        residual: Residual = "prenorm",
    ) -> None:
        """Build the layers.

        Args:
            backbone: Sizes and parts.
            sampling: How patches are cut.
            tokens: Names of the free tokens, in order; each has a parameter ``NAME_token`` and a ``NAME_pos``.
            residual: What a sub-layer's output is added to.
        """
        super().__init__()
        check_backbone(backbone)
        width = backbone.width
        self.backbone = backbone
        self.sampling = sampling
        self.token_names = tuple(tokens)
        self.tokenizer = build_tokenizer(backbone)
        self.position = PositionMLP(width)
        self.blocks = build_blocks(backbone, residual=residual)
        self.norm = build_norm(backbone)
        for name in self.token_names:
            self.register_parameter(f"{name}_token", free_token(width))
            self.register_parameter(f"{name}_pos", free_token(width))
        self.feature_dims, self.feature_descriptions = self._describe(width)

    def init_released(self) -> None:
        """Draw linear layers as the release does (docs/reference.md#initialisation)."""
        truncated_normal_trunk(self)

    def encode_patches(self, tokens: Tensor, centres: Tensor) -> Tensor:
        """Encode patches without the free tokens.

        Tokens are ``[B, P, C]``, their centres ``[B, P, 3]``.
        """
        position = self.position(centres)
        for block in self.blocks:
            tokens = block(tokens + position, centres)
        out: Tensor = self.norm(tokens)
        return out

    def sequence(self, tokens: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Put the free tokens in front of patch tokens.

        Patch tokens are ``[B, P, C]``, their centres ``[B, P, 3]``.

        Returns:
            Tokens and their positions, each ``[B, T + P, C]``.
        """
        batch = len(tokens)
        free = [self.get_parameter(f"{name}_token").expand(batch, -1, -1) for name in self.token_names]
        places = [self.get_parameter(f"{name}_pos").expand(batch, -1, -1) for name in self.token_names]
        return torch.cat([*free, tokens], dim=1), torch.cat([*places, self.position(centres)], dim=1)

    def encode_with_tokens(self, tokens: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
        """Run patch tokens through the blocks, after the free tokens.

        Args:
            tokens: ``[B, P, C]``.
            centres: ``[B, P, 3]``.

        Returns:
            Free tokens ``[B, T, C]`` in order of their names, and patch tokens ``[B, P, C]``, normalised.
        """
        x, position = self.sequence(tokens, centres)
        for block in self.blocks:
            x = block(x + position, centres)
        x = self.norm(x)
        count = len(self.token_names)
        return x[:, :count], x[:, count:]

    def encode(self, patches: Patches) -> EncoderOutput:
        """Encode clouds that are cut into patches, with free tokens."""
        free, tokens = self.encode_with_tokens(self.tokenizer(patches.points), patches.centres)
        named = dict(zip(self.token_names, free.unbind(1), strict=True))
        return EncoderOutput(tokens=tokens, centres=patches.centres, globals=named)

    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds ``[B, N, 3]``, including the free tokens."""
        return self.encode(cut_patches(points, self.backbone.groups, self.backbone.group_size, self.sampling))

    def block_shape(self) -> BlockShape:
        """See `Encoder.block_shape`."""
        return BlockShape(self.backbone.depth, self.backbone.width)

    def block_outputs(
        self, points: Tensor, blocks: Sequence[int], groups: int | None = None, group_size: int | None = None
    ) -> BlockOutputs:
        """See `Encoder.block_outputs`; free tokens are left out.

        So do Point-MAE's and ACT's segmentation.
        """
        patches = cut_patches(
            points, groups or self.backbone.groups, group_size or self.backbone.group_size, self.sampling
        )
        tokens, position = self.tokenizer(patches.points), self.position(patches.centres)
        levels: list[Tensor] = []
        # Blocks after the last requested one need not run.
        for number, block in enumerate(self.blocks[: blocks[-1] + 1]):
            tokens = block(tokens + position, patches.centres)
            if number in blocks:
                levels.append(self.norm(tokens))
        return BlockOutputs(levels, patches.centres)

    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        """Return the features by name, each ``[B, feature_dims[name]]``.

        They are ``transfer``, ``svm`` and those that projection heads into teachers' spaces read. The latter are the
        free tokens ``image`` and ``text`` where present, and ``pooled`` without any free tokens.
        """
        highest, mean = output.tokens.amax(1), output.tokens.mean(1)
        free = [output.globals[name] for name in self.token_names]
        if not free:
            return {"transfer": torch.cat([highest, mean], dim=-1), "svm": highest + mean, "pooled": highest}
        together = [torch.stack(free).amax(0)] if len(free) > 1 else []
        return {
            "transfer": torch.cat([*free, highest], dim=-1),
            "svm": torch.cat([*together, highest + mean], dim=-1),
            **{name: output.globals[name] for name in self.token_names if name in GUIDED},
        }

    def _describe(self, width: int) -> tuple[dict[str, int], dict[str, str]]:
        """Return widths and descriptions of the features."""
        count = len(self.token_names)
        added = "max over patches + mean over patches, added"
        if count == 0:
            words = {"transfer": "max over patches + mean over patches (2C)", "svm": f"{added} (C)"}
            dims = {"transfer": 2 * width, "svm": width, "pooled": width}
            return dims, {**words, "pooled": "max over patches (C)"}
        named = ["class" if name == "cls" else name for name in self.token_names]
        listed = f"{named[0]} token" if count == 1 else f"{', '.join(named[:-1])} and {named[-1]} tokens"
        words = {
            "transfer": f"{listed} + max over patches ({count + 1}C)",
            "svm": f"{added} (C)" if count == 1 else f"max over tokens; {added} (2C)",
        }
        guided = [name for name in self.token_names if name in GUIDED]
        dims = {"transfer": (count + 1) * width, "svm": width if count == 1 else 2 * width}
        return {**dims, **dict.fromkeys(guided, width)}, {**words, **{name: f"{name} token (C)" for name in guided}}


class JointEncoder(StandardEncoder):
    """Standard encoder whose free tokens take part in pretraining.

    They therefore belong to every use of the encoder.
    """

    def block_shape(self) -> BlockShape:
        """See `Encoder.block_shape`; free tokens act as queries."""
        return BlockShape(self.backbone.depth, self.backbone.width, queries=self.backbone.width)

    def block_outputs(
        self, points: Tensor, blocks: Sequence[int], groups: int | None = None, group_size: int | None = None
    ) -> BlockOutputs:
        """See `Encoder.block_outputs`."""
        count, backbone = len(self.token_names), self.backbone
        patches = cut_patches(points, groups or backbone.groups, group_size or backbone.group_size, self.sampling)
        x, position = self.sequence(self.tokenizer(patches.points), patches.centres)
        levels: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x + position, patches.centres)
            if number in blocks:
                levels.append(self.norm(x[:, count:]))
        return BlockOutputs(levels, patches.centres, x[:, :count].amax(1))
