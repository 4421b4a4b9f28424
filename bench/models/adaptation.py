"""Train few parameters of a pretrained encoder: head, biases, prompts, adapters or low-rank updates.

All of them leave the encoder's output as it is, bit for bit, until they are trained. What is frozen stays in evaluation
mode. Sources: BitFit (arXiv 2106.10199), LoRA (arXiv 2106.09685), adapters (arXiv 1902.00751); prompts that start at
zero attention as in LLaMA-Adapter (arXiv 2303.16199).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.attention import attend
from bench.models.blocks import MLP, CrossAttention, SelfAttention
from bench.models.classifier import Classifier
from bench.models.frozen import NotFrozenError, tensor_digests
from bench.models.roles import in_head_group
from bench.models.segmentation import PartSegmenter
from bench.spec import Adapt

LORA_SCALE = 2.0
"""LoRA's alpha over its rank, 16 over 8 in the releases."""
_ADDED = "added_"
"""Beginning of the names of added parameters."""


class LowRank(nn.Module):
    """A frozen linear layer with a low-rank update.

    ``y = W x + b + LORA_SCALE * B A x``; B starts at 0.
    """

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.added_down = nn.Parameter(torch.empty(rank, base.in_features))
        self.added_up = nn.Parameter(torch.zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.added_down, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``[..., in]`` to ``[..., out]``."""
        y: Tensor = self.base(x)
        return y + LORA_SCALE * F.linear(F.linear(x, self.added_down), self.added_up)


class Bottleneck(nn.Module):
    """A frozen perceptron with an adapter behind it.

    ``y = m + U gelu(D m + d) + u`` with m the perceptron's output; U and u start at 0.
    """

    def __init__(self, base: MLP, width: int) -> None:
        super().__init__()
        self.base = base
        channels = base.fc2.out_features
        self.added_down = nn.Parameter(torch.empty(width, channels))
        self.added_down_bias = nn.Parameter(torch.zeros(width))
        self.added_up = nn.Parameter(torch.zeros(channels, width))
        self.added_up_bias = nn.Parameter(torch.zeros(channels))
        nn.init.trunc_normal_(self.added_down, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Transform ``[..., C]``."""
        y: Tensor = self.base(x)
        inner = F.gelu(F.linear(y, self.added_down, self.added_down_bias))
        return y + F.linear(inner, self.added_up, self.added_up_bias)


class Prompted(nn.Module):
    """A frozen self-attention whose tokens also attend to learned prompts.

    What they read there is added before the last layer, by a factor per head that starts at 0.
    """

    def __init__(self, base: SelfAttention, prompts: int) -> None:
        super().__init__()
        self.base = base
        self.added_prompts = nn.Parameter(torch.empty(prompts, base.qkv.in_features))
        self.added_gate = nn.Parameter(torch.zeros(base.heads, 1, 1))
        nn.init.trunc_normal_(self.added_prompts, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Attend among tokens ``[B, T, C]`` and to the prompts."""
        batch, count, width = x.shape
        q, k, v = self._heads(x)
        _, prompt_k, prompt_v = self._heads(self.added_prompts[None].expand(batch, -1, -1))
        mixed = attend(q, k, v) + self.added_gate.to(q.dtype) * attend(q, prompt_k, prompt_v)
        out: Tensor = self.base.proj(mixed.transpose(1, 2).reshape(batch, count, width))
        return out

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, count, width = x.shape
        heads = self.base.heads
        q, k, v = self.base.qkv(x).view(batch, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        return q, k, v


def adapt(classifier: Classifier, how: Adapt, size: int) -> Classifier:
    """Freeze all but what is trained, and add what is to be added.

    Args:
        classifier: Encoder and head; the encoder is changed in place.
        how: What is trained. ``head``: the head alone. The others also train the class token and its position:
            ``bitfit`` all biases, ``prompt``, ``adapter`` and ``lora`` what they add. ``full``: everything.
        size: Prompts of a block, width of an adapter, or rank of an update.

    Returns:
        The same classifier; its encoder stays in evaluation mode unless everything is trained.

    Raises:
        UsageError: The encoder has no transformer blocks to add to.
    """
    if how == "full":
        return classifier
    if how not in ("head", "bitfit") and not _add(classifier.encoder, how, size):
        raise UsageError(f"adapt={how} needs an encoder of attention blocks with perceptrons; use head, bitfit or full")
    for name, parameter in classifier.named_parameters():
        parameter.requires_grad_(_is_trained(name, how))
    return classifier.keep_evaluating()


def _is_trained(name: str, how: Adapt) -> bool:
    if how == "head":
        return name.startswith("head.")
    leaf = name.rpartition(".")[2]
    return in_head_group(name) or (leaf == "bias" if how == "bitfit" else leaf.startswith(_ADDED))


def _add(encoder: nn.Module, how: Adapt, size: int) -> int:
    """Wrap the layers that a kind adds to; return their number."""
    found = 0
    for module in list(encoder.modules()):
        for name, child in list(module.named_children()):
            wrapped = _wrapped(module, name, child, how, size)
            if wrapped is not None:
                setattr(module, name, wrapped)
                found += 1
    return found


def _wrapped(parent: nn.Module, name: str, child: nn.Module, how: Adapt, size: int) -> nn.Module | None:
    if how == "adapter":
        return Bottleneck(child, size) if isinstance(child, MLP) and not isinstance(parent, Bottleneck) else None
    if how == "prompt":
        own = isinstance(child, SelfAttention) and not isinstance(parent, Prompted)
        return Prompted(child, size) if own and isinstance(child, SelfAttention) else None
    projects = {SelfAttention: ("qkv",), CrossAttention: ("q", "kv")}.get(type(parent), ())
    return LowRank(child, size) if name in projects and isinstance(child, nn.Linear) else None


def frozen_tensors(network: Classifier | PartSegmenter) -> dict[str, str]:
    """Return the SHA-256 of what must not change by training, by name.

    Parameters that take no gradient, and the buffers of an encoder that stays in evaluation mode.
    """
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    buffers = {name for name, _ in network.named_buffers()}
    moving = {name for name in buffers if name.startswith("head.") or not network.evaluates}
    return {name: sha for name, sha in tensor_digests(network).items() if name not in trained | moving}


def check_frozen(network: nn.Module, before: dict[str, str], title: str) -> None:
    """Compare what must not change with what it was.

    Raises:
        NotFrozenError: A frozen tensor changed.
    """
    after = tensor_digests(network)
    moved = [name for name, sha in before.items() if after.get(name) != sha]
    if moved:
        raise NotFrozenError(f"{title}: frozen tensor '{moved[0]}' changed in training")


def trained_parameters(network: nn.Module) -> int:
    """Return the number of parameters that take a gradient."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
