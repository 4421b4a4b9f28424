"""Two-tower encoder: a reconstruction tower beside a cross-modal tower.

The first is trained on the masked cloud, the second on the whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from bench.models.encoder import BlockOutputs, BlockShape, Encoder, EncoderOutput
from bench.models.grouping import Sampling, cut_patches
from bench.models.standard import JointEncoder, StandardEncoder
from bench.spec import BackboneSpec

Streams = Literal["all", "mdm", "cmc"]
"""Towers that are transferred: both, the masked (reconstruction) one, the contrast (cross-modal) one."""

SKIPPED = 2
"""Patches that the released maximum skips: it starts at token 3 although only one token precedes the patches."""


class ContrastTower(JointEncoder):
    """Standard blocks over the whole cloud with two free tokens.

    They are an image and a text token. Source: docs/reference.md#two-tower.
    """

    def __init__(self, backbone: BackboneSpec, sampling: Sampling) -> None:
        """Build the layers.

        Tokens start at zero and their positions at N(0, 1), as in the release.
        """
        super().__init__(backbone, sampling, tokens=("image", "text"))
        for name in self.token_names:
            nn.init.zeros_(self.get_parameter(f"{name}_token"))
            nn.init.normal_(self.get_parameter(f"{name}_pos"))


class TwoTowerEncoder(Encoder):
    """Towers of the chosen streams, which share only the patches.

    Source: docs/reference.md#two-tower.
    """

    def __init__(
        self,
        streams: Streams,
        masked: StandardEncoder | None,
        contrast: ContrastTower | None,
        *,
        skip_two_patches: bool = False,
    ) -> None:
        """Combine towers.

        Args:
            streams: Towers whose features are returned.
            masked: Reconstruction tower; may be None for ``cmc``.
            contrast: Cross-modal tower; may be None for ``mdm``.
            skip_two_patches: Leave the first two patches out of the maximum, as the release does.

        Raises:
            ValueError: A tower that the streams need is missing.
        """
        super().__init__()
        if (masked is None and streams != "cmc") or (contrast is None and streams != "mdm"):
            raise ValueError(f"streams {streams} need a tower that is missing")
        self.streams = streams
        self.masked = masked
        self.contrast = contrast
        self.skipped = SKIPPED if skip_two_patches else 0
        tower = masked if masked is not None else contrast
        assert tower is not None
        self.backbone, self.sampling = tower.backbone, tower.sampling
        self.feature_dims, self.feature_descriptions = self._describe(self.backbone.width)

    def towers(self) -> tuple[StandardEncoder, ContrastTower]:
        """Return the masked and the contrast tower.

        Raises:
            ValueError: One of them is missing.
        """
        if self.masked is None or self.contrast is None:
            raise ValueError(f"streams {self.streams} have only one tower")
        return self.masked, self.contrast

    def of(self, streams: Streams) -> TwoTowerEncoder:
        """Return an encoder of the towers that `streams` need.

        It shares their parameters.
        """
        return TwoTowerEncoder(
            streams,
            None if streams == "cmc" else self.masked,
            None if streams == "mdm" else self.contrast,
            skip_two_patches=self.skipped > 0,
        ).train(self.training)

    def init_released(self) -> None:
        """Draw linear layers as Point-MAE does (docs/reference.md#initialisation)."""
        for tower in (self.masked, self.contrast):
            if tower is not None:
                tower.init_released()

    def forward(self, points: Tensor) -> EncoderOutput:
        """Encode clouds ``[B, N, 3]``.

        Patch tokens are the masked tower's, if it is present.
        """
        patches = cut_patches(points, self.backbone.groups, self.backbone.group_size, self.sampling)
        masked = None if self.masked is None or self.streams == "cmc" else self.masked.encode(patches)
        contrast = None if self.contrast is None or self.streams == "mdm" else self.contrast.encode(patches)
        found = [output for output in (masked, contrast) if output is not None]
        named = {name: token for output in found for name, token in output.globals.items()}
        return EncoderOutput(tokens=found[0].tokens, centres=patches.centres, globals=named)

    def features(self, output: EncoderOutput) -> dict[str, Tensor]:
        """Return ``transfer`` and ``svm``, and each tower's part.

        With both towers the parts are ``mdm`` and ``cmc``. With the contrast tower also its tokens ``image`` and
        ``text``, which projection heads read.
        """
        transfer: dict[str, Tensor] = {}
        tokens: dict[str, Tensor] = {}
        svm: list[Tensor] = []
        if self.streams != "mdm":
            tokens = {"image": output.globals["image"], "text": output.globals["text"]}
            guided = list(tokens.values())
            transfer["cmc"] = torch.cat(guided, dim=-1)
            svm.append(torch.stack(guided).amax(0))
        if self.streams != "cmc":
            patches = output.tokens[:, self.skipped :]
            transfer["mdm"] = torch.cat([output.globals["cls"], patches.amax(1)], dim=-1)
            svm.append(output.tokens.amax(1) + output.tokens.mean(1))
        if self.streams == "all":
            transfer["transfer"] = torch.cat([transfer["mdm"], transfer["cmc"]], dim=-1)
        else:
            transfer = {"transfer": transfer[self.streams]}
        return transfer | {"svm": torch.cat(svm, dim=-1)} | tokens

    def block_shape(self) -> BlockShape:
        """See `Encoder.block_shape`; the contrast tower's tokens act as queries."""
        width = self.backbone.width
        return BlockShape(self.backbone.depth, width, queries=0 if self.streams == "mdm" else width)

    def block_outputs(
        self, points: Tensor, blocks: Sequence[int], groups: int | None = None, group_size: int | None = None
    ) -> BlockOutputs:
        """See `Encoder.block_outputs`.

        Patch tokens are the masked tower's, if it is present (our choice).
        """
        found: list[BlockOutputs] = []
        if self.masked is not None and self.streams != "cmc":
            found.append(self.masked.block_outputs(points, blocks, groups, group_size))
        if self.contrast is not None and self.streams != "mdm":
            found.append(self.contrast.block_outputs(points, blocks, groups, group_size))
        return BlockOutputs(found[0].levels, found[0].centres, found[-1].queries)

    def _describe(self, width: int) -> tuple[dict[str, int], dict[str, str]]:
        """Return widths and descriptions of the features."""
        patches = "max over patches but the first two" if self.skipped else "max over patches"
        mdm, cmc = f"masked tower's class token + {patches}", "contrast tower's image and text tokens"
        added, together = "max over patches + mean over patches, added", "max over image and text token"
        if self.streams == "mdm":
            return {"transfer": 2 * width, "svm": width}, {"transfer": f"{mdm} (2C)", "svm": f"{added} (C)"}
        tokens = {"image": "contrast tower's image token (C)", "text": "contrast tower's text token (C)"}
        if self.streams == "cmc":
            told = {"transfer": f"{cmc} (2C)", "svm": f"{together} (C)", **tokens}
            return {"transfer": 2 * width, "svm": width, **dict.fromkeys(tokens, width)}, told
        dims = {"transfer": 4 * width, "mdm": 2 * width, "cmc": 2 * width, "svm": 2 * width}
        dims |= dict.fromkeys(tokens, width)
        words = {"transfer": f"{mdm}; {cmc} (4C)", "mdm": f"{mdm} (2C)", "cmc": f"{cmc} (2C)"}
        return dims, words | {"svm": f"{together}; {added} (2C)"} | tokens
