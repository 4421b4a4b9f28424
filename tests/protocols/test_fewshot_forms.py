"""Few-shot beyond the fair default: released training, official folds, CrossPoint's episodes, other heads."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.data.base import DataPlace
from bench.data.fewshot_set import FewShotPickles
from bench.errors import DataError, UsageError
from bench.protocols.base import Evaluation, HeldOut, Task
from bench.protocols.fewshot import FewShot
from bench.protocols.fewshot.episodes import draw_episodes, fitted
from bench.protocols.fewshot.folds import draw_folds
from bench.recipes.downstream import fair_recipe, released_training
from bench.recipes.row import shortened

from .conftest import MakeTask, cloud_set, subject, values

WAY, SHOT, FOLDS = 3, 4, 3
QUICK = fair_recipe("fewshot", stage="full").model_copy(update={"epochs": 30, "warmup_epochs": 1, "lr": 1e-2})


def released(**others: Any) -> FewShot.Options:
    given = {"form": "published", "published_epochs": 6, "folds": 3, **others}
    return FewShot.Options.model_validate(given)


def as_published(task: Task) -> Task:
    return replace(task, form="published")


def write_folds(root: Path, setting: str = f"{WAY}way_{SHOT}shot", first: int = 0, same: bool = False) -> Path:
    """Write pickles in the official layout; classes differ from fold to fold unless they are to be the `same`."""
    source, folder = cloud_set(40, 5, classes=6, noise=0.05), root / "ModelNetFewshot" / setting
    folder.mkdir(parents=True)
    normals = np.zeros((32, 3), np.float32)
    for fold in range(FOLDS):
        rng = np.random.default_rng(first + fold)
        classes = np.arange(WAY) if same else rng.permutation(6)[:WAY]
        content: dict[str, list[Any]] = {"train": [], "test": []}
        for local, label in enumerate(classes):
            members = rng.permutation(np.flatnonzero(source.labels == label))
            # Supports come from the first half of a class, queries from the second: two splits.
            halves = (members[members < 120][:SHOT], members[members >= 120][:5])
            for part, chosen in zip(("train", "test"), halves, strict=True):
                content[part] += [(np.hstack([source.points[i], normals]), local, int(label)) for i in chosen]
        (folder / f"{fold}.pkl").write_bytes(pickle.dumps(content))
    return root


@pytest.fixture
def official(tmp_path: Path) -> FewShotPickles:
    return FewShotPickles(DataPlace(tmp_path / "cache", write_folds(tmp_path)))


def on_folds(task: Task, dataset: FewShotPickles) -> Task:
    return replace(task, train=dataset.load("train"), test=HeldOut(dataset.load("test")), dataset=dataset)


@pytest.mark.parametrize("head", ["full", "linear", "mlp"])
def test_released_training_keeps_the_headline_honest(make_task: MakeTask, head: str) -> None:
    """The papers' maximum over test epochs is stored beside the number chosen on validation, never in its place."""
    task = as_published(make_task())
    result = FewShot.evaluate(subject(), task, "3w5s", released(head=head))
    assert task.test.revealed == 1
    by_rule = {
        rule: values(result.metrics, split="test", selection=rule, fold=None)[0] for rule in ("val", "last", "test")
    }
    assert by_rule["test"] >= max(by_rule["val"], by_rule["last"])
    for fold in range(3):
        own = [values(result.metrics, split="test", selection=r, fold=fold)[0] for r in ("test", "val", "last")]
        assert own[0] == max(own)
    assert result.predictions["logits"].shape[1] == 40
    predicted, labels = result.predictions["predicted"], result.predictions["labels"]
    assert by_rule["val"] == pytest.approx((predicted == labels).mean())
    assert result.notes["published_recipe"] == ("point-mae" if head == "full" else "act") + ", few-shot"


def test_recipes_are_those_of_the_releases() -> None:
    """A reader who asks for the published form gets the authors' learning rate and augmentation."""
    recon, act = (released_training("fewshot", name, stage="full") for name in ("recon", "act"))
    assert (recon.recipe.lr, recon.recipe.head_lr_scale, recon.recipe.augmentation) == (5e-4, 10.0, ("rotate_y",))
    assert (act.recipe.lr, act.recipe.head_lr_scale, act.recipe.augmentation) == (5e-4, 1.0, ("rotate_y",))
    assert released_training("fewshot", "point-mae", stage="full").recipe.augmentation == ("scale_translate",)
    assert released_training("fewshot", "recon", stage="probe").recipe.lr == 1e-3
    assert (act.recipe.epochs, act.recipe.reference_schedule, act.drop_path) == (150, True, 0.1)
    assert shortened(act.recipe, 30).warmup_epochs == 2


