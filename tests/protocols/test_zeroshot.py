"""Zero-shot classification: prompts, fused features, what is chosen on what, and the teacher as opponent."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.data.base import CloudSet
from bench.data.depth import depth_views
from bench.data.splits import carve_validation, object_groups
from bench.errors import BenchError, UsageError
from bench.interop.checkpoints import read_checkpoint
from bench.interop.importing import choose_release, read_encoder
from bench.protocols.base import AlignedHead, Alignment, Facts, HeldOut, Subject, Task
from bench.protocols.features import frozen_features, prepared_clouds
from bench.protocols.zeroshot.options import RATIOS
from bench.protocols.zeroshot.protocol import Zeroshot
from bench.protocols.zeroshot.views import search_weights, view_cosines
from bench.protocols.zeroshot.ways import (
    Way,
    class_embeddings,
    class_sentences,
    cosines,
    top_k_accuracy,
    unit,
    ways,
)
from bench.recipes.downstream import zero_shot_choices
from bench.teachers.captions import PREFIXES, SUFFIXES
from tests.protocols.conftest import MakeTask, cloud_set, subject, values
from tests.protocols.toy_teacher import WIDTH, ToyTeacher, word_feature

GOLDEN = Path(__file__).parents[1] / "golden" / "recon_zeroshot.npz"
NAMES = ("mug", "sofa", "night_stand", "lamp", "flower_pot", "desk")


CLOUDS: dict[str, CloudSet] = {
    "train": replace(cloud_set(25, 1, noise=0.1), classes=NAMES),
    "test": replace(cloud_set(12, 2, noise=0.1), classes=NAMES),
}


def aligned(task: Task, teacher: ToyTeacher, spaces: tuple[str, ...] = ("image", "text")) -> Task:
    """A text head fitted to what sets class embeddings apart, so that it is above chance; an image head that is not."""
    classes = class_embeddings(teacher, task.train.classes, task.cache, raw=False)
    apart = unit(classes - classes.mean(0))
    candidate = subject().candidates[""]
    heads = {}
    for number, space in enumerate(("image", "text")):
        feature = ("svm", "transfer")[number]
        x = np.asarray(frozen_features(candidate, task, feature, normalise=True)["train"], np.float64)
        noise = np.random.default_rng(number).normal(size=(len(x), WIDTH)) * (40.0, 0.1)[number]
        solved = np.linalg.lstsq(np.c_[x, np.ones(len(x))], apart[task.train.labels] + noise, rcond=None)[0]
        heads[space] = AlignedHead(feature, solved[:-1].T.astype(np.float32), solved[-1].astype(np.float32))
    kept = {space: heads[space] for space in spaces}
    return replace(task, alignment=lambda: Alignment(kept, teacher))


@pytest.fixture
def task(make_task: MakeTask, tmp_path: Path) -> Task:
    plain = make_task(CLOUDS["train"], CLOUDS["test"])
    return aligned(plain, ToyTeacher(tmp_path / "c"))


def alone(**options: Any) -> Subject:
    return Subject("render-classify", "render-classify", {}, {"views": 3, "size": 32, **options})


def test_sixty_sentences_around_every_name() -> None:
    """Fewer or other templates are another classifier than the published one."""
    clean, raw = class_sentences(["night_stand"], raw=False)[0], class_sentences(["night_stand"], raw=True)[0]
    assert len(set(clean)) == len(set(raw)) == len(PREFIXES) * len(SUFFIXES) == 60
    assert clean[0] == "night stand." and raw[0] == "night_stand."  # noqa: PT018
    assert clean[1 + 20] == "A night stand with white background."
    assert clean[59].startswith("A 3D rendering image of a night stand with black context")


def test_a_class_is_the_plain_sum_of_its_sentences(tmp_path: Path) -> None:
    """Normalised sentences, or a mean over unit vectors, give other class embeddings than the release's."""
    teacher = ToyTeacher(tmp_path)
    made = class_embeddings(teacher, ["sofa", "night_stand"], tmp_path, raw=False)
    for row, name in zip(made, ("sofa", "night stand"), strict=True):
        by_hand = np.zeros(WIDTH)
        for suffix in ("", " with white background", " with black context"):
            for prefix in PREFIXES:
                by_hand += sum(word_feature(word) for word in f"{prefix}{name}{suffix}".split())
        np.testing.assert_allclose(row, by_hand, rtol=1e-5, atol=1e-4)
    asked = teacher.sentences
    class_embeddings(teacher, ["sofa", "night_stand"], tmp_path, raw=False)
    assert teacher.sentences == asked == 120, "sentences are encoded once"


