"""ReCon's encoder: a local stream of patches and three global queries that read it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.blocks import ReconBlock, Residual, depth_rates
from bench.models.encoder import Encoder, EncoderOutput
from bench.models.grouping import Sampling, cut_patches
from bench.models.init import free_token, truncated_normal_trunk
from bench.models.masked import check_backbone
from bench.models.tokenizer import PatchTokenizer, PositionMLP
from bench.spec import BackboneSpec

QUERIES = ("cls", "image", "text")


class TwoStreamEncoder(Encoder):
    """ReCon's encoder; linear layers keep PyTorch's initialisation until `init_released`.

    Source: ReCon; sections 5.1 and 5.4 of the method specification.
    """

    def __init__(self, backbone: BackboneSpec, sampling: Sampling, residual: Residual = "normalised") -> None:
        """Build the layers.

        Args:
            backbone: Sizes.
            sampling: How patches are cut.
            residual: What both streams' sub-layers add to.
        """
        super().__init__()
        check_backbone(backbone)
        width = backbone.width
        self.backbone = backbone
        self.sampling = sampling
        self.tokenizer = PatchTokenizer(width, backbone.tokenizer_width)
        self.position = PositionMLP(width)
        rates = depth_rates(backbone.drop_path, backbone.depth)
        self.blocks = nn.ModuleList(ReconBlock(width, backbone.heads, rate, residual) for rate in rates)
        self.norm = nn.LayerNorm(width)
        self.cls_token, self.cls_pos = free_token(width), free_token(width)
        self.image_token, self.image_pos = free_token(width), free_token(width)
        self.text_token, self.text_pos = free_token(width), free_token(width)
        self.feature_dims = {"transfer": 4 * width, "svm": 2 * width}
        self.feature_descriptions = {
            "transfer": "class, image and text queries + max over patches (4C)",
            "svm": "max over queries; max over patches + mean over patches, added (2C)",
        }

    def init_released(self) -> None:
        """Draw linear layers as the released pretraining does (section 1.9)."""
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
        query_position = torch.cat([self.cls_pos, self.image_pos, self.text_pos], dim=1)
        queries = torch.cat([self.cls_token, self.image_token, self.text_token], dim=1).expand(len(tokens), -1, -1)
        for block in self.blocks:
            queries, tokens = block(queries + query_position, tokens + position, stop_gradient)
        return self.norm(queries), self.norm(tokens)

    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds ``[B, N, 3]``; gradients of the queries reach the local stream (fine-tuning)."""
        patches = cut_patches(points, self.backbone.groups, self.backbone.group_size, self.sampling)
        queries, tokens = self.encode_patches(self.tokenizer(patches.points), patches.centres, stop_gradient=False)
        return EncoderOutput(
            tokens=tokens, centres=patches.centres, globals=dict(zip(QUERIES, queries.unbind(1), strict=True))
        )

    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        """Return ``transfer`` ``[B, 4C]`` and ``svm`` ``[B, 2C]``."""
        highest = output.tokens.amax(1)
        queries = [output.globals[name] for name in QUERIES]
        return {
            "transfer": torch.cat([*queries, highest], dim=-1),
            "svm": torch.cat([torch.stack(queries).amax(0), highest + output.tokens.mean(1)], dim=-1),
        }
