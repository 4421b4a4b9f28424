"""The feature cache: frozen work is done once, and never mistaken for other work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from bench.data.base import CloudSet, Progress, silent
from bench.errors import SetupError, UsageError
from bench.teachers import features as module
from bench.teachers.base import Teacher
from bench.teachers.captions import PREFIXES, SUFFIXES, TEMPLATES, class_name_captions, class_names, prompt, prompted
from bench.teachers.features import Pictures, distinct_sentences, image_features, sentence_features, text_features
from bench.teachers.sources import CachedImages, CachedTexts, LiveImages, LiveTexts
from bench.training.pretraining import FeatureSource


class Ruler(Teacher):
    """A teacher that measures: channel means of pictures, letters of sentences. It counts its work."""

    name: ClassVar[str] = "ruler"
    summary: ClassVar[str] = "measures"
    image_dim = 2
    text_dim = 3

    def __init__(self, cache: Path, bias: float = 0.0) -> None:
        super().__init__(cache)
        self.bias = bias
        self.encoded = 0
        self.prepared = 0

    def identity(self) -> str:
        return f"ruler-{self.bias}"

    def ready(self) -> bool:
        return True

    def prepare(self, progress: Progress = silent) -> None:
        self.prepared += 1

    def captions_seen(self) -> tuple[str, ...]:
        return ()

    def encode_images(self, images: np.ndarray, progress: Progress = silent) -> np.ndarray:
        self.encoded += len(images)
        flat = images.reshape(len(images), -1).astype(np.float32)
        return np.stack([flat.mean(1) + self.bias, flat[:, 0]], axis=1)

    def encode_texts(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        self.encoded += len(texts)
        return np.array([[len(t), t.count("a"), t.count("e") + self.bias] for t in texts], dtype=np.float32)


def cloudset(n: int = 7, views: int = 2) -> CloudSet:
    rng = np.random.default_rng(n)
    return CloudSet(
        points=np.zeros((n, 4, 3), dtype=np.float32),
        labels=np.arange(n, dtype=np.int64) % 2,
        ids=tuple(f"object-{i}" for i in range(n)),
        classes=("night_stand", "lamp"),
        views=rng.integers(0, 255, size=(n, views, 5, 5, 1), dtype=np.uint8),
        views_kind="depth-of-points",
    )


def test_features_of_every_view_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature given to the wrong object is a wrong target."""
    monkeypatch.setattr(module, "CHUNK", 4)  # several chunks, the last one short
    calls: list[tuple[int, int]] = []
    objects = cloudset()
    features = image_features(Ruler(tmp_path), objects, "m", tmp_path, lambda d, t: calls.append((d, t)))
    assert features.shape == (7, 2, 2)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[..., 0], objects.views.reshape(7, 2, -1).mean(-1), rtol=1e-6)
    assert calls == [(4, 14), (8, 14), (12, 14), (14, 14)]
    assert not features.flags.writeable


def test_a_hit_does_no_work(tmp_path: Path) -> None:
    """Otherwise every run pays for the teacher again."""
    teacher, objects = Ruler(tmp_path), cloudset()
    first = np.array(image_features(teacher, objects, "m", tmp_path))
    files = {f: f.stat().st_mtime_ns for f in (tmp_path / "features").iterdir()}
    again = Ruler(tmp_path)
    calls: list[int] = []
    np.testing.assert_array_equal(image_features(again, objects, "m", tmp_path, lambda d, t: calls.append(d)), first)
    assert (again.encoded, again.prepared, calls) == (0, 0, [])
    assert {f: f.stat().st_mtime_ns for f in (tmp_path / "features").iterdir()} == files


def test_other_content_is_computed_anew(tmp_path: Path) -> None:
    """Otherwise features of other pictures or another teacher would be used."""
    objects = cloudset()
    flipped = replace(objects, views=objects.views[:, :, ::-1])
    image_features(Ruler(tmp_path), objects, "m", tmp_path)
    for teacher, changed, manifest in (
        (Ruler(tmp_path, bias=1.0), objects, "m"),
        (Ruler(tmp_path), objects, "other"),
        (Ruler(tmp_path), flipped, "m"),
        (Ruler(tmp_path), objects.subset(np.array([1, 0, 2, 3, 4, 5, 6])), "m"),
        (Ruler(tmp_path), objects.subset(np.arange(5)), "m"),
    ):
        features = image_features(teacher, changed, manifest, tmp_path)
        assert teacher.encoded == changed.views.shape[0] * 2
        expected = changed.views.reshape(len(changed), 2, -1).mean(-1) + teacher.bias
        np.testing.assert_allclose(features[..., 0], expected, rtol=1e-6)