def test_fused_features_and_cosines_are_the_recorded_ones(tmp_path: Path) -> None:
    """An imported checkpoint of the release would classify otherwise than in the authors' code."""
    with np.load(GOLDEN) as archive:
        arrays = {key: archive[key] for key in archive.files}
    config = json.loads(str(arrays["config"]))
    state = {k.removeprefix("state/"): torch.from_numpy(v).float() for k, v in arrays.items() if k.startswith("state/")}
    torch.save({"base_model": state}, tmp_path / "zeroshot.pth")
    checkpoint = read_checkpoint(tmp_path / "zeroshot.pth")
    sizes = {"points": 128, "groups": 16, "group_size": 8, "heads": config["num_heads"], "drop_path": 0.0}
    read = read_encoder(checkpoint, choose_release(checkpoint, "recon"), sizes)
    assert {why.what: why.why for why in read.ignored}["img_proj"].startswith("projection head, kept")
    encoder = read.build().eval()
    with torch.no_grad():
        found = encoder.features(encoder(torch.from_numpy(arrays["in/points"])))
        projected = {space: layer(found[feature]).numpy() for space, (feature, layer) in read.heads.items()}
    for recorded, way in (("full", Way("both", config["ratio"])), ("text", Way("text")), ("image", Way("image"))):
        fused = way.fuse(projected)
        np.testing.assert_allclose(fused, arrays[f"out/feature_{recorded}"], atol=2e-5)
        similar = cosines(fused, arrays["in/class_text_feature"])
        np.testing.assert_allclose(similar, arrays[f"out/similarity_{recorded}"], atol=2e-5)
        assert (similar.argmax(1) == arrays[f"out/prediction_{recorded}"]).all()


def test_validation_chooses_and_the_untuned_way_stands_beside_it(task: Task) -> None:
    """A way picked otherwise than by validation accuracy, or a tuned number shown as the untuned one."""
    found = Zeroshot.evaluate(subject(), task, "all", Zeroshot.Options())
    tried = found.notes["tried"]
    assert tried == [way.name for way in ways({"image", "text"}, "chosen", None, RATIOS)]
    assert tried[0] == "both, ratio=0.25" and tried[-2:] == ["image", "text"]  # noqa: PT018
    by_way = {name: values(found.metrics, name=f"accuracy[{name}]", split="val")[0] for name in tried}
    assert found.notes["feature"] == max(by_way, key=lambda name: by_way[name])
    assert values(found.metrics, name="accuracy", split="val") == [max(by_way.values())]
    labels, logits = found.predictions["labels"], found.predictions["logits"]
    assert values(found.metrics, name="accuracy", split="test") == [float((logits.argmax(-1) == labels).mean())]
    assert values(found.metrics, name="accuracy", split="test")[0] > 2 / 6, "the fitted head is above chance"
    fixed = [m for m in found.metrics if m.name == "accuracy[both, ratio=0.25]" and m.split == "test"]
    assert [m.headline for m in fixed] == [False]
    assert fixed[0].value == float((found.predictions["predicted.fixed"] == labels).mean())
    assert values(found.metrics, name="accuracy_top_5")[0] >= values(found.metrics, name="accuracy", split="test")[0]
    assert task.test.revealed == 1


def test_no_choice_looks_at_the_test_split(task: Task, make_task: MakeTask) -> None:
    """A ratio tuned on test objects is what makes published zero-shot figures incomparable."""
    first = Zeroshot.evaluate(subject(), task, "all", Zeroshot.Options())
    clouds = CLOUDS["test"]
    for labels in (clouds.labels[::-1].copy(), np.zeros_like(clouds.labels)):
        other = replace(task, test=HeldOut(replace(clouds, labels=labels)))
        again = Zeroshot.evaluate(subject(), other, "all", Zeroshot.Options())
        assert again.notes == first.notes
        assert [m for m in again.metrics if m.split == "val"] == [m for m in first.metrics if m.split == "val"]
        assert (again.predictions["logits"] == first.predictions["logits"]).all()
        assert again.split_digest == first.split_digest


