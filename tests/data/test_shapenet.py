"""ShapeNet-55 folders in the layout of Point-BERT, PoinTr and ReCon: read right, and refused in one line if broken."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.data.base import DataPlace
from bench.data.shapenet import ShapeNet55
from bench.data.shapenet_names import NAMES, read_describe
from bench.errors import BenchError, DataError

SYNSETS = ("02691156", "04401088", "02992529")
"""Airplane, telephone, cellphone: ReCon's file puts the last two in this order, the numbers do not."""
EACH = 5


def stem(synset: str, i: int) -> str:
    return f"{synset}-{i:032x}"


def points(synset: str, i: int) -> np.ndarray:
    return np.random.default_rng([int(synset), i]).normal(size=(24, 3))


def write(folder: Path, subset: str = "ShapeNet-55", pictures: bool = False) -> Path:
    """Write EACH objects of three categories; the first of each is in the test list."""
    (folder / "shapenet_pc").mkdir(parents=True)
    (folder / subset).mkdir()
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for synset in SYNSETS:
        for i in range(EACH):
            np.save(folder / "shapenet_pc" / f"{stem(synset, i)}.npy", points(synset, i))
            lists["train" if i else "test"].append(f"{stem(synset, i)}.npy")
    for split, names in lists.items():
        (folder / subset / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    if pictures:
        (folder / "shapenet_img").mkdir()
        for k, synset in enumerate(SYNSETS):
            for i in range(EACH):
                image = np.full((20, 20, 4), (10 * k, 10 * i, 200, 255), np.uint8)
                image[0] = (1, 2, 3, 0)
                Image.fromarray(image).save(folder / "shapenet_img" / f"{stem(synset, i)}.png")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "données ☁" / "ShapeNet55-34")


def shapenet(root: Path, cache: Path | None = None, **options: Any) -> ShapeNet55:
    place = DataPlace(cache or root.parent / "cache", root)
    return ShapeNet55(place, ShapeNet55.Options.model_validate(options))


def use(root: Path, **options: Any) -> None:
    data = shapenet(root, **options)
    data.manifest()
    data.load("train")


