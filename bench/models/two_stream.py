"""ReCon's encoder: patches, and global queries that read them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.models.backbone import build_blocks, build_norm, build_tokenizer
from bench.models.encoder import BlockOutputs, BlockShape, Encoder, EncoderOutput
from bench.models.grouping import Sampling, cut_patches
from bench.models.init import free_token, truncated_normal_trunk
from bench.models.masked import check_backbone
from bench.models.parts import Residual
from bench.models.tokenizer import PositionMLP
from bench.spec import BackboneSpec

QUERIES = ("cls", "image", "text")


class TwoStreamEncoder(Encoder):
    """ReCon's encoder with a local stream and three global queries.

    Linear layers have PyTorch's initialisation until `init_released`. Source: ReCon (arXiv 2302.02318);
    docs/reference.md#recon-block and docs/reference.md#recon-features.
    """

    def __init__(self, backbone: BackboneSpec, sampling: Sampling, residual: Residual = "normalised") -> None:
        """Build the layers.

        Args:
            backbone: Sizes and parts.
            sampling: How patches are cut.
            residual: Value to which sub-layers of both streams add; a block with other residual connections ignores it.
        """
        super().__init__()
        check_backbone(backbone)
        width = backbone.width
        self.backbone = backbone
        self.sampling = sampling
        self.tokenizer = build_tokenizer(backbone)
        self.position = PositionMLP(width)
        self.blocks = build_blocks(backbone, residual=residual, queries=True)
        self.norm = build_norm(backbone)
        self.cls_token, self.cls_pos = free_token(width), free_token(width)
        self.image_token, self.image_pos = free_token(width), free_token(width)
        self.text_token, self.text_pos = free_token(width), free_token(width)
        self.feature_dims = {"transfer": 4 * width, "svm": 2 * width, "image": width, "text": width}
        self.feature_descriptions = {
            "transfer": "class, image and text queries + max over patches (4C)",
            "svm": "max over queries; max over patches + mean over patches, added (2C)",
            "image": "image query (C)",
            "text": "text query (C)",
        }

    def init_released(self) -> None:
        """Draw linear layers as the release does (docs/reference.md#initialisation)."""
        truncated_normal_trunk(self)

    def encode_patches(self, tokens: Tensor, centres: Tensor, *, stop_gradient: bool) -> tuple[Tensor, Tensor]:
        """Run patch tokens through both streams.

        Args:
            tokens: ``[B, P, C]``.
            centres: ``[B, P, 3]``.
            stop_gradient: Keep the gradient of the queries out of the local stream (pretraining).

        Returns:
            Queries ``[B, 3, C]`` in the order class, image, text, and patch tokens ``[B, P, C]``, normalised.
        """
        position = self.position(centres)
        queries, query_position = self._queries(len(tokens))
        for block in self.blocks:
            queries, tokens = block(queries + query_position, tokens + position, centres, stop_gradient)
        return self.norm(queries), self.norm(tokens)

    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds ``[B, N, 3]``.

        Gradients of the queries reach the local stream, as in fine-tuning.
        """
        patches = cut_patches(points, self.backbone.groups, self.backbone.group_size, self.sampling)
        queries, tokens = self.encode_patches(self.tokenizer(patches.points), patches.centres, stop_gradient=False)
        return EncoderOutput(
            tokens=tokens, centres=patches.centres, globals=dict(zip(QUERIES, queries.unbind(1), strict=True))
        )

    def block_shape(self) -> BlockShape:
        """See `Encoder.block_shape`."""
        return BlockShape(self.backbone.depth, self.backbone.width, queries=self.backbone.width)

    def block_outputs(
        self, points: Tensor, blocks: Sequence[int], groups: int | None = None, group_size: int | None = None
    ) -> BlockOutputs:
        """See `Encoder.block_outputs`.

        Gradients of the queries reach the patches that they read, as in fine-tuning.
        """
        patches = cut_patches(
            points, groups or self.backbone.groups, group_size or self.backbone.group_size, self.sampling
        )
        tokens, position = self.tokenizer(patches.points), self.position(patches.centres)
        queries, query_position = self._queries(len(tokens))
        levels: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            queries, tokens = block(queries + query_position, tokens + position, patches.centres, False)
            if number in blocks:
                levels.append(self.norm(tokens))
        return BlockOutputs(levels, patches.centres, queries.amax(1))

    def _queries(self, batch: int) -> tuple[Tensor, Tensor]:
        """Return the initial queries and their positions.

        Shapes ``[B, 3, C]`` and ``[1, 3, C]``.
        """
        position = torch.cat([self.cls_pos, self.image_pos, self.text_pos], dim=1)
        free = torch.cat([self.cls_token, self.image_token, self.text_token], dim=1)
        return free.expand(batch, -1, -1), position

    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        """Return the features by name.

        ``transfer`` ``[B, 4C]``, ``svm`` ``[B, 2C]``, and the queries ``image`` and ``text`` ``[B, C]``.
        """
        highest = output.tokens.amax(1)
        queries = [output.globals[name] for name in QUERIES]
        return {
            "transfer": torch.cat([*queries, highest], dim=-1),
            "svm": torch.cat([torch.stack(queries).amax(0), highest + output.tokens.mean(1)], dim=-1),
            "image": output.globals["image"],
            "text": output.globals["text"],
        }
