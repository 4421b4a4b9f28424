"""Convert pretrained transformers into a stack of standard blocks.

The stack is a `TokenTransformer` of blocks and final norm. Each source has a function for the architecture alone, which
also works on a model without memory (``torch.device("meta")``), and one for the frozen weights. The converted stack has
no patch or word embeddings, positional tables, class tokens, attention masks or dropout. Layer scale is folded into the
linear layer before it. A model with other than standard blocks is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.token_transformer import TokenTransformer
from bench.spec import TransformerShape

if TYPE_CHECKING:
    from bench.teachers.clip_model import ClipSize

State = dict[str, Tensor]


def shape_of_timm(vit: Any) -> TransformerShape:
    """Return the architecture of a timm vision transformer's blocks.

    Raises:
        UsageError: The model is no vision transformer, or its blocks are not standard.
    """
    from timm.models.vision_transformer import Block

    blocks = _blocks(getattr(vit, "blocks", None), Block, type(vit).__name__)
    first = blocks[0]
    return TransformerShape(
        width=_width(first.norm1),
        depth=len(blocks),
        heads=first.attn.num_heads,
        mlp_width=first.mlp.fc1.out_features,
        activation=_activation(first.mlp.act),
        eps=first.norm1.eps,
        qkv_bias=first.attn.qkv.bias is not None,
        final_norm=_timm_final(vit) is not None,
        initial_norm=_norm(getattr(vit, "norm_pre", None)) is not None,
    )


def from_timm(vit: Any) -> TokenTransformer:
    """Convert the blocks of a timm vision transformer.

    Args:
        vit: A `timm.models.VisionTransformer` (also its distilled and hybrid kinds).

    Returns:
        The frozen stack.

    Raises:
        UsageError: As `shape_of_timm`.
    """
    shape = shape_of_timm(vit)
    parts = {
        "norm1": "norm1",
        "attn.qkv": "attention.qkv",
        "attn.proj": "attention.proj",
        "norm2": "norm2",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    scales = {"ls1.gamma": "attention.proj", "ls2.gamma": "mlp.fc2"}
    states = [_translate(block.state_dict(), parts, scales) for block in vit.blocks]
    return _assemble(shape, states, _timm_final(vit), _norm(getattr(vit, "norm_pre", None)))


def shape_of_open_clip_visual(model: Any) -> TransformerShape:
    """Return the architecture of an open_clip model's image tower.

    Raises:
        UsageError: The tower is no transformer (CLIP's ResNets), or its blocks are not standard.
    """
    visual = model.visual
    if hasattr(visual, "trunk"):
        return shape_of_timm(visual.trunk)
    if not hasattr(visual, "transformer"):
        raise UsageError(
            f"the image tower of this open_clip model is a {type(visual).__name__}, not a transformer; "
            "choose a ViT model, or build upon the text tower"
        )
    return _shape_of_resblocks(visual.transformer, visual.ln_post, visual.ln_pre)


def from_open_clip_visual(model: Any) -> TokenTransformer:
    """Convert the blocks of an open_clip model's image tower.

    The norm before the first block is included.

    Args:
        model: An `open_clip.CLIP` or `open_clip.CustomTextCLIP`.

    Returns:
        The frozen stack.

    Raises:
        UsageError: As `shape_of_open_clip_visual`.
    """
    shape = shape_of_open_clip_visual(model)
    visual = model.visual
    if hasattr(visual, "trunk"):
        return from_timm(visual.trunk)
    return _assemble(shape, _resblock_states(visual.transformer), _norm(visual.ln_post), _norm(visual.ln_pre))


def shape_of_open_clip_text(model: Any) -> TransformerShape:
    """Return the architecture of an open_clip model's text tower.

    Raises:
        UsageError: Its blocks are not standard.
    """
    tower = getattr(model, "text", model)
    if hasattr(tower.transformer, "config"):
        return shape_of_bert(_config(tower.transformer))
    return _shape_of_resblocks(tower.transformer, tower.ln_final, None)


def from_open_clip_text(model: Any) -> TokenTransformer:
    """Convert the blocks of an open_clip model's text tower.

    Its causal mask is left out.

    Args:
        model: An `open_clip.CLIP` or `open_clip.CustomTextCLIP`.

    Returns:
        The frozen stack.

    Raises:
        UsageError: As `shape_of_open_clip_text`.
    """
    shape = shape_of_open_clip_text(model)
    tower = getattr(model, "text", model)
    if hasattr(tower.transformer, "config"):
        return from_bert(tower.transformer)
    return _assemble(shape, _resblock_states(tower.transformer), _norm(tower.ln_final), None)


def shape_of_clip_size(size: ClipSize) -> TransformerShape:
    """Return the architecture of `tiny-clip`'s text tower.

    The tower is built by `bench.teachers.clip_model.build`.
    """
    from bench.teachers.clip_model import HEAD_WIDTH

    return TransformerShape(
        width=size.text_width,
        depth=size.text_layers,
        heads=size.text_width // HEAD_WIDTH,
        mlp_width=4 * size.text_width,
        eps=1e-5,
    )


def shape_of_bert(config: Mapping[str, Any]) -> TransformerShape:
    """Return the architecture of a BERT-like encoder's layers.

    Args:
        config: The model's ``config.json`` (or ``model.config.to_dict()``).

    Raises:
        UsageError: The configuration lacks a size, or names an activation that is not known here.
    """
    activations = {
        "gelu": "gelu",
        "gelu_new": "gelu_tanh",
        "gelu_pytorch_tanh": "gelu_tanh",
        "quick_gelu": "quick_gelu",
    }
    name = str(config.get("hidden_act", "gelu"))
    if name not in activations:
        raise UsageError(f"language model with activation '{name}': expected one of {', '.join(activations)}")
    try:
        return TransformerShape.model_validate(
            {
                "width": config["hidden_size"],
                "depth": config["num_hidden_layers"],
                "heads": config["num_attention_heads"],
                "mlp_width": config["intermediate_size"],
                "norm": "post",
                "activation": activations[name],
                "eps": config.get("layer_norm_eps", 1e-12),
                "final_norm": False,
            }
        )
    except KeyError as error:
        raise UsageError(
            f"language model configuration lacks {error.args[0]}: only BERT-like encoders (BERT, RoBERTa, MiniLM) "
            "can be built upon"
        ) from error


def from_bert(model: Any) -> TokenTransformer:
    """Convert the layers of a BERT-like encoder of `transformers`.

    Args:
        model: E.g. a ``BertModel``; of a sentence-transformers model its first module's ``auto_model``.

    Returns:
        The frozen stack.

    Raises:
        UsageError: Its layers are not BERT's.
    """
    return from_bert_state(model.state_dict(), _config(model))


def from_bert_state(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> TokenTransformer:
    """Convert the layers of a BERT-like encoder from its files.

    Args:
        state: Tensors by name, e.g. of ``model.safetensors``; names may have anything before ``encoder.layer.``.
        config: Its ``config.json``.

    Returns:
        The frozen stack.

    Raises:
        UsageError: Its layers are not BERT's.
    """
    shape = shape_of_bert(config)
    parts = {
        "attention.output.dense": "attention.proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
        "output.LayerNorm": "norm2",
        "attention.qkv": "attention.qkv",
    }
    layers: list[State] = []
    for i in range(shape.depth):
        marker = f"encoder.layer.{i}."
        layer = {name.rpartition(marker)[2]: value for name, value in state.items() if marker in name}
        for leaf in ("weight", "bias"):
            names = [f"attention.self.{part}.{leaf}" for part in ("query", "key", "value")]
            if all(name in layer for name in names):
                layer[f"attention.qkv.{leaf}"] = torch.cat([layer.pop(name) for name in names])
        layers.append(_translate(layer, parts, {}))
    return _assemble(shape, layers, None, None)


def _shape_of_resblocks(transformer: Any, final: Any, initial: Any) -> TransformerShape:
    from open_clip.transformer import ResidualAttentionBlock

    blocks = _blocks(transformer.resblocks, ResidualAttentionBlock, type(transformer).__name__)
    first = blocks[0]
    return TransformerShape(
        width=_width(first.ln_1),
        depth=len(blocks),
        heads=first.attn.num_heads,
        mlp_width=first.mlp.c_fc.out_features,
        activation=_activation(first.mlp.gelu),
        eps=first.ln_1.eps,
        qkv_bias=first.attn.in_proj_bias is not None,
        final_norm=_norm(final) is not None,
        initial_norm=_norm(initial) is not None,
    )


def _resblock_states(transformer: Any) -> list[State]:
    parts = {
        "ln_1": "norm1",
        "attn.in_proj": "attention.qkv",
        "attn.out_proj": "attention.proj",
        "ln_2": "norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    scales = {"ls_1.gamma": "attention.proj", "ls_2.gamma": "mlp.fc2"}
    states = []
    for block in transformer.resblocks:
        # The fused layer's tensors are parameters of the attention itself: in_proj_weight, in_proj_bias.
        state = {name.replace("in_proj_", "in_proj."): value for name, value in block.state_dict().items()}
        states.append(_translate(state, parts, scales))
    return states


def _translate(state: Mapping[str, Tensor], parts: Mapping[str, str], scales: Mapping[str, str]) -> State:
    """Rename a block's tensors and fold in its layer scales.

    Raises:
        UsageError: The block has a tensor that a standard block lacks.
    """
    ours: State = {}
    for name, value in state.items():
        part, _, leaf = name.rpartition(".")
        if part in parts and leaf in ("weight", "bias"):
            ours[f"{parts[part]}.{leaf}"] = value.detach().float()
        elif name not in scales:
            raise UsageError(
                f"this transformer's blocks have a '{name}', which standard blocks lack: they cannot be converted; "
                "choose a plain ViT, CLIP or BERT"
            )
    for name, layer in scales.items():
        if name in state:
            gamma = state[name].detach().float()
            ours[f"{layer}.weight"] = gamma[:, None] * ours[f"{layer}.weight"]
            if f"{layer}.bias" in ours:
                ours[f"{layer}.bias"] = gamma * ours[f"{layer}.bias"]
    return ours


def _assemble(
    shape: TransformerShape, blocks: list[State], final: nn.LayerNorm | None, initial: nn.LayerNorm | None
) -> TokenTransformer:
    """Build, load and freeze the stack.

    A bias that the source lacks is zero.
    """
    state = {f"blocks.{i}.{name}": value for i, block in enumerate(blocks) for name, value in block.items()}
    for prefix, norm in (("norm", final), ("initial_norm", initial)):
        if norm is not None:
            state |= {f"{prefix}.{name}": value.detach().float() for name, value in norm.state_dict().items()}
    stack = TokenTransformer(shape)
    for name, expected in stack.state_dict().items():
        if name not in state and name.endswith(".bias") and not name.endswith("qkv.bias"):
            state[name] = torch.zeros_like(expected)
        if name not in state or state[name].shape != expected.shape:
            found = tuple(state[name].shape) if name in state else "absent"
            raise UsageError(
                f"this transformer's {name} is {found}, expected {tuple(expected.shape)}: its blocks are not all "
                "standard blocks of one size, so they cannot be converted"
            )
    stack.load_state_dict(state)
    return stack.requires_grad_(False).eval()


def _blocks(blocks: Any, kind: type, source: str) -> list[Any]:
    found = [] if blocks is None else list(blocks)
    if not found or not all(isinstance(block, kind) for block in found):
        kinds = ", ".join(sorted({type(block).__name__ for block in found})) or "none"
        raise UsageError(
            f"{source} is not a stack of standard transformer blocks (its blocks: {kinds}); "
            "choose a plain ViT, CLIP or BERT"
        )
    return found


def _norm(module: Any) -> nn.LayerNorm | None:
    return module if isinstance(module, nn.LayerNorm) else None


def _timm_final(vit: Any) -> nn.LayerNorm | None:
    """Return the norm after the blocks.

    With average pooling timm calls it ``fc_norm``.
    """
    return _norm(getattr(vit, "norm", None)) or _norm(getattr(vit, "fc_norm", None))


def _width(norm: Any) -> int:
    if not isinstance(norm, nn.LayerNorm):
        raise UsageError(
            f"this transformer normalises by {type(norm).__name__}, expected LayerNorm; "
            "choose a plain ViT, CLIP or BERT"
        )
    return int(norm.normalized_shape[0])


def _activation(module: nn.Module) -> str:
    """Return the name of an activation module.

    Raises:
        UsageError: It is not a GELU.
    """
    name = type(module).__name__
    if name == "GELUTanh" or getattr(module, "approximate", "none") == "tanh":
        return "gelu_tanh"
    known = {"GELU": "gelu", "QuickGELU": "quick_gelu"}
    if name not in known:
        raise UsageError(f"this transformer's activation is {name}, expected GELU or QuickGELU")
    return known[name]


def _config(model: Any) -> dict[str, Any]:
    config: dict[str, Any] = model.config.to_dict()
    return config
