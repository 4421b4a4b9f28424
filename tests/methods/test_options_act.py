"""Options that do nothing would make an ablation of them a comparison of a network with itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from pydantic import BaseModel

from bench.conformance.method_kit import MethodKit
from bench.registry import BACKBONE_PARTS, METHODS
from bench.spec import BackboneSpec

SIZE = BackboneSpec(points=64, groups=8, group_size=8, width=24, depth=3, heads=2, tokenizer_width=8, drop_path=0.2)
NAMES = [name for name in METHODS.names() if name not in ("scratch", "render-classify")]

OTHER: dict[str, list[Any]] = {
    "mask_ratio": [0.3],
    "mask": ["block"],
    "decoder_depth": [3],
    "decoder_heads": [3],
    "residual": ["prenorm"],
    "shallow_block": [0],
    "patch_width": [12],
    "tokenize": ["all"],
    "reference": [True],
    "temperature": [0.5],
    "image_network": ["resnet10t"],
    "image_channels": [(8, 8, 8, 8)],
    "image_size": [40],
    "tuning": ["full"],
    "prompts": [3],
    "codes": [16],
    "code_width": [12],
    "feature_width": [12],
    "graph_width": [12],
    "folding_width": [9],
    "temperature_floor": [0.5],
    "temperature_steps": [7],
    "kl_weight": [5.0],
    "kl_start": [0],
    "kl_steps": [9],
    "prompt_dropout": [0.6],
    "neighbours": [6],
    "embedding": [40],
    "projection": [20],
    "teacher_lr_factor": [0.3],
}
"""Another value than the default; every choice of an option with choices is tried, and the opposite of a truth."""
WITH: dict[str, dict[str, Any]] = {
    "guided.temperature": {"cross_modal_loss": "infonce"},
    "guided.teacher_lr_factor": {"teachers": "tuned"},
    "act.shallow_block": {"cls_loss": True},
    "crosspoint.neighbours": {"backbone": "dgcnn"},
    "crosspoint.embedding": {"backbone": "dgcnn"},
    "crosspoint.input_transform": {"backbone": "pointnet"},
}
"""What an option needs to act, as its description says."""
FILLED_IN = {"transformer"}
"""Options that the teacher of a run fills in."""


PARTS = {f"{part}{ending}" for part in BACKBONE_PARTS for ending in ("", "_options")}
"""Fields that name parts of the backbone, which tests/models/test_backbone.py swaps."""


def fields() -> Iterator[tuple[str, str]]:
    for name in NAMES:
        for field in METHODS.load(name).Options.model_fields:
            if field not in FILLED_IN:
                yield name, field


def values(field: str, options: BaseModel) -> list[Any]:
    info = type(options).model_fields[field]
    choices = [choice for choice in getattr(info.annotation, "__args__", ()) if isinstance(choice, str)]
    if info.annotation is bool:
        return [not getattr(options, field)]
    if field in OTHER and OTHER[field][0] != getattr(options, field):
        return OTHER[field]
    return [choice for choice in choices if choice != getattr(options, field)]


def trace(name: str, options: BaseModel, size: BackboneSpec = SIZE) -> dict[str, Any]:
    """Everything that an option can act on: what is read, built, drawn, computed and handed over."""
    method = METHODS.load(name)
    kit = MethodKit(method, size, options, preset="smoke", batch_size=4, image_size=48)
    model, batch = kit.model(), kit.batch(step=2)
    batch.points[:2] *= 0.02  # so small that the released sampler takes none of their points
    losses = kit.losses(model, batch)
    trained = {key: value for key, value in model.named_parameters() if value.requires_grad}
    gradients = torch.autograd.grad(losses["total"], list(trained.values()), allow_unused=True)
    encoder = model.encoder().eval()
    with torch.no_grad():
        feature = encoder.feature(encoder(kit.clouds()))
    return {
        "reads": (sorted(kit.uses), sorted(method.aligned(kit.resolved))),
        "network": {key: tuple(value.shape) for key, value in model.state_dict().items()},
        "trained": list(trained),
        "gradient": sum(float(value.double().abs().sum()) for value in gradients if value is not None),
        "start": float(sum(value.double().abs().sum() for value in model.parameters())),
        "rates": dict(model.lr_factors()),
        "losses": {key: float(value.detach()) for key, value in losses.items()},
        "feature": float(feature.double().abs().sum()),
    }


@cache
def plain(name: str, **together: Any) -> dict[str, Any]:
    """The trace of a method as it ships, which all its changed ones are held against."""
    defaults = METHODS.load(name).defaults("smoke")
    return trace(name, type(defaults).model_validate(defaults.model_dump() | together))


@pytest.mark.parametrize("name", NAMES)
def test_a_trace_repeats(name: str) -> None:
    """Else it would differ by itself, and the tests below would pass whatever an option does."""
    assert trace(name, METHODS.load(name).defaults("smoke")) == plain(name)


@pytest.mark.parametrize(("name", "field"), list(fields()))
def test_every_option_of_every_method_acts(name: str, field: str) -> None:
    defaults = METHODS.load(name).defaults("smoke")
    together = (
        WITH.get(f"{name}.{field}") or WITH.get(f"guided.{field}" if hasattr(defaults, "modalities") else "") or {}
    )
    base = type(defaults).model_validate(defaults.model_dump() | together)
    tried = values(field, base)
    assert tried, f"{name}.{field}: give it another value in OTHER"
    before = plain(name, **together)
    for value in tried:
        changed = type(defaults).model_validate(base.model_dump() | {field: value})
        assert trace(name, changed) != before, f"{name}.{field}={value} does nothing"


@pytest.mark.parametrize("field", sorted(set(BackboneSpec.model_fields) - PARTS))
@pytest.mark.parametrize("name", NAMES)
def test_every_size_of_the_backbone_acts(name: str, field: str) -> None:
    other = {"points": 80, "groups": 7, "group_size": 4, "width": 32, "depth": 2, "heads": 4, "tokenizer_width": 12}
    changed = SIZE.model_copy(update={field: (other | {"drop_path": 0.6})[field]})
    options = METHODS.load(name).defaults("smoke")
    if name == "act-dvae" and field in ("depth", "heads", "drop_path"):
        pytest.skip("its transformer is the teacher's")
    assert trace(name, options, changed) != plain(name)
