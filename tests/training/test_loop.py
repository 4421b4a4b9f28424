"""What is lost if these fail: curves that do not say what happened, or draws that depend on history."""

from __future__ import annotations

import math
import re
import time
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training_toy import OBJECTS, RECIPE, STEPS, ToyObjective, numerics, outcome, train

from bench.errors import SetupError, UsageError
from bench.spec import Recipe
from bench.training.loop import TrainingPlace, fit
from bench.training.progress import MIN_INTERVAL_S, Pace
from bench.training.schedule import rate


def test_each_epoch_visits_objects_once_in_its_own_order_and_drops_the_rest() -> None:
    objective = ToyObjective()
    result = train(objective, None)
    epochs = [list(chain(*objective.seen[i : i + 4])) for i in range(0, STEPS, 4)]
    assert all(len(batch) == 8 for batch in objective.seen)
    assert all(len(set(order)) == 32 for order in epochs)
    assert len({tuple(order) for order in epochs}) == 5
    assert result.samples == STEPS * 8


def test_same_seed_same_numbers_other_seed_other_numbers() -> None:
    def run(seed: int, extra_draws: int) -> Any:
        objective = ToyObjective()
        torch.rand(extra_draws)  # what was drawn before must not matter
        return fit(objective, OBJECTS, RECIPE, numerics(), seed).curves

    assert run(3, 0) == run(3, 5)
    assert run(3, 0) != run(4, 0)


def test_the_callers_random_state_is_left_alone() -> None:
    objective = ToyObjective()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train(objective, None)
    assert torch.equal(torch.rand(3), expected)


