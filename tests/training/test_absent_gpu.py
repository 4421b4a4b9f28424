"""If these fail, training on a GPU stops with tensors on two devices, or waits for the CPU in every step.

No GPU is needed: `absent_gpu` stands for one. What a GPU computes is tested in `test_on_a_gpu.py`.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from absent_gpu import absent_gpu
from ranks_of_methods import BACKBONE, CASES, OBJECTS, RECIPE, data
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensor

from bench.conformance.method_kit import MethodKit
from bench.data.transforms import compose
from bench.models import roles
from bench.registry import METHODS
from bench.seeds import torch_stream
from bench.spec import Numerics
from bench.training.contract import TrainingPlace
from bench.training.loop import Loop
from bench.training.precision import autocast, resolve_numerics
from bench.training.pretraining import PretrainData, PretrainObjective
from bench.training.streaming import StreamedRows

INDEX = torch.arange(RECIPE.batch_size)


def on_gpu(numerics: Numerics) -> Numerics:
    return numerics.model_copy(update={"device": "cuda", "precision": "bf16"})


def loop_of(case: str) -> Loop:
    """A method's training loop, its network and data on the GPU; built on the CPU, as in a job."""
    name, options = CASES[case]
    method = METHODS.load(name)
    asked = method.parse({**method.defaults("smoke").model_dump(mode="json"), **options})
    kit = MethodKit(method, BACKBONE, asked, preset="smoke")
    made = data(kit)
    given = {field.name: getattr(made, field.name) for field in fields(made)}
    moved = replace(made, **{name: value.to("cuda") for name, value in given.items() if value is not None})
    augment = compose(("rotate_y", "scale_translate", "jitter"))
    objective = PretrainObjective(kit.model(), moved, BACKBONE.points, augment, method.point_views)
    numerics = on_gpu(resolve_numerics("cpu", compile=False))
    loop = Loop(objective, OBJECTS, RECIPE, numerics, 5, case, TrainingPlace())
    loop.set_up(roles.decays, None, "", kit.model().lr_factors())
    loop.model.train()
    loop.state.step = 1  # every sixteenth step looks at the losses, and waits
    return loop


@pytest.mark.parametrize("case", CASES)
def test_a_step_waits_for_nothing(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward, backward and optimiser; every tensor is where the network is."""
    with absent_gpu(monkeypatch, backward=True) as gpu:
        loop = loop_of(case)
        gpu.waits.clear()
        losses = loop.step(INDEX, first=False)
        assert gpu.waits == []
        held = [*loop.model.state_dict().values(), *losses.values(), *loop.state.sums.values()]
        held += [value for state in loop.optimiser.state.values() for value in state.values() if value.ndim]
    assert len(loop.optimiser.state) > 10
    assert {value.device.type for value in held} == {gpu.device.type}


@pytest.mark.parametrize("case", ["crosspoint", "act-dvae", "act", "recon"])  # every kind of part is in these
def test_mixed_precision_ends_in_float32_losses(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA's autocast treats other operations as safe than the CPU's does."""
    products: set[torch.dtype] = set()
    with absent_gpu(monkeypatch):
        loop = loop_of(case)
        for module in loop.model.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_hook(lambda _, __, out: products.add(out.dtype))
        with torch.no_grad():
            prepared = loop.objective.prepare(INDEX, torch_stream(5, "augmentation", 1), 1)
        with autocast("cuda", "bf16"):
            losses = loop.compute(prepared)
    assert torch.bfloat16 in products
    assert {(value.dtype, value.device.type) for value in losses.values()} == {(torch.float32, "cuda")}


class Careless(nn.Module):
    """Each of its ways works on a CPU."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.layer = nn.Linear(3, 3)
        self.shift = torch.ones(3)  # no buffer: `to` leaves it behind

    def prepare(self, batch: Any) -> dict[str, Tensor]:
        points = batch.points
        if self.way == "draw":
            points = points + torch.rand(len(points), 1, 3, generator=batch.generator).to(points.device)
        if self.way == "choose":
            points = points[:, points[0, :, 0] > 0]
        return {"points": points}

    def compute(self, prepared: dict[str, Tensor]) -> dict[str, Tensor]:
        out: Tensor = self.layer(prepared["points"])
        if self.way == "left behind":
            out = out + self.shift
        total = out.square().mean()
        return {"total": total / total.item() if self.way == "number" else total}


@pytest.mark.parametrize(
    ("way", "waits", "error"),
    [
        ("", "", None),
        ("draw", "copies (6, 1, 3) to the GPU from ordinary memory", None),
        ("left behind", "add of tensors on the GPU and the CPU", RuntimeError),
        ("number", "", DataDependentOutputException),
        ("choose", "", DynamicOutputShapeException),
    ],
)
def test_a_careless_step_is_noticed(
    way: str, waits: str, error: type[Exception] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above would pass whatever a method does."""
    with absent_gpu(monkeypatch, backward=True) as gpu:
        given = PretrainData(torch.rand(8, 64, 3).to("cuda"))
        objective = PretrainObjective(Careless(way), given, 48, compose(()))
        loop = Loop(objective, 8, RECIPE, on_gpu(resolve_numerics("cpu", compile=False)), 5, way, TrainingPlace())
        loop.set_up(roles.decays, None, "")
        loop.state.step = 1
        gpu.waits.clear()
        with nullcontext() if error is None else pytest.raises(error):
            loop.step(INDEX, first=False)
    told = " ".join(gpu.waits)
    assert told.startswith(waits) if waits else not told


def test_rows_of_host_memory_arrive_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data that do not fit on a GPU would stop it in every step."""
    array = np.random.default_rng(0).random((10, 4, 3), dtype=np.float32)
    with absent_gpu(monkeypatch) as gpu:
        rows = StreamedRows(array, "points", torch.device("cuda"), ahead=False)
        one, chosen = rows.pick(torch.tensor([3, 1])), rows.pick(torch.tensor([3, 1]), torch.tensor([0, 2]))
        assert gpu.waits == []
    assert (one.device.type, one.shape, chosen.shape) == ("cuda", (2, 4, 3), (2, 3))


def test_data_take_half_of_the_free_memory_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clouds would fill the GPU before the network is there, or small labels wait in host memory."""
    given = PretrainData(torch.rand(100, 64, 3), image_features=torch.rand(100, 2, 8), labels=torch.arange(100))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2 * 10_000, 1 << 40))
    with absent_gpu(monkeypatch):
        moved = given.to(torch.device("cuda"))
    assert isinstance(moved.points, StreamedRows)
    assert isinstance(moved.image_features, FakeTensor)
    assert isinstance(moved.labels, FakeTensor)
    assert {one.device.type for one in (moved.points, moved.image_features, moved.labels)} == {"cuda"}
