"""What is lost if these fail: a method would see other points, views or teacher features than its recipe says."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.errors import DataError, Interrupted, UsageError
from bench.methods.base import Batch, Given
from bench.methods.point_mae import PointMAE
from bench.methods.recon import ReCon
from bench.spec import BackboneSpec, Numerics, PretrainSpec, Recipe
from bench.training.contract import TrainingPlace
from bench.training.precision import resolve_numerics
from bench.training.pretraining import PretrainData, pretrain

BACKBONE = BackboneSpec(
    points=64, groups=8, group_size=8, width=32, depth=2, heads=2, tokenizer_width=16, drop_path=0.1
)
RECIPE = Recipe(epochs=4, batch_size=8, lr=2e-3, warmup_epochs=1, augmentation=("rotate_y",))
FP32 = resolve_numerics("cpu", "fp32", compile=False)


def spec(method: str, numerics: Numerics = FP32, **changes: Any) -> PretrainSpec:
    fields: dict[str, Any] = {
        "method": method,
        "backbone": BACKBONE,
        "recipe": RECIPE,
        "data": None,
        "numerics": numerics,
        "seed": 5,
    }
    return PretrainSpec(**{**fields, **changes})


def data() -> PretrainData:
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(24, 96, 3, generator=generator)
    images = torch.randn(24, 3, 12, generator=generator)
    return PretrainData(points, images, torch.randn(24, 10, generator=generator))


class Probe(nn.Module):
    """Keeps the batches it is given; a network without a method."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.batches: list[Batch] = []

    def prepare(self, batch: Batch) -> Tensor:
        self.batches.append(batch)
        return batch.points

    def compute(self, prepared: Tensor) -> dict[str, Tensor]:
        return {"total": (self.weight * prepared).square().mean()}