def test_only_validation_objects_are_used(task: Task) -> None:
    """Learning from the other training objects would make it no zero-shot classification at all."""
    first = Zeroshot.evaluate(subject(), task, "all", Zeroshot.Options())
    rest, _ = carve_validation(task.train.labels, 0.2, 0, object_groups(task.train.ids))
    points = task.train.points.copy()
    points[rest] = points[rest][::-1] * np.array([3, 1, 0.2], np.float32)
    changed = replace(task.train, points=points)
    other = replace(task, train=changed, test=HeldOut(CLOUDS["test"]), data_manifest="other")
    again = Zeroshot.evaluate(subject(), other, "all", Zeroshot.Options())
    assert again.metrics == first.metrics


def test_what_is_asked_for_is_what_is_done(task: Task) -> None:
    """Options of the release's evaluation, type and ratio, would be ignored."""
    found = Zeroshot.evaluate(subject(), task, "all", Zeroshot.Options(kind="both", ratio=0.7))
    assert (found.notes["feature"], found.notes["tried"]) == ("both, ratio=0.7", ["both, ratio=0.7"])
    text = Zeroshot.evaluate(subject(), task, "all", Zeroshot.Options(kind="text"))
    alignment = task.alignment() if task.alignment else None
    assert alignment is not None
    only = replace(task, alignment=lambda: Alignment({"text": alignment.heads["text"]}, alignment.teacher))
    lone = Zeroshot.evaluate(subject(), only, "all", Zeroshot.Options())
    assert lone.notes["feature"] == "text"
    assert (lone.predictions["logits"] == text.predictions["logits"]).all()
    with pytest.raises(UsageError, match=r"zeroshot\.kind = image: .*space of text only"):
        Zeroshot.evaluate(subject(), only, "all", Zeroshot.Options(kind="image"))
    none = replace(task, alignment=lambda: Alignment({}, alignment.teacher))
    with pytest.raises(BenchError, match="without its heads"):
        Zeroshot.evaluate(subject(), none, "all", Zeroshot.Options())


def test_the_published_form_tunes_nothing_and_keeps_raw_names(task: Task) -> None:
    """The starred figure would be another split's, or a form would do what the other one states."""
    options = Zeroshot.defaults("nano", "published")
    found = Zeroshot.evaluate(subject(), replace(task, form="published"), "all", options)
    assert not [m for m in found.metrics if m.split == "val"]
    assert found.notes["feature"] == "both, ratio=0.25"
    alignment = task.alignment() if task.alignment else None
    assert alignment is not None
    classes = class_embeddings(alignment.teacher, NAMES, task.cache, raw=True)
    projected = {}
    for space, head in alignment.heads.items():
        features = frozen_features(subject().candidates[""], task, head.feature, normalise=True)
        both = np.concatenate([features["train"], features["test"]])
        projected[space] = both @ head.weight.T + head.bias
    right = cosines(Way("both", zero_shot_choices("").ratio).fuse(projected), classes).argmax(1) == np.concatenate(
        [task.train.labels, found.predictions["labels"]]
    )
    starred = [m for m in found.metrics if m.name == "accuracy_train_and_test"]
    assert [(m.value, m.n_objects) for m in starred] == [(float(right.mean()), 150 + 72)]
    assert values(found.metrics, name="accuracy", selection="val") == [float(right[150:].mean())]
    best = values(found.metrics, name="accuracy", selection="test")[0]
    assert best >= max(values(found.metrics, name="accuracy", selection="val"))
    with pytest.raises(UsageError, match="option form is 'published' in a run of the fair form"):
        Zeroshot.evaluate(subject(), task, "all", options)


