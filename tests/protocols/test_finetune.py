"""Fine-tuning: if these fail, accuracies come from another epoch, recipe or split than stated, or work is lost."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench.data.base import DataPlace
from bench.data.modelnet_h5 import ModelNetH5
from bench.data.scanobjectnn_h5 import ScanObjectNNH5
from bench.errors import Interrupted, SetupError, UsageError
from bench.models.blocks import StochasticDepth
from bench.models.grouping import Sampling
from bench.models.standard import StandardEncoder
from bench.protocols.base import Form, Task
from bench.protocols.dense_clouds import dense_points
from bench.protocols.finetune import Finetune
from bench.protocols.linear import Linear
from bench.protocols.published_data import data_rows
from bench.protocols.trained_classifier import set_drop_path
from bench.recipes.downstream import fair_recipe, released_training
from bench.recipes.row import shortened
from bench.spec import BackboneSpec

from .conftest import MakeTask, cloud_set, subject, values

SHORT = Finetune.Options(
    strengths=(1.0, 100.0),
    recipe=fair_recipe("finetune").model_copy(update={"epochs": 4, "warmup_epochs": 1, "lr": 5e-3, "augmentation": ()}),
)
PUBLISHED = Finetune.defaults("smoke", "published")


def in_form(task: Task, form: Form) -> Task:
    task.form = form
    return task


def test_a_network_learns_and_every_number_has_its_rule(make_task: MakeTask) -> None:
    easy = cloud_set(30, 1, noise=0.05), cloud_set(12, 2, noise=0.05)
    assert SHORT.recipe is not None
    options = SHORT.model_copy(update={"recipe": SHORT.recipe.model_copy(update={"epochs": 25, "lr": 1e-2})})
    result = Finetune.evaluate(subject(), make_task(*easy), "all", options)
    (accuracy,) = values(result.metrics, name="accuracy", split="test", selection="val")
    assert accuracy > 0.4
    logits, labels = result.predictions["logits"], result.predictions["labels"]
    assert float((logits.argmax(1) == labels).mean()) == accuracy
    assert result.predictions["ids"].tolist() == list(easy[1].ids)
    curve = [value for _, value in result.curves["finetune/val_accuracy"]]
    assert len(curve) == 25
    best = result.notes["epoch"]
    probe = values(result.metrics, name="accuracy[probe]")
    chosen = values(result.metrics, name="accuracy", split="val", selection="val")
    assert chosen == [max(probe + curve)] == [(probe + curve)[best]]  # type: ignore[index]
    assert values(result.metrics, split="val", selection="last") == [curve[-1]]


def test_fine_tuning_starts_from_the_linear_probe(make_task: MakeTask) -> None:
    """It would end below the probe, or be measured from another head, features or weights than the card says."""
    ruinous = SHORT.model_copy(update={"recipe": SHORT.recipe.model_copy(update={"lr": 30.0, "clip_norm": None})})
    both = subject("a", "b")
    result = Finetune.evaluate(both, make_task(), "all", ruinous)
    assert result.notes["epoch"] == 0, "what training ruins is not chosen"
    probe = Linear.evaluate(both, make_task(), "all", Linear.Options(strengths=SHORT.strengths))
    assert result.notes["candidate"] == probe.notes["candidate"]
    assert result.notes["strength"] == probe.notes["strength"]
    found = {m.variant: m.value for m in result.metrics if m.name == "accuracy[probe]"}
    assert found == {m.variant: m.value for m in probe.metrics if (m.name, m.split) == ("accuracy", "val")}
    assert result.predictions["predicted"].tolist() == probe.predictions["predicted"].tolist()
    np.testing.assert_allclose(result.predictions["logits"], probe.predictions["logits"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", ["fair", "published"])
def test_rerun_gives_identical_numbers(form: Form, make_task: MakeTask) -> None:
    options = SHORT if form == "fair" else PUBLISHED
    chosen_by = "accuracy[probe]" if form == "fair" else "accuracy[pilot]"
    found = []
    for folder in ("one", "two"):
        task = in_form(make_task(), form)
        task.workdir = task.workdir / folder
        found.append(Finetune.evaluate(subject("a", "b"), task, "all", options))
        assert task.test.revealed == 1
    assert found[0].metrics == found[1].metrics
    assert found[0].notes == found[1].notes
    np.testing.assert_array_equal(found[0].predictions["logits"], found[1].predictions["logits"])
    pilots = {m.variant: m for m in found[0].metrics if m.name == chosen_by}
    assert set(pilots) == {"a", "b"}
    assert [name for name, row in pilots.items() if row.headline] == [found[0].notes["candidate"]]


@pytest.mark.parametrize("form", ["fair", "published"])
def test_an_interrupted_training_ends_with_the_same_numbers(
    form: Form, make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster's time limit must not change a table, the column chosen on test included."""
    options = SHORT if form == "fair" else PUBLISHED

    def judge(folder: str, stop_at: int | None) -> Any:
        task = in_form(make_task(), form)
        task.legacy = True
        task.workdir = task.workdir / folder
        steps = 0
        original = torch.optim.AdamW.step

        def step(self: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == stop_at:
                signal.raise_signal(signal.SIGTERM)
            return original(self, *args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", step)
            return Finetune.evaluate(subject(), task, "all", options)

    whole = judge("whole", None)
    for stop_at in (2, 4):  # inside the first epoch; and again after going on
        with pytest.raises(Interrupted, match="run the same command again"):
            judge("parts", stop_at)
    resumed = judge("parts", None)
    assert resumed.metrics == whole.metrics
    np.testing.assert_array_equal(resumed.predictions["logits"], whole.predictions["logits"])
    assert resumed.curves == whole.curves


def test_a_finished_training_is_not_trained_again(make_task: MakeTask) -> None:
    """Killed while voting or scoring, a run must not pay for its training twice."""
    first = Finetune.evaluate(subject(), make_task(), "all", SHORT)
    stages: list[str] = []
    task = make_task()
    task.progress = lambda done, total, what="", note="": stages.append(what)
    again = Finetune.evaluate(subject(), task, "all", SHORT)
    assert again.metrics == first.metrics
    assert "finetune" not in stages


def test_lost_notes_are_one_line(make_task: MakeTask) -> None:
    """Else the column chosen on test would silently be taken over fewer epochs."""
    task = make_task()
    task.legacy = True
    Finetune.evaluate(subject(), task, "all", SHORT)
    next(task.workdir.rglob("epoch-00002*")).unlink()
    with pytest.raises(SetupError, match=r"noted after epoch 2 is missing.*run the same command again"):
        Finetune.evaluate(subject(), task, "all", SHORT)


def test_votes_stand_beside_the_headline(make_task: MakeTask) -> None:
    voting = SHORT.model_copy(update={"votes": 3})
    plain = Finetune.evaluate(subject(), make_task(), "all", SHORT)
    task = make_task()
    task.workdir = task.workdir / "votes"
    voted = Finetune.evaluate(subject(), task, "all", voting)
    assert [m for m in voted.metrics if m.votes == 1] == plain.metrics
    rows = [(m.selection, m.headline) for m in voted.metrics if m.votes == 3 and m.name == "accuracy"]
    assert rows == [("val", False), ("last", False)]


def test_published_form_stores_what_the_papers_print(make_task: MakeTask) -> None:
    """Without --legacy too: test-selected, voted, and the maximum over repeats, none of them the headline."""
    result = Finetune.evaluate(subject(), in_form(make_task(), "published"), "all", PUBLISHED)
    headline = [m for m in result.metrics if m.headline and m.split == "test" and m.name == "accuracy"]
    assert [(m.selection, m.votes) for m in headline] == [("val", 1), ("last", 1), ("test", 1)]
    assert [m.selection for m in result.metrics if m.name == "accuracy[max of 2 repeats]"] == ["test"]
    assert result.notes["published_recipe"] == "point-mae on scanobjectnn"
    assert len(result.curves["finetune/test_accuracy"]) == 3, "two epochs and the released loop's one more"
    canonical: Mapping[str, Any] = json.loads(json.dumps(result.notes))
    assert canonical["recipe"]["reference_schedule"] is True


def test_recipes_are_those_of_the_papers(tmp_path: Path) -> None:
    """A wrong rate would make a method look bad under its own name."""
    place = DataPlace(tmp_path, tmp_path)
    modelnet = ModelNetH5(place)
    scan = ScanObjectNNH5(place)
    hardest = ScanObjectNNH5(place, ScanObjectNNH5.Options(variant="pb_t50_rs"))
    recon = released_training("finetune", "recon", data_rows(modelnet))
    assert (recon.recipe.lr, recon.recipe.head_lr_scale, recon.drop_path) == (1e-5, 10.0, 0.2)
    assert (recon.recipe.augmentation, recon.vote_augmentation) == (("scale_translate",), ("scale_axes",))
    assert recon.normalise
    assert released_training("finetune", "recon", data_rows(scan)).recipe.lr == 2e-5
    assert released_training("finetune", "recon", data_rows(scan)).vote_augmentation == ()
    assert released_training("finetune", "recon", data_rows(hardest)).vote_augmentation == ("rotate_y",)
    assert not released_training("finetune", "recon", data_rows(scan)).normalise
    for method in ("point-mae", "act", "scratch", "crosspoint", "my-method"):
        other = released_training("finetune", method, data_rows(modelnet))
        assert (other.recipe.lr, other.recipe.head_lr_scale, other.drop_path) == (5e-4, 1.0, 0.1)
        assert other.recipe.augmentation == (("rotate_y",) if method == "act" else ("scale_translate",))
        assert released_training("mlp", method, data_rows(modelnet), points=1024).recipe.lr == 1e-3
    probe = released_training("mlp", "recon", data_rows(scan), points=2048).recipe
    assert (probe.lr, probe.head_lr_scale) == (1e-4, 10.0)
    assert released_training("mlp", "recon", data_rows(modelnet), points=8192).recipe.lr == 5e-5
    assert [dense_points(n) for n in (1024, 2048, 8192)] == [1200, 2400, 8192]
    short = shortened(recon.recipe, 30)
    assert (short.epochs, short.warmup_epochs, short.lr) == (30, 1, 1e-5)


def test_drop_path_rises_over_the_blocks() -> None:
    """The authors' rate replaces the one of pretraining, block by block."""
    size = BackboneSpec(points=32, groups=4, group_size=4, width=8, depth=3, heads=2, tokenizer_width=4, drop_path=0.0)
    encoder = StandardEncoder(size, Sampling())
    set_drop_path(encoder, 0.2)
    rates = [{m.rate for m in block.modules() if isinstance(m, StochasticDepth)} for block in encoder.blocks]
    assert rates == [{0.0}, {0.1}, {0.2}]
    set_drop_path(nn.Linear(2, 2), 0.2)  # a network without blocks has nothing to set


def test_wrong_settings_are_one_line(make_task: MakeTask) -> None:
    with pytest.raises(UsageError, match=r"unknown setting of finetune '5w10s': known: all"):
        Finetune.evaluate(subject(), make_task(), "5w10s", SHORT)
    with pytest.raises(UsageError, match=r"use --form published"):
        Finetune.evaluate(subject(), make_task(), "all", PUBLISHED)
    with pytest.raises(UsageError, match=r"unknown encoder feature 'transfr': did you mean transfer\?"):
        Finetune.evaluate(subject(), make_task(), "all", SHORT.model_copy(update={"feature": "transfr"}))
    with pytest.raises(ValidationError, match="recipe may not be null"):
        Finetune.Options(recipe=None)
    with pytest.raises(ValidationError, match="needs the published form and votes"):
        Finetune.Options(votes=10, vote_repeats=299)
    with pytest.raises(ValidationError, match="normalise belongs to the fair form"):
        Finetune.Options(form="published", recipe=None, normalise=False)


def test_cards_state_what_is_done() -> None:
    """A reader judges a number by its card."""
    fair, published = Finetune.card(SHORT), Finetune.card(Finetune.defaults("base", "published"))
    assert "learning rate 0.005" in fair
    assert "No voting" in fair
    assert "maximum over 299 repeats" in published
    assert "selection=test" in published
    assert "Deviations from the papers" in published


@pytest.mark.parametrize("how", ["head", "bitfit"])
def test_less_is_trained_from_the_same_start(make_task: MakeTask, how: str) -> None:
    """A rung that starts elsewhere, or trains more than it says, is no comparison."""
    task = make_task()
    whole = Finetune.evaluate(subject(), task, "all", SHORT)
    less = Finetune.evaluate(subject(), task, "all", SHORT.model_copy(update={"adapt": how}))
    assert values(less.metrics, name="accuracy[probe]") == values(whole.metrics, name="accuracy[probe]")
    counts = [int(result.notes["trained_parameters"]) for result in (less, whole)]  # type: ignore[call-overload]
    head = 6 * 24 + 6  # classes x transfer, and biases
    assert counts == [head + (12 if how == "bitfit" else 0), head + 12 + 6 * 12]


def test_adaptation_belongs_to_the_fair_form_and_sizes_to_what_is_added() -> None:
    with pytest.raises(ValidationError, match="adapt belongs to the fair form"):
        Finetune.Options.model_validate({"form": "published", "recipe": None, "adapt": "lora"})
    assert "adapt_size" in Finetune.idle(SHORT)
    assert not Finetune.idle(SHORT.model_copy(update={"adapt": "lora"}))
    assert "adapt" not in SHORT.model_dump(mode="json")  # keys of stored runs stay