def refusal(root: Path, where: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        use(root, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(where) in message
    return message


def test_clouds_stand_by_their_names_and_labels(root: Path) -> None:
    """Objects would be pretrained under another's name, picture or caption."""
    data = shapenet(root)
    train, test = data.load("train"), data.load("test")
    assert data.classes() == ("airplane", "cellphone", "telephone")
    assert data.train_size() == len(train) == 3 * (EACH - 1)
    assert (len(test), len(set(train.ids) | set(test.ids))) == (3, 3 * EACH)
    for clouds in (train, test):
        for cloud, label, name, caption in zip(
            clouds.points, clouds.labels, clouds.ids, clouds.captions or (), strict=True
        ):
            synset, model = name.split("-")
            np.testing.assert_array_equal(cloud, points(synset, int(model, 16)).astype(np.float32))
            assert caption == data.classes()[label] == NAMES[synset]
    assert isinstance(train.points, np.memmap)
    assert train.views is None
    assert not data.offers_images()


def test_the_folder_or_the_one_above_will_do(root: Path) -> None:
    """Half of the users point at the folder's parent."""
    assert shapenet(root.parent, root.parent / "cache").manifest() == shapenet(root).manifest()


def test_captions_and_order_come_from_recons_file(root: Path) -> None:
    """ReCon's text encoder would be given other words, or another class index, than the release."""
    rows = ["airplane,aeroplane,plane", "telephone,phone", "cellphone", "washer"]
    numbers = [int(synset) for synset in (*SYNSETS, "04554684")]
    by_row = {str(i): text for i, text in enumerate(rows)}
    for content in (
        {"catalogue": {str(i): n for i, n in enumerate(numbers)}, "describe": by_row},
        {"catalogue": {str(i): f"{n:08d}" for i, n in reversed(list(enumerate(numbers)))}, "describe": by_row},
        {"catalogue": numbers, "describe": rows},
        [{"catalogue": n, "describe": text} for n, text in zip(numbers, rows, strict=True)],
    ):
        (root / "shapenet55.json").write_text(json.dumps(content), encoding="utf-8")
        data = shapenet(root)
        assert data.classes() == ("airplane", "telephone", "cellphone")
        train = data.load("train")
        assert train.captions is not None
        assert set(train.captions) == set(rows[:3])
        assert train.captions[0] == rows[train.labels[0]]


def test_pictures_belong_to_their_clouds_and_wait(tmp_path: Path) -> None:
    """The image branch would see another object, or every method would decode 52,000 pictures."""
    root = write(tmp_path / "ShapeNet55-34", pictures=True)
    data = shapenet(root, view_size=20)
    assert data.offers_images()
    train = data.load("train")
    cache = tmp_path / "cache" / "converted"
    assert train.views is not None
    assert not list(cache.glob("pictures-*"))
    assert train.views.shape == (12, 1, 20, 20, 3)
    assert train.views_kind == "shaded"
    for k, name in enumerate(train.ids):
        synset, model = name.split("-")
        assert train.views[k, 0, 5, 5].tolist() == [10 * SYNSETS.index(synset), 10 * int(model, 16), 200]
        assert train.views[k, 0, 0, 0].tolist() == [255, 255, 255]
    assert list(cache.glob("pictures-*"))
    some = train.subset(np.array([7, 2]))
    assert some.views is not None
    np.testing.assert_array_equal(some.views[1], train.views[2])
    hidden = shapenet(root, view_size=20, reference=True).load("train").views
    assert hidden is not None
    assert hidden[0, 0, 0, 0].tolist() == [1, 2, 3]
    assert not shapenet(root, images="off").offers_images()
    assert shapenet(root, images="off").manifest() != data.manifest()


def test_missing_pictures_name_the_cure(tmp_path: Path) -> None:
    """The best known trouble with ReCon's data: its pictures need its own lists."""
    root = write(tmp_path / "ShapeNet55-34", pictures=True)
    gone = root / "shapenet_img" / f"{stem(SYNSETS[0], 3)}.png"
    gone.unlink()
    message = refusal(root, gone)
    assert "1 of 15" in message
    assert "train.txt and test.txt that come with them" in message


def test_whole_and_fraction(root: Path) -> None:
    """ReCon's published data (both lists; the first part of them) could not be had, or fractions would not nest."""
    whole = shapenet(root, whole=True).load("train")
    test, train = shapenet(root).load("test"), shapenet(root).load("train")
    assert whole.ids == (*test.ids, *train.ids)
    first = shapenet(root, whole=True, fraction=0.4, reference=True).load("train")
    assert first.ids == whole.ids[:6]
    tenth = shapenet(root, whole=True, fraction=0.2).load("train")
    half = shapenet(root, whole=True, fraction=0.5).load("train")
    assert len(half) == 7
    assert set(tenth.ids) < set(half.ids) < set(whole.ids)
    assert half.ids != whole.ids[:7]
    place = {name: row for row, name in enumerate(whole.ids)}
    for cloud, name in zip(half.points, half.ids, strict=True):
        np.testing.assert_array_equal(cloud, whole.points[place[name]])
    manifests = {shapenet(root, fraction=f, whole=w).manifest() for f in (0.5, 1.0) for w in (False, True)}
    assert len(manifests) == 4


def test_unseen21_has_a_test_list_only(tmp_path: Path) -> None:
    """PoinTr's Unseen21 comes without a training list and could not be read."""
    root = write(tmp_path / "ShapeNet55-34", subset="ShapeNet-Unseen21")
    names = [f"{stem(s, i)}.npy" for s in SYNSETS for i in range(EACH)]
    (root / "ShapeNet-Unseen21" / "train.txt").unlink()
    (root / "ShapeNet-Unseen21" / "test.txt").write_text("\n".join(names), encoding="utf-8")
    data = shapenet(root, subset="unseen21")
    train, test = data.load("train"), data.load("test")
    assert (len(train), len(test)) == (12, 3)
    assert not set(train.ids) & set(test.ids)
    assert sorted(test.labels.tolist()) == [0, 1, 2]


def test_manifest_follows_content(root: Path) -> None:
    """A changed cloud would reuse old results, or a copied folder lose its own."""
    first = shapenet(root).manifest()
    path = root / "shapenet_pc" / f"{stem(SYNSETS[0], 2)}.npy"
    os.utime(path, ns=(1, 10**18))
    assert shapenet(root).manifest() == first
    np.save(path, points(SYNSETS[0], 2) + 1)
    second = shapenet(root).manifest()
    assert second != first
    lists = root / "ShapeNet-55" / "train.txt"
    lists.write_text("\n".join(reversed(lists.read_text(encoding="utf-8").split())), encoding="utf-8")
    assert len({first, second, shapenet(root).manifest()}) == 3


def test_links_and_read_only_folders_load(root: Path, tmp_path: Path) -> None:
    """Shared, linked and sealed storage could not be used; the user's folder must stay as it is."""
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "ShapeNet55-34").symlink_to(root)
    before = sorted(str(path) for path in root.rglob("*"))
    for folder in (root, root / "shapenet_pc"):
        folder.chmod(0o500)
    try:
        assert len(shapenet(linked, tmp_path / "cache").load("train")) == 12
    finally:
        for folder in (root, root / "shapenet_pc"):
            folder.chmod(0o700)
    assert sorted(str(path) for path in root.rglob("*")) == before


PC = f"shapenet_pc/{stem(SYNSETS[0], 2)}.npy"


@pytest.mark.parametrize(
    ("where", "harm", "says"),
    [
        (PC, lambda p: p.write_bytes(p.read_bytes()[:-30]), "truncated"),
        (PC, lambda p: p.write_bytes(b""), "is empty"),
        (PC, lambda p: np.save(p, points(SYNSETS[0], 2).astype(int)), "holds int64"),
        (PC, lambda p: np.save(p, points(SYNSETS[0], 2)[:9]), "expected the same in every file"),
        (PC, lambda p: np.save(p, points(SYNSETS[0], 2) * np.nan), "expected a finite number"),
        (PC, lambda p: p.unlink(), "1 of 15 are missing"),
        (PC, lambda p: (p.unlink(), p.mkdir()), "is a folder, expected a file"),
        ("ShapeNet-55/train.txt", lambda p: p.unlink(), "no such file"),
        ("ShapeNet-55/train.txt", lambda p: p.write_text(""), "is empty"),
        ("ShapeNet-55/train.txt", lambda p: p.write_text("airplane.npy\n"), "line 1 is 'airplane.npy'"),
        ("ShapeNet-55/train.txt", lambda p: p.write_text("1-../../x.npy\n"), "expected <synset>-<model>.npy"),
        (
            "ShapeNet-55/train.txt",
            lambda p: p.write_text(f"{stem(SYNSETS[0], 0)}.npy\n"),
            "again, after line 1 of test.txt",
        ),
        (
            "ShapeNet-55/test.txt",
            lambda p: p.with_name("train.txt").write_text(f"{stem(SYNSETS[0], 1)}.npy\n"),
            "categories that no training object has: 02992529 (cellphone), 04401088 (telephone)",
        ),
        ("shapenet55.json", lambda p: p.write_text("{"), "not in its layout"),
        ("shapenet55.json", lambda p: p.write_text('{"catalogue": [2691156]}'), "not in its layout"),
        ("shapenet55.json", lambda p: p.write_text('{"catalogue": [1, 1], "describe": ["a", "b"]}'), "second time"),
        ("shapenet55.json", lambda p: p.write_text('{"catalogue": [2691156], "describe": [3]}'), "row 0"),
        (
            "shapenet55.json",
            lambda p: p.write_text('{"catalogue": [2691156], "describe": ["airplane"]}'),
            "has no row for synset 02992529",
        ),
    ],
)
def test_broken_folders_name_the_file(root: Path, where: str, harm: Callable[[Path], object], says: str) -> None:
    """A broken file among 52,470 would end in a traceback, or in a wrong number."""
    harm(root / where)
    assert says in refusal(root, root / where)


def test_a_wrong_folder_is_told_where_the_data_lie(root: Path, tmp_path: Path) -> None:
    """The usual slip, one folder too high, would have to be guessed."""
    assert "did you mean" in refusal(root.parent.parent, root.parent.parent)
    assert "no such folder" in refusal(tmp_path / "gone", tmp_path / "gone")
    with pytest.raises(BenchError, match="shapenet55:DIR"):
        ShapeNet55(DataPlace(tmp_path)).manifest()


def test_known_names() -> None:
    """ShapeNet's 55 categories would be incomplete or two share a name."""
    assert len(NAMES) == len(set(NAMES.values())) == 55


def test_describe_keeps_the_leading_zero(tmp_path: Path) -> None:
    """Synset numbers lose their first digit in ReCon's file."""
    path = tmp_path / "shapenet55.json"
    path.write_text('{"catalogue": {"0": 2691156}, "describe": {"0": "airplane"}}', encoding="utf-8")
    assert read_describe(path) == {"02691156": "airplane"}
