"""What is lost if these fail: fine-tuned accuracies would come from another epoch, split or head than reported."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.errors import DataError, Interrupted
from bench.methods.point_mae import PointMAE
from bench.models.classifier import Classifier
from bench.progress import silent
from bench.spec import BackboneSpec, Recipe
from bench.training.contract import TrainingPlace
from bench.training.finetuning import finetune, predict
from bench.training.precision import resolve_numerics

FP32 = resolve_numerics("cpu", "fp32", compile=False)
BACKBONE = BackboneSpec(points=64, groups=8, group_size=8, width=32, depth=1, heads=2, tokenizer_width=16)
RECIPE = Recipe(epochs=12, batch_size=16, lr=5e-3, warmup_epochs=1, clip_norm=10.0, augmentation=("rotate_y",))


def clouds(n: int, points: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two classes: flat discs and tall rods."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    shape = torch.tensor([[1.0, 0.1, 1.0], [0.1, 1.0, 0.1]])[labels]
    return torch.randn(n, points, 3, generator=generator) * shape[:, None], labels


def classifier() -> Classifier:
    torch.manual_seed(4)
    return Classifier(PointMAE.build_encoder(BACKBONE, PointMAE.Options()), classes=2, head="linear")


def test_a_classifier_learns_and_the_selected_epoch_is_what_validation_saw() -> None:
    model = classifier()
    train, labels = clouds(32, 80, 1)
    held, held_labels = clouds(20, 64, 2)
    result = finetune(model, train, labels, held, held_labels, RECIPE, FP32, 1, n_points=64)
    accuracies = [y for _, y in result.curves["val_accuracy"]]
    assert max(accuracies) >= 0.9
    assert result.best is not None
    assert result.best.epoch == accuracies.index(max(accuracies)) + 1
    model.load_state_dict(result.best.state)
    predicted = predict(model, held, FP32, batch_size=7).argmax(1)
    assert float((predicted == held_labels).double().mean()) == max(accuracies)


def test_without_validation_the_last_epoch_counts() -> None:
    train, labels = clouds(32, 64, 1)
    result = finetune(classifier(), train, labels, None, None, RECIPE.model_copy(update={"epochs": 1}), FP32, 1)
    assert result.best is None
    assert sorted(result.curves) == ["lr", "total"]


def test_a_head_alone_learns_on_cached_features() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(40, 6, generator=generator)
    labels = (features[:, 2] > 0).long()
    torch.manual_seed(0)
    head = nn.Linear(6, 2)
    recipe = RECIPE.model_copy(update={"epochs": 40, "lr": 5e-2})
    finetune(head, features, labels, None, None, recipe, FP32, 1)
    assert float((predict(head, features, FP32).argmax(1) == labels).double().mean()) > 0.95


def test_a_frozen_encoder_does_not_change() -> None:
    model = classifier().freeze()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    train, labels = clouds(32, 64, 1)
    finetune(model, train, labels, train, labels, RECIPE.model_copy(update={"epochs": 2}), FP32, 1)
    changed = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert changed == {name for name in before if name.startswith("head.")}


def test_the_head_learns_at_its_own_rate() -> None:
    def moved(scale: float) -> tuple[float, float]:
        model = classifier()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        recipe = Recipe(epochs=1, batch_size=32, lr=1e-4, warmup_epochs=0, weight_decay=0.0, head_lr_scale=scale)
        train, labels = clouds(32, 64, 1)
        finetune(model, train, labels, None, None, recipe, FP32, 1)
        steps = {name: (p.detach() - before[name]).abs().max().item() for name, p in model.named_parameters()}
        tokenizer = max(step for name, step in steps.items() if "tokenizer" in name)
        return max(step for name, step in steps.items() if name.startswith("head.")), tokenizer

    head, rest = moved(1.0)
    head_scaled, rest_scaled = moved(10.0)
    assert head_scaled == pytest.approx(10 * head, rel=0.02)
    assert rest_scaled == pytest.approx(rest, rel=0.02)


def test_all_clouds_of_a_batch_keep_the_same_positions() -> None:
    class Recording(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.seen: list[Tensor] = []

        def forward(self, points: Tensor) -> Tensor:
            self.seen.append(points.detach())
            logits: Tensor = self.linear(points.mean(1))
            return logits

    model = Recording()
    points = torch.arange(40.0)[None, :, None].expand(8, 40, 3).clone()
    recipe = Recipe(epochs=1, batch_size=8, warmup_epochs=0)
    finetune(model, points, torch.arange(8) % 2, None, None, recipe, FP32, 1, n_points=10)
    (seen,) = model.seen
    assert seen.shape == (8, 10, 3)
    assert (seen == seen[:1]).all()


def test_predict_leaves_the_mode_and_uses_evaluation() -> None:
    model = nn.Sequential(nn.Dropout(0.9), nn.Linear(3, 2)).train()
    inputs = torch.randn(5, 3)
    first = predict(model, inputs, FP32)
    assert torch.equal(first, predict(model, inputs, FP32, batch_size=2))
    assert first.shape == (5, 2)
    assert model.training


def test_a_checkpoint_of_another_fold_is_not_continued(tmp_path: Path) -> None:
    train, labels = clouds(32, 64, 1)
    other, _ = clouds(32, 64, 9)

    def run(points: Tensor, progress: Any = silent) -> Any:
        place = TrainingPlace(folder=tmp_path, progress=progress)
        return finetune(classifier(), points, labels, None, None, RECIPE, FP32, 1, place=place)

    def stop() -> None:
        with pytest.raises(Interrupted, match="fine-tune stopped"):
            run(train, lambda *_: os.kill(os.getpid(), signal.SIGINT))

    stop()
    assert run(train).resumed_from == 1
    for path in tmp_path.iterdir():
        path.unlink()
    stop()
    assert run(other).resumed_from is None


@pytest.mark.parametrize(
    ("points", "labels", "line"),
    [
        (torch.zeros(0, 8, 3), torch.zeros(0, dtype=torch.int64), "the training part is empty"),
        (torch.zeros(4, 8, 3), torch.zeros(3, dtype=torch.int64), r"shape \(4, 8, 3\) and labels \(3,\)"),
        (torch.full((4, 8, 3), torch.nan), torch.zeros(4, dtype=torch.int64), "training object 0 has values"),
        (torch.zeros(4, 8, 3), torch.tensor([0, 1, -1, 0]), r"label is negative \(-1\)"),
    ],
)
def test_bad_input_gives_one_line(points: Tensor, labels: Tensor, line: str) -> None:
    with pytest.raises(DataError, match=line):
        finetune(nn.Linear(3, 2), points, labels, None, None, RECIPE, FP32, 1)