def test_a_teacher_alone_looks_at_the_same_points_again_and_again_alike(make_task: MakeTask, tmp_path: Path) -> None:
    """The opponent would be another classifier in each run, or see more of a cloud than the encoder does."""
    runs = []
    for cache in ("one", "two"):
        teacher = ToyTeacher(tmp_path / cache)
        plain = make_task(CLOUDS["train"], CLOUDS["test"], cache=cache)
        task = replace(plain, alignment=partial(Alignment, {}, teacher))
        runs.append(Zeroshot.evaluate(alone(), task, "all", Zeroshot.Options()))
        shown = teacher.pictures
        Zeroshot.evaluate(alone(), task, "all", Zeroshot.Options())
        assert teacher.pictures == shown == 3 * (150 + 72), "pictures are encoded once"
    assert runs[0].metrics == runs[1].metrics
    assert (runs[0].predictions["logits"] == runs[1].predictions["logits"]).all()
    clouds = prepared_clouds(task, "test", normalise=True)
    views = depth_views(np.array(clouds), 3, 32)
    encoded = teacher.encode_images(views.reshape(-1, 32, 32, 1)).reshape(72, 3, WIDTH)
    classes = class_embeddings(teacher, NAMES, task.cache, raw=False)
    by_hand = np.mean([cosines(encoded[:, view], classes) for view in range(3)], axis=0)
    assert np.abs(np.asarray(runs[0].predictions["logits"], np.float32) - by_hand).max() < 1e-5


def test_weights_of_views_are_searched_on_validation_only(make_task: MakeTask, tmp_path: Path) -> None:
    """Weights tuned on the test split would flatter the opponent."""
    teacher = ToyTeacher(tmp_path)
    plain = make_task(CLOUDS["train"], CLOUDS["test"])
    task = replace(plain, alignment=lambda: Alignment({}, teacher))
    uniform = Zeroshot.evaluate(alone(), task, "all", Zeroshot.Options())
    chosen = Zeroshot.evaluate(alone(weights="chosen"), task, "all", Zeroshot.Options())
    assert chosen.notes["feature"] == "views weighted"
    assert values(chosen.metrics, name="accuracy", split="val") >= values(uniform.metrics, name="accuracy", split="val")
    assert chosen.predictions["predicted.fixed"].tolist() == uniform.predictions["predicted"].tolist()
    blind = replace(task, test=HeldOut(replace(CLOUDS["test"], labels=np.zeros(72, np.int64))))
    again = Zeroshot.evaluate(alone(weights="chosen"), blind, "all", Zeroshot.Options())
    assert again.notes == chosen.notes
    assert (again.predictions["logits"] == chosen.predictions["logits"]).all()


def test_the_search_drops_a_view_that_misleads() -> None:
    """A search that cannot leave its start is none."""
    rng = np.random.default_rng(0)
    classes = np.eye(4, WIDTH, dtype=np.float32)
    labels = np.repeat(np.arange(4), 10)
    good = classes[labels] + 0.1 * rng.normal(size=(40, WIDTH)).astype(np.float32)
    bad = 5 * classes[(labels + 1) % 4]
    views = np.stack([bad, good], axis=1)
    weights = search_weights(views, classes, labels)
    assert weights.sum() == pytest.approx(1)
    assert weights[1] > weights[0]
    assert (view_cosines(views, classes, weights).argmax(1) == labels).mean() > 0.9


def test_ties_are_no_success_among_the_first_five() -> None:
    """An encoder that says the same of every class would be right five times as often as chance."""
    labels = np.zeros(6, np.int64)
    assert top_k_accuracy(np.zeros((6, 10), np.float32), labels) == 0
    assert top_k_accuracy(np.zeros((6, 4), np.float32), labels) == 1
    rising = np.tile(np.arange(10, dtype=np.float32), (10, 1))
    assert top_k_accuracy(rising, np.arange(10)) == 0.5


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts("point-mae", unaligned="it has no head into the space of a teacher"), "no text-aligned output: it has"),
        (Facts("recon", unaligned="its pretraining saw no captions"), "no text-aligned output: its pretraining saw no"),
        (Facts("recon", aligned=True, objects=False), "the data set has no labelled objects"),
        (Facts("recon", aligned=True), None),
    ],
)
def test_why_it_does_not_apply(facts: Facts, reason: str | None) -> None:
    """A skip without its reason looks like a bug."""
    said = Zeroshot.skip(facts, Zeroshot.Options())
    assert said is None if reason is None else said is not None and said.startswith(reason)


def test_the_cards_state_both_forms() -> None:
    """Readers would not know that validation labels were used, or that nothing was tuned."""
    fair, published = (Zeroshot.card(Zeroshot.defaults("base", form)) for form in ("fair", "published"))
    assert "labels of these objects are used for that choice only" in fair
    assert "Nothing is chosen" in published and "accuracy_train_and_test" in published  # noqa: PT018
    with pytest.raises(ValueError, match="belongs to the fair form"):
        Zeroshot.Options(form="published", ratios=(0.5,))
