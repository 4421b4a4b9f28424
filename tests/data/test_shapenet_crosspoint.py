"""CrossPoint's ShapeNet folders: PLY clouds and renderings read right, and refused in one line if broken."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from bench.data.base import DataPlace
from bench.data.ply import read_ply_points
from bench.data.shapenet_crosspoint import ShapeNetCrossPoint
from bench.errors import DataError

SYNSETS = ("02691156", "03001627")
EACH, POINTS, VIEWS = 5, 30, 3
Form = Literal["ascii", "binary_little_endian", "binary_big_endian"]


def points(synset: str, i: int) -> np.ndarray:
    return np.random.default_rng([int(synset), i]).normal(size=(POINTS, 3)).astype(np.float32)


def ply(vertices: np.ndarray, form: Form = "binary_little_endian", more: str = "", before: str = "") -> bytes:
    """Write a PLY file whose vertices also have a colour, and which ends with a face."""
    head = (
        f"ply\nformat {form} 1.0\ncomment made for a test\n{before}element vertex {len(vertices)}\n"
        "property float x\nproperty float y\nproperty float z\nproperty uchar red\n"
        f"{more}element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    ).encode()
    if form == "ascii":
        rows = "".join(f"{x:.9g} {y:.9g} {z:.9g} 7\n" for x, y, z in vertices)
        return head + rows.encode() + b"3 0 1 2\n"
    order = "<" if form == "binary_little_endian" else ">"
    table = np.zeros(len(vertices), [("p", f"{order}f4", 3), ("red", "u1")])
    table["p"] = vertices
    return head + table.tobytes() + b"\x03" + np.arange(3, dtype=f"{order}i4").tobytes()


def write(root: Path, pictures: bool = True) -> Path:
    for k, synset in enumerate(SYNSETS):
        (root / "ShapeNet" / synset).mkdir(parents=True)
        for i in range(EACH):
            path = root / "ShapeNet" / synset / f"m{i}.ply"
            path.write_bytes(ply(points(synset, i), "ascii" if i % 2 else "binary_little_endian"))
            if pictures:
                below = root / "ShapeNetRendering" / synset / f"m{i}" / "rendering"
                below.mkdir(parents=True)
                for view in (0, 1, 10):
                    Image.fromarray(np.full((20, 20, 3), (k, i, view), np.uint8)).save(below / f"{view}.png")
    return root


def crosspoint(root: Path, **options: Any) -> ShapeNetCrossPoint:
    chosen = {"points": 16, "views": 2, "view_size": 16, **options}
    return ShapeNetCrossPoint(DataPlace(root.parent / "cache", root), ShapeNetCrossPoint.Options.model_validate(chosen))


def use(root: Path, **options: Any) -> None:
    data = crosspoint(root, **options)
    data.manifest()
    views = data.load("train").views
    if views is not None:
        np.asarray(views)


def refusal(root: Path, where: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        use(root, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(where) in message
    return message


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "données")


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_every_form_of_ply_gives_the_same_points(tmp_path: Path, form: Form) -> None:
    """Clouds written by another tool would be refused or misread."""
    path = tmp_path / "a.ply"
    path.write_bytes(ply(points(SYNSETS[0], 1), form))
    np.testing.assert_array_equal(read_ply_points(path), points(SYNSETS[0], 1))
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n", path.read_bytes()[:60].count(b"\n")))
    np.testing.assert_array_equal(read_ply_points(path), points(SYNSETS[0], 1))


def test_doubles_and_other_elements_before_the_vertices(tmp_path: Path) -> None:
    """Files with a camera, or with double precision, would be misread."""
    row = np.dtype([("nx", "<f8"), ("z", "<f8"), ("x", "<f8"), ("y", "<f8")])
    table = np.zeros(4, row)
    table["x"], table["y"], table["z"] = np.arange(12.0).reshape(3, 4)
    head = (
        b"ply\nformat binary_little_endian 1.0\nelement camera 2\nproperty float fx\nproperty short n\n"
        b"element vertex 4\nproperty double nx\nproperty double z\nproperty double x\nproperty double y\nend_header\n"
    )
    path = tmp_path / "a.ply"
    path.write_bytes(head + bytes(12) + table.tobytes())
    np.testing.assert_array_equal(read_ply_points(path), np.arange(12.0).reshape(3, 4).T)


def test_clouds_and_pictures_belong_together(root: Path) -> None:
    """A cloud would be contrasted with the pictures of another object."""
    data = crosspoint(root)
    train, test = data.load("train"), data.load("test")
    assert data.classes() == ("airplane", "chair")
    assert data.train_size() == len(train) == 8
    assert len(test) == 2
    assert sorted(test.labels.tolist()) == [0, 1]
    assert not set(train.ids) & set(test.ids)
    for clouds in (train, test):
        assert clouds.views is not None
        assert clouds.views.shape == (len(clouds), 2, 16, 16, 3)
        for row, name in enumerate(clouds.ids):
            synset, model = name.split("-")
            label, number = SYNSETS.index(synset), int(model[1:])
            assert clouds.labels[row] == label
            held = {tuple(p) for p in points(synset, number).tolist()}
            assert {tuple(p) for p in clouds.points[row].tolist()} < held
            assert clouds.views[row, 1, 3, 3].tolist() == [label, number, 1]
            assert clouds.captions is not None
            assert clouds.captions[row] == data.classes()[label]


def test_the_choice_of_points_is_fixed(root: Path, tmp_path: Path) -> None:
    """The same data set would hold other points on every machine."""
    first = crosspoint(root).load("train").points
    other = ShapeNetCrossPoint(DataPlace(tmp_path / "other", root), crosspoint(root).options)
    np.testing.assert_array_equal(other.load("train").points, first)


def test_whole_trains_on_everything(root: Path) -> None:
    """CrossPoint's published data could not be had."""
    data = crosspoint(root, whole=True)
    assert data.train_size() == len(data.load("train")) == 10
    assert data.manifest() != crosspoint(root).manifest()


