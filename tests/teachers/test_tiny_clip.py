"""The embedded teacher: without it, ReCon has no targets on a machine without downloads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from teacher_toy import SIDE, Toy, toy_teacher

from bench.errors import SetupError, UsageError
from bench.teachers.clip_fit import augment
from bench.teachers.clip_model import on_white, to_pixels
from bench.teachers.clip_scores import named_accuracy, retrieval
from bench.teachers.tiny_clip import TinyClip


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> TinyClip:
    teacher = toy_teacher(tmp_path_factory.mktemp("fit"), epochs=12)
    teacher.prepare()
    return teacher


def reopened(teacher: TinyClip) -> TinyClip:
    return TinyClip(teacher.cache, teacher.options, teacher.source())


def test_it_learns_what_captions_say(fitted: TinyClip) -> None:
    """Otherwise the targets carry nothing about the objects."""
    report = fitted.fit_report()
    fit, held_out = report["fit"], report["held_out"]
    assert fit["loss_last_tenth"] < fit["loss_first_tenth"] - 1.0
    assert held_out["recall_at_1"] > 5 * held_out["chance_at_1"]
    assert held_out["recall_at_5"] > 2 * held_out["chance_at_5"]
    assert 0 <= held_out["class_name_accuracy"] <= 1
    assert held_out["objects"] == 48


@pytest.fixture
def threads() -> Iterator[None]:
    """Give the process its number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_same_seed_same_weights(tmp_path: Path) -> None:
    """Otherwise a rerun gives other numbers under the same key, say because the worker has other threads."""
    fits = {}
    for number in (1, 3):
        torch.set_num_threads(number)
        fits[number] = toy_teacher(tmp_path / str(number), epochs=2)
        fits[number].prepare()
        assert torch.get_num_threads() == number
    assert fits[1].identity() == fits[3].identity()
    weights = [(fit.folder / "weights.safetensors").read_bytes() for fit in fits.values()]
    assert weights[0] == weights[1]


