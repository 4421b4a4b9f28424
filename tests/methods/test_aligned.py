"""Heads into teachers' spaces: what they read is in the transferred encoder, and they survive their file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.methods.base import Batch, Given
from bench.methods.multitask import Multitask
from bench.methods.recon import ReCon
from bench.methods.two_tower import TwoTower
from bench.registry import METHODS
from bench.spec import BackboneSpec
from bench.training.aligned import FILE, load_heads, save_heads, stored_widths

SMALL = BackboneSpec(points=64, groups=8, group_size=4, width=24, depth=2, heads=3, tokenizer_width=16, drop_path=0.0)
GIVEN = Given(image=10, text=12)
BOTH = frozenset(("image", "text"))


@pytest.mark.parametrize(
    ("method", "options", "spaces"),
    [
        (ReCon, {}, BOTH),
        (ReCon, {"global_queries": False}, BOTH),
        (ReCon, {"modalities": "text"}, {"text"}),
        (ReCon, {"modalities": "none"}, set()),
        (Multitask, {}, BOTH),
        (Multitask, {"modalities": "image"}, {"image"}),
        (TwoTower, {}, BOTH),
        (TwoTower, {"streams": "cmc"}, BOTH),
        (TwoTower, {"streams": "mdm"}, set()),
    ],
)
def test_heads_read_features_of_the_encoder(
    method: type[ReCon] | type[Multitask] | type[TwoTower], options: dict[str, Any], spaces: set[str], tmp_path: Path
) -> None:
    """Zero-shot would read another feature than the head was trained on, or be planned where there is no head."""
    chosen = method.Options.model_validate({"decoder_depth": 1, **options})
    torch.manual_seed(0)
    model = method.build(SMALL, chosen, GIVEN)
    heads = model.aligned_heads()
    assert set(heads) == method.aligned(chosen) == set(spaces)
    save_heads(heads, tmp_path)
    stored = load_heads(tmp_path)
    assert stored_widths(tmp_path) == {space: {"image": 10, "text": 12}[space] for space in spaces}
    encoder = method.build_encoder(SMALL, chosen).eval()
    found = encoder.features(encoder(torch.randn(2, 64, 3)))
    for space, (feature, layer) in heads.items():
        assert stored[space].feature == feature
        assert stored[space].weight.tobytes() == layer.weight.detach().numpy().tobytes()
        assert stored[space].bias.tobytes() == layer.bias.detach().numpy().tobytes()
        by_hand = found[feature].detach().numpy() @ stored[space].weight.T + stored[space].bias
        np.testing.assert_allclose(by_hand, layer(found[feature]).detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("method", "options"), [(ReCon, {}), (ReCon, {"global_queries": False}), (Multitask, {}), (TwoTower, {})]
)
def test_the_named_feature_is_what_pretraining_trained_the_head_on(
    method: type[ReCon] | type[Multitask] | type[TwoTower], options: dict[str, Any]
) -> None:
    """A head on the wrong token is near chance, and nothing else would tell."""
    chosen = method.Options.model_validate({"decoder_depth": 1, "mask_ratio": 0.01, "tokenize": "all", **options})
    torch.manual_seed(0)
    model = method.build(SMALL, chosen, GIVEN).eval()
    points = torch.randn(3, 64, 3)
    batch = Batch(points, image_features=torch.randn(3, 10), text_features=torch.randn(3, 12))
    prepared = model.prepare(batch, torch.zeros(3, 8, dtype=torch.bool).index_fill(1, torch.tensor([0]), True))
    seen: dict[str, torch.Tensor] = {}
    for space, (_, layer) in model.aligned_heads().items():
        layer.register_forward_pre_hook(lambda _, inputs, space=space: seen.__setitem__(space, inputs[0]))
    with torch.no_grad():
        model.compute(prepared)
        found = model.encoder().eval().features(model.encoder().eval()(points))
    for space, (feature, _) in model.aligned_heads().items():
        other = next(name for name in ("text", "image") if name != space)
        near = (found[feature] - seen[space]).norm()  # one hidden patch apart
        if feature != "pooled":
            assert near < (found[model.aligned_heads()[other][0]] - seen[space]).norm()
        assert near < 0.6 * seen[space].norm()


def test_without_heads_there_is_no_file(tmp_path: Path) -> None:
    """An empty file would look like heads that were lost."""
    save_heads({}, tmp_path)
    assert not (tmp_path / FILE).exists()
    assert load_heads(tmp_path) == {} == stored_widths(tmp_path)


def test_only_methods_with_heads_are_aligned() -> None:
    """Planning would promise zero-shot cells that cannot be filled."""
    found = {name for name in METHODS.names() if METHODS.load(name).aligned(METHODS.load(name).Options())}
    assert found == {"recon", "multitask", "two-tower"}
