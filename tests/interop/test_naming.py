"""Names of released checkpoints and ours."""

from __future__ import annotations

import pytest
import torch

from bench.interop.names_transformer import CLASSIFY, PRETRAIN
from bench.interop.naming import Layout, convert_state, release_state
from bench.methods.base import Given
from bench.methods.point_mae import PointMAE
from bench.methods.recon import ReCon
from bench.models.classifier import Classifier
from bench.spec import BackboneSpec

SMALL = BackboneSpec(points=64, groups=8, group_size=4, width=24, depth=2, heads=3, tokenizer_width=16)


def networks() -> list[tuple[Layout, torch.nn.Module]]:
    recon = ReCon.build(SMALL, ReCon.Options(smc=True), Given(image=5, text=6))
    return [
        (PRETRAIN, recon),
        (PRETRAIN, PointMAE.build(SMALL, PointMAE.Options(), Given())),
        (CLASSIFY, Classifier(recon.encoder(), 4, "mlp")),
        (CLASSIFY, Classifier(PointMAE.build_encoder(SMALL, PointMAE.Options()), 4, "linear")),
    ]


@pytest.mark.parametrize(
    ("layout", "released", "ours"),
    [
        (
            PRETRAIN,
            "module.MAE_encoder.blocks.blocks.11.attn_contrast.kv.weight",
            "trunk.blocks.11.global_attention.kv.weight",
        ),
        (PRETRAIN, "MAE_encoder.encoder.second_conv.1.running_var", "trunk.tokenizer.norm2.running_var"),
        (PRETRAIN, "MAE_decoder.blocks.3.mlp.fc2.bias", "decoder.blocks.3.mlp.fc2.bias"),
        (PRETRAIN, "mask_token", "decoder.mask_token"),
        (PRETRAIN, "cls_proj.4.running_mean", "contrast_head.4.running_mean"),
        (CLASSIFY, "cls_head_finetune.8.weight", "head.8.weight"),
        (CLASSIFY, "img_token", "encoder.image_token"),
        (PRETRAIN, "img_encoder.visual.proj", None),
        (CLASSIFY, "MAE_encoder.norm.weight", None),
        (CLASSIFY, "blocks.blocks.x.norm1.weight", None),
    ],
)
def test_released_names(layout: Layout, released: str, ours: str | None) -> None:
    """A weight of an official checkpoint would land in the wrong place (docs/reference.md#checkpoint-names)."""
    assert layout.to_ours(released) == ours
    if ours is not None:
        assert layout.to_released(ours) == released.removeprefix("module.")


def test_every_name_goes_there_and_back() -> None:
    """A parameter would be lost on export or import."""
    for layout, model in networks():
        state = model.state_dict()
        released = release_state(state, layout)
        assert len(released) == len(state)
        back = convert_state(released, state, layout)
        assert (back.missing, back.unexpected, back.mismatched) == ((), (), ())
        assert all(torch.equal(back.state[name], value) for name, value in state.items())


def test_convolutions_keep_their_released_shape() -> None:
    """The exported file would not load into the released code."""
    layout, model = networks()[0]
    released = release_state(model.state_dict(), layout)
    assert released["MAE_encoder.encoder.first_conv.0.weight"].shape == (16, 3, 1)
    assert released["increase_dim.0.weight"].shape == (12, 24, 1)
    assert released["img_proj.weight"].shape == (5, 24)


def test_what_does_not_fit_is_reported() -> None:
    """A checkpoint of another size would be loaded in part."""
    layout, model = networks()[0]
    state = model.state_dict()
    released = release_state(state, layout)
    released["norm_extra"] = torch.zeros(1)
    released["mask_token"] = torch.zeros(1, 1, 99)
    del released["img_proj.bias"]
    result = convert_state(released, state, layout)
    assert result.unexpected == ("norm_extra",)
    assert result.missing == ("image_head.bias",)
    assert result.mismatched == ("mask_token is (1, 1, 99), decoder.mask_token is (1, 1, 24)",)
