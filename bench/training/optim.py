"""AdamW (or Adam) and its parameter groups (docs/reference.md#optimiser-groups).

Two predicates, which belong to the model, sort its parameters by name:
``decays(name, parameter)`` and ``in_head_group(name)``, for our models those of `bench.models.roles`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from bench.errors import UsageError
from bench.models import roles
from bench.spec import Recipe

Decays = Callable[[str, nn.Parameter], bool]
InHeadGroup = Callable[[str], bool]

BETAS = (0.9, 0.999)
EPS = 1e-8


@dataclass
class Group:
    """Parameters that share weight decay and learning-rate factor.

    Attributes:
        weight_decay: Decoupled weight decay.
        lr_scale: Factor on the recipe's base rate; warm-up and minimum rate stay.
        lr_factor: Factor on the whole schedule.
        names: Parameter names, in the model's order.
        parameters: The parameters themselves, in the same order.
    """

    weight_decay: float
    lr_scale: float
    lr_factor: float = 1.0
    names: list[str] = field(default_factory=list)
    parameters: list[nn.Parameter] = field(default_factory=list)


def parameter_groups(
    model: nn.Module,
    recipe: Recipe,
    decays: Decays = roles.decays,
    in_head_group: InHeadGroup | None = None,
    lr_factors: Mapping[str, float] | None = None,
) -> list[Group]:
    """Sort the trainable parameters into groups.

    A head group exists only in fine-tuning and where the recipe asks for another rate there (`head_lr_scale`
    other than 1); it then decays as a whole, biases included, as in ReCon.

    Args:
        model: Frozen parameters (``requires_grad`` False) are left out.
        recipe: Weight decay and head factor.
        decays: Whether a parameter outside the head group decays.
        in_head_group: Whether a parameter belongs to the head group; None: there is no head.
        lr_factors: Factors on the rate of parts, by the beginning of their parameters' names; none of them belongs to
            the head group.

    Returns:
        The non-empty groups: not decaying, decaying, head; then not decaying and decaying of each part.

    Raises:
        UsageError: Nothing is trainable.
    """
    plain = Group(weight_decay=0.0, lr_scale=1.0)
    decayed = Group(weight_decay=recipe.weight_decay, lr_scale=1.0)
    head = Group(weight_decay=recipe.weight_decay, lr_scale=recipe.head_lr_scale)
    parts = {
        beginning: (Group(0.0, 1.0, factor), Group(recipe.weight_decay, 1.0, factor))
        for beginning, factor in (lr_factors or {}).items()
    }
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part = next((groups for beginning, groups in parts.items() if name.startswith(beginning)), None)
        if part is not None:
            group = part[decays(name, parameter)]
        elif in_head_group is not None and recipe.head_lr_scale != 1.0 and in_head_group(name):
            group = head
        else:
            group = decayed if decays(name, parameter) else plain
        group.names.append(name)
        group.parameters.append(parameter)
    groups = [group for group in (plain, decayed, head, *sum(parts.values(), ())) if group.parameters]
    if not groups:
        raise UsageError(
            f"{type(model).__name__} has no trainable parameter: unfreeze some, or judge the encoder with a "
            "protocol that does not train it"
        )
    return groups


def build_optimiser(groups: list[Group], recipe: Recipe) -> torch.optim.Optimizer:
    """Build the recipe's optimiser over parameter groups.

    Each group carries ``lr_scale`` and ``lr_factor`` and starts at the warm-up rate.
    """
    params: list[dict[str, Any]] = [
        {
            "params": group.parameters,
            "weight_decay": group.weight_decay,
            "lr_scale": group.lr_scale,
            "lr_factor": group.lr_factor,
        }
        for group in groups
    ]
    # One kernel per group instead of a dozen small ones per parameter.
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for g in groups for p in g.parameters)
    kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
    return kind(params, lr=recipe.warmup_lr, betas=BETAS, eps=EPS, fused=fused)