def test_fitting_leaves_the_callers_random_state_alone(tmp_path: Path) -> None:
    """Otherwise whether a teacher was cached would change the method's initialisation."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    toy_teacher(tmp_path, epochs=1).prepare()
    assert torch.equal(torch.rand(3), expected)


def test_identity_follows_what_determines_the_features(fitted: TinyClip, tmp_path: Path) -> None:
    """Otherwise features of another teacher would be taken from the cache."""
    others = [
        toy_teacher(tmp_path, epochs=13),
        toy_teacher(tmp_path, epochs=12, seed=1),
        toy_teacher(tmp_path, Toy.Options(train=300), epochs=12),
    ]
    assert len({t.identity() for t in [fitted, *others]}) == 4
    assert toy_teacher(tmp_path, epochs=12).identity() == fitted.identity()


def test_a_fitted_teacher_is_not_fitted_again(fitted: TinyClip) -> None:
    """Otherwise every run would pay for the fit."""
    weights = fitted.folder / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    calls: list[tuple[int, int]] = []
    teacher = reopened(fitted)
    assert teacher.ready()
    teacher.prepare(lambda done, total, what, note: calls.append((done, total)))
    assert not calls
    assert weights.stat().st_mtime_ns == before


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    """Otherwise the bar of a fit never finishes."""
    calls: list[tuple[int, int]] = []
    toy_teacher(tmp_path, epochs=2).prepare(lambda done, total, what, note: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1] == (1000, 1000)
    assert len(set(calls)) >= 25


def test_batch_size_does_not_change_features(fitted: TinyClip) -> None:
    """Otherwise features would depend on what else is encoded beside an object."""
    cloudset = fitted.source().load("test")
    together = fitted.encode_images(cloudset.views[:, 0])
    alone = np.concatenate([fitted.encode_images(view[None]) for view in cloudset.views[:8, 0]])
    np.testing.assert_allclose(alone, together[:8], rtol=1e-4, atol=1e-5)
    texts = fitted.encode_texts(cloudset.captions)
    np.testing.assert_allclose(fitted.encode_texts(cloudset.captions[3:4])[0], texts[3], rtol=1e-4, atol=1e-5)
    assert together.shape == (48, 16)
    assert together.dtype == np.float32


def test_grey_images_and_other_sizes_encode(fitted: TinyClip) -> None:
    """Depth views have one channel and may have another size."""
    grey = np.random.default_rng(0).integers(0, 255, size=(3, SIDE, SIDE, 1), dtype=np.uint8)
    np.testing.assert_allclose(fitted.encode_images(grey), fitted.encode_images(grey.repeat(3, axis=3)), atol=1e-6)
    large = fitted.encode_images(grey.repeat(2, axis=1).repeat(2, axis=2))
    assert large.shape == (3, 16)
    assert np.isfinite(large).all()


@pytest.mark.parametrize("shape", [(3, SIDE, SIDE), (2, SIDE, SIDE, 4)])
def test_images_of_another_layout_are_refused(fitted: TinyClip, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="takes uint8 images"):
        fitted.encode_images(np.zeros(shape, dtype=np.uint8))


def test_any_sentence_encodes(fitted: TinyClip) -> None:
    """Class names and captions of other sets hold words the fit never saw."""
    texts = ["", "a zeppelin under Łódź!", "red " * 100, "点云"]
    features = fitted.encode_texts(texts)
    assert features.shape == (4, 16)
    assert np.isfinite(features).all()


def test_captions_seen_are_known_before_and_after_the_fit(fitted: TinyClip, tmp_path: Path) -> None:
    """The 'saw class names' column rests on them."""
    seen = fitted.captions_seen()
    assert seen == toy_teacher(tmp_path, epochs=12).captions_seen()
    assert seen == tuple(sorted(set(fitted.source().load("train").captions)))


def damaged_copy(fitted: TinyClip, cache: Path) -> TinyClip:
    copy = TinyClip(cache, fitted.options, fitted.source())
    copy.folder.mkdir(parents=True)
    for file in fitted.folder.iterdir():
        (copy.folder / file.name).write_bytes(file.read_bytes())
    return copy


@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_damaged_weights_are_one_clear_line(fitted: TinyClip, tmp_path: Path, damage: str) -> None:
    """Otherwise a flipped byte would quietly change every number."""
    copy = damaged_copy(fitted, tmp_path)
    weights = copy.folder / "weights.safetensors"
    raw = bytearray(weights.read_bytes())
    if damage == "cut":
        weights.write_bytes(raw[: len(raw) // 2])
    elif damage == "flip":
        raw[-5] ^= 1
        weights.write_bytes(raw)
    else:
        weights.unlink()
    with pytest.raises(
        SetupError, match=r"is damaged: weights\.safetensors .*delete it and run `bench teachers"
    ) as caught:
        copy.encode_texts(["red"])
    assert "\n" not in str(caught.value)


def test_damaged_report_is_one_clear_line(fitted: TinyClip, tmp_path: Path) -> None:
    copy = damaged_copy(fitted, tmp_path)
    (copy.folder / "report.json").write_text("{")
    with pytest.raises(SetupError, match=r"is damaged: report\.json") as caught:
        copy.fit_report()
    assert "\n" not in str(caught.value)


def test_an_unfitted_teacher_names_the_command(tmp_path: Path) -> None:
    teacher = toy_teacher(tmp_path)
    assert not teacher.ready()
    with pytest.raises(SetupError, match="bench teachers fit tiny-clip"):
        teacher.encode_texts(["red"])
    with pytest.raises(SetupError, match="bench teachers fit tiny-clip"):
        teacher.fit_report()


def test_a_source_without_captions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'toy' has no captions in split 'train'"):
        toy_teacher(tmp_path, Toy.Options(captions=False)).prepare()


def test_a_killed_fit_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    """Otherwise a half-fitted teacher would be used by every later run."""

    class KilledError(Exception):
        pass

    def kill(done: int, total: int, what: str, note: str) -> None:
        if done > 300:
            raise KilledError

    teacher = toy_teacher(tmp_path, epochs=1)
    with pytest.raises(KilledError):
        teacher.prepare(kill)
    assert not teacher.ready()
    teacher.prepare()
    assert teacher.ready()
    assert [p.name for p in (tmp_path / "teachers").iterdir()] == [teacher.folder.name]


def test_who_loses_the_race_uses_the_winners_fit(tmp_path: Path) -> None:
    """Two processes that fit at once must end with one set of weights."""
    winner, loser = toy_teacher(tmp_path, epochs=1), toy_teacher(tmp_path, epochs=1)

    def overtake(done: int, total: int, what: str, note: str) -> None:
        if done == total:
            winner.prepare()

    loser.prepare(overtake)
    assert [p.name for p in (tmp_path / "teachers").iterdir()] == [winner.folder.name]
    np.testing.assert_array_equal(loser.encode_texts(["red"]), winner.encode_texts(["red"]))


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "teachers").write_text("a file where a folder should be")
    with pytest.raises(SetupError, match="cannot write") as caught:
        toy_teacher(tmp_path, epochs=1).prepare()
    assert "\n" not in str(caught.value)


def test_retrieval_and_its_chance_count_equal_captions_alike() -> None:
    """A figure without the right chance level misleads."""
    rng = np.random.default_rng(0)
    captions = ["a", "a", "b", "c", "d", "d", "d", "e"] * 4
    texts = np.stack([np.random.default_rng(ord(c)).normal(size=6) for c in captions]).astype(np.float32)
    perfect = retrieval(texts, texts, captions)
    assert perfect["recall_at_1"] == 1.0
    assert perfect["distinct_captions"] == 5
    guesses = [
        retrieval(rng.normal(size=(32, 6)).astype(np.float32), rng.normal(size=(32, 6)).astype(np.float32), captions)
        for _ in range(300)
    ]
    for k in (1, 5):
        measured = np.mean([g[f"recall_at_{k}"] for g in guesses])
        assert abs(measured - perfect[f"chance_at_{k}"]) < 0.02


def test_named_accuracy_ignores_length() -> None:
    names = np.eye(3, dtype=np.float32)
    images = names[[0, 1, 2, 0]] * np.array([[9], [0.1], [3], [1]], dtype=np.float32)
    assert named_accuracy(images, names, np.array([0, 1, 2, 1])) == 0.75


def test_augmentation_moves_pixels_and_invents_none() -> None:
    """A broken gather would feed the fit noise."""
    images = torch.randint(0, 255, (6, 20, 20, 3), dtype=torch.uint8)
    same = augment(images, 0.0, 0.0, torch.Generator().manual_seed(0))
    for before, after in zip(images, same, strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(1))
    assert any(torch.equal(a, b.flip(1)) for a, b in zip(same, images, strict=True))
    moved = augment(images, 0.2, 0.1, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    for before, after in zip(images, moved, strict=True):
        known = {tuple(p) for p in before.reshape(-1, 3).tolist()}
        assert {tuple(p) for p in after.reshape(-1, 3).tolist()} <= known


def test_a_dark_ground_is_inverted() -> None:
    """Depth pictures lie on black and renderings on white; one tower must read both."""
    depth = torch.zeros(1, 9, 9, 1, dtype=torch.uint8)
    depth[:, 3:6, 3:6] = 200
    shaded = torch.full((1, 9, 9, 1), 255, dtype=torch.uint8)
    shaded[:, 3:6, 3:6] = 55
    assert torch.equal(on_white(torch.cat([depth, shaded])), torch.cat([shaded, shaded]))


def test_depth_pictures_are_part_of_the_fit_and_judged_apart(tmp_path: Path) -> None:
    """Sets without images hand the teacher depth pictures only."""
    teacher = toy_teacher(tmp_path, Toy.Options(train=64), epochs=1, depth_share=0.5)
    teacher.prepare()
    report = teacher.fit_report()
    assert report["fit"]["views_per_object"] == 2 + 4
    assert report["held_out_depth"]["objects"] == report["held_out"]["objects"] == 48


def test_features_have_one_length(fitted: TinyClip) -> None:
    """The contrastive loss leaves the length free; a regression of it would chase noise."""
    features = fitted.encode_texts(["red", "a blue disc"])
    np.testing.assert_allclose(np.sqrt((features**2).mean(axis=1)), 0.45, rtol=1e-5)


def test_pixels_are_centred() -> None:
    pixels = to_pixels(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1), 1)
    assert pixels.shape == (2, 3, 1, 1)
    assert pixels[0].eq(-1).all()
    assert pixels[1].eq(1).all()


def test_by_default_it_reads_the_teachers_own_stream_of_shapes(tmp_path: Path) -> None:
    """A teacher fitted on evaluated or pretrained objects would leak them."""
    options = TinyClip.Options(objects=8, epochs=1, batch_size=8, image_width=4, threads=1)
    teacher = TinyClip(tmp_path, options)
    teacher.prepare()
    assert teacher.ready()
    assert teacher.source().name == "shapes"
    assert teacher.source().options.stream == "teacher"
    assert len(teacher.captions_seen()) <= 8
    assert TinyClip(tmp_path, options.model_copy(update={"objects": 9})).identity() != teacher.identity()


def test_importing_teachers_does_not_import_torch() -> None:
    """Otherwise `bench --help` takes seconds."""
    code = (
        "import sys, bench.teachers.tiny_clip, bench.teachers.features, bench.teachers.captions;"
        "sys.exit(any(m in sys.modules for m in ('torch', 'open_clip', 'safetensors')))"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
