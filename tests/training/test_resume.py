"""What is lost if these fail: a killed run could end with other numbers, or a damaged state be continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_children import SHARES
from torch import Tensor, nn
from training_toy import OBJECTS, RECIPE, STEPS, ToyObjective, numerics, outcome, train, weights

from bench.errors import DivergedError, Interrupted, SetupError
from bench.spec import Precision
from bench.training.checkpoint import CheckpointFolder, deserialise, serialise, write_checkpoint
from bench.training.contract import FitResult, Kept
from bench.training.loop import TrainingPlace, fit
from tests.conftest import no_file_larger_than

HERE = Path(__file__).parent


def uninterrupted(precision: Precision = "fp32") -> dict[str, object]:
    objective = ToyObjective()
    return outcome(objective, train(objective, None, precision))


def uninterrupted_along(shares: tuple[float, ...]) -> list[list[object]]:
    """Step and weights of trainings that end at each share."""
    found: list[list[object]] = []
    for share in shares:
        objective = ToyObjective()
        result = train(objective, None, kept=Kept((share,), lambda share, result: None))
        found.append([result.step, weights(objective)])
    return found


# In the first step, mid-epoch before and inside a forward pass, in the middle of writing the first and
# a later checkpoint (odd fsync: the file, even: its folder after the rename), inside validation.
# and before and after the state of a step (2, 5 and 12) was handed out.
MOMENTS = (
    *("prepare:1", "take:2", "taken:2", "prepare:4", "take:5", "fsync:1", "compute:3", "fsync:5", "fsync:6"),
    *("validate:1", "take:12", "taken:12", "compute:7"),
)


def test_killed_runs_end_as_an_uninterrupted_one(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(HERE / "killed_children.py"), str(tmp_path), "fp32", *MOMENTS],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        check=True,
        timeout=200,
    )
    ended = json.loads((tmp_path / "outcome.json").read_text())
    assert ended.pop("resumed_from") > 0
    assert ended == json.loads(json.dumps(uninterrupted()))
    assert len(list((tmp_path / "work").iterdir())) == 2, "the two newest checkpoints are kept"
    kept = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("kept-*.json")}
    assert kept == {f"kept-{share:g}": along for share, along in zip(SHARES, uninterrupted_along(SHARES), strict=True)}


@pytest.mark.parametrize(("number", "precision"), [(signal.SIGINT, "fp32"), (signal.SIGTERM, "bf16")])
def test_a_stop_request_saves_and_says_how_to_go_on(
    number: signal.Signals, precision: Precision, tmp_path: Path
) -> None:
    def send(moment: str, count: int) -> None:
        if (moment, count) == ("compute", 6):
            os.kill(os.getpid(), number)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as stopped:
        train(ToyObjective(send), tmp_path, precision)
    line = str(stopped.value)
    assert f"toy stopped by {number.name} in epoch 2 of 5, after step 6 of {STEPS}" in line
    assert "run the same command again" in line
    assert "\n" not in line
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    again = ToyObjective()
    result = train(again, tmp_path, precision)
    assert result.resumed_from == 6
    assert outcome(again, result) == uninterrupted(precision)


def test_a_second_ctrl_c_is_not_swallowed() -> None:
    def send(moment: str, count: int) -> None:
        if (moment, count) == ("compute", 2):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(ToyObjective(send), None)


def test_a_finished_stage_is_not_trained_again(tmp_path: Path) -> None:
    first = ToyObjective()
    expected = outcome(first, train(first, tmp_path))
    again = ToyObjective()
    result = train(again, tmp_path)
    assert again.seen == []
    assert result.resumed_from == STEPS
    assert outcome(again, result) == expected


def test_keeping_states_changes_no_number_of_the_training() -> None:
    """An encoder judged half-way would belong to another training than the one at the end."""
    objective, seen = ToyObjective(), dict[float, tuple[int, dict[str, Any], int]]()

    def take(share: float, result: FitResult) -> None:
        seen[share] = result.step, weights(objective), len(result.curves.get("total", ()))

    result = train(objective, None, kept=Kept((*SHARES, 1.0), take))
    assert outcome(objective, result) == uninterrupted()
    assert (result.step, result.steps, result.steps_per_epoch) == (STEPS, STEPS, STEPS // RECIPE.epochs)
    assert [[step, at] for step, at, _ in seen.values()] == uninterrupted_along(SHARES)
    assert [epochs for _, _, epochs in seen.values()] == [0, 1, 3], "curves hold what was finished by then"
    assert [step for step, _, _ in seen.values()] == [2, 5, 12]


def test_a_checkpoint_beyond_a_state_to_keep_is_not_gone_on_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The state would be missed, or a later one kept in its place."""
    stopped_at(7, tmp_path)
    objective, taken = ToyObjective(), list[int]()
    result = train(objective, tmp_path, kept=Kept((0.25, 1.0), lambda share, result: taken.append(result.step)))
    assert taken == [5]
    assert result.resumed_from is None
    assert outcome(objective, result) == uninterrupted()
    assert any("the encoder of step 5 is to be kept, and it is of step 7" in line for line in caplog.messages)


def test_a_state_that_is_the_checkpoint_itself_is_kept(tmp_path: Path) -> None:
    stopped_at(5, tmp_path)
    objective, taken = ToyObjective(), list[int]()
    result = train(objective, tmp_path, kept=Kept((0.25, 1.0), lambda share, result: taken.append(result.step)))
    assert (taken, result.resumed_from) == ([5], 5)
    assert outcome(objective, result) == uninterrupted()


