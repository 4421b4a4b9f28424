"""The standard encoder: tokenizer and pre-norm blocks, with one class token at transfer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.models.blocks import Block, depth_rates
from bench.models.encoder import Encoder, EncoderOutput
from bench.models.grouping import Sampling, cut_patches
from bench.models.init import free_token, truncated_normal_trunk
from bench.models.masked import check_backbone
from bench.models.tokenizer import PatchTokenizer, PositionMLP
from bench.spec import BackboneSpec


class StandardEncoder(Encoder):
    """Point-MAE's encoder; linear layers keep PyTorch's initialisation until `init_released`.

    Source: Point-MAE; sections 1.3 to 1.5 and 2 of the method specification.
    """

    def __init__(self, backbone: BackboneSpec, sampling: Sampling) -> None:
        """Build the layers.

        Args:
            backbone: Sizes.
            sampling: How patches are cut.
        """
        super().__init__()
        check_backbone(backbone)
        width = backbone.width
        self.backbone = backbone
        self.sampling = sampling
        self.tokenizer = PatchTokenizer(width, backbone.tokenizer_width)
        self.position = PositionMLP(width)
        rates = depth_rates(backbone.drop_path, backbone.depth)
        self.blocks = nn.ModuleList(Block(width, backbone.heads, rate) for rate in rates)
        self.norm = nn.LayerNorm(width)
        self.cls_token = free_token(width)
        self.cls_pos = free_token(width)
        self.feature_dims = {"transfer": 2 * width, "svm": width}
        self.feature_descriptions = {
            "transfer": "class token + max over patches (2C)",
            "svm": "max over patches + mean over patches, added (C)",
        }

    def init_released(self) -> None:
        """Draw linear layers as the released pretraining does (section 1.9)."""
        truncated_normal_trunk(self)

    def encode_patches(self, tokens: Tensor, centres: Tensor) -> Tensor:
        """Run patch tokens ``[B, P, C]`` at ``[B, P, 3]`` through the blocks, without class token (pretraining)."""
        position = self.position(centres)
        for block in self.blocks:
            tokens = block(tokens + position)
        out: Tensor = self.norm(tokens)
        return out

    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds ``[B, N, 3]`` with the class token in front."""
        patches = cut_patches(points, self.backbone.groups, self.backbone.group_size, self.sampling)
        batch = len(points)
        x = torch.cat([self.cls_token.expand(batch, -1, -1), self.tokenizer(patches.points)], dim=1)
        position = torch.cat([self.cls_pos.expand(batch, -1, -1), self.position(patches.centres)], dim=1)
        for block in self.blocks:
            x = block(x + position)
        x = self.norm(x)
        return EncoderOutput(tokens=x[:, 1:], centres=patches.centres, globals={"cls": x[:, 0]})

    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        """Return ``transfer`` ``[B, 2C]`` and ``svm`` ``[B, C]``."""
        highest = output.tokens.amax(1)
        return {
            "transfer": torch.cat([output.globals["cls"], highest], dim=-1),
            "svm": highest + output.tokens.mean(1),
        }
