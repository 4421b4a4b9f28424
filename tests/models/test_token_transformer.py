"""Token transformers taken out of pretrained models must compute what their sources compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import GELUTanh
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from bench.errors import UsageError
from bench.models.token_transformer import TokenTransformer
from bench.spec import TransformerShape
from bench.teachers import transformers as convert
from bench.teachers.clip_model import ClipSize, build

if TYPE_CHECKING:
    import open_clip


def close(ours: Tensor, theirs: Tensor) -> None:
    assert float((ours - theirs).abs().max()) <= 1e-5 * float(theirs.abs().max())


def liven(model: nn.Module) -> Any:
    """Move every parameter away from its start, where norms, scales and biases do nothing."""
    torch.manual_seed(3)
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.2 * torch.randn_like(parameter)
    return model.eval()


def vit(**options: Any) -> VisionTransformer:
    return VisionTransformer(
        img_size=32, patch_size=16, embed_dim=48, depth=3, num_heads=4, num_classes=0, drop_path_rate=0.2, **options
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"init_values": 0.1, "no_embed_class": True},
        {"pre_norm": True, "act_layer": "quick_gelu", "norm_layer": nn.LayerNorm},
        {"qkv_bias": False, "proj_bias": False, "act_layer": GELUTanh, "mlp_ratio": 3},
        {"global_pool": "avg"},
    ],
    ids=["plain", "layer-scale", "clip", "no-bias", "average-pool"],
)
def test_timm_blocks_compute_the_same(options: dict[str, Any]) -> None:
    """A teacher's weights would be used in another network than the one they were trained in."""
    source = liven(vit(**options))
    tokens = torch.randn(2, 7, 48)
    stack = convert.from_timm(source)
    with torch.no_grad():
        expected = source.blocks(source.norm_pre(tokens))
        close(stack(tokens), source.fc_norm(source.norm(expected)))
    assert stack.shape == convert.shape_of_timm(source)
    assert not any(parameter.requires_grad for parameter in stack.parameters())


def clip(**options: Any) -> open_clip.CLIP:
    import open_clip  # takes seconds, which whoever runs other tests should not pay

    return open_clip.CLIP(
        24,
        vision_cfg=open_clip.CLIPVisionCfg(layers=2, width=48, head_width=12, patch_size=8, image_size=16, **options),
        text_cfg=open_clip.CLIPTextCfg(context_length=9, vocab_size=30, width=32, heads=2, layers=3, **options),
        quick_gelu=not options,
    )


@pytest.mark.parametrize("options", [{}, {"ls_init_value": 0.1, "mlp_ratio": 2.0}], ids=["openai", "layer-scale"])
def test_clip_towers_compute_the_same(options: dict[str, Any]) -> None:
    """ACT around CLIP's image or text tower would be ACT around something else."""
    source = liven(clip(**options))
    image, text = torch.randn(2, 5, 48), torch.randn(2, 9, 32)
    with torch.no_grad():
        visual = source.visual
        close(convert.from_open_clip_visual(source)(image), visual.ln_post(visual.transformer(visual.ln_pre(image))))
        close(convert.from_open_clip_text(source)(text), source.ln_final(source.transformer(text)))
    assert convert.shape_of_open_clip_visual(source).initial_norm
    assert not convert.shape_of_open_clip_text(source).initial_norm


BERT = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 40,
    "hidden_act": "gelu", "layer_norm_eps": 1e-12,
}  # fmt: skip


def bert_state() -> dict[str, Tensor]:
    torch.manual_seed(4)
    width, wide = BERT["hidden_size"], BERT["intermediate_size"]
    assert isinstance(width, int)
    assert isinstance(wide, int)
    shapes: dict[str, tuple[int, ...]] = {
        f"attention.self.{part}": (width, width) for part in ("query", "key", "value")
    }
    shapes |= {"attention.output.dense": (width, width), "intermediate.dense": (wide, width)}
    shapes |= {"output.dense": (width, wide), "attention.output.LayerNorm": (width,), "output.LayerNorm": (width,)}
    state = {"bert.embeddings.word_embeddings.weight": torch.randn(5, width)}
    for layer in range(2):
        for name, shape in shapes.items():
            state[f"bert.encoder.layer.{layer}.{name}.weight"] = 0.3 * torch.randn(shape) + (len(shape) == 1)
            state[f"bert.encoder.layer.{layer}.{name}.bias"] = 0.3 * torch.randn(shape[0])
    return state


