"""If these fail, a GPU trains another network than a CPU, or waits for the CPU in every step.

Skipped without a GPU. What can be seen without one is tested in `test_absent_gpu.py`.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from ranks_of_methods import BACKBONE, CASES, OBJECTS, RECIPE, data

from bench.conformance.method_kit import MethodKit
from bench.conformance.method_training import compare_devices
from bench.data.transforms import compose
from bench.models import roles
from bench.registry import METHODS
from bench.spec import PretrainSpec, RanksSpec
from bench.training import optim
from bench.training.contract import FitResult, TrainingPlace
from bench.training.loop import Loop
from bench.training.precision import resolve_numerics
from bench.training.pretraining import PretrainObjective, pretrain
from bench.training.streaming import StreamedRows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def kit_of(case: str) -> MethodKit:
    name, options = CASES[case]
    method = METHODS.load(name)
    asked = method.parse({**method.defaults("smoke").model_dump(mode="json"), **options})
    return MethodKit(method, BACKBONE, asked, preset="smoke")


@pytest.mark.parametrize("case", CASES)
def test_a_gpu_computes_the_losses_of_a_cpu(case: str) -> None:
    """Losses in training mode and features in evaluation mode, fp32."""
    compare_devices(kit_of(case), torch.device("cuda"))


@pytest.mark.parametrize("case", CASES)
def test_a_step_waits_for_nothing_on_a_gpu(case: str) -> None:
    """The GPU would stand idle while the CPU prepares its next step; torch raises where a call waits."""
    kit = kit_of(case)
    given = data(kit)
    moved = given.to(torch.device("cuda"))
    augment = compose(("rotate_y", "scale_translate", "jitter"))
    objective = PretrainObjective(kit.model(), moved, BACKBONE.points, augment, kit.method.point_views)
    loop = Loop(objective, OBJECTS, RECIPE, resolve_numerics("cuda", compile=False), 5, case, TrainingPlace())
    loop.set_up(roles.decays, None, "")
    loop.model.train()
    index = torch.arange(RECIPE.batch_size)
    loop.step(index, first=True)  # kernels are loaded, memory is pinned
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):  # the sixteenth step looks at the losses
            loop.step(index, first=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(bool(torch.isfinite(value)) for value in loop.state.sums.values())


def trained(folder: Path | None = None, *, streamed: bool = False, epochs: int = 3) -> tuple[FitResult, torch.Tensor]:
    """Pretrain Point-MAE on the GPU; return the result and the encoder's weights."""
    kit = kit_of("point-mae")
    given = data(kit)
    if streamed:
        given = replace(given, points=StreamedRows(given.points.numpy(), "points"))  # type: ignore[union-attr]
    recipe = RECIPE.model_copy(update={"epochs": epochs})
    numerics = resolve_numerics("cuda", "fp32", compile=False)
    spec = PretrainSpec(method="point-mae", backbone=BACKBONE, recipe=recipe, data=None, numerics=numerics, seed=5)
    model = kit.model()
    found = pretrain(model, given, spec, TrainingPlace(folder=folder, checkpoint_seconds=0.0))
    return found, torch.cat([value.detach().float().flatten().cpu() for value in model.encoder().state_dict().values()])


def test_rows_of_host_memory_train_as_those_on_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data too large for a GPU would train another network."""
    monkeypatch.setattr(optim, "EPS", 1e-3)  # else Adam makes whole steps of rounding errors, where a gradient is zero
    (one, resident), (two, streamed) = trained(), trained(streamed=True)
    assert one.curves.keys() == two.curves.keys()
    torch.testing.assert_close(streamed, resident, rtol=1e-3, atol=1e-3)
    assert one.peak_memory_bytes > 1000


def test_a_checkpoint_of_a_gpu_is_found_again(tmp_path: Path) -> None:
    """A finished training would be done again, or its weights come back as others."""
    whole, after = trained(tmp_path / "a")
    again, same = trained(tmp_path / "a")
    assert again.resumed_from == whole.samples // RECIPE.batch_size
    torch.testing.assert_close(same, after)


def test_more_ranks_than_gpus_are_refused() -> None:
    """Two ranks on one GPU would deadlock in NCCL."""
    from bench.errors import SetupError
    from bench.execution.ranks import FirstRank

    count = torch.cuda.device_count() + 1
    numerics = resolve_numerics("cuda", "fp32", compile=False)
    ranks = RanksSpec(count=count)
    spec = PretrainSpec(
        method="point-mae", backbone=BACKBONE, recipe=RECIPE, data=None, numerics=numerics, seed=5, ranks=ranks
    )
    first = FirstRank.__new__(FirstRank)
    first.count = count
    with pytest.raises(SetupError, match=rf"--gpus {count}: {count - 1} GPU\(s\) are visible here"):
        first.join(spec, lambda reason: None)


def test_fields_of_a_batch_are_on_the_gpu() -> None:
    """Features left in host memory would be copied in every step."""
    moved = data(kit_of("recon")).to(torch.device("cuda"))
    held = [value for field in fields(moved) if (value := getattr(moved, field.name)) is not None]
    assert len(held) > 2
    assert {value.device.type for value in held} == {"cuda"}