def test_an_interrupted_released_training_remembers_every_epoch(make_task: MakeTask, tmp_path: Path) -> None:
    """After a restart the test-selected column would otherwise miss the epochs before it."""
    first = FewShot.evaluate(subject(), as_published(make_task()), "3w5s", released())
    files = sorted((tmp_path / "work").rglob("fold.safetensors"))
    assert len(files) == 3
    assert not list((tmp_path / "work").rglob("epochs"))
    files[0].unlink()
    again = FewShot.evaluate(subject(), as_published(make_task()), "3w5s", released())
    assert first.metrics == again.metrics


@pytest.mark.parametrize("head", ["linear", "svm"])
def test_legacy_frozen_heads_tell_the_best_strength_on_test(make_task: MakeTask, head: str) -> None:
    """Choosing C on test for the whole setting is what the column shows; the headline does not move."""
    plain = FewShot.evaluate(subject(), make_task(), "3w5s", FewShot.Options(head=head, folds=3))
    legacy = FewShot.evaluate(subject(), replace(make_task(), legacy=True), "3w5s", FewShot.Options(head=head, folds=3))
    assert [m for m in legacy.metrics if m.selection == "val"] == plain.metrics
    best = values(legacy.metrics, split="test", selection="test", fold=None)
    assert best[0] >= values(plain.metrics, split="test", fold=None)[0]


def test_the_svm_head_agrees_with_scikit_learn(make_task: MakeTask) -> None:
    """The few-shot SVM must be the machine its card names."""
    from sklearn.svm import LinearSVC

    from bench.protocols.features import frozen_features

    task = make_task(train=cloud_set(25, 1, noise=0.05), test=cloud_set(12, 2, noise=0.05))
    options = FewShot.Options(head="svm", folds=2, strengths=(10.0,))
    result = FewShot.evaluate(subject(), task, "3w5s", options)
    folds = draw_folds(task, "3w5s", options)
    candidate = subject().candidates[""]
    features = frozen_features(candidate, task, "transfer", normalise=True)
    said = []
    for fold, episode in zip(folds.test, folds.asked(task, task.test.reveal()), strict=True):
        support, query = features["train"][fold.support].astype(float), features["test"][episode.query].astype(float)
        mean, scale = support.mean(0), support.std(0) * support.shape[1] ** 0.5
        machine = LinearSVC(C=10.0, tol=1e-8, max_iter=100_000)
        machine.fit((support - mean) / scale, fold.support_labels)
        said.append(episode.classes[machine.predict((query - mean) / scale)])
    assert (np.concatenate(said) == result.predictions["predicted"]).mean() > 0.98


def test_official_folds_are_taken_as_they_are(make_task: MakeTask, official: FewShotPickles) -> None:
    """Supports and queries are those of the files; choices are made on supports of other folds only."""
    task = on_folds(make_task(), official)
    folds = draw_folds(task, f"{WAY}w{SHOT}s", FewShot.Options(folds=FOLDS))
    labels = task.train.labels
    for number, fold in enumerate(folds.test):
        names = [task.train.ids[i] for i in fold.support]
        assert all(name.startswith(f"{WAY}way_{SHOT}shot/{number}/train/") for name in names)
        np.testing.assert_array_equal(fold.classes[fold.support_labels], labels[fold.support])
        np.testing.assert_array_equal(fold.classes[fold.val_labels], labels[fold.val])
        own = {task.train.points[i].tobytes() for i in fold.support}
        assert not any(task.train.points[i].tobytes() in own for i in fold.val)
    asked = folds.asked(task, task.test.reveal())
    assert [len(episode.query) for episode in asked] == [5 * WAY] * FOLDS
    for episode in asked:
        np.testing.assert_array_equal(episode.classes[episode.query_labels], task.test.reveal()[episode.query])


@pytest.mark.parametrize("form", ["fair", "published"])
def test_official_folds_are_judged_in_both_forms(make_task: MakeTask, official: FewShotPickles, form: str) -> None:
    """The distributed folds are what published numbers were measured on."""
    task = replace(on_folds(make_task(), official), form=form)
    options = (
        released(recipe=QUICK, published_epochs=None)
        if form == "published"
        else FewShot.Options(head="linear", folds=FOLDS)
    )
    result: Evaluation = FewShot.evaluate(subject(), task, f"{WAY}w{SHOT}s", options)
    assert values(result.metrics, split="test", selection="val", fold=None)[0] > 1 / WAY
    assert len(result.predictions["ids"]) == FOLDS * WAY * 5
    assert task.test.revealed == 1


def test_official_folds_that_cannot_be_used_are_one_line(make_task: MakeTask, tmp_path: Path) -> None:
    """Too few folds, another setting, or nothing to choose on must not end in numbers."""
    dataset = FewShotPickles(DataPlace(tmp_path / "cache", write_folds(tmp_path)))
    task = on_folds(make_task(), dataset)
    with pytest.raises(DataError, match=r"has 3 folds of this setting, 10 are asked for; use --set fewshot.folds=3"):
        draw_folds(task, "3w4s", FewShot.Options())
    with pytest.raises(DataError, match="no folder 5way_10shot; there are folds of 3w4s"):
        draw_folds(task, "5w10s", FewShot.Options())
    alone = tmp_path / "ModelNetFewshot" / "3way_4shot"
    for fold in (1, 2):
        (alone / f"{fold}.pkl").unlink()
    lonely = FewShotPickles(DataPlace(tmp_path / "cache", tmp_path))
    with pytest.raises(DataError, match="nothing to make choices on"):
        draw_folds(on_folds(make_task(), lonely), "3w4s", FewShot.Options(folds=1))