def bert_by_hand(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    for layer in range(2):

        def of(name: str, layer: int = layer) -> tuple[Tensor, Tensor]:
            return state[f"bert.encoder.layer.{layer}.{name}.weight"], state[f"bert.encoder.layer.{layer}.{name}.bias"]

        q, k, v = (F.linear(x, *of(f"attention.self.{part}")).view(*x.shape[:2], 3, 8).transpose(1, 2)
                   for part in ("query", "key", "value"))  # fmt: skip
        mixed = ((q @ k.mT / 8**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        mixed = x + F.linear(mixed, *of("attention.output.dense"))
        x = F.layer_norm(mixed, (24,), *of("attention.output.LayerNorm"), eps=1e-12)
        wide = F.gelu(F.linear(x, *of("intermediate.dense")))
        x = F.layer_norm(x + F.linear(wide, *of("output.dense")), (24,), *of("output.LayerNorm"), eps=1e-12)
    return x


def test_bert_layers_compute_the_same() -> None:
    """A language model normalises after its sums; taken for a vision model it would compute noise."""
    state, tokens = bert_state(), torch.randn(2, 6, 24)
    stack = convert.from_bert_state(state, BERT)
    close(stack(tokens), bert_by_hand(tokens, state))
    assert stack.shape == TransformerShape(
        width=24, depth=2, heads=3, mlp_width=40, norm="post", eps=1e-12, final_norm=False
    )


def test_models_of_the_transformers_library_compute_the_same() -> None:
    """Sentence-transformers models reach ACT through this library's classes."""
    library = pytest.importorskip("transformers", reason="needs the extra 'language'")
    source = liven(library.BertModel(library.BertConfig(vocab_size=11, max_position_embeddings=16, **BERT)))
    tokens = torch.randn(2, 6, 24)
    with torch.no_grad():
        hidden = tokens
        for layer in source.encoder.layer:
            output = layer(hidden)
            hidden = output[0] if isinstance(output, tuple) else output
        close(convert.from_bert(source)(tokens), hidden)


def test_blocks_run_one_by_one_are_the_whole() -> None:
    """Prompts are replaced between blocks, so running block by block has to be the same as running all."""
    torch.manual_seed(0)
    shape = TransformerShape(width=16, depth=3, heads=2, mlp_width=24, initial_norm=True)
    stack, tokens = TokenTransformer(shape), torch.randn(2, 4, 16)
    x = tokens
    for i in range(shape.depth):
        x = stack.forward_block(i, x)
    assert torch.equal(stack.norm(x), stack(tokens))


def test_the_shape_of_tiny_clip_is_known_without_fitting() -> None:
    """The shape enters every key of ACT; were it wrong, the stored encoder could not be rebuilt."""
    size = ClipSize(16, 32, 4, (1, 1, 1, 1), 64, 2, 8)
    assert convert.shape_of_clip_size(size) == convert.shape_of_open_clip_text(build(size, 20, 0))


def test_other_networks_are_refused_in_one_line() -> None:
    """Weights of a network with other blocks would be bent into ours, or end in a traceback."""
    beit = Beit(img_size=32, patch_size=16, embed_dim=48, depth=1, num_heads=4, num_classes=0)
    resnet = build(ClipSize(16, 32, 4, (1, 1, 1, 1), 32, 1, 8), 20, 0)
    extra = bert_state() | {"bert.encoder.layer.0.attention.self.distance_embedding.weight": torch.zeros(3, 8)}
    lacking = bert_state()
    del lacking["bert.encoder.layer.1.attention.self.key.weight"]
    attempts: list[tuple[Callable[[], object], str]] = [
        (lambda: convert.from_timm(beit), "standard transformer blocks"),
        (lambda: convert.from_timm(vit(qk_norm=True)), "q_norm"),
        (lambda: convert.from_timm(vit(act_layer=nn.ReLU)), "ReLU"),
        (lambda: convert.from_open_clip_visual(resnet), "not a transformer"),
        (lambda: convert.from_bert_state(extra, BERT), "distance_embedding"),
        (lambda: convert.from_bert_state(lacking, BERT), "attention.self.query"),
        (lambda: convert.shape_of_bert({"d_model": 8}), "hidden_size"),
        (lambda: convert.shape_of_bert(BERT | {"hidden_act": "relu"}), "relu"),
    ]
    for attempt, word in attempts:
        with pytest.raises(UsageError, match=word) as caught:
            attempt()
        assert "\n" not in str(caught.value)
