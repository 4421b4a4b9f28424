"""What is lost if these fail: weights decay that must not, or a head learns at the backbone's rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.errors import UsageError
from bench.spec import Recipe
from bench.training.optim import build_optimiser, parameter_groups


class Network(nn.Module):
    """One parameter of every role."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = nn.Linear(3, 4)
        self.norm = nn.LayerNorm(4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
        self.cls_pos = nn.Parameter(torch.zeros(1, 1, 4))
        self.head = nn.Linear(4, 2)
        self.frozen = nn.Parameter(torch.zeros(2, 2), requires_grad=False)


def names(groups: list) -> list[tuple[float, float, set[str]]]:
    return [(group.weight_decay, group.lr_scale, set(group.names)) for group in groups]


def head(name: str) -> bool:
    return name.startswith("head.") or name in ("cls_token", "cls_pos")


def test_pretraining_groups() -> None:
    recipe = Recipe(weight_decay=0.03, head_lr_scale=10.0)
    assert names(parameter_groups(Network(), recipe)) == [
        (0.0, 1.0, {"tokenizer.bias", "norm.weight", "norm.bias", "cls_token", "head.bias"}),
        (0.03, 1.0, {"tokenizer.weight", "cls_pos", "head.weight"}),
    ]


def test_a_part_with_its_own_rate_decays_by_the_same_rule() -> None:
    found = parameter_groups(Network(), Recipe(weight_decay=0.03), lr_factors={"head.": 0.1})
    assert [(g.weight_decay, g.lr_scale, g.lr_factor, set(g.names)) for g in found] == [
        (0.0, 1.0, 1.0, {"tokenizer.bias", "norm.weight", "norm.bias", "cls_token"}),
        (0.03, 1.0, 1.0, {"tokenizer.weight", "cls_pos"}),
        (0.0, 1.0, 0.1, {"head.bias"}),
        (0.03, 1.0, 0.1, {"head.weight"}),
    ]


def test_fine_tuning_head_group_decays_as_a_whole() -> None:
    recipe = Recipe(weight_decay=0.05, head_lr_scale=10.0)
    assert names(parameter_groups(Network(), recipe, in_head_group=head)) == [
        (0.0, 1.0, {"tokenizer.bias", "norm.weight", "norm.bias"}),
        (0.05, 1.0, {"tokenizer.weight"}),
        (0.05, 10.0, {"cls_token", "cls_pos", "head.weight", "head.bias"}),
    ]


def test_without_a_head_factor_the_head_is_like_the_rest() -> None:
    groups = parameter_groups(Network(), Recipe(), in_head_group=head)
    assert names(groups) == names(parameter_groups(Network(), Recipe()))


def test_predicates_decide() -> None:
    groups = parameter_groups(Network(), Recipe(), decays=lambda name, parameter: name == "head.bias")
    assert groups[1].names == ["head.bias"]


def test_an_entirely_frozen_model_gives_one_line() -> None:
    with pytest.raises(UsageError, match="Network has no trainable parameter"):
        parameter_groups(Network().requires_grad_(False), Recipe())


def test_the_optimiser_steps_as_adamw_does_by_hand() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(2.0)
        model.bias.fill_(1.0)
    recipe = Recipe(weight_decay=0.5, lr=0.1)
    optimiser = build_optimiser(parameter_groups(model, recipe), recipe)
    for group in optimiser.param_groups:
        group["lr"] = 0.1 * group["lr_scale"]
    (3 * model.weight.sum() + 4 * model.bias.sum()).backward()
    optimiser.step()
    # The first step of Adam moves by the rate against the sign; decay shrinks the weight by rate x decay first.
    assert model.weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)
    assert model.bias.item() == pytest.approx(1.0 - 0.1, abs=1e-6)