def test_crosspoint_episodes_leave_the_test_split_alone(make_task: MakeTask) -> None:
    """Supports and queries of its form come from one split, and no object is both."""
    task = as_published(make_task())
    options = released(head="svm", episodes="crosspoint", published_epochs=None, queries=6)
    result = FewShot.evaluate(subject("a", "b"), task, "4w5s", options)
    assert task.test.revealed == 0
    assert len(values(result.metrics, split="test", headline=True)) == 4
    np.testing.assert_array_equal(task.train.labels[result.predictions["query"]], result.predictions["labels"])
    assert np.mean(values(result.metrics, split="test", headline=True)) > 0.25
    again = FewShot.evaluate(subject("a", "b"), as_published(make_task(seed=5)), "4w5s", options)
    assert again.split_digest == result.split_digest


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(1, 6), st.integers(0, 1000))
def test_episodes_are_disjoint_and_balanced(way: int, shot: int, queries: int, seed: int) -> None:
    """A support among the queries would be a free answer."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(5), 12))
    setting = fitted(labels, np.arange(60), f"{way}w{shot}s", queries)
    draws = draw_episodes(labels, np.arange(60), setting, 3, seed, "test")
    assert len(draws) == 3
    for draw in draws:
        assert not set(draw.support) & set(draw.query)
        assert len(set(draw.query)) == way * queries
        np.testing.assert_array_equal(draw.classes[draw.labels(draw.support)], labels[draw.support])
        np.testing.assert_array_equal(draw.classes[draw.labels(draw.query)], labels[draw.query])
    longer = draw_episodes(labels, np.arange(60), setting, 5, seed, "test")
    assert all(np.array_equal(one.query, other.query) for one, other in zip(draws, longer, strict=False))


def test_small_sets_clip_crosspoint_episodes_and_say_so() -> None:
    """Fewer ways and queries are better than no number, if the table says so."""
    labels = np.repeat(np.arange(3), 8)
    setting = fitted(labels, np.arange(24), "5w6s", 20)
    assert (setting.way, setting.shot, setting.queries) == (3, 6, 2)
    assert "5 ways clipped to 3" in str(setting.clipped_reason)
    with pytest.raises(DataError, match="at least 2 are needed"):
        fitted(labels, np.arange(24), "3w8s", 20)


def test_options_of_the_forms_do_not_mix(make_task: MakeTask) -> None:
    """An option that would be ignored is refused, and so is one form under the name of the other."""
    with pytest.raises(ValidationError, match="give both or none"):
        FewShot.Options(form="published", head="svm")
    with pytest.raises(ValidationError, match="episodes belongs to the published form"):
        FewShot.Options(episodes="crosspoint", head="svm")
    with pytest.raises(ValidationError, match="strengths belongs to the fair form"):
        FewShot.Options(form="published", strengths=(1.0,))
    with pytest.raises(UsageError, match="--form published"):
        FewShot.evaluate(subject(), make_task(), "3w5s", released())


def test_cards_state_the_form() -> None:
    """Two numbers of the same name that were made differently must say how."""
    assert "151 epochs" in FewShot.card(FewShot.defaults("base", "published"))
    assert "test split is not used" in FewShot.card(released(head="svm", episodes="crosspoint", published_epochs=None))
    assert "Head svm" in FewShot.card(FewShot.Options(head="svm"))


def test_crosspoint_sets_more_aside_where_single_objects_could_choose_nothing(make_task: MakeTask) -> None:
    """On a small set scratch could not choose its initialisation, and failed where the other methods went on."""
    options = released(head="svm", episodes="crosspoint", published_epochs=None, queries=3, validation_fraction=0.05)
    task = as_published(make_task())
    several = FewShot.evaluate(subject("a", "b"), task, "4w5s", options)
    one = FewShot.evaluate(subject(), task, "4w5s", options)
    for result in (several, one):
        assert "half of every class is set aside, because 5% are single objects" in str(result.notes["clipped"])
    np.testing.assert_array_equal(several.predictions["query"], one.predictions["query"])  # runs stay paired
    assert len(values(several.metrics, split="val")) == 2
    enough = {"head": "svm", "episodes": "crosspoint", "published_epochs": None, "queries": 3}
    ample = FewShot.evaluate(subject(), task, "4w5s", released(**enough))
    assert "half" not in str(ample.notes.get("clipped"))
