"""Block: one backbone layer that replaces the attention block."""

from pydantic import Field
from torch import Tensor, nn

from bench.models.blocks import MLP, StochasticDepth
from bench.models.parts import Block, BlockSite


class BlockExample(Block):
    """Average over all tokens, gated, then a two-layer perceptron."""

    name = "block-example"

    class Options(Block.Options):
        """Options, set with ``--set backbone.block_options.FIELD=VALUE``."""

        share: float = Field(0.5, ge=0, le=1)
        """Share of the average in what a token becomes; the rest is the token itself."""

    def __init__(self, site: BlockSite, options: Options) -> None:
        """Build the layers; `site` gives the width, the heads, the norm layer and the rate of stochastic depth."""
        super().__init__(site, options)
        self.share = options.share
        self.norm1, self.norm2 = site.norm(site.width), site.norm(site.width)
        self.value, self.gate = nn.Linear(site.width, site.width), nn.Linear(site.width, site.width)
        self.mlp = MLP(site.width)
        self.drop = StochasticDepth(site.drop)

    def forward(self, x: Tensor, centres: Tensor) -> Tensor:
        """Transform tokens ``[B, T, C]``; the last G of them are the patches at `centres` ``[B, G, 3]``."""
        y = self.norm1(x)
        value = self.value(y)
        mixed = self.share * value.mean(1, keepdim=True) + (1 - self.share) * value
        x = x + self.drop(mixed * nn.functional.silu(self.gate(y)))
        out: Tensor = x + self.drop(self.mlp(self.norm2(x)))
        return out