def test_curves_are_epoch_means_with_the_rate_used() -> None:
    objective = ToyObjective()
    values: list[float] = []

    class Recording(ToyObjective):
        def compute(self, prepared: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            losses = super().compute(prepared)
            values.append(losses["regression"].item())
            return losses

    objective = Recording()
    curves = train(objective, None).curves
    assert sorted(curves) == ["lr", "regression", "total", "val_accuracy"]
    means = [sum(values[i : i + 4]) / 4 for i in range(0, STEPS, 4)]
    assert [y for _, y in curves["regression"]] == pytest.approx(means, rel=1e-12)
    assert curves["lr"] == [(float(e + 1), rate(e, RECIPE)) for e in range(5)]
    assert curves["total"][-1][1] < curves["total"][0][1]


def test_selection_keeps_the_earliest_best_epoch() -> None:
    objective = ToyObjective()
    scores = iter([0.1, 0.7, 0.3, 0.7, 0.2])
    states: list[Tensor] = []

    def validate() -> dict[str, float]:
        assert not objective.model.training
        states.append(objective.model[0].weight.detach().clone())
        return {"accuracy": next(scores), "loss": 0.0}

    result = fit(objective, OBJECTS, RECIPE, numerics(), 3, validate=validate)
    assert result.best is not None
    assert (result.best.epoch, result.best.metrics["accuracy"]) == (2, 0.7)
    assert torch.equal(result.best.state["0.weight"], states[1])
    assert torch.equal(objective.model[0].weight, states[-1]), "the model itself is in its last state"
    assert [y for _, y in result.curves["val_accuracy"]] == [0.1, 0.7, 0.3, 0.7, 0.2]


def test_gradients_are_clipped_to_the_norm_asked_for() -> None:
    class Steep(ToyObjective):
        def compute(self, prepared: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            return {name: 1e4 * value for name, value in super().compute(prepared).items()}

    def last_norm(clip_norm: float | None) -> float:
        objective = Steep()
        recipe = Recipe(epochs=1, batch_size=32, warmup_epochs=0, clip_norm=clip_norm)
        norms: list[float] = []
        step = torch.optim.AdamW.step

        def recording(self: torch.optim.AdamW, *args: Any) -> Any:
            gradients = [p.grad for group in self.param_groups for p in group["params"]]
            norms.append(math.sqrt(sum(float(g.square().sum()) for g in gradients)))
            return step(self, *args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", recording)
            fit(objective, OBJECTS, recipe, numerics(), 3)
        return norms[-1]

    assert last_norm(None) > 100
    assert last_norm(2.5) == pytest.approx(2.5, rel=1e-3)


def test_fewer_objects_than_a_batch_train_as_one_batch() -> None:
    objective = ToyObjective()
    fit(objective, 5, RECIPE, numerics(), 3)
    assert [sorted(batch) for batch in objective.seen] == [[0, 1, 2, 3, 4]] * 5


def test_a_single_object_gives_one_line() -> None:
    with pytest.raises(UsageError, match=r"toy: 1 object\(s\) to train on, expected at least 2"):
        fit(ToyObjective(), 1, RECIPE, numerics(), 3, stage="toy")


def test_bf16_is_used_and_weights_stay_fp32() -> None:
    fp32, bf16 = ToyObjective(), ToyObjective()
    results = outcome(fp32, train(fp32, None)), outcome(bf16, train(bf16, None, "bf16"))
    assert results[0] != results[1]
    assert all(p.dtype == torch.float32 for p in bf16.model.parameters())


def test_costs_add_up_over_resumes(tmp_path: Path) -> None:
    first = train(ToyObjective(), tmp_path)
    again = train(ToyObjective(), tmp_path)
    assert first.seconds > 0
    assert first.cpu_seconds > 0
    assert again.cpu_seconds == first.cpu_seconds
    assert again.seconds == first.seconds, "nothing was trained the second time"
    assert first.peak_memory_bytes > 10_000_000


def test_a_compiler_that_does_not_work_gives_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "default"))
    place = TrainingPlace(compile_cache=tmp_path / "kernels")
    with inductor.patch({"cpp.cxx": (None, str(tmp_path / "absent"))}), pytest.raises(SetupError) as error:
        fit(ToyObjective(), OBJECTS, RECIPE, numerics(compile=True), 3, stage="toy", place=place)
    line = str(error.value)
    assert line.startswith("toy: torch.compile fails here (")
    assert line.endswith("use --set numerics.compile=false")
    assert "\n" not in line
    assert (tmp_path / "kernels").is_dir(), "kernels are cached where asked"


def test_errors_of_the_model_are_not_blamed_on_the_compiler() -> None:
    class Broken(ToyObjective):
        def prepare(self, index: Tensor, generator: torch.Generator, step: int) -> Any:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit(Broken(), OBJECTS, RECIPE, numerics(compile=True), 3)


def test_losses_without_a_total_are_refused_by_name() -> None:
    """Who forgets it would read KeyError: 'total' of a line that is not theirs."""

    class Partial(ToyObjective):
        def compute(self, prepared: Any) -> dict[str, Tensor]:
            return {"regression": super().compute(prepared)["total"]}

    with pytest.raises(UsageError, match=r"compute\(\) returned regression, but not 'total', the loss to minimise"):
        fit(Partial(), OBJECTS, RECIPE, numerics(), 3)


def test_progress_is_throttled_and_always_ends() -> None:
    told: list[tuple[Any, ...]] = []
    began = time.perf_counter()
    train(ToyObjective(), None, progress=lambda *call: told.append(call))
    assert 2 <= len(told) <= 2 + (time.perf_counter() - began) / MIN_INTERVAL_S
    assert "samples/s" not in told[0][3]
    assert told[-1][:3] == (STEPS, STEPS, "toy")
    assert re.fullmatch(r"(total|regression) [\d.]+, (total|regression) [\d.]+, [1-9]\d* samples/s", told[-1][3])


def test_pace_leaves_the_first_step_out() -> None:
    told: list[tuple[Any, ...]] = []
    pace = Pace(lambda *call: told.append(call), min_interval_s=0.0)
    for done in (11, 12):
        assert pace.due(done, 20)
        pace.send("s", done, 20, {"total": 1.5}, 4)
    assert told[0] == (11, 20, "s", "total 1.5000")
    assert re.fullmatch(r"total 1\.5000, [1-9]\d* samples/s", told[1][3])


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit(ToyObjective(), OBJECTS, RECIPE, numerics(), 3, place=TrainingPlace(checkpoint_seconds=0.0))
    assert list(tmp_path.iterdir()) == []


def test_operations_of_a_step_are_counted_and_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = train(ToyObjective(), None)
    # A product of each layer forward; backward one for each weight, and one for the activations between the layers.
    assert counted.step_flops == 2 * 8 * (2 * 6 * 16 + 3 * 16)

    class Uncounted(nullcontext[Any]):
        def __init__(self, display: bool) -> None:
            super().__init__(self)

        def get_total_flops(self) -> int:
            return 0

    monkeypatch.setattr("bench.training.loop.FlopCounterMode", Uncounted)
    assert train(ToyObjective(), None).curves == counted.curves
