"""Jobs share a GPU by their estimated memory: too low an estimate ends them out of memory, too high leaves it idle."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from bench.conformance.method_kit import MethodKit
from bench.fingerprint import Fingerprint
from bench.plan.estimate import gpu_bytes
from bench.plan.graph import Job
from bench.plan.presets import PRESETS
from bench.registry import METHODS
from bench.spec import PretrainSpec
from bench.training.precision import resolve_numerics

BATCH = 4


def kept_bytes(kit: MethodKit, batch: int) -> int:
    """Bytes of weights, gradients, moments, and what a step keeps for its backward pass, in float32.

    Counted on tensors without numbers, so for any size.
    """
    real: dict[str, Tensor] = kit.model().prepare(kit.batch())
    model = kit.model().to("meta")
    prepared = {
        key: torch.empty(
            (batch * len(value) // BATCH, *value.shape[1:]) if value.ndim else (), dtype=value.dtype, device="meta"
        )
        for key, value in real.items()
    }
    kept: dict[int, int] = {}
    held: list[Tensor] = []  # so that no place in memory is used twice
    weights = {p.untyped_storage()._cdata for p in model.parameters()}

    def keep(value: Tensor) -> Tensor:
        place = value.untyped_storage()
        if place._cdata not in weights:
            kept[place._cdata] = place.nbytes()
            held.append(value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        losses = model.compute(prepared)
    assert losses["total"].device.type == "meta"
    own = sum(p.numel() * p.element_size() * (4 if p.requires_grad else 1) for p in model.parameters())
    return own + sum(kept.values())


@pytest.mark.parametrize("preset", ["nano", "base"])
@pytest.mark.parametrize("name", ["point-mae", "crosspoint", "act-dvae", "act", "multitask", "two-tower", "recon"])
def test_a_gpu_is_asked_for_what_a_step_keeps(name: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most five times as much, and a GiB for CUDA itself."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # of no effect on a device without numbers
    method = METHODS.load(name)
    kit = MethodKit(method, PRESETS[preset].backbone, preset=preset, batch_size=BATCH, image_size=64)
    numerics = resolve_numerics("cpu", "fp32", compile=False).model_copy(update={"device": "cuda"})
    options = kit.resolved.model_dump(mode="json")
    spec = PretrainSpec(
        method=name, options=options, backbone=kit.size, recipe=kit.recipe, data=None, numerics=numerics, seed=0
    )
    code = Fingerprint(digest="0" * 12, modules={})
    estimated = gpu_bytes(Job(kind="encoder", key="0" * 12, fingerprint=code, title=name, encoder=spec))
    counted = kept_bytes(kit, kit.recipe.batch_size)
    assert counted <= estimated <= 5 * counted + (1 << 30), f"{estimated / 2**30:.2f} GiB for {counted / 2**30:.2f}"