def test_equal_captions_are_encoded_once(tmp_path: Path) -> None:
    teacher = Ruler(tmp_path)
    captions = ["a tea", "bee", "a tea", "", "bee"]
    features = text_features(teacher, captions, tmp_path)
    np.testing.assert_array_equal(features, teacher.encode_texts(captions))
    assert teacher.encoded == 3 + 5
    again = Ruler(tmp_path)
    np.testing.assert_array_equal(text_features(again, captions[::-1], tmp_path), features[::-1])
    assert (again.encoded, again.prepared) == (0, 0)


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_a_damaged_cache_file_is_computed_again(tmp_path: Path, damage: str) -> None:
    """A cache cut short by a full disk must not become targets."""
    objects = cloudset()
    good = np.array(image_features(Ruler(tmp_path), objects, "m", tmp_path))
    (file,) = (tmp_path / "features").iterdir()
    raw = file.read_bytes()
    file.write_bytes({"cut": raw[:-8], "empty": b"", "noise": b"x" * len(raw)}[damage])
    teacher = Ruler(tmp_path)
    np.testing.assert_array_equal(image_features(teacher, objects, "m", tmp_path), good)
    assert teacher.encoded == 14
    assert list((tmp_path / "features").iterdir()) == [file]


def test_an_interrupted_extraction_leaves_nothing(tmp_path: Path) -> None:
    class InterruptedWorkError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise InterruptedWorkError

    with pytest.raises(InterruptedWorkError):
        image_features(Ruler(tmp_path), cloudset(), "m", tmp_path, stop)
    assert list((tmp_path / "features").iterdir()) == []


def test_what_a_killed_writer_left_is_cleared(tmp_path: Path) -> None:
    """Otherwise every kill -9 costs disk space for ever; a file of a writer at work must stay."""
    folder = tmp_path / "features"
    folder.mkdir()
    old, fresh = folder / ".incoming-old.part", folder / ".incoming-fresh.part"
    old.write_bytes(b"x")
    fresh.write_bytes(b"x")
    os.utime(old, (0, 0))
    text_features(Ruler(tmp_path), ["a"], tmp_path)
    assert not old.exists()
    assert fresh.exists()


def test_features_that_are_not_finite_are_never_cached(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="teacher 'ruler' gave features that are not finite"):
        image_features(Ruler(tmp_path, bias=float("nan")), cloudset(), "m", tmp_path)
    assert list((tmp_path / "features").iterdir()) == []


def test_a_set_without_views_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs images and this data set has no views"):
        image_features(Ruler(tmp_path), replace(cloudset(), views=None), "m", tmp_path)


def test_a_cache_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file where a folder should be")
    with pytest.raises(SetupError, match="cannot write") as caught:
        image_features(Ruler(tmp_path), cloudset(), "m", tmp_path)
    assert "\n" not in str(caught.value)


def test_no_objects_no_features(tmp_path: Path) -> None:
    assert text_features(Ruler(tmp_path), [], tmp_path).shape == (0, 3)


def test_class_name_captions_state_the_class_and_keep_to_the_object() -> None:
    """The draw must not depend on order, or a subset would be captioned differently."""
    objects = cloudset(200)
    captions = class_name_captions(objects, seed=3)
    names = ("night stand", "lamp")
    assert all(names[label] in caption for label, caption in zip(objects.labels, captions, strict=True))
    picked = np.array([7, 2, 150])
    assert class_name_captions(objects.subset(picked), seed=3) == tuple(captions[i] for i in picked)
    assert class_name_captions(objects, seed=4) != captions


def test_class_name_templates_are_those_of_recon() -> None:
    assert (len(PREFIXES), len(set(PREFIXES)), len(SUFFIXES)) == (20, 20, 3)
    assert "A point cloud model of a " in PREFIXES
    objects = replace(cloudset(4000), classes=("x", "x"))
    assert set(class_name_captions(objects, 0)) == {f"{p}x{s}" for p in PREFIXES for s in SUFFIXES}


def test_class_name_captions_need_class_names() -> None:
    with pytest.raises(UsageError, match="need class names"):
        class_name_captions(replace(cloudset(), classes=()), 0)


