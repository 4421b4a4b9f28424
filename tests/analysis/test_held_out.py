"""Losses on objects that are not trained on: without these the curves would change, or not show, what they measure."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.data.base import DataPlace
from bench.data.modelnet_h5 import ModelNetH5
from bench.errors import Interrupted
from bench.execution.held_out import measured_data
from bench.execution.pretrain_data import Gathering
from bench.methods.base import Given, Method
from bench.methods.crosspoint import CrossPoint
from bench.methods.point_mae import PointMAE
from bench.methods.recon import ReCon
from bench.plan.presets import preset
from bench.spec import PretrainSpec, Recipe, content_key
from bench.training.contract import FitResult, TrainingPlace
from bench.training.held_out import HELD_OUT, SEEN
from bench.training.precision import resolve_numerics
from bench.training.pretraining import PretrainData, pretrain

BACKBONE = preset("smoke").backbone.model_copy(update={"drop_path": 0.1, "points": 64})
RECIPE = Recipe(epochs=3, batch_size=8, lr=2e-3, warmup_epochs=1, augmentation=("rotate_y",))
METHODS: dict[str, type[Method]] = {"recon": ReCon, "crosspoint": CrossPoint, "point-mae": PointMAE}


def spec(method: str, **changes: Any) -> PretrainSpec:
    fields = {"method": method, "backbone": BACKBONE, "recipe": RECIPE, "data": None, "seed": 3}
    return PretrainSpec(**{**fields, "numerics": resolve_numerics("cpu", "fp32", compile=False), **changes})


def data(seed: int, count: int = 24) -> PretrainData:
    draws = torch.Generator().manual_seed(seed)
    points = torch.randn(count, 96, 3, generator=draws)
    return PretrainData(
        points, torch.randn(count, 2, 12, generator=draws), torch.randn(count, 10, generator=draws),
        images=torch.randint(0, 255, (count, 1, 32, 32, 3), generator=draws).to(torch.uint8),
    )  # fmt: skip


def train(
    name: str, place: TrainingPlace | None = None, batch: int = 8, **measured: PretrainData
) -> tuple[FitResult, dict[str, Any]]:
    method = METHODS[name]
    torch.manual_seed(0)
    model = method.build(BACKBONE, method.defaults("smoke"), Given(image=12, text=10, pixels=3))
    asked = spec(name, recipe=RECIPE.model_copy(update={"batch_size": batch}))
    result = pretrain(model, data(0), asked, place, point_views=method.point_views, measured=measured)
    return result, model.state_dict()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_measuring_changes_no_weight_and_no_curve(name: str) -> None:
    """A run with the option would otherwise be another experiment than the one without."""
    plain, weights = train(name)
    measured, same = train(name, held_out=data(1, 20), seen=data(0).part(torch.arange(20)))
    assert all(torch.equal(value, same[key]) for key, value in weights.items())
    assert {key: value for key, value in measured.curves.items() if key in plain.curves} == plain.curves
    losses = {key for key in plain.curves if key != "lr"}
    assert set(measured.curves) - set(plain.curves) == {f"{s}_{loss}" for s in (HELD_OUT, SEEN) for loss in losses}
    assert all(len(measured.curves[f"held_out_{loss}"]) == RECIPE.epochs for loss in losses)
    assert measured.best is None


def test_the_same_objects_give_the_same_loss_and_others_another() -> None:
    """Different draws for the two sets would be read as a gap between them."""
    measured, _ = train("recon", held_out=data(0), seen=data(0))
    assert measured.curves["held_out_mdm"] == measured.curves["seen_mdm"]
    other, _ = train("recon", held_out=data(1), seen=data(0))
    assert other.curves["held_out_mdm"] != other.curves["seen_mdm"]
    assert other.curves["seen_mdm"] == measured.curves["seen_mdm"]


def test_a_killed_run_keeps_its_held_out_curve(tmp_path: Path) -> None:
    """A resumed run would show a curve with a hole."""
    whole, weights = train("point-mae", batch=24, held_out=data(1, 20))

    def kill(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="in epoch 2 of 3, after step 1 of 3"):
        train("point-mae", TrainingPlace(tmp_path, progress=kill), 24, held_out=data(1, 20))
    resumed, same = train("point-mae", TrainingPlace(tmp_path), 24, held_out=data(1, 20))
    assert resumed.resumed_from == 1
    assert resumed.curves == whole.curves
    assert all(torch.equal(value, same[key]) for key, value in weights.items())


def test_measured_objects_are_of_the_test_split_and_the_same_for_every_run(toy_modelnet: Path, tmp_path: Path) -> None:
    """Held-out would mean another thing in every run, or class names of test objects would count as read."""
    dataset = ModelNetH5(DataPlace(tmp_path, toy_modelnet), ModelNetH5.Options())
    train, test = dataset.load("train"), dataset.load("test")
    found = []
    for seed, part in ((0, 60), (1, 12)):
        gathering = Gathering(
            spec("recon", seed=seed, captions="class-names"), frozenset({"labels"}), None, None, tmp_path,
            lambda stage, done, total, note: None, texts={"read"},
        )  # fmt: skip
        trained = PretrainData(torch.from_numpy(train.points[:part].copy()), labels=torch.arange(part))
        measured = measured_data(dataset, trained, gathering)
        assert gathering.texts == {"read"}
        assert gathering.costs == {}
        assert len(measured[SEEN]) == part
        assert measured[SEEN].labels is not None
        assert sorted(measured[SEEN].labels.tolist()) == list(range(part))
        found.append(measured[HELD_OUT])
    assert len(found[0]) == len(test) == 36
    assert torch.equal(found[0].points, found[1].points)
    assert not torch.equal(found[0].points, torch.from_numpy(test.points.copy()))  # batches hold several classes
    assert found[0].points.sum() == pytest.approx(float(test.points.sum()), abs=1e-2)


def test_the_option_leaves_earlier_keys_alone() -> None:
    """Every stored encoder would have to be trained again."""
    assert "held_out" not in spec("recon").model_dump(mode="json")
    assert content_key(spec("recon", held_out=True)) != content_key(spec("recon"))
