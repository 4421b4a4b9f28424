"""Few-shot: paired folds, honest choices, all three heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from bench.errors import UsageError
from bench.protocols.base import Evaluation
from bench.protocols.fewshot import FewShot
from bench.recipes.downstream import fair_recipe

from .conftest import MakeTask, cloud_set, subject, values

Head = Literal["linear", "mlp", "full"]
HEADS: tuple[Head, ...] = ("linear", "mlp", "full")
SHORT = {"epochs": 12, "warmup_epochs": 1, "lr": 5e-3}


def options(head: Head = "linear", **others: object) -> FewShot.Options:
    return FewShot.Options.model_validate(
        {
            "head": head,
            "folds": 3,
            "full_recipe": fair_recipe("fewshot", stage="full").model_copy(update=SHORT).model_dump(),
            "mlp_recipe": fair_recipe("fewshot", stage="mlp").model_copy(update=SHORT).model_dump(),
            **others,
        }
    )


def same(one: Evaluation, other: Evaluation) -> bool:
    return one.metrics == other.metrics and all(
        np.array_equal(one.predictions[name], other.predictions[name]) for name in one.predictions
    )


@pytest.mark.parametrize("head", HEADS)
def test_each_head_learns_and_scores_the_test_split_once(make_task: MakeTask, head: Head) -> None:
    """Rows, predictions and their bookkeeping agree, above chance, with one look at the test labels."""
    task = make_task(train=cloud_set(25, 1, noise=0.05), test=cloud_set(12, 2, noise=0.05))
    result = FewShot.evaluate(subject(), task, "4w10s", options(head))
    assert task.test.revealed == 1
    predictions = result.predictions
    right = predictions["predicted"] == predictions["labels"]
    by_fold = [float(right[predictions["fold"] == i].mean()) for i in range(3)]
    for i, expected in enumerate(by_fold):
        assert values(result.metrics, split="test", selection="val", fold=i) == pytest.approx([expected])
    assert values(result.metrics, split="test", selection="val", fold=None) == pytest.approx([np.mean(by_fold)])
    assert np.mean(by_fold) > 0.4
    np.testing.assert_array_equal(cloud_set(12, 2).labels[predictions["query"]], predictions["labels"])
    best = predictions["classes"][predictions["fold"], predictions["logits"].argmax(-1)]
    np.testing.assert_array_equal(best, predictions["predicted"])
    assert len(values(result.metrics, name="accuracy", split="val", fold=None)) == 1
    assert {m.selection for m in result.metrics} == ({"val"} if head == "linear" else {"val", "last"})
    assert all(m.variant == "" for m in result.metrics)
    json.dumps(result.notes, allow_nan=False)


@pytest.mark.parametrize("head", HEADS)
def test_rerun_gives_identical_numbers(make_task: MakeTask, head: Head, tmp_path: Path) -> None:
    """Same spec, same numbers; another seed moves trained heads and never the folds."""
    first = FewShot.evaluate(subject(), make_task(), "3w5s", options(head))
    for file in (tmp_path / "work").rglob("*.safetensors"):
        file.unlink()
    again = FewShot.evaluate(subject(), make_task(cache="fresh"), "3w5s", options(head))
    assert same(first, again)
    seeded = FewShot.evaluate(subject(), make_task(seed=1), "3w5s", options(head))
    assert seeded.split_digest == first.split_digest
    np.testing.assert_array_equal(seeded.predictions["query"], first.predictions["query"])
    assert np.array_equal(seeded.predictions["logits"], first.predictions["logits"]) == (head == "linear")


def test_encoders_share_folds(make_task: MakeTask) -> None:
    """Differences between methods are paired, whatever their width or number of candidates."""
    one = FewShot.evaluate(subject(), make_task(), "5w10s", options())
    other = FewShot.evaluate(subject("a", "b", first_seed=5), make_task(), "5w10s", options())
    assert one.split_digest == other.split_digest
    np.testing.assert_array_equal(one.predictions["query"], other.predictions["query"])


@pytest.mark.parametrize("head", HEADS)
def test_wrong_test_labels_move_no_choice(make_task: MakeTask, head: Head) -> None:
    """Candidate, strength and epoch come from validation alone."""
    test = cloud_set(12, 2)
    scrambled = cloud_set(12, 2)
    object.__setattr__(scrambled, "labels", np.roll(test.labels, 5))
    honest, other = (
        FewShot.evaluate(subject("a", "b"), make_task(test=t), "3w5s", options(head)) for t in (test, scrambled)
    )
    assert honest.notes == other.notes
    assert [m for m in honest.metrics if m.split == "val"] == [m for m in other.metrics if m.split == "val"]
    assert [m.value for m in honest.metrics if m.split == "test"] != [
        m.value for m in other.metrics if m.split == "test"
    ]


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_every_candidate_is_reported_and_validation_names_the_headline(make_task: MakeTask, head: Head) -> None:
    """Frozen heads: all candidates have test rows, one headline, chosen where the report says it was."""
    result = FewShot.evaluate(subject("a", "b", "c"), make_task(), "3w5s", options(head))
    val = {m.variant: m.value for m in result.metrics if m.split == "val" and m.name == "accuracy"}
    assert {m.variant for m in result.metrics if m.split == "test" and m.fold is None} == {"a", "b", "c"}
    assert {m.variant for m in result.metrics if m.headline} == {max(val, key=lambda name: val[name])}
    assert len(values(result.metrics, split="test", selection="val", headline=True)) == 4


def test_full_chooses_among_candidates_on_the_first_fold(make_task: MakeTask) -> None:
    """Fine-tuning four initialisations ten times over is not needed to choose one, and none is hidden."""
    result = FewShot.evaluate(subject("a", "b"), make_task(), "3w5s", options("full"))
    pilots = {m.variant: m.value for m in result.metrics if m.split == "val" and m.fold == 0}
    assert set(pilots) == {"a", "b"}
    assert result.notes["candidate"] == max(pilots, key=lambda name: pilots[name])
    assert {m.variant for m in result.metrics if m.split == "test"} == {result.notes["candidate"]}


def test_an_interrupted_fine_tuning_goes_on_where_it_was(make_task: MakeTask, tmp_path: Path) -> None:
    """Finished folds are read back, a damaged one is trained again, and the numbers are the same."""
    first = FewShot.evaluate(subject(), make_task(), "3w5s", options("full"))
    files = sorted((tmp_path / "work").rglob("fold.safetensors"))
    assert len(files) == 3
    assert not list((tmp_path / "work").rglob("unfinished"))
    kept = files[0].stat().st_mtime_ns
    files[1].write_bytes(files[1].read_bytes()[:100])
    files[2].unlink()
    again = FewShot.evaluate(subject(), make_task(), "3w5s", options("full"))
    assert same(first, again)
    assert files[0].stat().st_mtime_ns == kept


def test_the_strength_is_chosen_once_per_setting(make_task: MakeTask) -> None:
    """Every strength tried is in the record, and the one used is the best on validation (smallest of equals)."""
    result = FewShot.evaluate(subject(), make_task(), "4w10s", options())
    tried = {m.name: m.value for m in result.metrics if m.name.startswith("accuracy[C=")}
    assert len(tried) == len(options().strengths)
    best = max(tried.values())
    chosen = f"accuracy[C={result.notes['strength']:g}]"
    assert chosen == next(name for name, value in tried.items() if value == pytest.approx(best, abs=1e-9))
    assert values(result.metrics, name="accuracy", split="val") == pytest.approx([best])


def test_clipping_and_features_are_in_the_notes(make_task: MakeTask) -> None:
    """The table can say what was run instead of what was asked for."""
    result = FewShot.evaluate(subject(), make_task(), "10w10s", options(feature="svm"))
    assert result.notes["setting"] == "6w10s"
    assert "10 ways clipped to the 6 classes" in str(result.notes["clipped"])
    assert result.notes["feature_width"] == 12


@pytest.mark.parametrize("head", HEADS)
def test_an_unknown_feature_is_one_line(make_task: MakeTask, head: Head) -> None:
    """A misspelt feature is answered with the right one."""
    with pytest.raises(UsageError, match="did you mean svm"):
        FewShot.evaluate(subject(), make_task(), "3w5s", options(head, feature="svn"))


def test_presets_choose_the_head() -> None:
    """nano stays on cached features, published sizes fine-tune, and the card says which."""
    assert FewShot.defaults("nano").head == "linear"
    assert {FewShot.defaults(p).head for p in ("smoke", "tiny", "small", "base")} == {"full"}
    assert "Head linear" in FewShot.card(FewShot.defaults("nano"))
    assert "150 epochs" in FewShot.card(FewShot.defaults("base"))
    assert FewShot.settings(FewShot.defaults("nano")) == ("5w10s", "5w20s", "10w10s", "10w20s")