def test_each_step_draws_points_view_and_keeps_objects_together() -> None:
    points = torch.arange(24.0)[:, None, None] + torch.linspace(0, 0.9, 96)[None, :, None].expand(24, 96, 3)
    images = torch.arange(24.0)[:, None, None] * 10 + torch.arange(3.0)[None, :, None].expand(24, 3, 12)
    probe = Probe()
    recipe = RECIPE.model_copy(update={"augmentation": (), "epochs": 8})
    whole = PretrainData(points, images, torch.arange(24.0)[:, None], torch.arange(24))
    pretrain(probe, whole, spec("probe", recipe=recipe))
    views = set()
    for batch in probe.batches:
        assert batch.points.shape == (8, 64, 3)
        assert batch.labels is not None
        assert batch.image_features is not None
        assert batch.text_features is not None
        assert torch.equal(batch.points.floor()[:, 0, 0].long(), batch.labels)
        assert torch.equal(batch.text_features[:, 0].long(), batch.labels)
        assert torch.equal(batch.image_features[:, 0].long() // 10, batch.labels)
        assert all(len(cloud.unique(dim=0)) == 64 for cloud in batch.points), "points are drawn without replacement"
        views |= set((batch.image_features[:, 0] % 10).tolist())
    assert views == {0.0, 1.0, 2.0}
    first, second = (
        {tuple(p) for p in b.points[0].frac()[:, 0].mul(1000).round()[:, None].tolist()}
        for b in (probe.batches[0], probe.batches[3])
    )
    assert first != second, "points are drawn anew in each step"


class Table:
    """Features that are looked up when they are drawn."""

    def __init__(self, features: Tensor) -> None:
        self.features = features
        self.choices: int | None = features.shape[1] if features.ndim == 3 else None
        self.width = features.shape[-1]

    def __len__(self) -> int:
        return len(self.features)

    def pick(self, index: Tensor, choice: Tensor | None) -> Tensor:
        return self.features[index] if choice is None else self.features[index, choice]


def test_features_from_a_source_are_drawn_as_those_in_memory() -> None:
    """A live teacher and a cache must show a step the same view, crop and prompt, or their losses cannot agree."""
    whole = data()
    images, texts = whole.image_features, whole.text_features
    assert isinstance(images, Tensor)
    assert isinstance(texts, Tensor)
    wordings = torch.stack([texts, texts + 1, texts + 2], 1)
    for text in (texts, wordings):
        in_memory, looked_up = Probe(), Probe()
        pretrain(in_memory, PretrainData(whole.points, images, text), spec("probe"))
        pretrain(looked_up, PretrainData(whole.points, Table(images), Table(text)), spec("probe"))
        for one, other in zip(in_memory.batches, looked_up.batches, strict=True):
            assert torch.equal(one.points, other.points)
            assert one.image_features is not None
            assert other.image_features is not None
            assert torch.equal(one.image_features, other.image_features)
            assert one.text_features is not None
            assert other.text_features is not None
            assert torch.equal(one.text_features, other.text_features)
    with pytest.raises(DataError, match="image_features has 7 objects, expected 24 as of points"):
        pretrain(Probe(), PretrainData(whole.points, Table(images[:7])), spec("probe"))


def test_augmentation_of_the_recipe_is_applied_to_the_drawn_points() -> None:
    probe = Probe()
    recipe = RECIPE.model_copy(update={"augmentation": ("unit_sphere",), "epochs": 1})
    pretrain(probe, data(), spec("probe", recipe=recipe))
    for batch in probe.batches:
        assert torch.allclose(batch.points.norm(dim=-1).amax(1), torch.ones(8), atol=1e-5)


@pytest.mark.parametrize("method", [PointMAE, ReCon])
def test_methods_learn_and_repeat_exactly(method: type[PointMAE] | type[ReCon]) -> None:
    def run() -> Any:
        torch.manual_seed(2)
        model = method.build(BACKBONE, method.Options(), Given(image=12, text=10))
        recipe = RECIPE.model_copy(update={"epochs": 8})
        result = pretrain(model, data(), spec(method.name, recipe=recipe))
        return result.curves, {name: tensor.clone() for name, tensor in model.state_dict().items()}

    curves, weights = run()
    assert curves["total"][-1][1] < 0.8 * curves["total"][0][1]
    again, same = run()
    assert curves == again
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_a_stopped_method_ends_as_an_uninterrupted_one(tmp_path: Path) -> None:
    numerics = resolve_numerics("cpu", "bf16", compile=False)

    def run(place: TrainingPlace | None) -> Any:
        torch.manual_seed(2)
        model = ReCon.build(BACKBONE, ReCon.Options(), Given(image=12, text=10))
        result = pretrain(model, data(), spec("recon", numerics), place)
        return result, model.state_dict()

    def stop(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    expected, weights = run(None)
    with pytest.raises(Interrupted, match=r"pretrain recon stopped by SIGTERM in epoch 1 of 4, after step 1 of 12"):
        run(TrainingPlace(folder=tmp_path, progress=stop))
    result, same = run(TrainingPlace(folder=tmp_path))
    assert result.resumed_from == 1
    assert result.curves == expected.curves
    assert all(torch.equal(weights[name], same[name]) for name in weights)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("nan", r"pretraining data: points of object 4 is not finite"),
        ("few", r"clouds have 40 points, backbone.points asks for 64: lower backbone.points"),
        ("images", r"image_features has shape \(7, 3, 12\), expected 24 objects"),
        ("text", r"text_features of object 2 is not finite"),
        ("flat", r"points has shape \(24, 96, 2\), expected \[n, N, 3\]"),
    ],
)
def test_bad_data_gives_one_line(change: str, line: str) -> None:
    good = data()
    points, images, text = good.points, good.image_features, good.text_features
    assert isinstance(images, Tensor)
    assert isinstance(text, Tensor)
    if change == "nan":
        points[4, 3, 1] = float("nan")
    elif change == "few":
        points = points[:, :40]
    elif change == "images":
        images = images[:7]
    elif change == "text":
        text[2, 0] = float("inf")
    else:
        points = points[..., :2]
    with pytest.raises(DataError, match=line) as error:
        pretrain(Probe(), PretrainData(points, images, text), spec("probe"))
    assert "\n" not in str(error.value)


def test_nothing_to_pretrain_gives_one_line() -> None:
    with pytest.raises(UsageError, match="method scratch has no recipe"):
        pretrain(Probe(), data(), spec("scratch", recipe=None))
    with pytest.raises(UsageError, match=r"its network needs prepare\(batch\)"):
        pretrain(nn.Linear(2, 2), data(), spec("probe"))
    unknown = RECIPE.model_copy(update={"augmentation": ("rotate_z",)})
    with pytest.raises(UsageError, match=r"rotate_z.*rotate_y"):
        pretrain(Probe(), data(), spec("probe", recipe=unknown))