def test_without_renderings_there_are_clouds(tmp_path: Path) -> None:
    """Methods without an image branch would need 30 GB of pictures."""
    root = write(tmp_path / "set", pictures=False)
    data = crosspoint(root)
    assert not data.offers_images()
    assert data.load("train").views is None
    shown = write(tmp_path / "shown")
    assert not crosspoint(shown, views=0).offers_images()
    below = shown / "ShapeNetRendering" / SYNSETS[0] / "m0" / "rendering"
    for path in below.iterdir():
        path.unlink()
    assert crosspoint(shown, whole=True).train_size() == 9
    assert crosspoint(shown, whole=True, views=0).train_size() == 10


def test_manifest_follows_content(root: Path) -> None:
    """A changed cloud or picture would reuse old results, or a touched one repeat them."""
    first = crosspoint(root).manifest()
    cloud = root / "ShapeNet" / SYNSETS[0] / "m0.ply"
    os.utime(cloud, ns=(1, 10**18))
    assert crosspoint(root).manifest() == first
    cloud.write_bytes(ply(points(SYNSETS[0], 9)))
    second = crosspoint(root).manifest()
    Image.new("RGB", (20, 20), "white").save(root / "ShapeNetRendering" / SYNSETS[0] / "m0" / "rendering" / "0.png")
    assert len({first, second, crosspoint(root).manifest()}) == 3


CLOUD = f"ShapeNet/{SYNSETS[0]}/m2.ply"
SOUND = ply(points(SYNSETS[0], 2))
ASCII = ply(points(SYNSETS[0], 2), "ascii")
BELOW = f"ShapeNetRendering/{SYNSETS[1]}/m1/rendering"


@pytest.mark.parametrize(
    ("where", "harm", "says"),
    [
        (CLOUD, lambda p: p.write_bytes(SOUND[:-100]), "truncated"),
        (CLOUD, lambda p: p.write_bytes(ASCII[:-300]), "vertices"),
        (CLOUD, lambda p: p.write_bytes(SOUND[:50]), "is truncated in its header"),
        (CLOUD, lambda p: p.write_bytes(b""), "is empty"),
        (CLOUD, lambda p: p.write_bytes(b"solid"), "is not a PLY file"),
        (
            CLOUD,
            lambda p: p.write_bytes(SOUND.replace(b"vertex 30", b"vertex 99999999999")),
            "need 1299999999987 bytes",
        ),
        (CLOUD, lambda p: p.write_bytes(SOUND.replace(b"vertex 30", b"vertex -5")), "damaged header"),
        (
            CLOUD,
            lambda p: p.write_bytes(SOUND.replace(b"property float x", b"property float w")),
            "expected x, y and z",
        ),
        (CLOUD, lambda p: p.write_bytes(SOUND.replace(b"binary_little_endian", b"gzip")), "is in the format 'gzip'"),
        (CLOUD, lambda p: p.write_bytes(ply(points(SYNSETS[0], 2) * np.nan)), "expected a finite number"),
        (CLOUD, lambda p: p.write_bytes(ASCII.replace(b" 7\n", b" 7 x\n", 1).replace(b"0.", b"zero", 1)), "'vertex'"),
        (CLOUD, lambda p: p.write_bytes(ply(points(SYNSETS[0], 2)[:9])), "has 9 vertices, expected at least 16"),
        (f"{BELOW}/1.png", lambda p: p.write_bytes(p.read_bytes()[:40]), "is damaged"),
        (BELOW, lambda p: [path.unlink() for path in list(p.iterdir())[1:]], "set data.views=1"),
    ],
)
def test_broken_folders_name_the_file(root: Path, where: str, harm: Callable[[Path], object], says: str) -> None:
    """A broken file among 44,000 would end in a traceback, or in a wrong number."""
    harm(root / where)
    assert says in refusal(root, root / where, whole=True)


def test_a_wrong_folder_is_told_where_the_data_lie(root: Path) -> None:
    """The usual slips, one folder too high or too low, would have to be guessed."""
    assert "did you mean" in refusal(root.parent, root.parent)
    assert crosspoint(root / "ShapeNet").manifest() == crosspoint(root).manifest()
    for synset in SYNSETS:
        for path in (root / "ShapeNet" / synset).iterdir():
            path.unlink()
    assert "holds no <synset>/<model>.ply" in refusal(root, root / "ShapeNet")