def test_a_diverged_state_is_not_kept() -> None:
    """Its encoder would be judged as if it were one."""

    class Diverging(ToyObjective):
        def compute(self, prepared: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            losses = super().compute(prepared)
            if self._counts["compute"] == 5:
                weight = next(self.model.parameters()).sum()
                losses["total"] = losses["total"] + (weight - weight.detach()).sqrt()
            return losses

    taken = list[int]()
    with pytest.raises(DivergedError, match="a weight is not finite at epoch 2 of 5, step 1 of 4"):
        train(Diverging(), None, kept=Kept((0.25, 1.0), lambda share, result: taken.append(result.step)))
    assert taken == []


def stopped_at(step: int, folder: Path) -> None:
    """Leave a folder with the checkpoints of steps ``step - 1`` and ``step``."""

    def stop(moment: str, count: int) -> None:
        if (moment, count) == ("compute", step):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train(ToyObjective(stop), folder)


@pytest.mark.parametrize("damage", ["truncated", "empty", "altered"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(damage: str, tmp_path: Path) -> None:
    stopped_at(7, tmp_path)
    newest = max(tmp_path.iterdir())
    data = bytearray(newest.read_bytes())
    if damage == "altered":
        data[-5] ^= 1
    newest.write_bytes(data[: {"truncated": len(data) // 2, "empty": 0, "altered": len(data)}[damage]])
    again = ToyObjective()
    result = train(again, tmp_path)
    assert result.resumed_from == 6
    assert outcome(again, result) == uninterrupted()
    assert [p.name for p in tmp_path.glob("*.aside")] == [f"{newest.name}.aside"], "the damaged file is kept apart"


def test_when_every_checkpoint_is_damaged_training_starts_over(tmp_path: Path) -> None:
    stopped_at(7, tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    again = ToyObjective()
    result = train(again, tmp_path)
    assert result.resumed_from is None
    assert outcome(again, result) == uninterrupted()


@pytest.mark.parametrize("change", ["seed", "recipe", "precision", "identity", "width"])
def test_a_checkpoint_of_something_else_is_not_continued(change: str, tmp_path: Path) -> None:
    stopped_at(7, tmp_path)
    objective = ToyObjective()
    if change == "width":
        objective.model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 1), nn.Flatten(0))
    result = fit(
        objective,
        OBJECTS,
        RECIPE.model_copy(update={"lr": 2e-2}) if change == "recipe" else RECIPE,
        numerics("bf16" if change == "precision" else "fp32"),
        4 if change == "seed" else 3,
        stage="toy",
        place=TrainingPlace(folder=tmp_path, checkpoint_seconds=0.0),
        identity="other data" if change == "identity" else "",
    )
    assert result.resumed_from is None
    assert len(result.curves["total"]) == RECIPE.epochs
    assert CheckpointFolder(tmp_path, "x")._files()[0][0] == STEPS, "the new run's own last state is the newest"


def test_a_diverged_state_is_never_saved(tmp_path: Path) -> None:
    class Diverging(ToyObjective):
        def compute(self, prepared: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            losses = super().compute(prepared)
            self.tell("loss")
            return {**losses, "total": losses["total"] * (float("nan") if self._counts["loss"] == 6 else 1.0)}

    with pytest.raises(DivergedError) as error:
        train(Diverging(), tmp_path)
    line = str(error.value)
    assert "loss total is not finite at epoch 2 of 5, step 2 of 4, learning rate 0.00" in line
    assert "\n" not in line
    assert train(ToyObjective(), tmp_path).resumed_from == 5


def test_a_gradient_that_overflows_in_the_last_step_is_not_a_finished_run(tmp_path: Path) -> None:
    class Overflowing(ToyObjective):
        def compute(self, prepared: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            losses = super().compute(prepared)
            if self._counts["compute"] == STEPS:
                weight = next(self.model.parameters()).sum()
                losses["total"] = losses["total"] + (weight - weight.detach()).sqrt()
            return losses

    with pytest.raises(DivergedError, match="a weight or a moment is not finite at epoch 5 of 5, step 4 of 4"):
        train(Overflowing(), tmp_path)


def test_a_write_that_fails_gives_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "step.safetensors"
    target.write_bytes(b"old")
    with no_file_larger_than(1000), pytest.raises(SetupError, match=r"cannot write the checkpoint .*File too large"):
        write_checkpoint(target, b"new" * 10_000)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_work_folder_that_cannot_be_made_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"cannot write the checkpoint .*make the folder writable"):
        train(ToyObjective(), tmp_path / "file")


def test_a_resumed_stage_says_so_and_counts_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stopped_at(7, tmp_path)
    assert not caplog.messages
    told: list[tuple[Any, ...]] = []
    train(ToyObjective(), tmp_path, progress=lambda *call: told.append(call))
    assert told[0][:3] == (8, STEPS, "toy")
    assert told[-1][0] == STEPS
    assert [line for line in caplog.messages if line.startswith("toy goes on from its checkpoint, epoch ")]
    assert caplog.messages[0].endswith(f"step 7 of {STEPS}")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_state_is_what_was_written_or_refused(data: st.DataObject) -> None:
    """One flipped bit of a weight is a weight too: it would be trained on, and its result stored."""
    tensors = {
        "w": torch.arange(6.0).reshape(2, 3),
        "empty": torch.empty(0, 3),
        "count": torch.tensor(7),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "mask": torch.tensor([True, False]),
    }
    whole = serialise(tensors, {"epoch": 3})
    back, header = deserialise(whole)
    assert header == {"epoch": 3}
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors.items())
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    altered = bytearray(whole)
    altered[bit // 8] ^= 1 << bit % 8
    try:
        again, told = deserialise(bytes(altered))
    except ValueError:
        return
    assert told == header
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
