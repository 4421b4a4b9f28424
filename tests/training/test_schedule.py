"""What is lost if these fail: published recipes would run with other learning rates than published."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.scheduler import CosineLRScheduler

from bench.spec import Recipe
from bench.training.schedule import epochs_run, rate, rate_at

PUBLISHED = Recipe(epochs=300, lr=1e-3, warmup_epochs=10, warmup_lr=1e-6, min_lr=1e-6)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (0, 1e-6),
        (5, 1e-6 + 5 * 9.99e-5),
        (10, 1e-6 + 4.995e-4 * (1 + 0.9945218953682733)),  # cos(pi 10/300): the warm-up is not a prefix
        (75, 1e-6 + 4.995e-4 * (1 + 0.7071067811865476)),  # cos(pi/4)
        (150, 1e-6 + 4.995e-4),
        (200, 1e-6 + 4.995e-4 * 0.5),  # cos(2 pi/3)
        (300, 1e-6),
        (301, 1e-6),
    ],
)
def test_rates_worked_by_hand(time: float, expected: float) -> None:
    assert rate_at(time, PUBLISHED) == pytest.approx(expected, rel=1e-12)


def test_reference_wastes_two_epochs_and_runs_one_more() -> None:
    reference = PUBLISHED.model_copy(update={"reference_schedule": True})
    assert epochs_run(reference) == 301
    assert [rate(epoch, reference) for epoch in (0, 1, 2, 11)] == [
        pytest.approx(value, rel=1e-12) for value in (1e-6, 1e-6, 1.009e-4, 1e-6 + 4.995e-4 * 1.9945218953682733)
    ]
    assert rate(300, reference) == rate_at(299, reference)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    epochs=st.integers(2, 40),
    warmup=st.integers(0, 12),
    lr=st.floats(1e-5, 1e-1),
    scale=st.sampled_from([1.0, 10.0]),
    reference=st.sampled_from([True, "late"]),
)
def test_reference_equals_timm_stepped_after_each_epoch(
    epochs: int, warmup: int, lr: float, scale: float, reference: Literal[True, "late"]
) -> None:
    """Classification runs an epoch more than stated, segmentation does not; the rates are the same."""
    recipe = Recipe(
        epochs=epochs, lr=lr, warmup_epochs=warmup, warmup_lr=1e-6, min_lr=1e-6, reference_schedule=reference
    )
    assert epochs_run(recipe) == epochs + (reference is True)
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr * scale)
    theirs = CosineLRScheduler(
        optimiser, t_initial=epochs, lr_min=1e-6, warmup_t=warmup, warmup_lr_init=1e-6, cycle_limit=1
    )
    for epoch in range(epochs_run(recipe)):
        assert rate(epoch, recipe, scale) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        theirs.step(epoch)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(epochs=st.integers(1, 60), warmup=st.integers(0, 20))
def test_by_default_no_epoch_is_wasted(epochs: int, warmup: int) -> None:
    recipe = Recipe(epochs=epochs, lr=1e-3, warmup_epochs=warmup, warmup_lr=0.0, min_lr=0.0)
    rates = [rate(epoch, recipe) for epoch in range(epochs_run(recipe))]
    assert len(rates) == epochs
    assert 0 < min(rates) <= max(rates) <= 1e-3
    warm = rates[:warmup]
    assert warm == sorted(warm)
    cool = rates[warmup:]
    assert cool == sorted(cool, reverse=True)


def test_early_schedule_equals_torch_stepped_before_each_epoch() -> None:
    """CrossPoint's release would not be restored: its cosine is stepped at the start of an epoch already."""
    recipe = Recipe(epochs=7, lr=1e-3, warmup_epochs=0, min_lr=0.0, reference_schedule="early")
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=7, eta_min=0)
    assert epochs_run(recipe) == 7
    for epoch in range(7):
        optimiser.step()
        theirs.step()
        assert rate(epoch, recipe) == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9, abs=1e-12)
    assert rate(6, recipe) == 0
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert Recipe.model_validate({"reference_schedule": True}).reference_schedule is True