def test_crops_are_kept_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crop k of view v of an object is choice v * K + k, in the cache as in a live teacher."""
    monkeypatch.setattr(module, "CHUNK", 5)
    monkeypatch.setattr(module, "CROP_CHUNK", 3)
    teacher, objects = Ruler(tmp_path), cloudset()
    plain = np.array(image_features(teacher, objects, "m", tmp_path))
    crops = image_features(teacher, objects, "m", tmp_path, crops=4)
    assert crops.shape == (7, 2 * 4, 2)
    assert len(list((tmp_path / "features").iterdir())) == 2, "crops never stand in for plain pictures"
    means = crops[..., 0].reshape(7, 2, 4)
    assert np.abs(means - plain[..., :1]).max() < 60
    assert np.abs(means - means[..., :1]).max(-1).min() > 0, "crops of a view differ"
    live = LiveImages(Pictures(teacher, objects, 4))
    index, choice = torch.tensor([6, 0, 3]), torch.tensor([7, 0, 5])
    expected = torch.from_numpy(np.array(crops))[index, choice]
    for source in (live, CachedImages(crops)):
        assert isinstance(source, FeatureSource)
        assert (len(source), source.choices, source.width) == (7, 8, 2)
        assert torch.equal(source.pick(index, choice), expected)


def test_prompts_are_drawn_once_and_shared_by_all_seeds(tmp_path: Path) -> None:
    """A step draws one of the prompts that are kept, and a live teacher reads the same sentence."""
    captions, ids = ["a red lamp.", "a sofa"], ["x", "y"]
    rows = prompted(captions, ids, 5)
    assert rows == prompted(captions, ids, 5)
    assert rows[1] == prompted(captions[1:], ids[1:], 5)[0], "the draw belongs to the object"
    assert all(len(set(row)) == 5 for row in rows)
    assert len({sentence for row in prompted(captions, ids, 60) for sentence in row}) == 2 * TEMPLATES
    teacher = Ruler(tmp_path)
    distinct, index = distinct_sentences(rows)
    features = sentence_features(teacher, distinct, tmp_path)
    cached, live = CachedTexts(features, index), LiveTexts(teacher, rows, drawn=True)
    objects, choice = torch.tensor([1, 0, 1]), torch.tensor([4, 2, 0])
    expected = torch.from_numpy(teacher.encode_texts([rows[1][4], rows[0][2], rows[1][0]]))
    for source in (cached, live):
        assert isinstance(source, FeatureSource)
        assert (len(source), source.choices, source.width) == (2, 5, 3)
        assert torch.equal(source.pick(objects, choice), expected)
    alone = LiveTexts(teacher, [[caption] for caption in captions], drawn=False)
    assert alone.choices is None, "a single caption is no draw, as with cached features"
    assert torch.equal(alone.pick(torch.tensor([1]), None), torch.from_numpy(teacher.encode_texts(["a sofa"])))


def test_a_caption_fits_into_every_template() -> None:
    """A sentence keeps neither its article behind another one nor its full stop in the middle."""
    template = PREFIXES.index("A 3D model of a ")
    assert prompt("A red lamp.", template + 20) == "A 3D model of a red lamp with white background."
    assert prompt("night stand", template) == "A 3D model of a night stand."
    assert prompt("A red lamp.", 0) == "A red lamp."
    assert {prompt("x", i) for i in range(TEMPLATES)} == {f"{p}x{s}" for p in PREFIXES for s in SUFFIXES}
    assert class_names(cloudset(3)) == ("night stand", "lamp", "night stand")


def test_too_many_prompts_are_one_line() -> None:
    with pytest.raises(UsageError, match=r"recipe.teacher_prompts = 61: there are 60 templates"):
        prompted(["a"], ["x"], 61)


def test_a_teacher_is_asked_only_for_what_it_has(tmp_path: Path) -> None:
    """Width 0 would train a head of no outputs, silently."""
    blind, mute = Ruler(tmp_path), Ruler(tmp_path)
    blind.image_dim = mute.text_dim = 0
    with pytest.raises(UsageError, match="'ruler' gives no features of images: choose another with --teacher"):
        image_features(blind, cloudset(), "m", tmp_path)
    with pytest.raises(UsageError, match="'ruler' gives no features of texts: name another with --text-teacher"):
        text_features(mute, ["a"], tmp_path)
